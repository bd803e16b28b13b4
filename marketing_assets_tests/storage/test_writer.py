"""The writer lock: one at a time, and whoever lost it can neither write nor publish."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from marketing_assets.errors import DatabaseError, WriterLockError
from marketing_assets.storage.writer import WriterLock
from marketing_assets_tests.storage.conftest import Kill


def silent(_: str) -> None:
    """Nobody listens."""


@contextmanager
def lock_of(url: str, holder: str) -> Iterator[WriterLock]:
    lock = WriterLock(url, holder)
    try:
        yield lock
    finally:
        lock.release()


@pytest.fixture
def first(url: str) -> Iterator[WriterLock]:
    """A writer that holds the lock."""
    with lock_of(url, "run first") as lock:
        lock.acquire(0, silent)
        yield lock


def test_a_second_writer_waits_and_then_gets_it(url: str, first: WriterLock) -> None:
    told: list[str] = []
    waiting = threading.Event()

    def on_wait(message: str) -> None:
        told.append(message)
        waiting.set()

    with lock_of(url, "run second") as second:
        thread = threading.Thread(target=second.acquire, args=(20, on_wait))
        thread.start()
        assert waiting.wait(5)
        first.check()
        first.release()
        thread.join(5)
        assert not thread.is_alive()
        second.check()
    assert len(told) == 1
    assert told[0].startswith("waiting for another writer: run first (database session ")


def test_a_writer_lets_the_sessions_of_the_app_go_first(database_url: str, first: WriterLock) -> None:
    first.give_way()
    with psycopg.connect(database_url) as app:
        found = app.execute(
            "select pid from pg_stat_activity where application_name = 'run first'"
        ).fetchall()
        assert os.getpriority(os.PRIO_PROCESS, app.info.backend_pid) < 10
        cores = os.sched_getaffinity(app.info.backend_pid)
    assert [os.getpriority(os.PRIO_PROCESS, process) for (process,) in found] == [10]
    assert [os.sched_getaffinity(process) for (process,) in found] == [{max(cores)}]
    first.check()


def test_a_second_writer_gives_up_and_names_the_holder(url: str, first: WriterLock) -> None:
    with (
        lock_of(url, "run second") as second,
        pytest.raises(WriterLockError, match="another writer is at work: run first") as refused,
    ):
        second.acquire(0.6, silent)
    assert "wait until it has finished" in refused.value.remedy
    first.check()


def test_of_many_at_once_one_gets_it_at_a_time(url: str) -> None:
    inside, most, done = 0, 0, []
    guard = threading.Lock()

    def work(number: int) -> None:
        nonlocal inside, most
        with lock_of(url, f"run {number}") as lock:
            lock.acquire(20, silent)
            with guard:
                inside += 1
                most = max(most, inside)
            lock.check()
            with guard:
                inside -= 1
                done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == [0, 1, 2, 3]
    assert most == 1


def test_a_lost_session_is_noticed_by_every_check(first: WriterLock, kill: Kill) -> None:
    first.check()
    assert kill("run first") == 1
    for _ in range(2):
        with pytest.raises((WriterLockError, DatabaseError), match="lost") as lost:
            first.check()
        assert "run the day again" in lost.value.remedy


def test_a_lost_lock_is_noticed_in_a_transaction(first: WriterLock, kill: Kill) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises((WriterLockError, DatabaseError)))
        first.session.begin()
        kill("run first")
        first.check_in_transaction()


def test_another_can_take_it_after_a_lost_session(url: str, first: WriterLock, kill: Kill) -> None:
    kill("run first")
    with lock_of(url, "run second") as second:
        second.acquire(0, silent)
        second.check()
        with pytest.raises((WriterLockError, DatabaseError)):
            first.check()


def test_another_can_take_it_after_a_release(url: str, first: WriterLock) -> None:
    first.release()
    first.release()
    with lock_of(url, "run second") as second:
        second.acquire(0, silent)
        second.check()


def test_a_writer_can_take_it_again_after_its_release(first: WriterLock) -> None:
    first.release()
    first.acquire(0, silent)
    first.check()


def test_a_lock_never_taken_is_not_held(url: str) -> None:
    with lock_of(url, "run first") as lock, pytest.raises(WriterLockError, match="not held"):
        lock.check()


def test_two_databases_of_one_server_do_not_share_it(first: WriterLock, postgres_server: str) -> None:
    other = postgres_server.replace("postgresql://", "postgresql+psycopg://")
    with lock_of(other, "run elsewhere") as elsewhere:
        elsewhere.acquire(0, silent)
        elsewhere.check()
        first.check()


def test_no_server_is_one_clear_error() -> None:
    with (
        lock_of("postgresql+psycopg://app:hunter2@/marketing?host=%2Fnowhere", "run first") as lock,
        pytest.raises(DatabaseError) as refused,
    ):
        lock.acquire(0, silent)
    assert "hunter2" not in str(refused.value)


def test_a_database_lost_while_waiting_is_one_clear_error(url: str, first: WriterLock, kill: Kill) -> None:
    first.check()

    def on_wait(_: str) -> None:
        assert kill("run second") == 1

    with (
        lock_of(url, "run second") as second,
        pytest.raises(DatabaseError, match="lost while waiting") as lost,
    ):
        second.acquire(20, on_wait)
    assert "nothing was written" in lost.value.remedy


def test_a_long_run_lets_a_waiting_writer_go_between_its_days(url: str) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def short_run() -> None:
        with lock_of(url, "run short") as lock:
            lock.acquire(20, lambda _: waiting.set())
            order.append("short")

    with lock_of(url, "run long") as long:
        long.acquire(20, silent)
        thread = threading.Thread(target=short_run)
        thread.start()
        assert waiting.wait(5)
        while not order:
            long.pass_on()
        order.append("long")
        thread.join(5)
        long.check()
    assert order == ["short", "long"]
