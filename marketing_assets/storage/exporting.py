"""Exporting users: everything that the tables and the lake hold about each, as one JSON document.

The lake is read for many users at once. Documents go into the table `exports` and nowhere else.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from sqlglot import exp

from marketing_assets.engine.base import Engine
from marketing_assets.storage.database import errors_named
from marketing_assets.storage.datasets import Dataset
from marketing_assets.storage.erasure import OF_USERS
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import exports
from marketing_assets.storage.repositories.exports import Asked
from marketing_assets.storage.writer import WriterLock

_DOING = "exporting users"
_REMEDY = "see that the database is up, then run the job export again; it goes on where it ended"
_USERS_AT_ONCE = 50  # as many as have their rows in memory at a time
_RELATIONS = ("exported_ids", "all_rows")
_THEIRS = "user_id in (select user_id from exported_ids)"

Rows = dict[str, list[dict[str, object]]]


def export(lock: WriterLock, engine: Engine, lake: Lake, *, run_id: str, currency: str, now: datetime) -> int:
    """Export everybody who has asked for it by now; returns how many documents were made.

    Raises:
        WriterLockError: the lock was lost; the next run goes on.
        DatabaseError: the database went away or refused; likewise.
    """
    connection = lock.session
    with errors_named(_DOING, _REMEDY):
        with connection.begin():
            asked = exports.asked(connection)
            for each in asked:
                if each.user_id is None:
                    exports.refuse(connection, each, run_id)
        users = [each for each in asked if each.user_id is not None]
        for first in range(0, len(users), _USERS_AT_ONCE):
            _export(lock, engine, lake, users[first : first + _USERS_AT_ONCE], run_id, currency, now)
    return len(users)


def _export(  # noqa: PLR0917 - what it works with, for whom, and what documents say of themselves
    lock: WriterLock,
    engine: Engine,
    lake: Lake,
    users: Sequence[Asked],
    run_id: str,
    currency: str,
    now: datetime,
) -> None:
    names = {str(each.user_id): each.pseudonym for each in users}
    try:
        engine.register_rows("exported_ids", [("user_id", "varchar")], [[user_id] for user_id in names])
        lake_rows = _lake_rows(engine, lake, list(names))
    finally:
        engine.drop(*_RELATIONS)
    with lock.session.begin():
        tables = exports.rows_of(lock.session, names)
        for each in users:
            user_id = str(each.user_id)
            document = {
                "user_id": user_id,
                "pseudonym": each.pseudonym,
                "made_at": _said(now),
                "currency": currency,
                "tables": _said(tables[user_id]),
                "lake": _said(lake_rows[user_id]),
            }
            exports.keep(lock.session, each, document, run_id, now)
        lock.check_in_transaction()


def _lake_rows(engine: Engine, lake: Lake, users: Sequence[str]) -> dict[str, Rows]:
    """Rows of each dataset, with their day, by user and dataset."""
    found: dict[str, Rows] = {user: {} for user in users}
    for dataset in OF_USERS:
        for row in _rows(engine, lake, dataset):
            found[str(row["user_id"])].setdefault(dataset.name, []).append(row)
    return found


def _rows(engine: Engine, lake: Lake, dataset: Dataset) -> Iterator[dict[str, object]]:
    lake.register(engine, "all_rows", dataset, lake.days(dataset))
    rows = exp.select("day", *dataset.column_names).from_("all_rows").where(_THEIRS)
    for row in engine.fetch(rows.order_by("day", *dataset.order)):
        yield dict(row)


def _said(value: object) -> object:
    """As JSON has it: money as text, instants in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _said(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_said(each) for each in value]
    return value
