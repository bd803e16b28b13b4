"""From the lake to the serving tables: one night, in one transaction, on the session of the writer lock.

The app sees the night before or the whole new night, never part of one, and waits for neither: growing
tables get a bulk insert of what is new (`targets.py`), the segments are replaced beside the live ones
(`segments.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
from sqlalchemy import Connection, delete, insert, text
from sqlalchemy.exc import SQLAlchemyError
from sqlglot import exp

from marketing_assets.domain.campaigns import Campaign
from marketing_assets.domain.days import days_between
from marketing_assets.engine.base import Engine, Row
from marketing_assets.errors import DatabaseError, NightError
from marketing_assets.storage.database import is_transient
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, SEGMENT_SUMMARY, USER_FEATURES, USER_PATTERNS
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.priority import on_one_core
from marketing_assets.storage.repositories import campaigns as campaign_rows
from marketing_assets.storage.repositories import holdouts, nights
from marketing_assets.storage.segments import empty_free_slot, export_segments, replace_segments
from marketing_assets.storage.tables import segment_summary
from marketing_assets.storage.targets import export_targets, insert_targets
from marketing_assets.storage.writer import WriterLock


@dataclass(frozen=True)
class Published:
    """What one night changed in the serving tables, in rows."""

    new_campaigns: int
    new_targets: int
    targets: int
    segments: int


@on_one_core()
def publish_night(  # noqa: PLR0913 - what it works with, and the facts of one night by name
    lock: WriterLock,
    engine: Engine,
    lake: Lake,
    *,
    day: date,
    opened: Sequence[Campaign],
    run_id: str,
    policy_version: str,
    global_share: Decimal,
    at: datetime,
    rebuild: bool = False,
) -> Published:
    """Publish the night of `day` from its partitions, whole or not at all.

    What people did to campaigns since the night was decided stands, and its targets are published all the
    same, as they were promised (docs/decisions/0008-edits-beside-a-night.md).

    Args:
        lock: the writer lock; its session carries the transaction.
        engine: reads the lake.
        lake: where the night's partitions are.
        day: the night.
        opened: the campaigns that the night opened.
        run_id: Dagster's id of the run.
        policy_version: the policy that decided.
        global_share: share of the global holdout, frozen for the target day's year where none is yet.
        at: the instant it is, from the one clock.
        rebuild: replace what this night and the nights after it published, in the same transaction.

    Raises:
        WriterLockError: the lock was lost; nothing was published.
        DatabaseError: the database went away or refused; nothing was published.
        NightError: it is rebuilt, and the app has reported something of it; nothing was published.
    """
    terms_file = lake.scratch / f"target-terms-{day}.csv"
    targets_file = lake.scratch / f"targets-{day}.csv"
    segments_file = lake.scratch / f"segments-{day}.csv"
    files = (terms_file, targets_file, segments_file)
    remedy = "run the day again; the app still reads the night before, whole"
    with _publishing(f"the night of {day}", remedy, files):
        lake.register(engine, "published_targets", CAMPAIGN_TARGETS, [day])
        targets = export_targets(engine, "published_targets", terms_file, targets_file)
        summary, segments = _export_segments(engine, lake, day, segments_file)
        connection = lock.session
        lock.check()
        empty_free_slot(connection)
        with connection.begin():
            connection.execute(text("set local jit = off"))  # compiling costs more than it saves here
            if rebuild:
                unpublish_from(connection, day)
            new_campaigns = campaign_rows.insert_opened(connection, opened)
            year = (day + timedelta(days=1)).year
            holdouts.freeze(connection, day, year, global_share, policy_version)
            new_targets = insert_targets(connection, terms_file, targets_file, at)
            _replace_summary(connection, day, summary)
            replace_segments(connection, segments_file, day)
            _record(connection, day, run_id, policy_version, targets, at)
            lock.check_in_transaction()
    return Published(new_campaigns, new_targets, targets, segments)


def publish_targets(  # noqa: PLR0913 - what it works with, and the facts of one publish by name
    lock: WriterLock,
    engine: Engine,
    lake: Lake,
    *,
    day: date,
    campaign_id: str,
    run_id: str,
    policy_version: str,
    global_share: Decimal,
    at: datetime,
) -> int:
    """Publish the targets of one campaign that were added to the partition of `day`; all others stand.

    The night is said to have all of the partition's targets from then on, so that its rows are known as
    published, to a later run of it too.

    Returns:
        How many targets are new.

    Raises:
        WriterLockError: the lock was lost; nothing was published.
        DatabaseError: the database went away or refused; nothing was published.
    """
    terms_file = lake.scratch / f"target-terms-{day}.csv"
    targets_file = lake.scratch / f"targets-{day}.csv"
    remedy = "ask again; the app still reads what it read before"
    with _publishing(f"the targets of {campaign_id}", remedy, (terms_file, targets_file)):
        lake.register(engine, "partition", CAMPAIGN_TARGETS, [day])
        mine = exp.select("*").from_("partition").where(exp.column("campaign_id").eq(campaign_id))
        engine.register_query("published_targets", mine)
        export_targets(engine, "published_targets", terms_file, targets_file)
        targets = int(str(engine.fetch("select count(*) as targets from partition")[0]["targets"]))
        connection = lock.session
        lock.check()
        with connection.begin():
            year = (day + timedelta(days=1)).year
            holdouts.freeze(connection, day, year, global_share, policy_version)
            new_targets = insert_targets(connection, terms_file, targets_file, at)
            nights.record_targeted(
                connection, day, run_id=run_id, policy_version=policy_version, targets=targets, at=at
            )
            lock.check_in_transaction()
    return new_targets


@contextmanager
def _publishing(what: str, remedy: str, files: Sequence[Path]) -> Iterator[None]:
    """Name what goes wrong with the database while the block publishes; its files go in any case."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:  # COPY goes past SQLAlchemy
        raise DatabaseError(
            f"publishing {what} failed: {_one_line(error)}",
            remedy=f"see that the database is up and has free disk space, then {remedy}",
            transient=is_transient(error),
        ) from error
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def unpublish_from(connection: Connection, first: date) -> None:
    """Forget, in the caller's transaction, what the nights from `first` on decided (for `--rebuild`).

    Their targets go, the campaigns that they opened with budgets and pauses, the holdout shares that they
    froze, and their rows in `published_nights`; nights that were skipped stay recorded.

    Raises:
        NightError: the app has reported something of one of their campaigns.
    """
    parameters = {"first": first, "assigned": first + timedelta(days=1)}
    removed = (
        "with removed as (delete from marketing.campaign_targets where assigned_on >= :assigned"
        " returning campaign_id) select distinct campaign_id from removed"
    )
    campaigns = connection.execute(text(removed), parameters).scalars().all()
    # Asked after its targets are gone: an event that came meanwhile held one of them until it was written.
    refuse_reported(connection, campaigns, first)
    for statement in (
        "delete from marketing.campaign_versions v using marketing.marketing_campaigns c"
        " where c.campaign_id = v.campaign_id and c.origin = 'policy'"
        " and not exists (select from marketing.campaign_targets t where t.campaign_id = c.campaign_id)"
        " and right(c.campaign_id, 10) >= to_char(cast(:assigned as date), 'YYYY-MM-DD')",
        "delete from marketing.campaign_budgets b using marketing.marketing_campaigns c"
        " where c.campaign_id = b.campaign_id and c.origin = 'policy'"
        " and not exists (select from marketing.campaign_versions v where v.campaign_id = c.campaign_id)",
        "delete from marketing.campaign_pauses p using marketing.marketing_campaigns c"
        " where c.campaign_id = p.campaign_id and c.origin = 'policy'"
        " and not exists (select from marketing.campaign_versions v where v.campaign_id = c.campaign_id)",
        "delete from marketing.marketing_campaigns c where c.origin = 'policy'"
        " and not exists (select from marketing.campaign_versions v where v.campaign_id = c.campaign_id)",
        "delete from marketing.global_holdouts where frozen_on >= :first",
        "delete from marketing.segment_summary where day >= :first",
        "delete from marketing.published_nights where day >= :first and status <> 'skipped'",
        "update marketing.published_nights set targets = 0 where day >= :first and targets > 0",
    ):
        connection.execute(text(statement), parameters)


def refuse_reported(connection: Connection, campaign_ids: Sequence[str], first: date) -> None:
    """Make sure that nobody has seen, or bought for, what nights from `first` on decided.

    Raises:
        NightError: the app has reported something of one of these campaigns.
    """
    reported = campaign_rows.with_events(connection, campaign_ids)
    if reported:
        others = f" and {len(reported) - 1} more" if len(reported) > 1 else ""
        raise NightError(
            f"the app has reported events of {reported[0]}{others}: nights from {first} on cannot be decided "
            "again",
            remedy="let them stand; to see what would be decided now, rebuild them in another MARKETING_LAKE "
            "and MARKETING_DATABASE_URL, or ask marketing policy plan",
        )


def _export_segments(engine: Engine, lake: Lake, day: date, file: Path) -> tuple[list[Row], int]:
    lake.register(engine, "published_summary", SEGMENT_SUMMARY, [day])
    lake.register(engine, "published_patterns", USER_PATTERNS, [day])
    lake.register(engine, "published_features", USER_FEATURES, [day])
    summary = engine.fetch(
        exp.select(*SEGMENT_SUMMARY.column_names).from_("published_summary").order_by("rank")
    )
    ranked = [str(row["pattern"]) for row in summary]
    return summary, export_segments(engine, "published_features", "published_patterns", ranked, day, file)


def _replace_summary(connection: Connection, day: date, rows: Sequence[Row]) -> None:
    connection.execute(delete(segment_summary).where(segment_summary.c.day == day))
    names = ("pattern", "users", "share", "spend", "average_order")
    values = [{"day": day, **{name: row[name] for name in names}} for row in rows]
    if values:
        connection.execute(insert(segment_summary), values)


def _record(
    connection: Connection, day: date, run_id: str, policy_version: str, targets: int, at: datetime
) -> None:
    newest = nights.newest_decided(connection)
    if newest is not None:
        gap = days_between(newest + timedelta(days=1), day - timedelta(days=1))
        nights.record_skipped(
            connection, gap, run_id=run_id, policy_version=policy_version, reason="missed", at=at
        )
    nights.record_published(
        connection, nights.Night(day, run_id, policy_version, "published", None, targets, at)
    )


def _one_line(error: Exception) -> str:
    """What the database says went wrong, without its detail and context, which quote rows."""
    cause = getattr(error, "orig", None) or error
    said = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return " ".join((said or str(cause)).split())[:500]
