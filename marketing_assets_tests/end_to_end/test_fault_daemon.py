"""The daemon killed in the middle of a tick and started again: the night once, no request lost or doubled."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketing_assets.storage.repositories import requests
from marketing_assets_tests.end_to_end.daemon import DaemonProcess, faults_at_night, wait_for
from marketing_assets_tests.end_to_end.shell import NEXT, Shell, shell_on
from marketing_assets_tests.world import World

pytestmark = pytest.mark.verify

KILLED = -9
NIGHTS = f"select status from marketing.published_nights where day = '{NEXT}'"
RUNS = f"select status from runs where partition = '{NEXT}'"


@pytest.fixture
def shell(decided_world: World, own_dagster_url: str) -> Iterator[Shell]:
    with shell_on(decided_world, own_dagster_url) as made:
        yield made


def killed_in_tick(daemon: DaemonProcess) -> float:
    """Wait until the daemon has died; when it was noticed, as `time.monotonic`."""
    process = daemon.process
    assert process is not None
    wait_for("death of the daemon", lambda: process.poll() is not None)
    assert process.returncode == KILLED, daemon.log.read_text()
    return time.monotonic()


def watched_until_published(daemon: DaemonProcess) -> None:
    """Wait for the night, and for two more looks of the sensors, so that what would be doubled shows."""
    wait_for("published night", lambda: daemon.shell.world.rows(NIGHTS) == [("published",)], 120)
    wait_for("end of every run", lambda: daemon.unfinished() == 0)
    ticks = daemon.ticks("requests")
    wait_for("looks of the sensor", lambda: daemon.ticks("requests") > ticks + 1)


@pytest.mark.parametrize("place", ["TICK_CREATED", "RUN_CREATED", "RUN_LAUNCHED", "TICK_SUCCESS"])
def test_killed_in_the_tick_of_the_schedule_the_night_is_run_once(
    shell: Shell, undisturbed: dict[str, Any], tmp_path: Path, place: str, record_property: Any
) -> None:
    world = shell.world
    faults = faults_at_night(tmp_path, TEST_TICK=f"schedule/nightly_marketing/{place}")
    daemon = DaemonProcess(shell, faults=faults)
    try:
        daemon.start()
        daemon.until_schedules_are_known()
        (tmp_path / "dawn").touch()
        died = killed_in_tick(daemon)
        created = len(daemon.rows(RUNS))
        assert created == (0 if place == "TICK_CREATED" else 1)
        daemon.start()
        watched_until_published(daemon)
        record_property("measured", f"published {time.monotonic() - died:.1f} s after the daemon's death")
        assert daemon.rows(RUNS) == [("SUCCESS",)]
        ticks = daemon.rows(
            "select status from job_ticks where type = 'SCHEDULE' and tick_body like '%nightly_marketing%'"
        )
        assert ticks == [("SUCCESS",)]
    finally:
        daemon.stop()
    assert world.snapshot() == undisturbed


@pytest.mark.parametrize("place", ["TICK_CREATED", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED"])
def test_killed_in_the_tick_of_the_sensor_requests_are_neither_lost_nor_doubled(
    shell: Shell, undisturbed: dict[str, Any], tmp_path: Path, place: str, record_property: Any
) -> None:
    world = shell.world
    faults = {"TEST_TICK": f"sensor/requests/{place}", "TEST_KILLED": str(tmp_path / "killed")}
    asked = [ask(world, {}), ask(world, {"day": NEXT.isoformat()})]
    daemon = DaemonProcess(shell, faults=faults)
    try:
        daemon.launch()
        died = killed_in_tick(daemon)
        assert len(daemon.rows(RUNS)) == (1 if place in ("RUN_CREATED", "RUN_LAUNCHED") else 0)
        daemon.start()
        watched_until_published(daemon)
        record_property("measured", f"published {time.monotonic() - died:.1f} s after the daemon's death")
        statement = "select request_id, status from marketing.requests order by requested_at, request_id"
        ended = [(request, "succeeded") for request in asked]
        wait_for("answers", lambda: sorted(world.rows(statement)) == sorted(ended))
        assert daemon.rows(RUNS) == [("SUCCESS",)]
    finally:
        daemon.stop()
    ours = {name: value for name, value in undisturbed.items() if name != "requests"}
    assert {name: value for name, value in world.snapshot().items() if name != "requests"} == ours


def ask(world: World, payload: dict[str, Any]) -> uuid.UUID:
    with world.database.begin() as connection:
        return requests.ask(connection, "analysis", payload, "test")
