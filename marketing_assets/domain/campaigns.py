"""Which campaigns are open on the target day: kept, opened, ended, or not opened and why.

Pure decisions over a handful of campaigns. Who becomes a target is decided elsewhere (`targeting.sql`);
nothing here reads a store.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from marketing_assets.domain.days import end_of, start_of
from marketing_assets.policy.model import CampaignTemplate, ManualCampaign, Pattern, Policy, frozen_terms

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
    ended_by_hand_at: datetime | None = None


@dataclass(frozen=True)
class CampaignDecision:
    """What the night decides about one campaign, or about one template that gets none.

    `audience` are the users with the pattern, `eligible` those of them who have not opted out, are not in the
    global holdout and have what the offer needs. `campaign` is None exactly where nothing was opened.
    """

    campaign_id: str
    template: str
    outcome: Outcome
    outcome_reason: str
    target_pattern: str
    audience: int
    eligible: int
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


def own_pattern(campaign: Campaign) -> Pattern | None:
    """Who a campaign with criteria of its own is for, under the name `target_pattern`; else None.

    No policy has it, and it is nobody's primary: it is matched for targeting and never published.
    """
    return pattern_of(frozen_terms(campaign.settings))


def pattern_of(terms: CampaignTemplate) -> Pattern | None:
    """The pattern that terms with criteria of their own describe."""
    if not isinstance(terms, ManualCampaign) or terms.criteria is None:
        return None
    return Pattern(name=terms.pattern, label=terms.name, rank=1, rule=terms.criteria)


def decide_campaigns(
    existing: Sequence[Campaign],
    audiences: Mapping[str, int],
    eligible: Mapping[str, int],
    policy: Policy,
    target_day: date,
    zone: ZoneInfo,
) -> list[CampaignDecision]:
    """Decide every campaign and template for `target_day` (SEMANTICS, "The seven campaigns").

    Args:
        existing: campaigns that are not over at the beginning of the day before the target day, or that
            suppress their template after it.
        audiences: users of each pattern on the day before, also of `own_pattern`.
        eligible: of these, by template of the policy or of a campaign by hand, the users who have not opted
            out, are not in the global holdout and have what the offer needs; the least audience counts them.
        policy: the policy in force; it names what may be opened.
        target_day: the business day the campaigns are for.
        zone: the zone of business days.

    Returns:
        Decisions by priority, then id.
    """
    night = _Night(existing, audiences, eligible, policy, target_day, zone)
    decided = [
        night.of_campaign(campaign)
        for campaign in existing
        if campaign.starts_at < end_of(target_day, zone) and night.decides(campaign)
    ]
    opened = sum(decision.outcome == "opened" for decision in decided)
    for template in sorted(policy.campaigns, key=lambda each: (each.priority, each.template)):
        if not any(
            (each.is_open and each.campaign and _is_of(each.campaign, template))
            # One that this night opened before and somebody paused or ended since is told of already.
            or each.campaign_id == night.id_of(template)
            for each in decided
        ):
            decision = night.of_template(template, opened)
            opened += decision.outcome == "opened"
            decided.append(decision)
    return sorted(decided, key=lambda decision: (decision.priority, decision.campaign_id))


def _is_of(campaign: Campaign, template: CampaignTemplate) -> bool:
    return campaign.origin == "policy" and campaign.template in (template.template, template.renamed_from)


def stood_before(existing: Sequence[Campaign], begins: datetime) -> list[Campaign]:
    """The campaigns as they stood before a night, whose target day begins then, is decided again.

    What the policy opened from then on is gone; what has expired since was open until its end. What people
    did stands, whenever it was.
    """
    return [
        replace(each, status="active") if _expired_since(each, begins) else each
        for each in existing
        if each.origin == "manual" or each.starts_at < begins
    ]


def _expired_since(campaign: Campaign, begins: datetime) -> bool:
    ended_before = campaign.ended_by_hand_at is not None and campaign.ended_by_hand_at <= begins
    return campaign.status == "expired" and campaign.ends_at > begins and not ended_before


@dataclass(frozen=True)
class _Night:
    """What one night's decisions have in common."""

    existing: Sequence[Campaign]
    audiences: Mapping[str, int]
    eligible: Mapping[str, int]
    policy: Policy
    target_day: date
    zone: ZoneInfo

    @property
    def begins(self) -> datetime:
        return start_of(self.target_day, self.zone)

    def decides(self, campaign: Campaign) -> bool:
        """Dates decide, not the clean-up: what it marked since the night ran is over by its date, as before.

        One that ended before the last day is there for what it suppresses; a night of before has listed it.
        """
        is_over = campaign.ends_at <= self.begins
        if is_over and campaign.ends_at <= start_of(self.target_day - timedelta(days=1), self.zone):
            return False
        return campaign.status in ("active", "paused") or (campaign.status == "expired" and is_over)

    def of_campaign(self, campaign: Campaign) -> CampaignDecision:
        template = next((each for each in self.policy.campaigns if _is_of(campaign, each)), None)
        audience = self.audiences.get(campaign.target_pattern, 0)
        eligible = self.eligible.get(template.template if template else campaign.template, 0)
        outcome, reason = self._standing(campaign, template, f"eligible audience {eligible} of {audience}")
        return CampaignDecision(
            campaign_id=campaign.campaign_id,
            template=campaign.template,
            outcome=outcome,
            outcome_reason=reason,
            target_pattern=campaign.target_pattern,
            audience=audience,
            eligible=eligible,
            priority=campaign.priority,
            campaign=replace(campaign, status="expired") if outcome == "ended" else campaign,
        )

    def of_template(self, template: CampaignTemplate, opened: int) -> CampaignDecision:
        audience = self.audiences.get(template.pattern, 0)
        eligible = self.eligible.get(template.template, 0)
        size = f"eligible audience {eligible} of {audience}"
        refusal = self._suppression(template) or self._refusal(template, eligible, size, opened)
        return CampaignDecision(
            campaign_id=self.id_of(template),
            template=template.template,
            outcome="not_opened" if refusal else "opened",
            outcome_reason=refusal or size,
            target_pattern=template.pattern,
            audience=audience,
            eligible=eligible,
            priority=template.priority,
            campaign=None if refusal else self._opened(template),
        )

    def id_of(self, template: CampaignTemplate) -> str:
        return f"{template.template}-{self.target_day.isoformat()}"

    def _standing(
        self, campaign: Campaign, template: CampaignTemplate | None, size: str
    ) -> tuple[Outcome, str]:
        manual = campaign.origin == "manual"
        if campaign.ends_at <= self.begins:
            return "ended", "it was ended by hand" if campaign.ended_by_hand_at else "its last day is over"
        if campaign.status == "paused":
            return "paused", "nobody is added until it is resumed"
        if template is None and not manual:
            return "orphaned", f"the policy no longer has the template {campaign.template}: nobody is added"
        if not self._has_pattern(campaign):
            return (
                "orphaned",
                f"the policy no longer has the pattern {campaign.target_pattern}: nobody is added",
            )
        if campaign.starts_at >= self.begins and not manual:
            return "opened", size
        return "kept", "still open: users who newly qualify are added"

    def _has_pattern(self, campaign: Campaign) -> bool:
        known = campaign.target_pattern in {pattern.name for pattern in self.policy.patterns}
        return known or own_pattern(campaign) is not None

    def _opened(self, template: CampaignTemplate) -> Campaign:
        return Campaign(
            campaign_id=self.id_of(template),
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

    def _suppression(self, template: CampaignTemplate) -> str:
        """What keeps the template from opening, and until when; empty where nothing does."""
        own = [campaign for campaign in self.existing if _is_of(campaign, template)]
        until = max((each.suppressed_until for each in own if each.suppressed_until), default=self.begins)
        latest = f"until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if until > self.begins else ""
        paused = [each.campaign_id for each in own if each.status == "paused" and each.ends_at > self.begins]
        if paused:
            return f"suppressed: {paused[0]} is paused; until it is resumed" + (latest and f", or {latest}")
        return latest and f"suppressed {latest}: a campaign of it was paused or ended by hand"

    def _refusal(self, template: CampaignTemplate, eligible: int, size: str, opened: int) -> str | None:
        """Why no campaign of a template that is not suppressed is opened; None where one is."""
        limits = self.policy.limits
        if any(campaign.campaign_id == self.id_of(template) for campaign in self.existing):
            return "a campaign of this id is over already, and is never opened again"
        least = limits.min_audience if template.min_audience is None else template.min_audience
        if eligible < least:
            return f"{size} is below the least of {least}"
        if opened >= limits.max_new_campaigns:
            return f"the run has opened its {limits.max_new_campaigns} campaigns"
        return None
