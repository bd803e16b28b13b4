"""Steps are tried again where that can help, with the lock taken anew; never where the data is bad."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import psycopg
import pytest

from marketing_assets.errors import DatabaseError, SourceError
from marketing_assets.orchestration import attempts
from marketing_assets.orchestration import platform as platforms
from marketing_assets.orchestration.assets import campaign_targets, published_night
from marketing_assets.orchestration.attempts import RETRIES
from marketing_assets.orchestration.failures import failure_of_run
from marketing_assets.orchestration.metadata import named_failures
from marketing_assets.sources.files import FilesSource
from marketing_assets.storage import database, publish
from marketing_assets.storage.writer import WRITER_LOCK, WriterLock
from marketing_assets_tests.conftest import copied_world
from marketing_assets_tests.world import DAY, World, population, purchases

NEXT = DAY + timedelta(days=1)


@pytest.fixture(autouse=True)
def without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "RETRIES", dg.RetryPolicy(max_retries=RETRIES.max_retries))
    monkeypatch.setattr(platforms, "_OPEN_AGAIN_AFTER", (0.0, 0.0))


@pytest.fixture
def world(decided_world: World) -> World:
    """A decided world with purchases of the next day."""
    decided_world.write(next_days_purchases())
    return decided_world


@pytest.fixture
def undisturbed(
    decided_template: tuple[Path, str], postgres_server: str, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """Every row and file after the night of `NEXT` ran once, undisturbed."""
    with copied_world(decided_template, postgres_server, tmp_path / "undisturbed") as other:
        other.write(next_days_purchases())
        assert other.night(NEXT).success
        yield other.snapshot()


def next_days_purchases() -> list[str]:
    return [*population(), *(line for number in range(40) for line in purchases(f"late{number}", [NEXT]))]


def tried_again(result: dg.ExecuteInProcessResult) -> list[str]:
    """Steps that were tried again, once for each time."""
    return [str(e.step_key) for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]


def failed_once(original: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """The function, which raises `error` the first time it is called."""
    calls: list[None] = []

    def called(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) == 1:
            raise error
        return original(*arguments, **named)

    return called


def lose_the_lock(world: World, meanwhile: Callable[[], None] = lambda: None) -> int:
    """End the session that holds the writer lock, and let another writer have it; returns its process."""
    [(holder,)] = world.rows(
        "select pid from pg_locks where locktype = 'advisory' and granted and objsubid = 1 "
        f"and ((classid::bigint << 32) | objid::bigint) = {WRITER_LOCK} "
        "and database = (select oid from pg_database where datname = current_database())"
    )
    world.rows(f"select pg_terminate_backend({holder}, 5000)")
    other = WriterLock(world.urls.product, "another writer")
    other.acquire(5, lambda _: None)
    meanwhile()
    other.release()
    return int(holder)


def test_a_source_that_is_away_once_costs_one_more_attempt(
    world: World, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = SourceError("the source is away", remedy="wait", transient=True)
    monkeypatch.setattr(FilesSource, "load", failed_once(FilesSource.load, away))
    result = world.night(NEXT)
    assert result.success
    assert tried_again(result) == ["ingest"]
    assert world.snapshot() == undisturbed


def test_a_source_that_stays_away_fails_after_four_attempts_with_its_remedy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise SourceError("the source is away", remedy="start it", transient=True)

    before = world.tables()
    monkeypatch.setattr(FilesSource, "load", away)
    result = world.night(NEXT)
    assert not result.success
    assert tried_again(result) == ["ingest"] * 3
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data.user_failure_data
    assert failure is not None
    assert failure.metadata["error"].value == "the source is away"
    assert failure.metadata["remedy"].value == "start it"
    told = failure_of_run(world.instance, result.run_id)  # as alerts and rows of `requests` say it
    assert (told.step, told.error, told.remedy) == ("ingest", "the source is away", "start it")
    assert world.tables() == before


def test_the_waits_between_attempts_grow_and_outlast_a_restart_of_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise SourceError("the source is away", remedy="start it", transient=True)

    assert (RETRIES.max_retries, RETRIES.delay, RETRIES.backoff) == (3, 10, dg.Backoff.EXPONENTIAL)
    monkeypatch.setattr(attempts, "RETRIES", RETRIES._replace(delay=0.1, jitter=None))
    monkeypatch.setattr(FilesSource, "load", away)
    result = world.night(NEXT)
    waits = [
        each.step_retry_data.seconds_to_wait
        for each in result.all_events
        if each.event_type_value == "STEP_UP_FOR_RETRY"
    ]
    assert waits == pytest.approx([0.1, 0.3, 0.7])


def test_an_error_that_nobody_foresaw_is_never_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr(FilesSource, "load", broken)
    result = world.night(NEXT)
    assert not result.success
    assert tried_again(result) == []


def endless_in_duckdb() -> None:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    duckdb.sql("select sum(a.range * b.range) from range(1000000) a, range(1000000) b").fetchall()


def closed_badly() -> None:
    """A connection that was cut off in the middle of a statement refuses the next one."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        raise psycopg.OperationalError("another command is already in progress")


@pytest.mark.parametrize("where", [lambda: None, endless_in_duckdb, closed_badly])
def test_a_run_that_somebody_ends_is_canceled_and_not_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, where: Callable[[], None]
) -> None:
    def ended(*_: object) -> None:
        [run] = world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        world.instance.report_run_canceling(run)
        where()
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(FilesSource, "load", ended)
    before = world.tables()
    result = world.night(NEXT)
    [run] = world.instance.get_runs(limit=1)
    assert run.run_id == result.run_id
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert tried_again(result) == []
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_failure_data.error is not None
    assert failed.step_failure_data.error.cls_name == "DagsterExecutionInterruptedError"
    assert world.tables() == before


@pytest.mark.verify
@pytest.mark.parametrize("over", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_run_that_was_called_dead_by_mistake_publishes_nothing_and_stays_dead(
    world: World, monkeypatch: pytest.MonkeyPatch, over: dg.DagsterRunStatus
) -> None:
    decide = campaign_targets.decide_targets

    def called_dead(*arguments: Any) -> None:
        [run] = world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if over is dg.DagsterRunStatus.FAILURE:
            world.instance.report_run_failed(run, "its process is gone")
        else:
            world.instance.report_run_canceled(run)
        decide(*arguments)

    monkeypatch.setattr(campaign_targets, "decide_targets", called_dead)
    before = world.tables()
    result = world.night(NEXT)
    run = world.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status is over
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_key == "published_night"
    assert f"Dagster says that this run is over: {over.value}" in str(failed.step_failure_data.error)
    assert world.tables() == before


def test_bad_data_is_never_tried_again(world: World) -> None:
    world.write([*population(), *(f"bad{n},,{NEXT}T12:00:00+00:00,5.00,Store 1,Food" for n in range(3))])
    result = world.night(NEXT)
    assert not result.success
    assert tried_again(result) == []


def test_a_source_without_a_column_is_never_tried_again(world: World) -> None:
    world.csv.write_text("transaction_id,user_id,occurred_at\n1,u,2026-02-11T12:00:00Z\n", encoding="utf-8")
    result = world.night(NEXT)
    assert not result.success
    assert tried_again(result) == []


@pytest.mark.verify
def test_a_lost_lock_is_taken_anew_and_the_step_starts_over(
    world: World, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    holders: list[int] = []
    decide = campaign_targets.decide_targets

    def disturbed(*arguments: Any) -> None:
        decide(*arguments)
        if len(holders) < 2:
            holders.append(lose_the_lock(world))

    monkeypatch.setattr(campaign_targets, "decide_targets", disturbed)
    result = world.night(NEXT)
    assert result.success
    assert tried_again(result) == ["campaign_targets", "campaign_targets"]
    assert len(set(holders)) == 2  # the second attempt held it on a session of its own
    assert world.snapshot() == undisturbed


@pytest.mark.verify
def test_a_lock_lost_while_publishing_publishes_nothing_and_then_everything(
    world: World, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = publish._record
    seen: list[Any] = []

    def disturbed(*arguments: Any) -> None:
        record(*arguments)
        if not seen:
            lose_the_lock(
                world, lambda: seen.append(world.rows("select day from marketing.published_nights"))
            )

    monkeypatch.setattr(publish, "_record", disturbed)
    result = world.night(NEXT)
    assert result.success
    assert seen == [[(DAY,)]]
    assert tried_again(result) == ["published_night"]
    assert world.snapshot() == undisturbed


@pytest.mark.verify
@pytest.mark.parametrize("step", [campaign_targets, published_night], ids=["targets", "publishing"])
def test_a_night_that_another_writer_overtook_meanwhile_is_not_decided(
    world: World, monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    later = NEXT + timedelta(days=1)

    def overtake() -> None:
        with psycopg.connect(world.urls.product.replace("+psycopg", "")) as connection:
            connection.execute(
                "insert into marketing.published_nights (day, run_id, policy_version, status, targets, "
                "published_at) values (%s, 'other', 'p', 'published', 0, now())",
                [later],
            )

    name = "decide_targets" if step is campaign_targets else "_opened"
    original = getattr(step, name)
    disturbed: list[None] = []

    def lost(*arguments: Any) -> Any:
        if not disturbed:
            disturbed.append(None)
            lose_the_lock(world, overtake)
        return original(*arguments)

    monkeypatch.setattr(step, name, lost)
    result = world.night(NEXT)
    assert not result.success
    assert len(tried_again(result)) == 1
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data.user_failure_data
    assert failure is not None
    assert f"that of {later} is decided already" in str(failure.description)
    assert world.rows("select count(*) from marketing.campaign_targets where assigned_on > '2026-02-11'") == [
        (0,)
    ]


@pytest.mark.verify
def test_a_database_that_does_not_answer_when_the_run_begins_is_asked_again(
    world: World, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    down = DatabaseError("PostgreSQL cannot be reached", remedy="start it", transient=True)
    monkeypatch.setattr(database, "prepare", failed_once(database.prepare, down))
    assert world.night(NEXT).success
    assert world.snapshot() == undisturbed


@pytest.mark.parametrize("transient", [True, False])
def test_a_failure_is_retried_only_where_that_can_help(transient: bool) -> None:
    with pytest.raises(dg.Failure) as raised, named_failures():
        raise SourceError("what", remedy="do this", transient=transient)
    assert raised.value.allow_retries is transient
    assert raised.value.metadata["remedy"].value == "do this"


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (psycopg.errors.AdminShutdown("terminating connection"), True),
        (psycopg.errors.SerializationFailure("could not serialize"), True),
        (psycopg.errors.DeadlockDetected("deadlock"), True),
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (psycopg.OperationalError('password authentication failed for user "x"'), False),
        (psycopg.OperationalError('database "x" does not exist'), False),
        (psycopg.errors.DiskFull("no space left"), False),
        (psycopg.errors.UniqueViolation("twice"), False),
        (psycopg.errors.InvalidTextRepresentation("no number"), False),
    ],
)
def test_which_errors_of_a_database_can_pass(error: psycopg.Error, transient: bool) -> None:
    assert database.is_transient(error) is transient
