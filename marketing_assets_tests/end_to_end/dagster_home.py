"""A Dagster instance as `marketing up` has it: a home and database, daemons and launches as processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from marketing_assets.orchestration.running import copy_packaged
from marketing_assets.storage import database
from marketing_assets_tests.end_to_end.shell import Shell


@dataclass
class DagsterHome:
    """Where the daemons of a shell's world run; `instance` reads what they did."""

    shell: Shell
    root: Path
    instance: dg.DagsterInstance

    @property
    def environment(self) -> dict[str, str]:
        url = self.shell.dagster_url.replace("postgresql:", "postgresql+psycopg2:")
        return {
            **self.shell.environment,
            "DAGSTER_HOME": str(self.root),
            "MARKETING_DAGSTER_DATABASE_URL": url,
        }

    @contextmanager
    def daemons(self, number: int = 1) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Daemons, each with its code server, ended with the block."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._daemon(index)) for index in range(number)]

    def launch(self, job: str, tags: str) -> None:
        """Put a run into the queue, as the launch button of the UI does."""
        arguments = ["job", "launch", "-w", str(self.root / "workspace.yaml"), "-j", job, "--tags", tags]
        done = subprocess.run(
            [str(Path(sys.executable).with_name("dagster")), *arguments],
            env=self.environment,
            cwd=self.shell.world.root,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def runs(self, job: str) -> list[dg.DagsterRun]:
        """Runs of a job, oldest first."""
        return list(reversed(self.instance.get_runs(dg.RunsFilter(job_name=job))))

    def log(self) -> str:
        """What the daemons said."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self.root.glob("daemon-*.log")))

    @contextmanager
    def _daemon(self, index: int) -> Iterator[subprocess.Popen[bytes]]:
        workspace = ["-w", str(self.root / "workspace.yaml")]
        with (self.root / f"daemon-{index}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dagster._daemon", "run", *workspace],
                env=self.environment,
                cwd=self.shell.world.root,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def dagster_home_of(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterHome]:
    """The home of the shell's Dagster database, with the files of the package."""
    root = shell.world.settings.home / "dagster"
    root.mkdir(parents=True, exist_ok=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        copy_packaged(name, root / name)
    url = shell.dagster_url.replace("postgresql:", "postgresql+psycopg2:")
    monkeypatch.setenv("MARKETING_DAGSTER_DATABASE_URL", url)
    database.prepare(database.DatabaseUrls(shell.world.urls.product, url))
    with dg.DagsterInstance.from_config(str(root)) as instance:
        yield DagsterHome(shell, root, instance)


def eventually(happened: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Wait until it has happened; fails with the explanation where it has not in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.3)
