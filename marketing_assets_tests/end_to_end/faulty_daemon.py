"""Dagster's daemon as `marketing up` starts it, with faults that its environment names.

    TEST_TICK   <kind>/<name>/<place>: the tick of that schedule or sensor is killed there, as `kill -9` does,
                by Dagster's own aid for that (`debug_crash_flags`), once: TEST_KILLED is the file it leaves
    TEST_DAWN   a file: until it exists, the clock of the schedules stands at two seconds before TEST_NIGHT
    TEST_POINT  a point of `killer.py`, in the processes of the runs

Runs, sensors and code server are those of the product, on the real clock.
"""

import os
import signal
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import dagster._daemon.sensor as sensors
import dagster._scheduler.scheduler as schedules
import dagster._time
from dagster._daemon.cli import cli

from marketing_assets.orchestration.running import prepare_instance
from marketing_assets.settings import load_settings

_BEFORE = 2.0
_LOCATION = "marketing_assets_tests.end_to_end.faulty_location"


def kill_in_tick(kind: str, name: str, place: str, once: Path) -> None:
    if once.exists():
        return
    once.touch()
    flags = {name: {place: int(signal.SIGKILL)}}
    if kind == "schedule":
        schedules.launch_scheduled_runs = partial(schedules.launch_scheduled_runs, debug_crash_flags=flags)
    else:
        sensors.execute_sensor_iteration = partial(sensors.execute_sensor_iteration, debug_crash_flags=flags)


def begin_before(night: float, dawn: Path) -> None:
    """The time of schedules: stands before the night until there is dawn, and goes on from there."""

    def timestamp() -> float:
        try:
            return night + time.time() - dawn.stat().st_mtime
        except FileNotFoundError:
            return night - _BEFORE

    dagster._time._mockable_get_current_timestamp = timestamp
    dagster._time._mockable_get_current_datetime = lambda: datetime.fromtimestamp(timestamp(), UTC)


def main() -> None:
    prepare_instance(load_settings())
    if "TEST_TICK" in os.environ:
        kind, name, place = os.environ["TEST_TICK"].split("/")
        kill_in_tick(kind, name, place, once=Path(os.environ["TEST_KILLED"]))
    if "TEST_DAWN" in os.environ:
        night = datetime.fromisoformat(os.environ["TEST_NIGHT"]).timestamp()
        begin_before(night, Path(os.environ["TEST_DAWN"]))
    cli(["run", "--log-level", "warning", "-m", _LOCATION])


if __name__ == "__main__":
    main()
