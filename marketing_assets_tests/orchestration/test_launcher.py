"""Which launched runs are taken for dead: those without a database session for a long time, no others."""

import uuid
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus

from marketing_assets.orchestration import launcher as launchers
from marketing_assets.orchestration.launcher import GONE_AFTER_SECONDS, WatchedRunLauncher
from marketing_assets.orchestration.platform import holder_of
from marketing_assets.storage import database
from marketing_assets.storage.writer import WriterLock
from marketing_assets_tests.end_to_end.daemon import wait_for
from marketing_assets_tests.world import World

SESSIONS = "select count(*) from pg_stat_activity where application_name ="


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(launchers, "time", made)
    return made


@pytest.fixture
def launcher(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedRunLauncher]:
    monkeypatch.setenv("MARKETING_DATABASE_URL", str(world.settings.database_url))
    monkeypatch.setenv("MARKETING_HOME", str(world.settings.home))
    made = WatchedRunLauncher()
    yield made
    made.dispose()


def launched(job: str = "nightly_marketing", **changed: Any) -> dg.DagsterRun:
    run = Mock(spec=dg.DagsterRun)
    values = {"job_name": job, "run_id": str(uuid.uuid4()), "remote_job_origin": object(), **changed}
    run.configure_mock(**values)
    return run


def test_a_run_without_a_session_is_taken_for_dead_after_three_minutes(
    launcher: WatchedRunLauncher, clock: Clock
) -> None:
    run = launched()
    assert launcher.supports_check_run_worker_health
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.now += GONE_AFTER_SECONDS - 1
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.now += 1
    result = launcher.check_run_worker_health(run)
    assert str(result) == (
        "FAILED: 'its process is gone: for 180 s it has had no session on the serving database'"
    )


def test_a_run_with_a_session_lives_and_the_time_without_one_begins_anew(
    launcher: WatchedRunLauncher, clock: Clock, world: World
) -> None:
    run = launched()
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    lock = WriterLock(world.urls.product, holder_of(run.run_id))
    lock.acquire(0, lambda _: None)
    clock.now += 10 * GONE_AFTER_SECONDS
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    lock.release()
    wait_for("end of the session", lambda: world.rows(f"{SESSIONS} '{holder_of(run.run_id)}'") == [(0,)])
    clock.now += 10 * GONE_AFTER_SECONDS
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.now += GONE_AFTER_SECONDS
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED


@pytest.mark.parametrize("run", [launched("a_job_of_others"), launched(remote_job_origin=None)])
def test_a_job_of_others_and_a_run_of_the_command_are_left_alone(
    launcher: WatchedRunLauncher, clock: Clock, run: dg.DagsterRun
) -> None:
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.now += 10 * GONE_AFTER_SECONDS
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def test_while_the_database_does_not_answer_no_run_is_taken_for_dead(
    launcher: WatchedRunLauncher, clock: Clock, world: World
) -> None:
    run = launched()
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    there = launcher._database
    launcher._database = database.connect(world.urls.product.replace("/test_", "/no_such_"))
    clock.now += 10 * GONE_AFTER_SECONDS
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    launcher._database = there
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.now += GONE_AFTER_SECONDS
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED
