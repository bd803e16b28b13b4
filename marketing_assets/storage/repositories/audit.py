"""The audit log: who changed what when, as a chain in which each entry carries the hash of the one before.

Entries are only ever added. Actors and subjects are parts of the system, campaigns and members of staff; a
user appears in none of them except as a pseudonym.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, text

from marketing_assets.domain.campaigns import canonical_json
from marketing_assets.storage.tables import audit_log

AUDIT_LOCK = 0x6D61726B_00000003
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


def record(connection: Connection, changes: Sequence[Change], at: datetime) -> None:
    """Add entries in the caller's transaction, which others that write the log wait for.

    The transaction has to see what others have committed (read committed, PostgreSQL's default).
    """
    if not changes:
        return
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": AUDIT_LOCK})
    for change in changes:
        newest = _newest(connection)
        connection.execute(
            insert(audit_log).values(
                entry_id=1 if newest is None else newest.entry_id + 1,
                at=at,
                previous_hash=FIRST_HASH if newest is None else newest.hash,
                **vars(change),
            )
        )


def entries(connection: Connection, subject: str | None = None) -> list[Entry]:
    """All entries, or those of one subject, oldest first."""
    statement = select(audit_log).order_by(audit_log.c.entry_id)
    if subject is not None:
        statement = statement.where(audit_log.c.subject == subject)
    return [Entry(**row._mapping) for row in connection.execute(statement)]


def _newest(connection: Connection) -> Entry | None:
    statement = select(audit_log).order_by(audit_log.c.entry_id.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Entry(**row._mapping)
