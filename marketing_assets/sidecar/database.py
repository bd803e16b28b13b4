"""The sidecar's connections to PostgreSQL: a few, opened when needed; most calls are one statement on one.

A pool of psycopg's would do the same; a queue of open connections answers a third more calls a second, and
comes back at once when the database does (docs/decisions/0009).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import TransactionStatus

from marketing_assets.sidecar.problems import unavailable

Parameters = Mapping[str, object]
Connection = AsyncConnection[tuple[object, ...]]

_WAIT_SECONDS = 2.0
_CONNECT_SECONDS = 3
_STATEMENT_MILLISECONDS = 5_000
_OPTIONS = f"-c statement_timeout={_STATEMENT_MILLISECONDS} -c timezone=UTC -c jit=off"


class Database:
    """At most `size` connections; who needs one waits for two seconds, then hears 503."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._slots: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        self._size = size
        for _ in range(size):
            self._slots.put_nowait(None)

    async def value(self, statement: LiteralString, parameters: Parameters) -> object:
        """The first column of the first row; None where there is no row.

        The statement is its own transaction, and so written that doing it twice is doing it once: where a
        connection turns out to be dead, it is tried again on a new one.

        Raises:
            Problem: 503, the database is away or overloaded.
        """
        row = await self.row(statement, parameters)
        return None if row is None else row[0]

    async def row(self, statement: LiteralString, parameters: Parameters) -> tuple[object, ...] | None:
        """The first row, likewise."""
        kept = await self._take()
        try:
            fresh = kept is None
            if kept is None:
                kept = await self._connect()
            try:
                return await _fetched(kept, statement, parameters)
            except psycopg.OperationalError:
                if fresh or not kept.broken:
                    raise
            await kept.close()
            kept = await self._connect()
            return await _fetched(kept, statement, parameters)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise unavailable("the database is away") from error
        finally:
            await self._give(kept)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit, for what takes several statements (`connection.transaction()`).

        Raises:
            Problem: 503, the database is away or overloaded.
        """
        kept = await self._take()
        try:
            if kept is not None and not await _answers(kept):
                await kept.close()
                kept = None
            if kept is None:
                kept = await self._connect()
            yield kept
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise unavailable("the database is away") from error
        finally:
            await self._give(kept)

    async def close(self) -> None:
        """Close every connection that is free."""
        while not self._slots.empty():
            kept = self._slots.get_nowait()
            if kept is not None:
                await kept.close()

    async def _take(self) -> Connection | None:
        with suppress(asyncio.QueueEmpty):
            return self._slots.get_nowait()
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                return await self._slots.get()
        except TimeoutError:
            raise unavailable("every connection to the database is in use") from None

    async def _give(self, kept: Connection | None) -> None:
        if kept is not None and kept.pgconn.transaction_status != TransactionStatus.IDLE:
            await kept.close()  # dead, or given up in the middle of something
            kept = None
        self._slots.put_nowait(kept)

    async def _connect(self) -> Connection:
        return await AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            options=_OPTIONS,
            application_name="marketing_assets sidecar",
            tcp_user_timeout=5_000,
        )


async def _fetched(
    connection: Connection, statement: LiteralString, parameters: Parameters
) -> tuple[object, ...] | None:
    cursor: AsyncCursor[tuple[object, ...]] = connection.cursor()
    await cursor.execute(statement, parameters, prepare=True)
    return await cursor.fetchone()


async def _answers(connection: Connection) -> bool:
    try:
        await connection.execute("select 1")
    except (psycopg.OperationalError, psycopg.InterfaceError):
        return False
    return True
