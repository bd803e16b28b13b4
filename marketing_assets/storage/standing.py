"""What stands before a night is decided: the targets and log rows that earlier nights published.

Read from the lake, as far as it agrees with what the database says was published; a partition that a
killed rerun left different is cut down to the published rows.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection
from sqlglot import exp

from marketing_assets.domain.assignment import share_digits
from marketing_assets.domain.days import day_of, start_of
from marketing_assets.engine.base import Engine, Value, sql
from marketing_assets.policy.model import frozen_terms
from marketing_assets.storage.datasets import ARCHIVED_TARGETS, CAMPAIGN_TARGETS, TARGETING_DECISIONS, Dataset
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import nights

_OPEN_CAMPAIGNS = (
    ("campaign_id", "varchar"),
    ("campaign_version", "integer"),
    ("target_pattern", "varchar"),
    ("priority", "integer"),
    ("holdout_share", "decimal(9,8)"),
    ("share_digits", "varchar"),
    ("offer_at", "varchar"),
    ("valid_from", "timestamp with time zone"),
    ("valid_until", "timestamp with time zone"),
)


def register_open_campaigns(engine: Engine, day: date, zone: ZoneInfo) -> None:
    """Name as `open_campaigns` those of the relation `night_campaigns` that take targets."""
    begins = start_of(day + timedelta(days=1), zone)
    rows: list[list[Value]] = []
    for row in engine.fetch("select * from night_campaigns where outcome in ('opened', 'kept')"):
        template = frozen_terms(str(row["template_settings"]))
        values: dict[str, Value] = {
            **row,
            "campaign_version": row["version"],
            "share_digits": "" if template.holdout_share == 1 else share_digits(template.holdout_share),
            "offer_at": template.offer.at,
            "valid_from": _later(begins, row["starts_at"]),
            "valid_until": row["ends_at"],
        }
        rows.append([values[name] for name, _ in _OPEN_CAMPAIGNS])
    engine.register_rows("open_campaigns", _OPEN_CAMPAIGNS, rows)


def _later(begins: datetime, starts_at: Value) -> datetime:
    return max(begins, starts_at) if isinstance(starts_at, datetime) else begins


def register_standing(
    connection: Connection, engine: Engine, lake: Lake, day: date, zone: ZoneInfo, *, rebuild: bool = False
) -> None:
    """Name what stands: `kept_*` of the night itself (a rerun), `earlier_*` of the nights before.

    Of a night that is decided again (`rebuild`) nothing is kept.
    `standing_targets` are the pairs of both that belong to a campaign that takes targets.
    """
    oldest = engine.fetch("select min(starts_at) as starts_at from night_campaigns")[0]["starts_at"]
    first = min(day, day_of(oldest, zone) - timedelta(days=1)) if isinstance(oldest, datetime) else day
    decided = nights.decided_targets(connection, first)
    earlier = {night: targets for night, targets in decided.items() if night < day}
    kept = {night: targets for night, targets in decided.items() if night == day and not rebuild}
    _register_published(connection, engine, lake, "earlier", earlier)
    _register_published(connection, engine, lake, "kept", kept)
    engine.create("standing_targets", sql("standing_targets"))


def _register_published(
    connection: Connection, engine: Engine, lake: Lake, name: str, published: Mapping[date, int]
) -> None:
    """Name `<name>_targets` and `<name>_decisions`, cut down to what was published where they differ."""
    targets, decisions = f"{name}_targets", f"{name}_decisions"
    lake.register(engine, targets, CAMPAIGN_TARGETS, list(published))
    lake.register(engine, decisions, TARGETING_DECISIONS, list(published))
    count = exp.select("day", "count(*) as rows").from_(targets).group_by("day")
    found = {row["day"]: row["rows"] for row in engine.fetch(count)}
    if any(found.get(day, 0) != rows for day, rows in published.items()):
        file = lake.scratch / f"{name}-keys.csv"
        _export_keys(connection, file, min(published), max(published))
        engine.register_csv("serving_keys", [file], ["campaign_id", "user_id"])
        archived = [day for day in lake.days(ARCHIVED_TARGETS) if day >= min(published)]
        lake.register(engine, "archived_keys", ARCHIVED_TARGETS, archived)
        engine.create("published_keys", _published_keys(min(published), max(published)))
        for relation, dataset in ((targets, CAMPAIGN_TARGETS), (decisions, TARGETING_DECISIONS)):
            lake.register(engine, "as_written", dataset, list(published))
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
    statement = (
        "copy (select campaign_id, user_id from marketing.campaign_targets"
        " where assigned_on between %s and %s) to stdout (format csv, header)"
    )
    assigned = (first + timedelta(days=1), last + timedelta(days=1))
    cursor = connection.connection.cursor()
    with cursor.copy(statement, assigned) as copy, file.open("wb") as stream:
        for chunk in copy:
            stream.write(chunk)
