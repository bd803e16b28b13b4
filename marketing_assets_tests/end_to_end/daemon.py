"""Dagster's daemon as a process, as `marketing up` starts it, on a world of the tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import TypeVar

import psycopg

from marketing_assets.orchestration.jobs import NIGHTLY
from marketing_assets_tests.end_to_end.shell import NEXT, Shell

_T = TypeVar("_T")

_START = """
import os, sys
from marketing_assets.orchestration.running import copy_packaged, prepare_instance
from marketing_assets.settings import load_settings
settings = load_settings()
prepare_instance(settings)
workspace = settings.dagster_home / "workspace.yaml"
copy_packaged("workspace.yaml", workspace)
daemon = ["-m", "dagster._daemon", "run", "--log-level", "warning", "-w", str(workspace)]
os.execv(sys.executable, [sys.executable, *daemon])
"""

_FAULTY = "marketing_assets_tests.end_to_end.faulty_daemon"


def faults_at_night(directory: Path, **faults: str) -> dict[str, str]:
    """The environment of a daemon with these faults, whose night of `NEXT` comes with the file `dawn`."""
    return {
        "TEST_DAWN": str(directory / "dawn"),
        "TEST_NIGHT": f"{NEXT + timedelta(days=1)}T02:00:00+00:00",
        "TEST_KILLED": str(directory / "killed"),
        **faults,
    }


def quick_home(directory: Path) -> dict[str, str]:
    """The environment of a daemon whose dagster.yaml is the product's, but finds dead runs in seconds."""
    text = resources.files("marketing_assets.orchestration").joinpath("dagster.yaml").read_text("utf-8")
    for slow, quick in {
        "poll_interval_seconds: 30": "poll_interval_seconds: 2",
        "  class: WatchedRunLauncher\n": "  class: WatchedRunLauncher\n  config: {gone_after_seconds: 12}\n",
    }.items():
        assert text.count(slow) == 1
        text = text.replace(slow, quick)
    directory.mkdir()
    (directory / "dagster.yaml").write_text(text, encoding="utf-8")
    return {"DAGSTER_HOME": str(directory)}


def wait_for(what: str, found: Callable[[], _T | None], seconds: float = 120.0) -> _T:
    """Look again and again until there is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {seconds:.0f} s")


@dataclass
class DaemonProcess:
    """The process and Dagster's database; `settings` are more variables of its environment.

    With `faults` it is the daemon of `faulty_daemon.py`, which reads them from its environment.
    """

    shell: Shell
    settings: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.shell.world.root / "daemon.log"

    def start(self) -> None:
        """Start it, and wait until it has looked for requests once."""
        before = self._ticks() if self._has_storage() else 0
        self.launch()
        wait_for("tick of a sensor", lambda: self._has_storage() and self._ticks() > before)

    def launch(self) -> None:
        """Start it."""
        command = ["-c", _START] if self.faults is None else ["-m", _FAULTY]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env={**self.shell.environment, **self.settings, **(self.faults or {})},
                cwd=self.shell.world.root,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def until_schedules_are_known(self) -> None:
        """Wait until it has seen the night's schedule: no tick from then on is missed."""
        known = "select 1 from instigators where instigator_type = 'SCHEDULE' and instigator_body like '%{}%'"
        wait_for("schedule", lambda: self.rows(known.format(NIGHTLY)))

    def unfinished(self) -> int:
        """How many runs are not over."""
        [(count,)] = self.rows(
            "select count(*) from runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED')"
        )
        return int(str(count))

    def kill(self) -> None:
        """End the daemon alone, as `kill -9` would; its code server sees that and goes by itself."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """End the daemon, its code server and the runs, as a power cut would."""
        assert self.process is not None
        for process in [self.process.pid, *_descendants(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End the daemon and everything that it started."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Rows of a query on Dagster's own database."""
        with psycopg.connect(self.shell.dagster_url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def _has_storage(self) -> bool:
        try:
            return self.rows("select to_regclass('job_ticks') is not null") == [(True,)]
        except psycopg.OperationalError:
            return False

    def ticks(self, sensor: str) -> int:
        """How often that sensor has looked."""
        [(count,)] = self.rows(
            f"select count(*) from job_ticks where type = 'SENSOR' and tick_body like '%\"{sensor}\"%'"
        )
        return int(str(count))

    def _ticks(self) -> int:
        [(count,)] = self.rows("select count(*) from job_ticks where type = 'SENSOR'")
        return int(str(count))


def _descendants(process: int) -> list[int]:
    """Processes that it started, and those that they started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which may hold anything: the state, then the parent.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


@contextmanager
def daemon_on(
    shell: Shell, settings: Mapping[str, str] | None = None, faults: Mapping[str, str] | None = None
) -> Iterator[DaemonProcess]:
    """The daemon, running while the block does."""
    made = DaemonProcess(shell, settings or {}, faults)
    try:
        made.start()
        yield made
    finally:
        made.stop()
