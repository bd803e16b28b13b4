"""Erasures: who asked to be forgotten, by a keyed hash that outlives them, and what is left to be done.

The tombstone counts from the instant of the asking; whose it is, is known through the request's pseudonym
until everything is gone. What is removed from the tables, and what is kept of it, is written here too; the
lake's part and their order are `storage/erasure.py`'s.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, delete, func, null, select, text, update
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.domain.identity import fingerprint, keyed_hash
from marketing_assets.errors import DatabaseError, SettingsError
from marketing_assets.storage.copying import copy_query
from marketing_assets.storage.repositories import audit, subjects
from marketing_assets.storage.tables import (
    erased_users,
    idempotency_keys,
    metadata,
    published_nights,
    requests,
    subject_keys,
)

KIND = "erasure"
ACTOR = "erasure"

PENDING_SQL = (
    "select s.user_id from marketing.erased_users e"
    " join marketing.requests r on r.request_id = e.request_id"
    " join marketing.subject_keys s on s.pseudonym = r.requested_by"
    " where e.erased_at is null"
)
"""Users who asked and are not erased yet: nobody offers them anything any more."""

OTHER_KEY: Final = (
    "select key_fingerprint from marketing.erased_users where key_fingerprint <> %(own)s limit 1"
)
"""Another key than one's own that erased users are known by; no row: none. For psycopg's own parameters."""

OF_USERS = (
    *(table for table in metadata.tables.values() if "user_id" in table.c and table is not subject_keys),
    subject_keys,
)
"""Every table with rows of a user; last the one that tells whose pseudonym it is."""

# What everybody holds, in the order in which everybody does: nothing of these users comes after it.
_HOLD_SUBJECTS = text(
    "select from marketing.subject_keys s join erased_ids e on e.user_id = s.user_id"
    " order by s.user_id for update of s"
)
_HOLD_TARGETS = text(
    "select from marketing.campaign_targets t join erased_ids e on e.user_id = t.user_id"
    ' order by t.user_id, t.campaign_id collate "C" for update of t'
)
_HOLD_BUDGETS = text(
    "select from marketing.campaign_budgets where campaign_id in"
    " (select r.campaign_id from marketing.rewards r join erased_ids e on e.user_id = r.user_id"
    " where r.state = 'reserved')"
    ' order by campaign_id collate "C" for no key update'
)
_RELEASE = text(
    "update marketing.campaign_budgets b set reserved = b.reserved - s.amount from"
    " (select r.campaign_id, sum(r.amount) as amount from marketing.rewards r"
    " join erased_ids e on e.user_id = r.user_id where r.state = 'reserved' group by r.campaign_id) s"
    " where b.campaign_id = s.campaign_id"
)
_COUNT_TARGETS = text(
    "insert into marketing.erased_targets (campaign_id, campaign_version, arm, targets)"
    " select t.campaign_id, t.campaign_version, t.arm, count(*) from marketing.campaign_targets t"
    " join erased_ids e on e.user_id = t.user_id group by 1, 2, 3"
    " on conflict (campaign_id, campaign_version, arm)"
    " do update set targets = erased_targets.targets + excluded.targets"
)
_COUNT_FOUND = text(
    "insert into marketing.erased_targets (campaign_id, campaign_version, arm, targets)"
    " values (:campaign_id, :campaign_version, :arm, :targets)"
    " on conflict (campaign_id, campaign_version, arm)"
    " do update set targets = erased_targets.targets + excluded.targets"
)
_STAGE = text('create temporary table erased_ids (user_id text collate "C" primary key) on commit drop')
_STAGE_ID = text("insert into erased_ids values (:user_id)")


@dataclass(frozen=True)
class Tombstone:
    """What is known of somebody who asked to be erased; `erased_at` None: it is still to be done."""

    request_id: uuid.UUID
    asked_at: datetime
    erased_at: datetime | None


@dataclass(frozen=True)
class Targets:
    """Targets that a user had in one campaign, version and arm."""

    campaign_id: str
    campaign_version: int
    arm: str
    targets: int


@dataclass(frozen=True)
class Found:
    """What the lake held of a user: rows of each dataset; archived targets, which no table counts."""

    rows: Mapping[str, int]
    archived: Sequence[Targets]


@dataclass(frozen=True)
class Pending:
    """Somebody who is still to be erased; `found` None: nothing of it was begun."""

    request_id: uuid.UUID
    user_id: str
    pseudonym: str
    found: Found | None


def ask(connection: Connection, user_id: str, key: bytes, at: datetime) -> uuid.UUID:
    """Ask, in the caller's transaction, to erase a user; who has asked before gets that request.

    From its commit on the user is as good as erased for the app. A request that failed is made anew.

    Raises:
        SettingsError: `key` is not the one that the tombstones were made with.
    """
    check_key(connection, key)
    user_hash, request_id = keyed_hash(key, user_id), uuid.uuid4()
    made = _insert_tombstone(connection, user_hash, fingerprint(key), request_id, at)
    if not made:
        standing = _unless_failed(connection, user_hash)
        if standing is not None:
            return standing
        renewed = update(erased_users).where(erased_users.c.user_hash == user_hash)
        connection.execute(renewed.values(request_id=request_id))
    name = subjects.pseudonym(connection, user_id)
    connection.execute(insert(requests).values(request_id=request_id, kind=KIND, requested_by=name))
    asked = audit.Change(name, "user.erasure_requested", f"user:{name}", {}, {"request_id": str(request_id)})
    audit.record(connection, [asked], at)
    return request_id


def check_key(connection: Connection, key: bytes) -> None:
    """Refuse another erasure key than the one that erased users are known by.

    Raises:
        SettingsError: it is another.
    """
    own = fingerprint(key)
    other = select(erased_users.c.key_fingerprint).where(erased_users.c.key_fingerprint != own).limit(1)
    made_with = connection.execute(other).scalar()
    if made_with is not None:
        raise SettingsError(
            f"MARKETING_ERASURE_KEY is not the key that erased users are known by (fingerprint {own}, not "
            f"{made_with})",
            remedy="set MARKETING_ERASURE_KEY to that key again: by another one nobody who was erased is "
            "known, and the next ingest would bring them back",
        )


def exist(connection: Connection) -> bool:
    """Whether anybody was erased, or asked for it."""
    return connection.execute(select(erased_users.c.user_hash).limit(1)).first() is not None


def tombstone(connection: Connection, user_hash: str) -> Tombstone | None:
    """The tombstone of this hash; None for somebody who never asked."""
    columns = (erased_users.c.request_id, erased_users.c.asked_at, erased_users.c.erased_at)
    row = connection.execute(select(*columns).where(erased_users.c.user_hash == user_hash)).one_or_none()
    return None if row is None else Tombstone(**row._mapping)


def export_hashes(connection: Connection, file: Path) -> None:
    """Write the hashes of all who were erased or asked for it: a CSV of user_hash."""
    copy_query(connection, "select user_hash from marketing.erased_users", [], file)


def pending(connection: Connection) -> list[Pending]:
    """Everybody who is still to be erased, whatever became of their request, oldest first."""
    statement = (
        select(
            erased_users.c.request_id,
            erased_users.c.found,
            subject_keys.c.user_id,
            subject_keys.c.pseudonym,
        )
        .join(requests, requests.c.request_id == erased_users.c.request_id)
        .join(subject_keys, subject_keys.c.pseudonym == requests.c.requested_by)
        .where(erased_users.c.erased_at.is_(None))
        .order_by(erased_users.c.asked_at, erased_users.c.request_id)
    )
    return [
        Pending(row.request_id, row.user_id, row.pseudonym, None if row.found is None else _found(row.found))
        for row in connection.execute(statement)
    ]


def note_found(connection: Connection, found: Mapping[uuid.UUID, Found]) -> None:
    """Write what the lake holds of users before any of it goes, so that nothing is counted only half."""
    for request_id, each in found.items():
        value = {"rows": dict(each.rows), "archived": [vars(targets) for targets in each.archived]}
        mine = erased_users.c.request_id == request_id
        connection.execute(update(erased_users).where(mine).values(found=value))


def remove(connection: Connection, users: Sequence[Pending]) -> dict[str, dict[str, int]]:
    """Remove, in the caller's transaction, the users' rows of every table.

    Their targets are added to the sums of `erased_targets`, reserved rewards are released.

    Returns:
        How many rows of each table went, by user.
    """
    connection.execute(_STAGE)
    connection.execute(_STAGE_ID, [{"user_id": each.user_id} for each in users])
    for hold in (_HOLD_SUBJECTS, _HOLD_TARGETS, _HOLD_BUDGETS):
        connection.execute(hold)
    connection.execute(_RELEASE)
    connection.execute(_COUNT_TARGETS)
    archived = [vars(targets) for each in users if each.found for targets in each.found.archived]
    if archived:
        connection.execute(_COUNT_FOUND, archived)
    gone: dict[str, dict[str, int]] = {each.user_id: {} for each in users}
    callers = {each.pseudonym: each.user_id for each in users}
    sent = delete(idempotency_keys).where(idempotency_keys.c.caller.in_(callers))
    for caller in connection.execute(sent.returning(idempotency_keys.c.caller)).scalars():
        counts = gone[callers[caller]]
        counts[idempotency_keys.name] = counts.get(idempotency_keys.name, 0) + 1
    for table in OF_USERS:
        for user_id, rows in _remove(connection, table):
            gone[user_id][table.name] = rows
    return gone


def set_targets(connection: Connection, targets: Mapping[date, int]) -> None:
    """Write how many targets nights have left."""
    for day, number in targets.items():
        night = update(published_nights).where(published_nights.c.day == day)
        connection.execute(night.values(targets=number))


def finish(
    connection: Connection,
    receipts: Mapping[uuid.UUID, Mapping[str, object]],
    run_id: str,
    at: datetime,
) -> None:
    """Write that these requests are done, with what was removed, also where an earlier run failed.

    Raises:
        DatabaseError: a user of a request that had failed asked anew meanwhile.
    """
    for request_id, receipt in receipts.items():
        done = update(erased_users).where(erased_users.c.request_id == request_id)
        if connection.execute(done.values(erased_at=at, found=null())).rowcount == 0:
            raise DatabaseError(
                f"who made the request {request_id} asked again while it was carried out",
                remedy="run the job erasure again; nobody is erased twice",
                transient=True,
            )
        values = {"status": "succeeded", "run_id": run_id, "result": receipt, "finished_at": func.now()}
        connection.execute(update(requests).where(requests.c.request_id == request_id).values(**values))


def record_erased(connection: Connection, users: Iterable[Pending], at: datetime) -> None:
    """Write into the audit log that they are erased, by names that from now on name nobody."""
    changes = [
        audit.Change(ACTOR, "user.erased", f"user:{each.pseudonym}", {}, {"request_id": str(each.request_id)})
        for each in users
    ]
    audit.record(connection, changes, at)


def _insert_tombstone(
    connection: Connection, user_hash: str, key_fingerprint: str, request_id: uuid.UUID, at: datetime
) -> bool:
    """Insert a tombstone; False where there is one."""
    values = {"user_hash": user_hash, "key_fingerprint": key_fingerprint, "request_id": request_id}
    statement = insert(erased_users).values(**values, asked_at=at).on_conflict_do_nothing()
    return connection.execute(statement.returning(erased_users.c.user_hash)).first() is not None


def _unless_failed(connection: Connection, user_hash: str) -> uuid.UUID | None:
    """The request of a tombstone, held until the transaction ends; None where it failed."""
    statement = (
        select(erased_users.c.request_id, requests.c.status)
        .join(requests, requests.c.request_id == erased_users.c.request_id)
        .where(erased_users.c.user_hash == user_hash)
        .with_for_update(of=erased_users)
    )
    row = connection.execute(statement).one()
    request_id: uuid.UUID = row.request_id
    return None if row.status == "failed" else request_id


def _found(value: Mapping[str, object]) -> Found:
    rows, archived = value["rows"], value["archived"]
    assert isinstance(rows, dict)
    assert isinstance(archived, list)
    return Found(rows, [Targets(**each) for each in archived])


def _remove(connection: Connection, table: Table) -> list[tuple[str, int]]:
    """Remove the rows of the users in `erased_ids`; how many of each."""
    erased = text("select user_id from erased_ids").columns(table.c.user_id)
    gone = delete(table).where(table.c.user_id.in_(erased)).returning(table.c.user_id).cte("gone")
    counted = select(gone.c.user_id, func.count()).group_by(gone.c.user_id)
    return [(user_id, rows) for user_id, rows in connection.execute(counted)]
