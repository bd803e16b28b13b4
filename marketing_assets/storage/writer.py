"""The one writer: a PostgreSQL advisory lock, held on a session of its own for as long as one writes.

Whoever writes the lake or publishes holds it, however the run was started. The night is published on
this very session, so that a night can only be committed by the one who holds the lock.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from marketing_assets.errors import DatabaseError, WriterLockError
from marketing_assets.storage.database import is_transient
from marketing_assets.storage.priority import give_way, keep_to_one_core

WRITER_LOCK = 0x6D61726B_00000002
_QUEUE_FOR = text("set local lock_timeout = '500ms'")
_MINE = text(
    "select exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted"
    " and ((classid::bigint << 32) | objid::bigint) = :key and objsubid = 1)"
)
_SESSIONS = text("select application_name from pg_stat_activity where datname = current_database()")
_HOLDER = text(
    "select a.application_name, a.pid, a.backend_start"
    " from pg_locks l join pg_stat_activity a on a.pid = l.pid"
    " where l.locktype = 'advisory' and l.granted"
    " and ((l.classid::bigint << 32) | l.objid::bigint) = :key and l.objsubid = 1"
    " and l.database = (select oid from pg_database where datname = current_database())"
)


def at_work(connection: Connection) -> set[str]:
    """The names of the holders that have a session now, whether they hold the lock or wait for it."""
    return set(connection.execute(_SESSIONS).scalars())


class WriterLock:
    """The lock, as one run holds it. `holder` is what others are told while they wait."""

    def __init__(self, url: str, holder: str) -> None:
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            connect_args={"application_name": holder[:63], "connect_timeout": 10},
            hide_parameters=True,
        )
        self._connection: Connection | None = None
        self._wait_seconds = 0.0
        self._on_wait: Callable[[str], None] = lambda _: None

    def acquire(self, wait_seconds: float, on_wait: Callable[[str], None]) -> None:
        """Take the lock, waiting for another writer at most `wait_seconds`.

        Raises:
            WriterLockError: another writer still holds it.
            DatabaseError: the database cannot be reached.
        """
        self._wait_seconds, self._on_wait = wait_seconds, on_wait
        deadline = time.monotonic() + wait_seconds
        told = False
        try:
            self._connection = self._connection or self._engine.connect()
            while not self._try():
                holder = self._held_by()
                if time.monotonic() >= deadline:
                    raise WriterLockError(
                        f"another writer is at work: {holder}",
                        remedy="wait until it has finished and run again; if it hangs, end its run",
                    )
                if not told:
                    on_wait(f"waiting for another writer: {holder}")
                    told = True
        except OperationalError as error:
            raise DatabaseError(
                "PostgreSQL was lost while waiting for the writer lock",
                remedy="start the database and run again; nothing was written",
                transient=is_transient(error),
            ) from error

    def check(self) -> None:
        """Make sure that this session still holds the lock; called before everything that is final.

        Raises:
            WriterLockError: it does not, for example because the database was restarted.
        """
        self.check_in_transaction()
        self.session.commit()

    def check_in_transaction(self) -> None:
        """The same check without ending the transaction that is open on the session.

        Raises:
            WriterLockError: the lock is not held.
        """
        try:
            held = self.session.execute(_MINE, {"key": WRITER_LOCK}).scalar()
        except SQLAlchemyError:
            held = False
        if not held:
            raise WriterLockError(
                "the writer lock was lost: its database session ended while the run was writing",
                remedy="run the day again; what was published before stands, nothing is half done",
                transient=True,
            )

    @property
    def session(self) -> Connection:
        """The session that holds the lock.

        Raises:
            WriterLockError: the lock was never taken, or was released.
        """
        if self._connection is None:
            raise WriterLockError("the writer lock is not held", remedy="run the day again")
        return self._connection

    def give_way(self) -> None:
        """Let the app's sessions go before this one; for a server on this machine.

        Where its processes belong to another user, nothing changes.
        """
        process = self.session.execute(text("select pg_backend_pid()")).scalar_one()
        self.session.commit()
        with suppress(PermissionError):
            give_way(process)
            keep_to_one_core(process)

    def pass_on(self) -> None:
        """Let a writer that waits go first, then take the lock again (between the days of a long run).

        Raises:
            WriterLockError: the other writer did not finish in time.
        """
        self.session.execute(text("select pg_advisory_unlock(:key)"), {"key": WRITER_LOCK})
        self.session.commit()
        self.acquire(self._wait_seconds, self._on_wait)

    def release(self) -> None:
        """Let the next writer in; nothing happens where the lock is not held."""
        if self._connection is not None:
            try:
                self._connection.invalidate()
            finally:
                self._connection.close()
                self._connection = None

    def _try(self) -> bool:
        """Stand in the server's queue for the lock, for a moment; waiters get it in their order."""
        try:
            self.session.execute(_QUEUE_FOR)
            self.session.execute(text("select pg_advisory_lock(:key)"), {"key": WRITER_LOCK})
            self.session.commit()
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            self.session.rollback()
            return False
        return True

    def _held_by(self) -> str:
        row = self.session.execute(_HOLDER, {"key": WRITER_LOCK}).first()
        self.session.commit()
        if row is None:
            return "it has just finished"
        since = datetime.now(UTC) - row.backend_start
        return f"{row.application_name} (database session {row.pid}, for {since.total_seconds():.0f} s)"
