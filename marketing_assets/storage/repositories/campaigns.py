"""Campaigns and their versions: read for deciding and showing, written when a night opens one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.domain.campaigns import Campaign, canonical_json, own_pattern
from marketing_assets.domain.days import day_of
from marketing_assets.domain.targeting import EndedCampaign
from marketing_assets.policy.model import CampaignTemplate, frozen_terms
from marketing_assets.storage.tables import (
    campaign_budgets,
    campaign_events,
    campaign_targets,
    campaign_versions,
    marketing_campaigns,
    rewards,
)


@dataclass(frozen=True)
class CampaignSummary:
    """One campaign as people read it: its offer and its targets of both arms."""

    campaign_id: str
    campaign_name: str
    template: str
    status: str
    target_pattern: str
    offer_type: str
    offer_value: Decimal
    offer_unit: str
    starts_at: datetime
    ends_at: datetime
    treatment: int
    control: int


def not_over(connection: Connection, since: datetime) -> list[Campaign]:
    """Campaigns that were not over at `since`, or that suppress their template after it."""
    campaigns = marketing_campaigns
    return _campaigns(connection, or_(campaigns.c.ends_at > since, campaigns.c.suppressed_until > since))


def one(connection: Connection, campaign_id: str) -> Campaign | None:
    """The campaign of this id; None where there is none."""
    return next(iter(_campaigns(connection, marketing_campaigns.c.campaign_id == campaign_id)), None)


def _campaigns(connection: Connection, which: ColumnElement[bool]) -> list[Campaign]:
    campaigns, versions = marketing_campaigns, campaign_versions
    statement = (
        select(
            campaigns.c.campaign_id,
            campaigns.c.template,
            campaigns.c.origin,
            campaigns.c.status,
            campaigns.c.target_pattern,
            campaigns.c.priority,
            campaigns.c.starts_at,
            campaigns.c.ends_at,
            campaigns.c.version,
            campaigns.c.holdout_share,
            versions.c.settings,
            campaigns.c.policy_version,
            campaigns.c.suppressed_until,
            campaigns.c.ended_by_hand_at,
        )
        .join(
            versions,
            and_(
                versions.c.campaign_id == campaigns.c.campaign_id, versions.c.version == campaigns.c.version
            ),
        )
        .where(which)
        .order_by(campaigns.c.priority, campaigns.c.campaign_id)
    )
    return [
        Campaign(**{**row._mapping, "settings": canonical_json(row.settings)})
        for row in connection.execute(statement)
    ]


def insert_opened(
    connection: Connection, campaigns: Sequence[Campaign], created_by: str = "nightly run"
) -> int:
    """Insert campaigns that are opened, with first version and budget; existing ones stay as they are.

    Returns:
        How many were new.
    """
    if not campaigns:
        return 0
    rows = [_row(campaign, created_by) for campaign in campaigns]
    statement = insert(marketing_campaigns).values(rows).on_conflict_do_nothing()
    new = len(connection.execute(statement.returning(marketing_campaigns.c.campaign_id)).all())
    settings = [json.loads(campaign.settings) for campaign in campaigns]
    versions = [
        {"campaign_id": c.campaign_id, "version": c.version, "settings": frozen}
        for c, frozen in zip(campaigns, settings, strict=True)
    ]
    connection.execute(insert(campaign_versions).values(versions).on_conflict_do_nothing())
    budgets = [
        {"campaign_id": c.campaign_id, "budget": frozen["budget"]}
        for c, frozen in zip(campaigns, settings, strict=True)
    ]
    connection.execute(insert(campaign_budgets).values(budgets).on_conflict_do_nothing())
    return new


def summaries(connection: Connection, since: datetime) -> list[CampaignSummary]:
    """Campaigns that are not over at `since`, by priority, with their targets counted."""
    campaigns, targets = marketing_campaigns, campaign_targets
    in_arm = {
        arm: func.coalesce(func.sum(case((targets.c.arm == arm, 1), else_=0)), 0).label(arm)
        for arm in ("treatment", "control")
    }
    statement = (
        select(
            campaigns.c.campaign_id,
            campaigns.c.campaign_name,
            campaigns.c.template,
            campaigns.c.status,
            campaigns.c.target_pattern,
            campaigns.c.offer_type,
            campaigns.c.offer_value,
            campaigns.c.offer_unit,
            campaigns.c.starts_at,
            campaigns.c.ends_at,
            in_arm["treatment"],
            in_arm["control"],
        )
        .outerjoin(targets, targets.c.campaign_id == campaigns.c.campaign_id)
        .where(campaigns.c.ends_at > since)
        .group_by(campaigns.c.campaign_id)
        .order_by(campaigns.c.priority, campaigns.c.campaign_id)
    )
    return [CampaignSummary(**row._mapping) for row in connection.execute(statement)]


@dataclass(frozen=True)
class Ended:
    """A campaign that is over: its last instant and the status it had."""

    campaign_id: str
    ends_at: datetime
    status: str


def over(connection: Connection, now: datetime) -> list[Ended]:
    """Active and paused campaigns whose end has passed, held until the transaction ends."""
    campaigns = marketing_campaigns
    statement = (
        select(campaigns.c.campaign_id, campaigns.c.ends_at, campaigns.c.status)
        .where(campaigns.c.status.in_(("active", "paused")), campaigns.c.ends_at <= now)
        .order_by(campaigns.c.campaign_id)
        .with_for_update()
    )
    return [Ended(**row._mapping) for row in connection.execute(statement)]


def archivable(connection: Connection, ended_by: datetime, valid_until: datetime) -> list[Ended]:
    """Expired campaigns that ended by `ended_by`, and nothing of which is open or was until `valid_until`.

    No target was valid after it, no reward waits for the ledger, none was decided after it: the night that
    did may be run again.
    """
    campaigns, targets = marketing_campaigns, campaign_targets
    unsettled = select(targets.c.campaign_id).where(targets.c.valid_until > valid_until)
    unpaid = select(rewards.c.campaign_id).where(
        or_(rewards.c.state == "reserved", rewards.c.decided_at > valid_until)
    )
    statement = (
        select(campaigns.c.campaign_id, campaigns.c.ends_at, campaigns.c.status)
        .where(
            campaigns.c.status == "expired",
            campaigns.c.ends_at <= ended_by,
            campaigns.c.campaign_id.not_in(unsettled),
            campaigns.c.campaign_id.not_in(unpaid),
        )
        .order_by(campaigns.c.ends_at, campaigns.c.campaign_id)
    )
    return [Ended(**row._mapping) for row in connection.execute(statement)]


def ended(connection: Connection, begins: datetime, *, rebuild: bool = False) -> list[EndedCampaign]:
    """Campaigns of every template that are over at `begins`, or were ended by hand since.

    For a night that is decided again (`rebuild`) dates alone decide: what has expired since was open.
    """
    campaigns = marketing_campaigns
    over = campaigns.c.ends_at <= begins
    if not rebuild:
        over = or_(over, campaigns.c.status.in_(("expired", "archived")))
    statement = (
        select(campaigns.c.campaign_id, campaigns.c.template, campaigns.c.starts_at, campaigns.c.ends_at)
        .where(over)
        .order_by(campaigns.c.campaign_id)
    )
    return [EndedCampaign(**row._mapping) for row in connection.execute(statement)]


def set_status(
    connection: Connection, campaign_ids: Sequence[str], before: Sequence[str], after: str, at: datetime
) -> int:
    """Give campaigns that have one of the statuses `before` another one; returns how many had."""
    campaigns = marketing_campaigns
    statement = (
        update(campaigns)
        .where(campaigns.c.campaign_id.in_(campaign_ids), campaigns.c.status.in_(before))
        .values(status=after, revision=campaigns.c.revision + 1, updated_at=at)
    )
    return connection.execute(statement).rowcount


def oldest_published(connection: Connection, now: datetime, zone: ZoneInfo) -> date | None:
    """The first target day that published targets or campaigns that are not over go back to."""
    campaigns, targets = marketing_campaigns, campaign_targets
    starts = select(func.min(campaigns.c.starts_at)).where(campaigns.c.ends_at > now)
    started = connection.execute(starts).scalar()
    assigned = connection.execute(select(func.min(targets.c.assigned_on))).scalar()
    days = [day for day in (assigned, day_of(started, zone) if started else None) if day is not None]
    return min(days, default=None)


def templates_in_use(connection: Connection, now: datetime) -> list[CampaignTemplate]:
    """The templates as campaigns that are not over have frozen them."""
    campaigns, versions = marketing_campaigns, campaign_versions
    statement = (
        select(versions.c.settings)
        .join(campaigns, campaigns.c.campaign_id == versions.c.campaign_id)
        .where(campaigns.c.ends_at > now, campaigns.c.origin == "policy")
    )
    return [
        CampaignTemplate.model_validate_json(canonical_json(settings))
        for settings in connection.execute(statement).scalars()
    ]


def latest_archived_end(connection: Connection) -> datetime | None:
    """The end of the archived campaign that ended last; None where none is archived."""
    campaigns = marketing_campaigns
    statement = select(func.max(campaigns.c.ends_at)).where(campaigns.c.status == "archived")
    return connection.execute(statement).scalar()


def assigned_since(connection: Connection, day: date) -> list[str]:
    """The campaigns that users became targets of on `day` or later, by id."""
    targets = campaign_targets
    statement = select(targets.c.campaign_id).where(targets.c.assigned_on >= day).distinct()
    return sorted(connection.execute(statement).scalars())


def with_events(connection: Connection, campaign_ids: Sequence[str]) -> list[str]:
    """Those of these campaigns that the app has reported anything of, by id."""
    events = campaign_events
    statement = select(events.c.campaign_id).where(events.c.campaign_id.in_(campaign_ids)).distinct()
    return sorted(connection.execute(statement).scalars())


def _row(campaign: Campaign, created_by: str) -> dict[str, object]:
    template = frozen_terms(campaign.settings)
    own = own_pattern(campaign)
    criteria = (
        {"pattern": campaign.target_pattern}
        if own is None
        else {"rule": own.rule.model_dump(mode="json", exclude_none=True)}
    )
    return {
        "campaign_id": campaign.campaign_id,
        "template": campaign.template,
        "campaign_name": template.name,
        "campaign_type": template.type,
        "description": template.description,
        "offer_type": template.offer.type,
        "offer_value": template.offer.value,
        "offer_unit": template.offer.unit,
        "target_pattern": campaign.target_pattern,
        "qualifying_criteria": criteria,
        "status": campaign.status,
        "priority": campaign.priority,
        "starts_at": campaign.starts_at,
        "ends_at": campaign.ends_at,
        "holdout_share": campaign.holdout_share,
        "attribution_days": template.attribution_days,
        "origin": campaign.origin,
        "policy_version": campaign.policy_version,
        "version": campaign.version,
        "created_by": created_by,
    }
