"""Dagster's own database: what makes it grow for ever is removed, what people look back at stays.

Dagster has no retention of its own for events, and its `delete_run` would take the materialisations along.
The statements below know the tables of Dagster 1.13 and refuse any other; nothing else reads or writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from marketing_assets.errors import DagsterStorageError, DatabaseError
from marketing_assets.storage import database

EVENT_DAYS = 14
SKIPPED_TICK_DAYS = 1
BATCH = 10_000
MOST_BATCHES = 200

REVISION = "29b539ebc72a"
"""Revision of Dagster's schema that the statements were written for."""

# Log lines have no type. What is not listed stays: materialisations, observations, check results, the start
# and the end of a run, changes of freshness, and whatever a later Dagster adds.
PURGED = (
    "ALERT_FAILURE",
    "ALERT_START",
    "ALERT_SUCCESS",
    "ASSET_CHECK_EVALUATION_PLANNED",
    "ASSET_MATERIALIZATION_PLANNED",
    "ASSET_STORE_OPERATION",
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "HOOK_COMPLETED",
    "HOOK_ERRORED",
    "HOOK_SKIPPED",
    "LOADED_INPUT",
    "LOGS_CAPTURED",
    "OBJECT_STORE_OPERATION",
    "PIPELINE_CANCELING",
    "PIPELINE_DEQUEUED",
    "PIPELINE_ENQUEUED",
    "PIPELINE_STARTING",
    "RESOURCE_INIT_FAILURE",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_EXPECTATION_RESULT",
    "STEP_FAILURE",
    "STEP_INPUT",
    "STEP_OUTPUT",
    "STEP_RESTARTED",
    "STEP_SKIPPED",
    "STEP_START",
    "STEP_SUCCESS",
    "STEP_UP_FOR_RETRY",
    "STEP_WORKER_STARTED",
    "STEP_WORKER_STARTING",
)

_PURGE_EVENTS = text(
    "with purged as (select e.id from event_logs e"
    " where e.timestamp < :before"
    " and (e.dagster_event_type is null or e.dagster_event_type = any(:types))"
    " and not exists (select from runs r where r.run_id = e.run_id"
    " and r.status not in ('SUCCESS', 'FAILURE', 'CANCELED'))"
    " order by e.id limit :batch)"
    " delete from event_logs e using purged p where e.id = p.id"
)

# The scheduler goes on from the newest tick of a schedule or sensor, so that one stays.
_PURGE_TICKS = text(
    "with purged as (select t.id from job_ticks t"
    " where t.status = 'SKIPPED' and t.timestamp < :before"
    " and exists (select from job_ticks n where n.job_origin_id = t.job_origin_id"
    " and n.selector_id is not distinct from t.selector_id and n.timestamp > t.timestamp)"
    " order by t.id limit :batch)"
    " delete from job_ticks t using purged p where t.id = p.id"
)

_COLUMNS = {
    ("event_logs", "id", "bigint"),
    ("event_logs", "run_id", "character varying"),
    ("event_logs", "dagster_event_type", "text"),
    ("event_logs", "timestamp", "timestamp without time zone"),
    ("job_ticks", "id", "bigint"),
    ("job_ticks", "job_origin_id", "character varying"),
    ("job_ticks", "selector_id", "character varying"),
    ("job_ticks", "status", "character varying"),
    ("job_ticks", "timestamp", "timestamp without time zone"),
    ("runs", "run_id", "character varying"),
    ("runs", "status", "character varying"),
}
_FOUND_COLUMNS = text(
    "select table_name, column_name, data_type from information_schema.columns"
    " where table_schema = current_schema() and table_name in ('event_logs', 'job_ticks', 'runs')"
)
_FOUND_REVISION = text("select version_num from alembic_version")
_VACUUM = (text("vacuum (analyze) event_logs"), text("vacuum (analyze) job_ticks"))
# A backlog leaves more room than rows, which only a rewrite gives back: Dagster waits for it for a moment, so
# the rows that stay have to be few, and nobody may be at work on them.
_SHRINK_FROM = 10_000
_SHRINK_UP_TO = 500_000
_REMAINING = text("select count(*) from event_logs")
_DO_NOT_QUEUE = text("set lock_timeout = '3s'")
_LOCK_NOT_AVAILABLE = "55P03"
_REWRITE = text("vacuum (full, analyze) event_logs")
_BYTES = text("select pg_database_size(current_database())")


@dataclass(frozen=True)
class Purged:
    """Rows that went, the database's bytes afterwards, and whether everything that is due went."""

    events_purged: int
    ticks_purged: int
    bytes: int
    complete: bool


def purge(url: str, now: datetime, batch: int = BATCH, most_batches: int = MOST_BATCHES) -> Purged:
    """Remove events older than `EVENT_DAYS` and skipped ticks older than `SKIPPED_TICK_DAYS`; vacuum.

    A batch is a transaction, so that whoever ends it in between loses nothing. At most `most_batches` of each
    are removed at once; the next clean-up goes on.

    Args:
        url: Dagster's database, as SQLAlchemy knows it.
        now: the instant it is by the system's clock, by which Dagster dates its rows.
        batch: rows of a transaction.
        most_batches: transactions for each of the two.

    Raises:
        DagsterStorageError: the tables are not those of the Dagster that this was written for.
        DatabaseError: the database cannot be reached or refused.
    """
    engine = database.connect(url)
    try:
        with engine.connect() as connection:
            _refuse_other(connection)
        old = {"before": _dagsters(now - timedelta(days=EVENT_DAYS)), "types": list(PURGED), "batch": batch}
        events, all_events = _in_batches(engine, _PURGE_EVENTS, old, most_batches)
        skipped = {"before": _dagsters(now - timedelta(days=SKIPPED_TICK_DAYS)), "batch": batch}
        ticks, all_ticks = _in_batches(engine, _PURGE_TICKS, skipped, most_batches)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in _VACUUM:
                connection.execute(statement)
            _shrink(connection, events)
            size = connection.execute(_BYTES).scalar_one()
    except SQLAlchemyError as error:
        raise DatabaseError(
            f"Dagster's events cannot be removed: {' '.join(str(error.args[0]).split())[:500]}",
            remedy="see that Dagster's database is up and that its tables belong to the user of "
            "MARKETING_DAGSTER_DATABASE_URL; the next clean-up goes on from here",
        ) from error
    finally:
        engine.dispose()
    return Purged(events, ticks, size, all_events and all_ticks)


def _shrink(connection: Connection, removed: int) -> None:
    """Give the room of a backlog back to the disk; an ordinary night's is used again by the next ones."""
    remaining = connection.execute(_REMAINING).scalar_one()
    if removed < _SHRINK_FROM or removed < remaining or remaining > _SHRINK_UP_TO:
        return
    connection.execute(_DO_NOT_QUEUE)
    try:
        connection.execute(_REWRITE)
    except OperationalError as error:
        if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
            raise


def _in_batches(
    engine: Engine, statement: TextClause, parameters: Mapping[str, Any], most_batches: int
) -> tuple[int, bool]:
    """Rows that went, and whether none is left."""
    total = 0
    for _ in range(most_batches):
        with engine.begin() as connection:
            removed = connection.execute(statement, parameters).rowcount
        total += removed
        if removed < parameters["batch"]:
            return total, True
    return total, False


def _dagsters(instant: datetime) -> datetime:
    """The instant as Dagster's tables have it: UTC, without saying so."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def _refuse_other(connection: Connection) -> None:
    found = {(row.table_name, row.column_name, row.data_type) for row in connection.execute(_FOUND_COLUMNS)}
    missing = sorted(f"{table}.{column} ({kind})" for table, column, kind in _COLUMNS - found)
    if missing:
        raise _unknown(f"it has no {', '.join(missing)}")
    revision = connection.execute(_FOUND_REVISION).scalar()
    if revision != REVISION:
        raise _unknown(f"its revision is {revision}, not {REVISION}")


def _unknown(what: str) -> DagsterStorageError:
    return DagsterStorageError(
        f"Dagster's database is not of the schema whose events can be removed: {what}",
        remedy="bring it up to date with `dagster instance migrate`; where Dagster is newer than this "
        "version knows, upgrade marketing_assets; nothing was removed",
    )
