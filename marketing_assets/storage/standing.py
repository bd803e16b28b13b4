"""What stands before a night is decided: the targets and log rows that earlier nights published.

Read from the lake, as far as it agrees with what the database says was published; a partition that a
killed rerun left different is cut down to the published rows.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection
from sqlglot import exp

from marketing_assets.domain.campaigns import Campaign
from marketing_assets.domain.days import day_of
from marketing_assets.domain.targeting import EndedCampaign
from marketing_assets.engine.base import Engine, Row, Value, sql
from marketing_assets.storage.copying import copy_query
from marketing_assets.storage.datasets import ARCHIVED_TARGETS, CAMPAIGN_TARGETS, TARGETING_DECISIONS, Dataset
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import nights

_RESTING = (("campaign_id", "varchar"), ("earlier_campaign", "varchar"), ("ended_on", "date"))


def night_campaigns(engine: Engine) -> list[tuple[str, Campaign]]:
    """Outcome and campaign of each row of the relation `night_campaigns` that has one."""
    rows = engine.fetch("select * from night_campaigns where status is not null")
    return [(str(row["outcome"]), _campaign(row)) for row in rows]


def _campaign(row: Row) -> Campaign:
    starts_at, ends_at, holdout_share = row["starts_at"], row["ends_at"], row["holdout_share"]
    assert isinstance(starts_at, datetime)
    assert isinstance(ends_at, datetime)
    assert isinstance(holdout_share, Decimal)
    return Campaign(
        campaign_id=str(row["campaign_id"]),
        template=str(row["template"]),
        origin="policy",
        status=str(row["status"]),
        target_pattern=str(row["target_pattern"]),
        priority=int(str(row["priority"])),
        starts_at=starts_at,
        ends_at=ends_at,
        version=int(str(row["version"])),
        holdout_share=holdout_share,
        settings=str(row["template_settings"]),
        policy_version=str(row["policy_version"]),
        suppressed_until=None,
    )


def register_resting(
    engine: Engine, resting: Mapping[str, Sequence[EndedCampaign]], zone: ZoneInfo
) -> date | None:
    """Name as `resting_campaigns` the earlier campaigns of each open one whose targets rest.

    Returns:
        The first night that may have drawn targets of them; None where there are none.
    """
    ended = [(name, each) for name, earlier in resting.items() for each in earlier]
    rows: list[list[Value]] = [[name, each.campaign_id, day_of(each.ends_at, zone)] for name, each in ended]
    engine.register_rows("resting_campaigns", _RESTING, rows)
    starts = [day_of(each.starts_at, zone) for _, each in ended]
    return min(starts) - timedelta(days=1) if starts else None


def register_standing(
    connection: Connection,
    engine: Engine,
    lake: Lake,
    day: date,
    open_campaigns: Sequence[Campaign],
    zone: ZoneInfo,
    *,
    since: date | None = None,
    rebuild: bool = False,
) -> None:
    """Name what stands: `kept_*` of the night itself (a rerun), `earlier_*` of the nights before.

    Of a night that is decided again (`rebuild`) nothing is kept. Earlier targets are those of the nights that
    may have drawn targets of `open_campaigns`, or all from `since` on. `standing_targets` are the pairs of
    both that belong to `open_campaigns`.
    """
    starts = [day_of(campaign.starts_at, zone) - timedelta(days=1) for campaign in open_campaigns]
    first = min([*starts, day])
    decided = nights.decided_targets(connection, min(first, since or first))
    earlier = {night: targets for night, targets in decided.items() if night < day}
    logged = [night for night in earlier if night >= first]
    kept = {night: targets for night, targets in decided.items() if night == day and not rebuild}
    register_published(connection, engine, lake, "earlier", earlier, logged)
    register_published(connection, engine, lake, "kept", kept, list(kept))
    register_slots(engine, open_campaigns)


def register_slots(engine: Engine, open_campaigns: Sequence[Campaign]) -> None:
    """Name as `standing_targets` what of `earlier_targets` and `kept_targets` is of open campaigns."""
    ids: list[list[Value]] = [[each.campaign_id] for each in open_campaigns]
    engine.register_rows("slot_campaigns", [("campaign_id", "varchar")], ids)
    engine.create("standing_targets", sql("standing_targets"))


def register_published(
    connection: Connection,
    engine: Engine,
    lake: Lake,
    name: str,
    published: Mapping[date, int],
    logged: Sequence[date],
) -> None:
    """Name `<name>_targets` and, of the nights `logged`, `<name>_decisions`.

    Both are cut down to what was published where a partition differs from it.
    """
    targets, decisions = f"{name}_targets", f"{name}_decisions"
    lake.register(engine, targets, CAMPAIGN_TARGETS, list(published))
    lake.register(engine, decisions, TARGETING_DECISIONS, logged)
    count = exp.select("day", "count(*) as rows").from_(targets).group_by("day")
    found = {row["day"]: row["rows"] for row in engine.fetch(count)}
    if any(found.get(day, 0) != rows for day, rows in published.items()):
        file = lake.scratch / f"{name}-keys.csv"
        _export_keys(connection, file, min(published), max(published))
        engine.register_csv("serving_keys", [file], ["campaign_id", "user_id"])
        archived = [day for day in lake.days(ARCHIVED_TARGETS) if day >= min(published)]
        lake.register(engine, "archived_keys", ARCHIVED_TARGETS, archived)
        engine.create("published_keys", _published_keys(min(published), max(published)))
        for relation, dataset, days in (
            (targets, CAMPAIGN_TARGETS, list(published)),
            (decisions, TARGETING_DECISIONS, logged),
        ):
            lake.register(engine, "as_written", dataset, days)
            engine.create(relation, _cut_down(dataset))
        engine.drop("as_written", "published_keys", "serving_keys", "archived_keys")
        file.unlink()


def _published_keys(first: date, last: date) -> exp.Query:
    """Pairs of targets in the serving table, and of those that were archived from it since."""
    assigned = exp.column("assigned_on").between(
        exp.Literal.string(str(first + timedelta(days=1))), exp.Literal.string(str(last + timedelta(days=1)))
    )
    archived = exp.select("campaign_id", "user_id").from_("archived_keys").where(assigned)
    return exp.union(exp.select("campaign_id", "user_id").from_("serving_keys"), archived)


def _cut_down(dataset: Dataset) -> exp.Query:
    """Rows whose pair was published; refusals of earlier nights have no pair and stay."""
    pair = "(campaign_id, user_id) in (select campaign_id, user_id from published_keys)"
    refusal = "outcome not in ('treatment', 'control')"
    condition = pair if dataset is CAMPAIGN_TARGETS else f"{refusal} or {pair}"
    return exp.select("*").from_("as_written").where(condition)


def _export_keys(connection: Connection, file: Path, first: date, last: date) -> None:
    query = "select campaign_id, user_id from marketing.campaign_targets where assigned_on between %s and %s"
    copy_query(connection, query, (first + timedelta(days=1), last + timedelta(days=1)), file)
