"""The audit log: who changed what when, as a chain in which each entry carries the hash of the one before.

Entries are only ever added. Actors and subjects are parts of the system, campaigns and members of staff; a
user appears in none of them except as a pseudonym. `audit_head` says how far the log goes, so that entries
removed at its end are missed too; a log that is older than that table has no head until its next entry.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, insert, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from marketing_assets.domain.campaigns import canonical_json
from marketing_assets.errors import AuditError
from marketing_assets.storage.tables import audit_head, audit_log

AUDIT_LOCK = 0x6D61726B_00000003
_PIECE = 1000
_OLDEST_FIRST = select(audit_log).order_by(audit_log.c.entry_id)
FIRST_HASH = "0" * 64
"""What the first entry carries, before which there is none."""


@dataclass(frozen=True)
class Change:
    """One change as whoever makes it describes it; `before` and `after` are what JSON can say."""

    actor: str
    action: str
    subject: str
    before: Mapping[str, object]
    after: Mapping[str, object]


@dataclass(frozen=True)
class Entry:
    """One row of `audit_log`."""

    entry_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: Mapping[str, object]
    after: Mapping[str, object]
    previous_hash: str

    @property
    def hash(self) -> str:
        """SHA-256 of the entry as it is stored, in hex: what the next entry carries."""
        content = {**vars(self), "at": self.at.astimezone(UTC).isoformat(timespec="microseconds")}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


@dataclass(frozen=True)
class Head:
    """An entry by its number and hash."""

    entry_id: int
    hash: str


@dataclass(frozen=True)
class Verified:
    """A log that is whole: how many entries it has, and the hash of the newest.

    `is_complete`: whether `audit_head` says that none is missing after them. `expected` is the entry whose
    hash was asked for.
    """

    entries: int
    newest_hash: str
    is_complete: bool
    expected: int | None


def record(connection: Connection, changes: Sequence[Change], at: datetime) -> None:
    """Add entries in the caller's transaction, which others that write the log wait for.

    The transaction has to see what others have committed (read committed, PostgreSQL's default).
    """
    if not changes:
        return
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": AUDIT_LOCK})
    newest = _head(connection) or _newest(connection)
    added = []
    for change in _as_stored(connection, changes):
        entry = Entry(entry_id=newest.entry_id + 1, at=at, previous_hash=newest.hash, **vars(change))
        added.append(vars(entry))
        newest = Head(entry.entry_id, entry.hash)
    connection.execute(insert(audit_log), added)
    statement = upsert(audit_head).values(only_row=1, **vars(newest))
    connection.execute(
        statement.on_conflict_do_update(index_elements=[audit_head.c.only_row], set_=vars(newest))
    )


def entries(connection: Connection, subject: str | None = None) -> list[Entry]:
    """All entries, or those of one subject, oldest first."""
    statement = _OLDEST_FIRST
    if subject is not None:
        statement = statement.where(audit_log.c.subject == subject)
    return [Entry(**row._mapping) for row in connection.execute(statement)]


def verify(serving: Engine, expected: str | None = None) -> Verified:
    """Follow the chain from the first entry to the newest, as one snapshot of the database has it.

    The log is read a piece at a time, however long it is.

    Args:
        serving: the serving database.
        expected: the hash of an entry, noted down outside; None where none is.

    Raises:
        AuditError: an entry was altered or removed, or none has the expected hash.
    """
    found = None
    before = Head(0, FIRST_HASH)
    with serving.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        head = _head(connection)
        with connection.execute(_OLDEST_FIRST, execution_options={"yield_per": _PIECE}) as rows:
            for row in rows:
                before = _followed(before, Entry(**row._mapping))
                found = before.entry_id if before.hash == expected else found
    if head is not None:
        _refuse_other_end(before, head)
    if expected is not None and found is None:
        raise AuditError(
            f"none of the {before.entry_id:,} entries of audit_log has the hash {expected}: the log was "
            "written anew, or cut off before it, or the hash is of another database",
            remedy=_REMEDY,
        )
    return Verified(before.entry_id, before.hash, head is not None or before.entry_id == 0, found)


_REMEDY = (
    "compare marketing.audit_log with a backup, find out who could write to that table, and leave it as it "
    "is: what is appended later is chained to what stands"
)


def _followed(before: Head, entry: Entry) -> Head:
    """The entry by its hash, where it follows the one before."""
    if entry.entry_id <= before.entry_id:
        raise _strange(entry.entry_id, "entries are numbered from 1 on")
    if entry.entry_id != before.entry_id + 1:
        raise _missing(before.entry_id + 1, entry.entry_id - 1)
    if entry.previous_hash != before.hash:
        raise _altered(max(before.entry_id, 1), f"entry {entry.entry_id}")
    return Head(entry.entry_id, entry.hash)


def _missing(first: int, last: int) -> AuditError:
    which = f"entry {first} is" if first == last else f"entries {first} to {last} are"
    return AuditError(f"{which} missing in audit_log: removed after it was written", remedy=_REMEDY)


def _altered(entry_id: int, witness: str) -> AuditError:
    return AuditError(
        f"entry {entry_id} of audit_log is not what was written: {witness} carries another hash of it",
        remedy=_REMEDY,
    )


def _strange(entry_id: int, why: str) -> AuditError:
    return AuditError(f"entry {entry_id} of audit_log was not written by marketing: {why}", remedy=_REMEDY)


def _refuse_other_end(newest: Head, head: Head) -> None:
    if newest.entry_id < head.entry_id:
        raise _missing(newest.entry_id + 1, head.entry_id)
    if newest.entry_id > head.entry_id:
        raise _strange(head.entry_id + 1, f"audit_head ends with entry {head.entry_id}")
    if newest.hash != head.hash:
        raise _altered(newest.entry_id, "audit_head")


def _head(connection: Connection) -> Head | None:
    row = connection.execute(select(audit_head.c.entry_id, audit_head.c.hash)).one_or_none()
    return None if row is None else Head(**row._mapping)


def _newest(connection: Connection) -> Head:
    """The newest entry of a log that is older than its head."""
    statement = select(audit_log).order_by(audit_log.c.entry_id.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return Head(0, FIRST_HASH) if row is None else Head(row.entry_id, Entry(**row._mapping).hash)


def _as_stored(connection: Connection, changes: Sequence[Change]) -> list[Change]:
    """The changes as they will be read again: jsonb writes numbers its own way, which the hash covers."""
    content = [{"before": change.before, "after": change.after} for change in changes]
    stored = connection.execute(select(literal(content, JSONB))).scalar_one()
    return [
        Change(change.actor, change.action, change.subject, **found)
        for change, found in zip(changes, stored, strict=True)
    ]
