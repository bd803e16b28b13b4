"""From the lake to the serving tables: one night, in one transaction, on the session of the writer lock.

The app sees the night before or the whole new night, never part of one. Growing tables get a staging
table and an anti-join insert; the table that is replaced is built beside the live one and swapped by
rename, so that readers wait for a moment at most.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
from sqlalchemy import Connection, delete, insert, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlglot import exp

from marketing_assets.domain.campaigns import Campaign
from marketing_assets.domain.days import days_between
from marketing_assets.engine.base import Engine, Row
from marketing_assets.errors import DatabaseError
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, SEGMENT_SUMMARY, USER_FEATURES, USER_PATTERNS
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import campaigns as campaign_rows
from marketing_assets.storage.repositories import nights
from marketing_assets.storage.tables import segment_summary
from marketing_assets.storage.writer import WriterLock

_SWAP_TRIES = 20
_CHUNK = 1 << 20

_STAGE_TARGETS = text(
    "create temporary table staged_targets ("
    " target_id uuid, campaign_id text, campaign_version integer, user_id text, arm text, reason jsonb,"
    " location text, category text, assigned_on date, valid_from timestamptz, valid_until timestamptz"
    ") on commit drop"
)
_INSERT_TARGETS = text(
    "insert into marketing.campaign_targets (target_id, campaign_id, campaign_version, user_id, arm, reason,"
    " context, assigned_on, valid_from, valid_until, created_at)"
    " select s.target_id, s.campaign_id, s.campaign_version, s.user_id, s.arm, s.reason,"
    " jsonb_strip_nulls(jsonb_build_object('location', s.location, 'category', s.category)),"
    " s.assigned_on, s.valid_from, s.valid_until, :at"
    " from staged_targets s"
    " where not exists (select from marketing.campaign_targets t"
    " where t.user_id = s.user_id and t.campaign_id = s.campaign_id)"
)
_BUILD_SEGMENTS = text(
    "create table marketing.user_segments_next"
    " (like marketing.user_segments including defaults including constraints including comments)"
)
_KEEP_GRANTS = text(
    "do $$ declare given record; begin"
    " for given in select a.privilege_type as privilege, a.is_grantable,"
    " case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as receiver"
    " from pg_class c, aclexplode(c.relacl) a"
    " where c.oid = cast('marketing.user_segments' as regclass) and a.grantee <> c.relowner"
    " loop execute format('grant %s on marketing.user_segments_next to %s%s', given.privilege,"
    " given.receiver, case when given.is_grantable then ' with grant option' else '' end);"
    " end loop; end $$"
)
_SWAP_SEGMENTS = (
    _KEEP_GRANTS,
    text("drop table marketing.user_segments"),
    text("alter table marketing.user_segments_next rename to user_segments"),
    text("alter index marketing.pk_user_segments_next rename to pk_user_segments"),
)


@dataclass(frozen=True)
class Published:
    """What one night changed in the serving tables, in rows."""

    new_campaigns: int
    new_targets: int
    targets: int
    segments: int


def publish_night(  # noqa: PLR0913 - what it works with, and the facts of one night by name
    lock: WriterLock,
    engine: Engine,
    lake: Lake,
    *,
    day: date,
    opened: Sequence[Campaign],
    run_id: str,
    policy_version: str,
    at: datetime,
    rebuild: bool = False,
) -> Published:
    """Publish the night of `day` from its partitions, whole or not at all.

    Args:
        lock: the writer lock; its session carries the transaction.
        engine: reads the lake.
        lake: where the night's partitions are.
        day: the night.
        opened: the campaigns that the night opened.
        run_id: Dagster's id of the run.
        policy_version: the policy that decided.
        at: the instant it is, from the one clock.
        rebuild: replace what this night and the nights after it published, in the same transaction.

    Raises:
        WriterLockError: the lock was lost; nothing was published.
        DatabaseError: the database went away or refused; nothing was published.
    """
    targets_file = lake.scratch / f"targets-{day}.csv"
    segments_file = lake.scratch / f"segments-{day}.csv"
    try:
        targets = _export_targets(engine, lake, day, targets_file)
        segments = _export_segments(engine, lake, day, segments_file)
        summary = engine.fetch(_all_columns("published_summary", SEGMENT_SUMMARY.column_names))
        connection = lock.session
        with connection.begin():
            if rebuild:
                unpublish_from(connection, day)
            new_campaigns = campaign_rows.insert_opened(connection, opened)
            new_targets = _insert_targets(connection, targets_file, at)
            _replace_summary(connection, day, summary)
            _build_segments(connection, segments_file)
            _record(connection, day, run_id, policy_version, targets, at)
            _swap_segments(connection)
            lock.check_in_transaction()
    except (SQLAlchemyError, psycopg.Error) as error:  # COPY goes past SQLAlchemy
        raise DatabaseError(
            f"publishing the night of {day} failed: {_one_line(error)}",
            remedy="see that the database is up and has free disk space, then run the day again; "
            "the app still reads the night before, whole",
        ) from error
    finally:
        targets_file.unlink(missing_ok=True)
        segments_file.unlink(missing_ok=True)
    return Published(new_campaigns, new_targets, targets, segments)


def unpublish_from(connection: Connection, first: date) -> None:
    """Forget, in the caller's transaction, what the nights from `first` on decided (for `--rebuild`).

    Their targets go, the campaigns that they opened, and their rows in `published_nights`; nights that were
    skipped stay recorded.
    """
    parameters = {"first": first, "assigned": first + timedelta(days=1)}
    for statement in (
        "delete from marketing.campaign_targets where assigned_on >= :assigned",
        "delete from marketing.campaign_versions v using marketing.marketing_campaigns c"
        " where c.campaign_id = v.campaign_id and c.origin = 'policy'"
        " and not exists (select from marketing.campaign_targets t where t.campaign_id = c.campaign_id)"
        " and right(c.campaign_id, 10) >= to_char(cast(:assigned as date), 'YYYY-MM-DD')",
        "delete from marketing.marketing_campaigns c where c.origin = 'policy'"
        " and not exists (select from marketing.campaign_versions v where v.campaign_id = c.campaign_id)",
        "delete from marketing.segment_summary where day >= :first",
        "delete from marketing.published_nights where day >= :first and status <> 'skipped'",
    ):
        connection.execute(text(statement), parameters)


def _export_targets(engine: Engine, lake: Lake, day: date, file: Path) -> int:
    lake.register(engine, "published_targets", CAMPAIGN_TARGETS, [day])
    return engine.write_csv(_all_columns("published_targets", CAMPAIGN_TARGETS.column_names), file)


def _export_segments(engine: Engine, lake: Lake, day: date, file: Path) -> int:
    lake.register(engine, "published_summary", SEGMENT_SUMMARY, [day])
    lake.register(engine, "published_patterns", USER_PATTERNS, [day])
    lake.register(engine, "published_features", USER_FEATURES, [day])
    ranked = engine.fetch("select pattern from published_summary order by rank")
    return engine.write_csv(_segments([str(row["pattern"]) for row in ranked], day), file)


def _segments(patterns: Sequence[str], day: date) -> exp.Query:
    """One row a user in the columns of `user_segments`; patterns as a PostgreSQL array, best rank first."""
    name = exp.column("pattern", "p")
    listed = [
        exp.Max(
            this=exp.Case()
            .when(name.eq(exp.Literal.string(pattern)), exp.Literal.string(f",{pattern}"))
            .else_(exp.Literal.string(""))
        )
        for pattern in patterns
    ]
    array = exp.func(
        "concat",
        exp.Literal.string("{"),
        exp.func("substr", exp.func("concat", *listed), exp.Literal.number(2)),
        exp.Literal.string("}"),
    )
    primary = exp.Max(this=exp.Case().when(exp.column("is_primary", "p"), name))
    of_user = (
        exp.select("p.user_id", exp.alias_(primary, "primary_pattern"), exp.alias_(array, "patterns"))
        .from_("published_patterns as p")
        .group_by("p.user_id")
    )
    return (
        exp.select(
            "f.user_id", "s.primary_pattern", "s.patterns", "f.spend", "f.transactions", "f.top_location"
        )
        .select("f.top_category", exp.alias_(exp.Literal.string(day.isoformat()), "as_of"))
        .from_("published_features as f")
        .join(of_user.subquery("s"), on="s.user_id = f.user_id")
    )


def _all_columns(relation: str, names: Sequence[str]) -> exp.Query:
    return exp.select(*names).from_(relation)


def _copy(connection: Connection, target: str, file: Path) -> None:
    cursor = connection.connection.cursor()
    with cursor.copy("copy " + target + " from stdin (format csv)") as copy, file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            copy.write(chunk)


def _insert_targets(connection: Connection, file: Path, at: datetime) -> int:
    connection.execute(_STAGE_TARGETS)
    _copy(connection, "staged_targets", file)
    connection.execute(text("analyze staged_targets"))
    return connection.execute(_INSERT_TARGETS, {"at": at}).rowcount


def _replace_summary(connection: Connection, day: date, rows: Sequence[Row]) -> None:
    connection.execute(delete(segment_summary).where(segment_summary.c.day == day))
    names = ("pattern", "users", "share", "spend", "average_order")
    values = [{"day": day, **{name: row[name] for name in names}} for row in rows]
    if values:
        connection.execute(insert(segment_summary), values)


def _build_segments(connection: Connection, file: Path) -> None:
    connection.execute(_BUILD_SEGMENTS)
    _copy(connection, "marketing.user_segments_next", file)
    connection.execute(
        text(
            "alter table marketing.user_segments_next"
            " add constraint pk_user_segments_next primary key (user_id)"
        )
    )
    connection.execute(text("analyze marketing.user_segments_next"))


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


def _swap_segments(connection: Connection) -> None:
    """Put the new table in the old one's place; a reader that holds it is waited for, briefly and often."""
    for attempt in range(_SWAP_TRIES):
        try:
            with connection.begin_nested():
                connection.execute(text("set local lock_timeout = '500ms'"))
                connection.execute(text("lock table marketing.user_segments in access exclusive mode"))
            break
        except OperationalError as error:
            if "lock timeout" not in str(error) or attempt == _SWAP_TRIES - 1:
                raise
            time.sleep(0.2)
    for statement in _SWAP_SEGMENTS:
        connection.execute(statement)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
