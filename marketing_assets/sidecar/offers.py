"""A user's open offers as the app shows them: which of their targets to show, and the texts filled in.

What a version of a campaign promises is read once and kept: an edit gives the campaign another revision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from marketing_assets.domain.offers import filled
from marketing_assets.domain.rewards import RewardRule, reward_rule
from marketing_assets.policy.model import CampaignTemplate, frozen_terms
from marketing_assets.sidecar.security import Caller, erased
from marketing_assets.storage.repositories import offers
from marketing_assets.storage.repositories.offers import OpenTarget

if TYPE_CHECKING:
    from marketing_assets.sidecar.context import Context

Shown = Mapping[str, object]
"""An offer as JSON has it."""

FIRST = (-1, "")
"""The place before every offer."""

_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class _Promise:
    """What one version of a campaign promises, with the texts as far as they are the same for everybody."""

    terms: CampaignTemplate
    rule: RewardRule
    texts: tuple[str, str]
    is_personal: bool
    fixed: dict[str, object]


class Promises:
    """The promises of campaigns, each read once."""

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._kept: dict[tuple[str, int, int], _Promise] = {}

    async def of(self, campaign_id: str, version: int, revision: int) -> _Promise:
        """The promise of a version of a campaign, as it reads at this revision."""
        key = (campaign_id, version, revision)
        kept = self._kept.get(key)
        if kept is None:
            kept = await self._read(campaign_id, version)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = kept
        return kept

    async def _read(self, campaign_id: str, version: int) -> _Promise:
        parameters = {"campaign_id": campaign_id, "version": version}
        row = await self._context.database.row(offers.TERMS, parameters)
        assert row is not None
        terms, currency = frozen_terms(str(row[1])), self._context.settings.currency
        texts = (self._filled(terms, terms.name, {}), self._filled(terms, terms.description, {}))
        offer = terms.offer
        return _Promise(
            terms,
            reward_rule(offer, terms, self._context.policy.point_value),
            texts,
            any("{location}" in text or "{category}" in text for text in texts),
            {
                "type": str(row[0]),
                "offer": {"type": offer.type, "value": str(offer.value), "unit": offer.unit},
                "max_reward": None if terms.max_reward is None else str(terms.max_reward),
                "currency": currency,
            },
        )

    def texts(self, promise: _Promise, context: Mapping[str, str]) -> tuple[str, str]:
        """Name and description as this user reads them."""
        if not promise.is_personal:
            return promise.texts
        terms = promise.terms
        return self._filled(terms, terms.name, context), self._filled(terms, terms.description, context)

    def _filled(self, terms: CampaignTemplate, text: str, context: Mapping[str, str]) -> str:
        return filled(text, terms.offer, terms.max_reward, self._context.settings.currency, context)


_Offer = tuple[OpenTarget, _Promise]


async def open_offers(context: "Context", caller: Caller, after: tuple[int, str], limit: int) -> Shown:
    """A page of the caller's open offers, best priority first.

    Raises:
        Problem: 410, the caller asked to be erased.
    """
    found = [
        offer
        for offer in await _alive(context, caller)
        if _place(offer) > after and _is_unused(offer) and await _is_covered(context, caller, offer)
    ]
    found.sort(key=_place)
    page, more = found[:limit], len(found) > limit
    return {
        "items": [_shown(context, offer) for offer in page],
        "next_cursor": "{}~{}".format(*_place(page[-1])) if more else None,
    }


async def one_offer(context: "Context", caller: Caller, campaign_id: str) -> Shown | None:
    """The caller's offer of that campaign while it is alive, also when used up or put away; None: no such.

    Raises:
        Problem: 410, the caller asked to be erased.
    """
    for offer in await _alive(context, caller):
        if offer[0].campaign_id == campaign_id:
            return _shown(context, offer)
    return None


def _place(offer: _Offer) -> tuple[int, str]:
    """Where it stands in the list."""
    return offer[0].priority, offer[0].campaign_id


async def _alive(context: "Context", caller: Caller) -> list[_Offer]:
    parameters = {"user_id": caller.user_id, "user_hash": caller.user_hash}
    rows = await context.database.rows(offers.OFFERS, parameters)
    targets = [OpenTarget._make(row) for row in rows]
    if targets[0].is_erased:
        raise erased()
    if rows[0][1] is None:
        return []
    promises = context.promises
    return [
        (each, await promises.of(each.campaign_id, each.campaign_version, each.revision)) for each in targets
    ]


def _is_unused(offer: _Offer) -> bool:
    """Whether it was not put away, and something can still be earned with it."""
    target, promise = offer
    if target.is_dismissed or (target.rewards and promise.terms.reward_for == "first_purchase"):
        return False
    return promise.terms.max_reward is None or target.rewarded < promise.terms.max_reward


async def _is_covered(context: "Context", caller: Caller, offer: _Offer) -> bool:
    """Whether the campaign's budget still covers the reward of the caller's average order."""
    target, promise = offer
    if target.left is None:
        return True
    average = await context.database.value(offers.AVERAGE_ORDER, {"user_id": caller.user_id})
    return target.left >= promise.rule.of(average if isinstance(average, Decimal) else Decimal(0))


def _shown(context: "Context", offer: _Offer) -> Shown:
    target, promise = offer
    said = {"location": target.location, "category": target.category}
    known = {name: value for name, value in said.items() if value is not None}
    name, description = context.promises.texts(promise, known)
    return {
        "campaign_id": target.campaign_id,
        "name": name,
        "description": description,
        **promise.fixed,
        **said,
        "status": target.status,
        "viewed_at": target.viewed_at,
        "priority": target.priority,
        "valid_from": target.valid_from,
        "valid_until": target.valid_until,
    }
