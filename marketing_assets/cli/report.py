"""What a night came to, and how the system stands: read from the lake and the serving database."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import metadata

from sqlalchemy import Engine as DatabaseEngine

from marketing_assets.cli.nights import night_time
from marketing_assets.domain.days import day_of, start_of
from marketing_assets.engine.base import Row
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Offer, frozen_terms
from marketing_assets.settings import Settings
from marketing_assets.storage import clock, database
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, CAMPAIGNS, SEGMENT_SUMMARY
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import campaigns as campaign_rows
from marketing_assets.storage.repositories import nights, settlements


@dataclass(frozen=True)
class PatternLine:
    """One pattern of the night: users are counts, share is of all users, spend is money in the window."""

    pattern: str
    label: str
    users: int
    primary_users: int
    share: float
    spend: Decimal


@dataclass(frozen=True)
class CampaignLine:
    """One campaign or template of the night; arms count all its targets so far."""

    template: str
    outcome: str
    reason: str
    offer: Offer | None
    starts_at: datetime | None
    ends_at: datetime | None
    treatment: int | None
    control: int | None


@dataclass(frozen=True)
class NightReport:
    """One decided night."""

    day: date
    target_day: date
    patterns: list[PatternLine]
    campaigns: list[CampaignLine]
    new_targets: int


@dataclass(frozen=True)
class OpenCampaign:
    """One campaign that is not over, for `marketing status`."""

    campaign_id: str
    status: str
    target_pattern: str
    ends_at: str
    treatment: int
    control: int


@dataclass(frozen=True)
class Status:
    """How the system stands, for people and (`--json`) for programs."""

    version: str
    database: str
    dagster_database: str
    lake: str
    source: str
    timezone: str
    now: str
    simulated: bool
    newest_night: str | None
    next_night: str
    rewards_waiting: int
    rewards_reserved: str
    campaigns: list[OpenCampaign]


def night_report(settings: Settings, serving: DatabaseEngine, day: date) -> NightReport | None:
    """What the night of `day` decided, or None where it was not decided."""
    lake = Lake(settings.lake)
    if not lake.path(CAMPAIGNS, day).exists():
        return None
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=lake.scratch / "report")
    try:
        lake.register(engine, "segments", SEGMENT_SUMMARY, [day])
        lake.register(engine, "campaigns", CAMPAIGNS, [day])
        segments = engine.fetch("select * from segments order by rank")
        decided = engine.fetch("select * from campaigns order by priority, campaign_id")
        lake.register(engine, "targets", CAMPAIGN_TARGETS, [day])
        new_targets = int(str(engine.fetch("select count(*) as targets from targets")[0]["targets"]))
    finally:
        engine.close()
    with serving.connect() as connection:
        summaries = campaign_rows.summaries(connection, start_of(day, settings.zone))
    arms = {each.campaign_id: (each.treatment, each.control) for each in summaries}
    policy = load_policy(settings.policy, settings.window_days)
    labels = {pattern.name: pattern.label for pattern in policy.patterns}
    offers = {template.template: template.offer for template in policy.campaigns}
    return NightReport(
        day,
        day + timedelta(days=1),
        [_pattern(row, labels) for row in segments],
        [_campaign(row, arms, offers) for row in decided],
        new_targets,
    )


def _pattern(row: Row, labels: dict[str, str]) -> PatternLine:
    name = str(row["pattern"])
    return PatternLine(
        pattern=name,
        label=labels.get(name, name),
        users=int(str(row["users"])),
        primary_users=int(str(row["primary_users"])),
        share=float(str(row["share"])),
        spend=Decimal(str(row["spend"])),
    )


def _campaign(row: Row, arms: dict[str, tuple[int, int]], offers: dict[str, Offer]) -> CampaignLine:
    settings = row["template_settings"]
    template = str(row["template"])
    frozen = frozen_terms(str(settings)).offer if settings else None
    starts_at, ends_at = row["starts_at"], row["ends_at"]
    treatment, control = arms.get(str(row["campaign_id"]), (None, None))
    return CampaignLine(
        template=template,
        outcome=str(row["outcome"]),
        reason=str(row["outcome_reason"]),
        offer=frozen or offers.get(template),
        starts_at=starts_at if isinstance(starts_at, datetime) else None,
        ends_at=ends_at if isinstance(ends_at, datetime) else None,
        treatment=treatment,
        control=control,
    )


def system_status(settings: Settings) -> Status:
    """How the system stands; starts and upgrades the database where needed.

    Raises:
        DatabaseError: the database cannot be reached.
    """
    urls = database.locate(settings)
    database.prepare(urls)
    serving = database.connect(urls.product)
    try:
        with serving.connect() as connection:
            now = clock.now(connection)
            newest = nights.newest_decided(connection)
            summaries = campaign_rows.summaries(connection, now)
            waiting = settlements.waiting(connection)
    finally:
        serving.dispose()
    due = night_time(day_of(now, settings.zone) - timedelta(days=1), settings)
    if due <= now:
        due = night_time(day_of(now, settings.zone), settings)
    return Status(
        version=metadata.version("marketing-assets"),
        database=database.described(urls.product),
        dagster_database=database.described(urls.dagster),
        lake=str(settings.lake),
        source=settings.source,
        timezone=settings.timezone,
        now=now.isoformat(timespec="seconds"),
        simulated=abs(datetime.now(UTC) - now) > timedelta(minutes=1),
        newest_night=newest.isoformat() if newest else None,
        next_night=due.isoformat(timespec="minutes"),
        rewards_waiting=waiting.rewards,
        rewards_reserved=f"{waiting.reserved} {settings.currency}",
        campaigns=[
            OpenCampaign(
                campaign_id=each.campaign_id,
                status=each.status,
                target_pattern=each.target_pattern,
                ends_at=each.ends_at.astimezone(settings.zone).isoformat(timespec="minutes"),
                treatment=each.treatment,
                control=each.control,
            )
            for each in summaries
        ],
    )
