"""The queue of connections: each is given on, whatever becomes of the call that waited for it."""

import asyncio
from contextlib import suppress

import pytest

from marketing_assets.sidecar import database
from marketing_assets.sidecar.database import Database
from marketing_assets.sidecar.problems import Problem


def test_a_connection_given_to_a_call_that_gives_up_at_that_instant_is_not_lost(shared_database: str) -> None:
    async def answer() -> object:
        queue = Database(shared_database, 1)
        async with queue.connection():
            waiting = asyncio.create_task(queue.value("select 1", {}))
            await asyncio.sleep(0)
        waiting.cancel()  # it has been given the connection, and does not know it yet
        with suppress(asyncio.CancelledError):
            await waiting
        found = await queue.value("select 7", {})
        await queue.close()
        return found

    assert asyncio.run(answer()) == 7


def test_who_waits_too_long_is_told_and_takes_nothing_along(
    shared_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.01)

    async def answer() -> object:
        queue = Database(shared_database, 1)
        async with queue.connection():
            with pytest.raises(Problem) as refused:
                await queue.value("select 1", {})
        assert (refused.value.status, refused.value.detail) == (
            503,
            "every connection to the database is in use",
        )
        found = await queue.value("select 7", {})
        await queue.close()
        return found

    assert asyncio.run(answer()) == 7


def test_a_database_without_tables_is_not_ready_yet(postgres_server: str) -> None:
    async def answer() -> None:
        queue = Database(postgres_server, 1)
        try:
            await queue.value("select version_num from marketing.alembic_version", {})
        finally:
            await queue.close()

    with pytest.raises(Problem) as refused:
        asyncio.run(answer())
    assert (refused.value.status, refused.value.detail) == (503, "the database has no schema yet")
