"""The sidecar's connections to PostgreSQL: a few, opened when needed; most calls are one statement on one.

A pool of psycopg's would do the same; a queue of open connections answers a third more calls a second, and
comes back at once when the database does (docs/decisions/0009).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import TransactionStatus

from marketing_assets.sidecar.problems import unavailable

Parameters = Mapping[str, object]
Row = tuple[object, ...]
Connection = AsyncConnection[Row]

_WAIT_SECONDS = 2.0
_CONNECT_SECONDS = 3
_STATEMENT_MILLISECONDS = 5_000
_OPTIONS = f"-c statement_timeout={_STATEMENT_MILLISECONDS} -c timezone=UTC -c jit=off"


class Database:
    """At most `size` connections; who needs one waits for two seconds, then hears 503."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._free: list[Connection | None] = [None] * size
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    async def value(self, statement: str, parameters: Parameters) -> object:
        """The first column of the first row; None where there is no row.

        The statement is its own transaction, and so written that doing it twice is doing it once: where a
        connection turns out to be dead, it is tried again on a new one.

        Raises:
            Problem: 503, the database is away or overloaded.
        """
        row = await self.row(statement, parameters)
        return None if row is None else row[0]

    async def row(self, statement: str, parameters: Parameters) -> Row | None:
        """The first row; None where there is none."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Every row, likewise."""
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
        except psycopg.errors.UndefinedTable as error:  # whoever makes it (marketing db upgrade) is not done
            raise unavailable("the database has no schema yet") from error
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
        except psycopg.errors.UndefinedTable as error:  # whoever makes it (marketing db upgrade) is not done
            raise unavailable("the database has no schema yet") from error
        finally:
            await self._give(kept)

    async def close(self) -> None:
        """Close every connection that is free."""
        for kept in self._free:
            if kept is not None:
                await kept.close()
        self._free.clear()

    async def _take(self) -> Connection | None:
        """A connection, or the right to open one; who comes first is served first."""
        if self._free and not self._waiting:
            return self._free.pop()
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                return await turn
        except TimeoutError:
            await self._leave(turn)
            raise unavailable("every connection to the database is in use") from None
        except asyncio.CancelledError:
            await self._leave(turn)
            raise

    async def _leave(self, turn: "asyncio.Future[Connection | None]") -> None:
        """Wait no longer; what was given at that very instant goes to the next."""
        if turn.cancelled():
            with suppress(ValueError):
                self._waiting.remove(turn)
        else:
            await self._give(turn.result())

    async def _give(self, kept: Connection | None) -> None:
        if kept is not None and kept.pgconn.transaction_status != TransactionStatus.IDLE:
            await kept.close()  # dead, or given up in the middle of something
            kept = None
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(kept)
                return
        self._free.append(kept)

    async def _connect(self) -> Connection:
        return await AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            options=_OPTIONS,
            application_name="marketing_assets sidecar",
            tcp_user_timeout=5_000,
        )


async def _fetched(connection: Connection, statement: str, parameters: Parameters) -> list[Row]:
    cursor: AsyncCursor[Row] = connection.cursor()
    await cursor.execute(statement.encode(), parameters, prepare=True)
    return await cursor.fetchall()


async def _answers(connection: Connection) -> bool:
    try:
        await connection.execute("select 1")
    except (psycopg.OperationalError, psycopg.InterfaceError):
        return False
    return True
