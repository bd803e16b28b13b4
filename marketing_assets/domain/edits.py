"""What people decide about campaigns: one created by hand, and what an edit of any makes of its terms.

Pure: nothing here reads a store. When a campaign may be edited, and by whom, is decided where it is written.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, ValidationError, model_validator

from marketing_assets.domain.campaigns import Campaign, canonical_json
from marketing_assets.domain.days import day_of
from marketing_assets.errors import RefusedChangeError
from marketing_assets.policy.model import CampaignTemplate, ManualCampaign, Offer, Policy, Rule
from marketing_assets.policy.values import (
    Amount,
    AtLeastOne,
    Line,
    PatternName,
    PolicyModel,
    Problem,
    Share,
    refuse,
)

LONGEST_DAYS = 366
"""Days from the start of a campaign to its end at most, as for a template."""

_MEASURED = (
    "offer",
    "holdout_share",
    "attribution_days",
    "margin",
    "max_reward",
    "reward_for",
    "rewards",
    "amount_is",
)
_SLUG_LENGTH = 40
_Terms = TypeVar("_Terms", bound=CampaignTemplate)


class NewCampaign(PolicyModel):
    """A campaign as somebody asks for it; what is not said comes from the policy's `manual_defaults`.

    It is for the users of a pattern of the policy, or for those who meet `criteria` of its own. `starts_at`
    None is now, `budget` None is unlimited.
    """

    name: Line
    description: Line
    offer: Offer
    pattern: PatternName | None = None
    criteria: Rule | None = None
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime
    budget: Amount | None = None
    holdout_share: Share | None = None
    priority: AtLeastOne | None = None

    @model_validator(mode="after")
    def _for_somebody(self) -> Self:
        if (self.pattern is None) == (self.criteria is None):
            refuse([Problem((), "needs either a pattern or criteria")])
        return self


class CampaignEdit(PolicyModel):
    """What somebody changes: the fields that are given, and no others. `budget` None is unlimited."""

    name: Line | None = None
    description: Line | None = None
    offer: Offer | None = None
    ends_at: AwareDatetime | None = None
    budget: Amount | None = None
    holdout_share: Share | None = None
    priority: AtLeastOne | None = None

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        refuse(
            [
                Problem((name,), "cannot be null; leave it out to keep it")
                for name in sorted(self.model_fields_set - {"budget"})
                if getattr(self, name) is None
            ]
        )
        return self


def manual_campaign(
    new: NewCampaign, policy: Policy, at: datetime, zone: ZoneInfo, number: int = 1
) -> Campaign:
    """The campaign that somebody asks for at the instant `at`.

    Args:
        new: what is asked for.
        policy: names the patterns, and gives the terms that are not said.
        at: the instant it is.
        zone: the zone of business days; the id ends with the day of the start.
        number: tells the campaign from others of this name that start on the same day.

    Raises:
        RefusedChangeError: its dates make no sense, the policy lacks its pattern, or its terms do not fit.
    """
    starts_at = at if new.starts_at is None else new.starts_at.astimezone(UTC)
    ends_at = new.ends_at.astimezone(UTC)
    if starts_at < at:
        raise _refused("starts_at", f"{starts_at.isoformat()} is past")
    refuse_end(starts_at, ends_at, at)
    if new.pattern is not None and new.pattern not in [pattern.name for pattern in policy.patterns]:
        known = ", ".join(pattern.name for pattern in policy.patterns)
        raise _refused("pattern", f"no pattern is called {new.pattern!r} (allowed: {known})")
    template = f"manual-{slug(new.name)}" + (f"-{number}" if number > 1 else "")
    defaults = policy.manual_defaults
    days = _days(starts_at, ends_at, zone)
    terms = _checked(
        ManualCampaign,
        {
            **defaults.model_dump(exclude={"max_attribution_days"}),
            **{name: value for name, value in _said(new).items() if value is not None},
            "template": template,
            "pattern": new.pattern or f"{template}-{day_of(starts_at, zone):%Y%m%d}".replace("-", "_"),
            "days": days,
            "attribution_days": defaults.attribution_days(days),
            "max_reward": _cap(new.offer, defaults.max_reward),
        },
    )
    return Campaign(
        campaign_id=f"{template}-{day_of(starts_at, zone)}",
        template=template,
        origin="manual",
        status="active",
        target_pattern=terms.pattern,
        priority=terms.priority,
        starts_at=starts_at,
        ends_at=ends_at,
        version=1,
        holdout_share=terms.holdout_share,
        settings=canonical_json(terms.model_dump(mode="json")),
        policy_version=policy.version,
        suppressed_until=None,
    )


def edited(terms: CampaignTemplate, edit: CampaignEdit) -> CampaignTemplate:
    """The terms of a campaign after an edit.

    Raises:
        RefusedChangeError: they do not fit together.
    """
    changes = {name: value for name, value in edit if name in edit.model_fields_set - {"ends_at"}}
    values = {**dict(terms), **changes}
    return _checked(type(terms), {**values, "max_reward": _cap(values["offer"], terms.max_reward)})


def is_new_version(before: CampaignTemplate, after: CampaignTemplate) -> bool:
    """Whether targets under `after` are promised something else than those before, or measured otherwise."""
    return any(getattr(before, name) != getattr(after, name) for name in _MEASURED)


def slug(name: str) -> str:
    """A name as a part of an id: words of a-z and 0-9, never empty, at most 40 characters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LENGTH].rstrip("-") or "campaign"


def refuse_end(starts_at: datetime, ends_at: datetime, at: datetime) -> None:
    """Refuse an end that comes before the start, before now, or too long after the start.

    Raises:
        RefusedChangeError: it does.
    """
    if ends_at <= max(starts_at, at):
        raise _refused("ends_at", f"{ends_at.isoformat()} is not after its start and after now")
    if ends_at - starts_at > timedelta(days=LONGEST_DAYS):
        raise _refused("ends_at", f"{ends_at.isoformat()} is more than {LONGEST_DAYS} days after its start")


def _said(new: NewCampaign) -> Mapping[str, object]:
    return {name: value for name, value in new if name not in ("pattern", "starts_at", "ends_at")}


def _days(starts_at: datetime, ends_at: datetime, zone: ZoneInfo) -> int:
    """Days by the clock on the wall, a begun one counted whole."""
    first, last = (instant.astimezone(zone).replace(tzinfo=None) for instant in (starts_at, ends_at))
    return min(math.ceil((last - first) / timedelta(days=1)), LONGEST_DAYS)


def _cap(offer: Offer, max_reward: Decimal | None) -> Decimal | None:
    """What one target may earn at most: a fixed reward is never more than that."""
    if offer.unit == "fixed" and max_reward is not None:
        return max(offer.value, max_reward)
    return max_reward


def _checked(model: type[_Terms], values: Mapping[str, object]) -> _Terms:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, details['loc']))}: {details['msg']}"
            for details in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise RefusedChangeError("; ".join(found), remedy="correct it and ask again") from error


def _refused(field: str, what: str) -> RefusedChangeError:
    return RefusedChangeError(f"{field}: {what}", remedy="correct it and ask again")
