"""Which campaigns are open on the target day: kept, opened, ended, or not opened and why.

Pure decisions over a handful of campaigns. Who becomes a target is decided elsewhere (`targeting.sql`);
nothing here reads a store.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from marketing_assets.domain.days import end_of, start_of
from marketing_assets.policy.model import CampaignTemplate, Policy

Json = Mapping[str, object]
Outcome = Literal["opened", "kept", "paused", "ended", "orphaned", "not_opened"]


@dataclass(frozen=True)
class Campaign:
    """A campaign as it stands in the serving database, with the settings of its newest version."""

    campaign_id: str
    template: str
    origin: str
    status: str
    target_pattern: str
    priority: int
    starts_at: datetime
    ends_at: datetime
    version: int
    holdout_share: Decimal
    settings: str
    policy_version: str
    suppressed_until: datetime | None


@dataclass(frozen=True)
class CampaignDecision:
    """What the night decides about one campaign, or about one template that gets none.

    `campaign` is None exactly where nothing was opened.
    """

    campaign_id: str
    template: str
    outcome: Outcome
    outcome_reason: str
    target_pattern: str
    audience: int
    priority: int
    campaign: Campaign | None

    @property
    def is_open(self) -> bool:
        """True where a campaign is open on the target day, also one that adds nobody any more."""
        return self.outcome in ("opened", "kept", "orphaned")

    @property
    def takes_targets(self) -> bool:
        """True where users may become targets of it this night."""
        return self.outcome in ("opened", "kept")


def canonical_json(content: Json) -> str:
    """JSON text that is the same for equal content, wherever it was read from."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decide_campaigns(
    existing: Sequence[Campaign],
    audiences: Mapping[str, int],
    policy: Policy,
    target_day: date,
    zone: ZoneInfo,
) -> list[CampaignDecision]:
    """Decide every campaign and template for `target_day` (SEMANTICS, "The seven campaigns").

    Args:
        existing: campaigns that are not over at the beginning of the day before the target day.
        audiences: users of each pattern on the day before.
        policy: the policy in force; it names what may be opened.
        target_day: the business day the campaigns are for.
        zone: the zone of business days.

    Returns:
        Decisions by priority, then id.
    """
    night = _Night(existing, audiences, policy, target_day, zone)
    decided = [
        night.of_campaign(campaign)
        for campaign in existing
        if campaign.starts_at < end_of(target_day, zone) and _is_decided(campaign, night.begins)
    ]
    opened = sum(decision.outcome == "opened" for decision in decided)
    for template in sorted(policy.campaigns, key=lambda each: (each.priority, each.template)):
        if not any(decision.is_open and _is_of(decision, template) for decision in decided):
            decision = night.of_template(template, opened)
            opened += decision.outcome == "opened"
            decided.append(decision)
    return sorted(decided, key=lambda decision: (decision.priority, decision.campaign_id))


def _is_of(item: CampaignDecision | Campaign, template: CampaignTemplate) -> bool:
    return item.template in (template.template, template.renamed_from)


def stood_before(existing: Sequence[Campaign], begins: datetime) -> list[Campaign]:
    """The campaigns as they stood before a night, whose target day begins then, is decided again.

    What the policy opened from then on is gone; what has expired since was open until its end.
    """
    return [
        replace(each, status="active") if each.status == "expired" and each.ends_at > begins else each
        for each in existing
        if each.origin == "manual" or each.starts_at < begins
    ]


def _is_decided(campaign: Campaign, begins: datetime) -> bool:
    """Dates decide, not the clean-up: what it marked since the night ran is over by its date, as before."""
    is_over = campaign.status == "expired" and campaign.ends_at <= begins
    return campaign.status in ("active", "paused") or is_over


@dataclass(frozen=True)
class _Night:
    """What one night's decisions have in common."""

    existing: Sequence[Campaign]
    audiences: Mapping[str, int]
    policy: Policy
    target_day: date
    zone: ZoneInfo

    @property
    def begins(self) -> datetime:
        return start_of(self.target_day, self.zone)

    def of_campaign(self, campaign: Campaign) -> CampaignDecision:
        outcome, reason = self._standing(campaign)
        return CampaignDecision(
            campaign_id=campaign.campaign_id,
            template=campaign.template,
            outcome=outcome,
            outcome_reason=reason,
            target_pattern=campaign.target_pattern,
            audience=self.audiences.get(campaign.target_pattern, 0),
            priority=campaign.priority,
            campaign=replace(campaign, status="expired") if outcome == "ended" else campaign,
        )

    def of_template(self, template: CampaignTemplate, opened: int) -> CampaignDecision:
        audience = self.audiences.get(template.pattern, 0)
        refusal = self._refusal(template, audience, opened)
        return CampaignDecision(
            campaign_id=self._id(template),
            template=template.template,
            outcome="not_opened" if refusal else "opened",
            outcome_reason=refusal or f"audience {audience}",
            target_pattern=template.pattern,
            audience=audience,
            priority=template.priority,
            campaign=None if refusal else self._opened(template),
        )

    def _id(self, template: CampaignTemplate) -> str:
        return f"{template.template}-{self.target_day.isoformat()}"

    def _standing(self, campaign: Campaign) -> tuple[Outcome, str]:
        manual = campaign.origin == "manual"
        known = manual or any(_is_of(campaign, template) for template in self.policy.campaigns)
        if campaign.ends_at <= self.begins:
            return "ended", "its last day is over"
        if campaign.status == "paused":
            return "paused", "nobody is added until it is resumed"
        if not known or campaign.target_pattern not in {pattern.name for pattern in self.policy.patterns}:
            return "orphaned", "the policy no longer has its template or pattern: nobody is added"
        if campaign.starts_at >= self.begins and not manual:
            return "opened", f"audience {self.audiences.get(campaign.target_pattern, 0)}"
        return "kept", "still open: users who newly qualify are added"

    def _opened(self, template: CampaignTemplate) -> Campaign:
        return Campaign(
            campaign_id=self._id(template),
            template=template.template,
            origin="policy",
            status="active",
            target_pattern=template.pattern,
            priority=template.priority,
            starts_at=self.begins,
            ends_at=start_of(self.target_day + timedelta(days=template.days), self.zone),
            version=1,
            holdout_share=template.holdout_share,
            settings=canonical_json(template.model_dump(mode="json")),
            policy_version=self.policy.version,
            suppressed_until=None,
        )

    def _refusal(self, template: CampaignTemplate, audience: int, opened: int) -> str | None:
        """Why no campaign of the template is opened; None where one is."""
        limits = self.policy.limits
        own = [campaign for campaign in self.existing if _is_of(campaign, template)]
        if any(campaign.status == "paused" and campaign.ends_at > self.begins for campaign in own):
            return "suppressed: its campaign is paused"
        until = max((c.suppressed_until for c in own if c.suppressed_until is not None), default=None)
        if until is not None and until > self.begins:
            return f"suppressed until {until:%Y-%m-%d %H:%M} UTC"
        if any(campaign.campaign_id == self._id(template) for campaign in own):
            return "a campaign of this id is over already, and is never opened again"
        least = limits.min_audience if template.min_audience is None else template.min_audience
        if audience < least:
            return f"audience {audience} is below the least of {least}"
        if opened >= limits.max_new_campaigns:
            return f"the run has opened its {limits.max_new_campaigns} campaigns"
        return None
