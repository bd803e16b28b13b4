"""The campaigns that take targets in a night, as the targeting steps in SQL need them.

In which order they are processed, what each target of them may cost, how long they still run. The steps
themselves are `sql/targeting_*.sql`; nothing here reads a store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from marketing_assets.domain.assignment import share_bound
from marketing_assets.domain.campaigns import Campaign
from marketing_assets.domain.days import day_of, end_of, start_of
from marketing_assets.domain.rewards import reward_rule
from marketing_assets.errors import RequestError
from marketing_assets.policy.model import Policy, frozen_terms

HIGHEST_RATE = Decimal(10**9)
"""Money per unit of currency that the relation's column holds; a cap decides long before."""


@dataclass(frozen=True)
class Budget:
    """A campaign's money: its budget, and what of it is spent, reserved or expected to be claimed already."""

    budget: Decimal
    committed: Decimal


@dataclass(frozen=True)
class OpenCampaign:
    """One campaign that takes targets, in the order of its row in the relation `open_campaigns`.

    `place` is its turn, 1 the first; only the last campaign of a `round` may have a budget. A target of it
    costs `cost_share` x min(`reward_cap`, `reward_fixed` + `reward_rate` x the user's average order).
    """

    campaign_id: str
    campaign_version: int
    target_pattern: str
    place: int
    round: int
    control_below: str
    offer_at: str | None
    cooldown_days: int
    days_left: int
    days_needed: int
    reward_fixed: Decimal
    reward_rate: Decimal
    reward_cap: Decimal
    cost_share: Decimal
    budget: Decimal | None
    committed: Decimal | None
    assigned_on: date
    valid_from: datetime
    valid_until: datetime


def open_campaigns(
    campaigns: Sequence[Campaign],
    budgets: Mapping[str, Budget],
    policy: Policy,
    target_day: date,
    zone: ZoneInfo,
) -> list[OpenCampaign]:
    """The campaigns in the order (priority, campaign_id) in which they take targets.

    Args:
        campaigns: those that take targets on the target day.
        budgets: the money of those that have a budget, by campaign.
        policy: the policy in force, for limits and the value of a point.
        target_day: the day D + 1.
        zone: the zone of business days.
    """
    begins = start_of(target_day, zone)
    found, current = [], 1
    ordered = sorted(campaigns, key=lambda each: (each.priority, each.campaign_id))
    for place, campaign in enumerate(ordered, 1):
        template = frozen_terms(campaign.settings)
        reward = reward_rule(template.offer, template, policy.point_value)
        money = budgets.get(campaign.campaign_id)
        ends_on = day_of(campaign.ends_at, zone)
        days = (ends_on - day_of(campaign.starts_at, zone)).days
        found.append(
            OpenCampaign(
                campaign_id=campaign.campaign_id,
                campaign_version=campaign.version,
                target_pattern=campaign.target_pattern,
                place=place,
                round=current,
                control_below=share_bound(campaign.holdout_share),
                offer_at=template.offer.at,
                cooldown_days=template.cooldown_days,
                days_left=(ends_on - target_day).days,
                days_needed=min(policy.limits.min_days_left, days),
                reward_fixed=reward.fixed,
                reward_rate=min(reward.rate, HIGHEST_RATE),
                reward_cap=reward.cap,
                cost_share=(1 - campaign.holdout_share) * template.expected_conversion,
                budget=None if money is None else money.budget,
                committed=None if money is None else money.committed,
                assigned_on=target_day,
                valid_from=max(begins, campaign.starts_at),
                valid_until=campaign.ends_at,
            )
        )
        current += money is not None
    return found


def refuse_now(campaign: Campaign, at: datetime, zone: ZoneInfo) -> None:
    """Refuse a campaign that cannot be given targets at once, apart from a night.

    Raises:
        RequestError: it was not made by hand, is over or paused, or does not open on the day of `at`.
    """
    name, today = campaign.campaign_id, day_of(at, zone)
    if campaign.origin != "manual":
        raise RequestError(
            f"{name} was not made by hand", remedy="campaigns of the policy get their targets at night"
        )
    if campaign.status in ("expired", "archived") or campaign.ends_at <= at:
        raise RequestError(f"{name} is over", remedy="create another campaign, and ask for that")
    if campaign.status != "active":
        raise RequestError(f"{name} is {campaign.status}", remedy="resume it, then ask again")
    if campaign.starts_at >= end_of(today, zone):
        raise RequestError(
            f"{name} is not open yet: it starts on {day_of(campaign.starts_at, zone)}, and it is {today} "
            f"in {zone.key}",
            remedy="nothing need be done: it gets its targets in the night before it starts",
        )


@dataclass(frozen=True)
class EndedCampaign:
    """A campaign that is over, whose targets may rest before they get another one of its template."""

    campaign_id: str
    template: str
    starts_at: datetime
    ends_at: datetime


def resting(
    campaign: Campaign,
    ended: Sequence[EndedCampaign],
    policy: Policy,
    target_day: date,
    zone: ZoneInfo,
) -> list[EndedCampaign]:
    """Of the campaigns that `ended`, those whose targets may not join `campaign` yet (`cooling_off`).

    They ended less than the campaign's cooldown before the target day. A template goes on under a new name:
    `renamed_from`, as it was frozen or as the policy has it now.
    """
    template = frozen_terms(campaign.settings)
    names = {campaign.template, template.renamed_from}
    names |= {each.renamed_from for each in policy.campaigns if each.template == campaign.template}
    rested = start_of(target_day - timedelta(days=template.cooldown_days), zone)
    return [
        each
        for each in ended
        if each.template in names and each.campaign_id != campaign.campaign_id and each.ends_at > rested
    ]
