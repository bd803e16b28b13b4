"""Erasing users: first from the lake, partition by partition, then from every table in one transaction.

What the lake holds of them is counted and noted before any of it goes, and each step leaves alone what an
earlier attempt has done: a run killed anywhere goes on to the same end. Partitions without them are not
touched. Sums over all users stay as they were frozen.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection
from sqlglot import exp

from marketing_assets.engine.base import Engine, Value
from marketing_assets.storage.database import errors_named
from marketing_assets.storage.datasets import (
    ARCHIVED_TARGETS,
    CAMPAIGN_TARGETS,
    DATASETS,
    REJECTED_TRANSACTIONS,
    Dataset,
)
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import erasures, nights
from marketing_assets.storage.repositories.erasures import Found, Pending, Targets
from marketing_assets.storage.standing import register_published
from marketing_assets.storage.writer import WriterLock

OF_USERS = tuple(dataset for dataset in DATASETS.values() if "user_id" in dataset.column_names)
"""Every dataset with rows of users."""

_DOING = "erasing users"
_REMEDY = "see that the database is up, then run the job erasure again; it goes on where it ended"
_IDS = (("user_id", "varchar"),)
_THEIRS = "user_id in (select user_id from erased_ids)"
_OTHERS = "user_id is null or user_id not in (select user_id from erased_ids)"
_RENUMBERED = "row_number() over (order by position) as position"
_HELD = exp.select("user_id", "day", "count(*) as rows").from_("all_rows").where(_THEIRS)
_ARM = ("user_id", "campaign_id", "campaign_version", "arm")
_RELATIONS = (
    "erased_ids",
    "all_rows",
    "held_rows",
    "other_rows",
    "all_targets",
    "left_targets",
    "left_decisions",
)


@dataclass(frozen=True)
class Erased:
    """What one pass removed: rows of each dataset and table, partitions that were written anew."""

    users: int
    lake: Mapping[str, int]
    tables: Mapping[str, int]
    partitions: Mapping[str, int]


def erase(lock: WriterLock, engine: Engine, lake: Lake, run_id: str, now: datetime) -> Erased:
    """Erase everybody who has asked for it by now, all in one pass.

    Raises:
        WriterLockError: the lock was lost; nobody is erased whole, and the next run goes on.
        DatabaseError: the database went away or refused; likewise.
        LakeError: a partition cannot be written; likewise.
    """
    connection = lock.session
    with errors_named(_DOING, _REMEDY):
        with connection.begin():
            asked = erasures.pending(connection)
        if not asked:
            return Erased(0, {}, {}, {})
        try:
            engine.register_rows("erased_ids", _IDS, [[each.user_id] for each in asked])
            held = {dataset: _held(engine, lake, dataset) for dataset in OF_USERS}
            users = _noted(connection, engine, lake, asked, held)
            for dataset, counted in held.items():
                for day in sorted({day for _, day in counted}):
                    _rewrite(engine, lake, dataset, day)
            with connection.begin():
                left = _targets_left(connection, engine, lake)
            with connection.begin():
                gone = erasures.remove(connection, users)
                erasures.set_targets(connection, left)
                receipts = {each.request_id: _receipt(each, gone[each.user_id], now) for each in users}
                erasures.finish(connection, receipts, run_id, now)
                erasures.record_erased(connection, users, now)
                lock.check_in_transaction()
        finally:
            engine.drop(*_RELATIONS)
    return Erased(
        len(users),
        _added(each.found.rows for each in users if each.found),
        _added(gone.values()),
        {dataset.name: len({day for _, day in counted}) for dataset, counted in held.items() if counted},
    )


def _held(engine: Engine, lake: Lake, dataset: Dataset) -> dict[tuple[str, date], int]:
    """Rows that a dataset holds of the users, by user and day."""
    lake.register(engine, "all_rows", dataset, lake.days(dataset))
    rows = engine.fetch(_HELD.group_by("user_id", "day"))
    return {(str(row["user_id"]), _day(row["day"])): int(str(row["rows"])) for row in rows}


def _noted(
    connection: Connection,
    engine: Engine,
    lake: Lake,
    asked: Sequence[Pending],
    held: Mapping[Dataset, Mapping[tuple[str, date], int]],
) -> list[Pending]:
    """The users with what was found of them: now, or when an earlier attempt began."""
    rows: dict[str, dict[str, int]] = {}
    for dataset, counted in held.items():
        for (user, _), number in counted.items():
            found = rows.setdefault(user, {})
            found[dataset.name] = found.get(dataset.name, 0) + number
    archived = _archived(engine, lake)
    new: dict[uuid.UUID, Found] = {
        each.request_id: Found(rows.get(each.user_id, {}), archived.get(each.user_id, []))
        for each in asked
        if each.found is None
    }
    with connection.begin():
        erasures.note_found(connection, new)
    return [
        Pending(each.request_id, each.user_id, each.pseudonym, each.found or new[each.request_id])
        for each in asked
    ]


def _archived(engine: Engine, lake: Lake) -> dict[str, list[Targets]]:
    """The users' targets that have left the serving tables."""
    lake.register(engine, "all_rows", ARCHIVED_TARGETS, lake.days(ARCHIVED_TARGETS))
    counted = exp.select(*_ARM, "count(*) as targets").from_("all_rows").where(_THEIRS).group_by(*_ARM)
    found: dict[str, list[Targets]] = {}
    for row in engine.fetch(counted.order_by(*_ARM)):
        version, number = int(str(row["campaign_version"])), int(str(row["targets"]))
        targets = Targets(str(row["campaign_id"]), version, str(row["arm"]), number)
        found.setdefault(str(row["user_id"]), []).append(targets)
    return found


def _rewrite(engine: Engine, lake: Lake, dataset: Dataset, day: date) -> None:
    """Replace a partition by its rows of other users, as if the source had never had these."""
    lake.register(engine, "held_rows", dataset, [day])
    columns = [
        _RENUMBERED if dataset is REJECTED_TRANSACTIONS and name == "position" else name
        for name in dataset.column_names
    ]
    engine.register_query("other_rows", exp.select(*columns).from_("held_rows").where(_OTHERS))
    lake.write(engine, dataset, day, "other_rows")


def _targets_left(connection: Connection, engine: Engine, lake: Lake) -> dict[date, int]:
    """How many published targets the lake has left of each night whose number differs.

    A rerun knows by that number what was published. Where a killed rerun left other rows in a partition,
    only those count that the tables know.
    """
    decided = nights.decided_targets(connection, date.min)
    there = [day for day in decided if lake.path(CAMPAIGN_TARGETS, day).exists()]
    lake.register(engine, "all_targets", CAMPAIGN_TARGETS, there)
    counted = _by_day(engine, "all_targets")
    differing = {day: decided[day] for day in there if counted.get(day, 0) != decided[day]}
    if not differing:
        return {}
    register_published(connection, engine, lake, "left", differing, [])
    published = _by_day(engine, "left_targets")
    return {day: published.get(day, 0) for day in differing}


def _by_day(engine: Engine, relation: str) -> dict[date, int]:
    rows = engine.fetch(exp.select("day", "count(*) as rows").from_(relation).group_by("day"))
    return {_day(row["day"]): int(str(row["rows"])) for row in rows}


def _day(value: Value) -> date:
    assert isinstance(value, date)
    return value


def _receipt(user: Pending, tables: Mapping[str, int], now: datetime) -> dict[str, object]:
    found = {} if user.found is None else user.found.rows
    return {
        "erased_at": now.isoformat(),
        "removed": {"lake": dict(sorted(found.items())), "tables": dict(sorted(tables.items()))},
    }


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return dict(sorted(total.items()))
