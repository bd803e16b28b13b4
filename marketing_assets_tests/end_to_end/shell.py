"""The `marketing` command as a process, on a world of the tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from marketing_assets.storage import clock
from marketing_assets_tests.world import DAY, ERASURE_KEY, World, population, purchases

NEXT = DAY + timedelta(days=1)
"""The night after the decided one."""


@dataclass
class Shell:
    """Runs the command on a world."""

    world: World
    dagster_url: str

    @property
    def environment(self) -> dict[str, str]:
        settings = self.world.settings
        values = {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "MARKETING_HOME": str(settings.home),
            "MARKETING_DATABASE_URL": str(settings.database_url),
            "MARKETING_DAGSTER_DATABASE_URL": self.dagster_url,
            "MARKETING_SOURCE": "files",
            "MARKETING_SOURCE_URL": str(self.world.csv),
            "MARKETING_START_DATE": str(settings.start_date),
            "MARKETING_WINDOW_DAYS": str(settings.window_days),
            "MARKETING_ERASURE_KEY": ERASURE_KEY,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MARKETING_", "DAGSTER_"))}
        return {**inherited, **values}

    def start(self, *arguments: str, point: str | None = None) -> subprocess.Popen[str]:
        """Start the command; it is killed or held at `point` where one is given."""
        command = [str(Path(sys.executable).with_name("marketing"))]
        if point is not None:
            command = [sys.executable, "-m", "marketing_assets_tests.end_to_end.killer", point]
        return subprocess.Popen(
            [*command, *arguments],
            env=self.environment,
            cwd=self.world.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def call(self, *arguments: str, point: str | None = None) -> tuple[int, str]:
        """Run the command to its end; its exit code and what it printed."""
        process = self.start(*arguments, point=point)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def night(self, point: str | None = None) -> int:
        """Run the night of `NEXT`."""
        return self.call("run", "--day", NEXT.isoformat(), point=point)[0]


def late_population() -> list[str]:
    """The population, and 30 users who come on `NEXT`."""
    return [*population(), *(line for number in range(30) for line in purchases(f"late{number}", [NEXT]))]


@contextmanager
def shell_on(world: World, dagster_url: str) -> Iterator[Shell]:
    """The decided world with one more day of purchases, at the time of the night of `NEXT`."""
    world.write(late_population())
    with clock.simulated(world.database, "test") as simulated:
        simulated.set(datetime(NEXT.year, NEXT.month, NEXT.day, 2, tzinfo=UTC) + timedelta(days=1))
        yield Shell(world, dagster_url)
