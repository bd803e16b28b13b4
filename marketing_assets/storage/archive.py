"""Campaigns that are over leave the serving tables: first expired, later archived to the lake.

A campaign's rows are copied into the partition of its last day, read back and compared, and only then
removed, in one transaction that removes exactly what was copied or nothing. A run killed anywhere leaves
them in the serving tables, and the next one writes the same partition again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Numeric, Table, Text, cast, delete, func, literal_column, select
from sqlalchemy.exc import SQLAlchemyError
from sqlglot import exp

from marketing_assets.domain.days import day_of
from marketing_assets.engine.base import Engine
from marketing_assets.errors import ArchiveError, DatabaseError
from marketing_assets.storage.datasets import (
    ARCHIVED_EVENTS,
    ARCHIVED_REWARDS,
    ARCHIVED_TARGETS,
    Dataset,
)
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import audit
from marketing_assets.storage.repositories import campaigns as campaign_rows
from marketing_assets.storage.repositories.campaigns import Ended
from marketing_assets.storage.tables import campaign_events, campaign_targets, rewards
from marketing_assets.storage.writer import WriterLock

ACTOR = "campaign_cleanup"
_INSTANT = timedelta(microseconds=1)
# Of the rows of `t`, each as text.
_COUNTED = (
    func.count(),
    func.coalesce(func.sum(cast(func.hashtextextended(cast(literal_column("t"), Text), 0), Numeric)), 0),
)
_RELATIONS = ("archive_written", "archive_all", "archive_before", "archive_now", "archive_csv")


@dataclass(frozen=True)
class ArchivedTable:
    """A table whose rows leave with their campaign, and the dataset that keeps them, column by column."""

    table: Table
    dataset: Dataset


ARCHIVED = (
    ArchivedTable(campaign_targets, ARCHIVED_TARGETS),
    ArchivedTable(campaign_events, ARCHIVED_EVENTS),
    ArchivedTable(rewards, ARCHIVED_REWARDS),
)
"""Every such table. Each has a column `campaign_id`. Targets go first: an event holds its own meanwhile."""


@dataclass(frozen=True)
class Archived:
    """Campaigns of one last day that left.

    `rows` are theirs by dataset, `bytes` those of the partitions that hold them, 0 where none was written.
    """

    day: date
    campaigns: list[str]
    rows: dict[str, int]
    bytes: dict[str, int]


@dataclass(frozen=True)
class _Content:
    """How many rows, and a digest of them that does not depend on their order."""

    rows: int
    digest: Decimal


def expire(lock: WriterLock, now: datetime) -> list[str]:
    """Mark active and paused campaigns whose end has passed as expired; returns their ids.

    Raises:
        WriterLockError: the lock was lost; nothing changed.
        DatabaseError: the database went away or refused; nothing changed.
    """
    with _database_named("expiring campaigns"), lock.session.begin():
        ended = campaign_rows.over(lock.session, now)
        ids = [each.campaign_id for each in ended]
        campaign_rows.set_status(lock.session, ids, ("active", "paused"), "expired", now)
        audit.record(lock.session, [_change(each, "expired") for each in ended], now)
        lock.check_in_transaction()
    return ids


def archive(
    lock: WriterLock, engine: Engine, lake: Lake, campaigns: Sequence[Ended], zone: ZoneInfo, now: datetime
) -> Iterator[Archived]:
    """Move the rows of expired campaigns to the lake, all campaigns of one last day at a time.

    Raises:
        ArchiveError: what the lake holds is not what the tables held, or they changed meanwhile; the rows
            of that day are still in the serving tables.
        WriterLockError: the lock was lost; likewise.
        DatabaseError: the database went away or refused; likewise.
    """
    for day, group in groupby(campaigns, key=lambda each: day_of(each.ends_at - _INSTANT, zone)):
        with _database_named(f"archiving the campaigns that ended on {day}"):
            yield _archive_day(lock, engine, lake, day, list(group), now)


def _archive_day(
    lock: WriterLock, engine: Engine, lake: Lake, day: date, campaigns: Sequence[Ended], now: datetime
) -> Archived:
    ids = [each.campaign_id for each in campaigns]
    copied = {each: _copy(lock.session, engine, lake, each, day, ids) for each in ARCHIVED}
    with lock.session.begin():
        changed = campaign_rows.set_status(lock.session, ids, ("expired",), "archived", now)
        if changed != len(ids):
            raise _changed(day, "the campaigns")
        for each, (content, _) in copied.items():
            if _remove(lock.session, each.table, ids) != content:
                raise _changed(day, f"rows of marketing.{each.table.name}")
        audit.record(lock.session, [_change(each, "archived") for each in campaigns], now)
        lock.check_in_transaction()
    return Archived(
        day,
        ids,
        rows={each.dataset.name: content.rows for each, (content, _) in copied.items()},
        bytes={each.dataset.name: size for each, (_, size) in copied.items()},
    )


def _change(campaign: Ended, status: str) -> audit.Change:
    return audit.Change(
        actor=ACTOR,
        action=f"campaign.{status}",
        subject=f"campaign:{campaign.campaign_id}",
        before={"status": campaign.status},
        after={"status": status},
    )


def _copy(
    connection: Connection,
    engine: Engine,
    lake: Lake,
    archived: ArchivedTable,
    day: date,
    ids: Sequence[str],
) -> tuple[_Content, int]:
    """Copy the rows of the campaigns to the lake; what they were, and the bytes of their partition."""
    file = lake.scratch / f"{archived.dataset.name}-{day}.csv"
    try:
        with connection.begin():
            # Counted first: a row that changes from here on is found when it is to be removed.
            content = _content(connection, archived.table, ids)
            _export(connection, archived, ids, file)
        if content.rows == 0:
            return content, 0
        _register(engine, lake, archived.dataset, day, ids, file)
        written = lake.write(engine, archived.dataset, day, "archive_all")
        _compare(engine, lake, archived.dataset, day, ids, content.rows)
        engine.drop(*_RELATIONS)
        return content, written.bytes
    finally:
        file.unlink(missing_ok=True)


def _content(connection: Connection, table: Table, ids: Sequence[str]) -> _Content:
    rows = select(*table.c).where(table.c.campaign_id.in_(ids)).subquery("t")
    return _Content(*connection.execute(select(*_COUNTED).select_from(rows)).one())


def _remove(connection: Connection, table: Table, ids: Sequence[str]) -> _Content:
    """Remove the rows; what they were."""
    gone = delete(table).where(table.c.campaign_id.in_(ids)).returning(*table.c).cte("t")
    return _Content(*connection.execute(select(*_COUNTED).select_from(gone)).one())


def _export(connection: Connection, archived: ArchivedTable, ids: Sequence[str], file: Path) -> None:
    statement = sql.SQL(
        "copy (select {} from {} where campaign_id = any(%s)) to stdout (format csv, header, encoding 'utf8')"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, archived.dataset.column_names)),
        sql.Identifier(str(archived.table.schema), archived.table.name),
    )
    cursor = connection.connection.cursor()
    with cursor.copy(statement, [list(ids)]) as copy, file.open("wb") as stream:
        for chunk in copy:
            stream.write(chunk)


def _register(
    engine: Engine, lake: Lake, dataset: Dataset, day: date, ids: Sequence[str], file: Path
) -> None:
    """Name as `archive_all` what the day's partition holds of other campaigns, and the rows of `file`."""
    engine.register_csv("archive_csv", [file], dataset.column_names)
    typed = [
        exp.alias_(exp.cast(exp.column(each.name), each.type, dialect="duckdb"), each.name)
        for each in dataset.columns
    ]
    engine.register_query("archive_now", exp.select(*typed).from_("archive_csv"))
    there = [day] if lake.path(dataset, day).exists() else []
    lake.register(engine, "archive_before", dataset, there)
    others = _columns(dataset, "archive_before").where(exp.not_(exp.column("campaign_id").isin(*ids)))
    # Computed now: the partition that it reads is replaced next.
    engine.create("archive_all", exp.union(others, _columns(dataset, "archive_now"), distinct=False))


def _compare(engine: Engine, lake: Lake, dataset: Dataset, day: date, ids: Sequence[str], rows: int) -> None:
    """Refuse a partition that is not what was copied into it.

    Raises:
        ArchiveError: it differs.
    """
    lake.register(engine, "archive_written", dataset, [day])
    own = exp.select("count(*) as rows").from_("archive_written").where(exp.column("campaign_id").isin(*ids))
    found = engine.fetch(own)[0]["rows"]
    lost = _apart(engine, dataset, "archive_all", "archive_written")
    strange = _apart(engine, dataset, "archive_written", "archive_all")
    if found != rows or lost or strange:
        raise ArchiveError(
            f"{lake.path(dataset, day)} does not hold what was copied into it: {found} rows instead of "
            f"{rows}, {lost} missing, {strange} that were never there",
            remedy="look at the lake's disk, then run marketing cleanup again; nothing was removed from the "
            "serving tables",
        )


def _apart(engine: Engine, dataset: Dataset, one: str, other: str) -> int:
    """Rows of `one` that `other` lacks."""
    query = exp.except_(_columns(dataset, one), _columns(dataset, other), distinct=False)
    return int(str(engine.fetch(exp.select("count(*) as rows").from_(query.subquery("apart")))[0]["rows"]))


def _columns(dataset: Dataset, relation: str) -> exp.Select:
    return exp.select(*(exp.column(name) for name in dataset.column_names)).from_(relation)


def _changed(day: date, what: str) -> ArchiveError:
    return ArchiveError(
        f"{what} changed while the campaigns that ended on {day} were archived",
        remedy="run marketing cleanup again, or wait for the next one; nothing was removed",
    )


@contextmanager
def _database_named(doing: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:  # COPY goes past SQLAlchemy
        cause = getattr(error, "orig", None) or error
        # Never its message: that may quote values of rows.
        code = f", SQLSTATE {cause.sqlstate}" if isinstance(cause, psycopg.Error) and cause.sqlstate else ""
        raise DatabaseError(
            f"{doing} failed: {type(cause).__name__}{code}",
            remedy="see that the database is up, then run marketing cleanup again; nothing is half done",
        ) from error
