"""PostgreSQL killed in the middle of a run and back after 20 s: one writer, and the same tables."""

import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketing_assets.storage.writer import WRITER_LOCK
from marketing_assets_tests.alert_service import alert_service
from marketing_assets_tests.end_to_end.daemon import daemon_on, faults_at_night, quick_home, wait_for
from marketing_assets_tests.end_to_end.own_server import OwnServer, down_for, own_server_below
from marketing_assets_tests.end_to_end.shell import NEXT, Shell
from marketing_assets_tests.world import World

pytestmark = pytest.mark.verify

DOWN_SECONDS = 20.0
HOLDERS = f"""
    select a.application_name from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and ((l.classid::bigint << 32) | l.objid::bigint) = {WRITER_LOCK}
        and l.database = (select oid from pg_database where datname = current_database())
"""
PUBLISHED = f"select run_id from marketing.published_nights where day = '{NEXT}' and status = 'published'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with own_server_below(tmp_path_factory) as made:
        yield made


@pytest.fixture
def world(server: OwnServer, tmp_path: Path) -> Iterator[World]:
    with server.world(tmp_path / "world") as made:
        yield made


@pytest.fixture
def same_server_shell(server: OwnServer, world: World) -> Shell:
    """Both databases on the server that is killed, as on one machine."""
    return Shell(world, server.url.replace("/postgres?", f"/dagster_{uuid.uuid4().hex}?"))


class Output:
    """What a command prints, as it does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._ended: str | None = None

    def end(self) -> str:
        if self._ended is None:
            self._ended, _ = self.process.communicate(timeout=180)
        return " ".join(self._ended.split())


def held(world: World, dataset: str) -> Path:
    """Wait until a run is about to write that dataset; the file that lets it go on."""
    wait_for("write", (world.settings.home / f"waiting-{dataset}").exists)
    return world.settings.home / f"go-{dataset}"


def test_no_second_writer_slips_in_while_the_first_is_cut_off(
    server: OwnServer, world: World, dagster_url: str, undisturbed: dict[str, Any], record_property: Any
) -> None:
    # Dagster's own database is elsewhere: the first run lives, and its step is tried again.
    shell = Shell(world, dagster_url)
    before = world.tables()
    first = Output(shell.start("run", "--day", NEXT.isoformat(), point="hold:user_features"))
    let_first_go = held(world, "user_features")
    [(first_holder,)] = world.rows(HOLDERS)
    killed = down_for(server, DOWN_SECONDS)
    assert world.rows(HOLDERS) == []

    second = Output(shell.start("run", "--day", NEXT.isoformat(), point="hold:campaign_targets"))
    let_second_go = held(world, "campaign_targets")
    [(second_holder,)] = world.rows(HOLDERS)
    assert second_holder != first_holder
    files, written = world.files(), modified(world)

    # The first goes on with what it has, and must notice; its next attempt stands in the queue.
    let_first_go.touch()
    waits = "select count(*) from pg_stat_activity where application_name = '{}' and wait_event = 'advisory'"
    wait_for("waiter", lambda: world.rows(waits.format(first_holder)) == [(1,)], 90)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        assert world.rows(HOLDERS) == [(second_holder,)]
        time.sleep(0.2)
    assert (world.files(), modified(world)) == (files, written)
    assert world.tables() == before

    let_second_go.touch()
    said = second.end()
    assert second.process.returncode == 0, said
    whole = time.monotonic() - killed
    published = world.tables()
    said = first.end()
    assert first.process.returncode == 0, said
    assert "Trying again, attempt 2: taking the writer lock anew." in said
    assert f"waiting for another writer: {second_holder}" in said
    assert world.tables() == published
    assert world.snapshot() == undisturbed
    record_property("measured", f"published {whole:.1f} s after the kill")


def modified(world: World) -> dict[str, int]:
    """When each partition was last renamed into its place."""
    return {str(file): file.stat().st_mtime_ns for file in world.settings.lake.rglob("part-0.parquet")}


def test_a_run_alone_goes_on_by_itself(
    server: OwnServer, world: World, dagster_url: str, undisturbed: dict[str, Any], record_property: Any
) -> None:
    shell = Shell(world, dagster_url)
    run = Output(shell.start("run", "--day", NEXT.isoformat(), point="wait:targeting_decisions"))
    wait_for("rename", (world.settings.home / "waiting").exists)
    killed = time.monotonic()
    server.kill()
    (world.settings.home / "go").touch()
    time.sleep(DOWN_SECONDS)
    server.start()
    said = run.end()
    assert run.process.returncode == 0, said
    record_property("measured", f"published {time.monotonic() - killed:.1f} s after the kill")
    assert "Trying again, attempt 2: taking the writer lock anew." in said
    assert world.snapshot() == undisturbed


def test_a_command_that_loses_dagster_s_database_too_says_so_and_is_run_again(
    server: OwnServer,
    same_server_shell: Shell,
    world: World,
    undisturbed: dict[str, Any],
    record_property: Any,
) -> None:
    before = world.tables()
    run = Output(same_server_shell.start("run", "--day", NEXT.isoformat(), point="hold:user_features"))
    let_go = held(world, "user_features")
    killed = time.monotonic()
    server.kill()
    let_go.touch()
    time.sleep(DOWN_SECONDS)
    server.start()
    said = run.end()
    assert run.process.returncode == 1, said
    # Dagster notices in the middle of a step or between two; either way, one error and what to do.
    error, _, remedy = said.partition("error: ")[2].partition("what to do: ")
    assert "connection" in error, said
    assert remedy.startswith("see that ")
    assert "PostgreSQL" in remedy
    assert world.tables() == before
    code, again = same_server_shell.call("run", "--day", NEXT.isoformat())
    assert code == 0, again
    record_property(
        "measured", f"published {time.monotonic() - killed:.1f} s after the kill: {error} {remedy}"
    )
    assert world.snapshot() == undisturbed


@pytest.mark.parametrize("down", [DOWN_SECONDS, 45.0])
def test_a_night_of_the_schedule_is_whole_again_without_anybody(
    server: OwnServer,
    same_server_shell: Shell,
    world: World,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    down: float,
    record_property: Any,
) -> None:
    faults = faults_at_night(tmp_path, TEST_POINT="hold:user_features")
    with (
        alert_service() as service,
        daemon_on(
            same_server_shell,
            {"MARKETING_ALERT_URLS": service.url, **quick_home(tmp_path / "dagster")},
            faults,
        ) as daemon,
    ):
        daemon.until_schedules_are_known()
        (tmp_path / "dawn").touch()
        let_go = held(world, "user_features")
        killed = time.monotonic()
        server.kill()
        let_go.touch()
        time.sleep(down)
        server.start()

        def published() -> bool:
            try:
                return len(world.rows(PUBLISHED)) == 1
            except psycopg.OperationalError:
                return False

        wait_for("published night", published, 400)
        whole = time.monotonic() - killed
        wait_for("end of every run", lambda: daemon.unfinished() == 0, 60)
        runs = daemon.rows("select status, partition from runs order by id")
        record_property("measured", f"published {whole:.1f} s after the kill; runs {runs}; {service.posts}")
        assert runs[-1] == ("SUCCESS", str(NEXT))
        assert {status for status, _ in runs[:-1]} == {"FAILURE"}
    assert world.snapshot() == undisturbed


def test_a_run_that_computes_through_a_restart_is_not_taken_for_dead(
    server: OwnServer, world: World, own_dagster_url: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    # Run monitoring of this daemon calls a run dead that nobody has seen for twelve seconds.
    faults = faults_at_night(tmp_path, TEST_POINT="hold:user_features")
    with daemon_on(Shell(world, own_dagster_url), quick_home(tmp_path / "dagster"), faults) as daemon:
        daemon.until_schedules_are_known()
        (tmp_path / "dawn").touch()
        let_go = held(world, "user_features")
        down_for(server, 5)
        time.sleep(20)  # the lock's session is gone, and the step that computes does not know
        assert world.rows(HOLDERS) == []
        assert daemon.rows("select status from runs") == [("STARTED",)]
        let_go.touch()
        wait_for("end of the run", lambda: daemon.unfinished() == 0)
        assert daemon.rows("select status from runs") == [("SUCCESS",)]
    assert world.snapshot() == undisturbed
