"""What a measurement was made on: the machine, the software and the commit. No host name and no paths."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

from sqlalchemy import text

from benchmarks.home import Home
from marketing_assets.storage import database, embedded


@dataclass(frozen=True)
class Machine:
    """Where and when; memory in bytes. `commit` ends with + where files differed from it."""

    cpu: str
    cores: int
    memory: int
    system: str
    python: str
    duckdb: str
    postgresql: str
    dagster: str
    measured_on: date
    commit: str


def this_machine(home: Home) -> Machine:
    """The machine this runs on; `home` is where its PostgreSQL is asked for its version."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
        duckdb=metadata.version("duckdb"),
        postgresql=_postgresql(home),
        dagster=metadata.version("dagster"),
        measured_on=datetime.now(UTC).date(),
        commit=_commit(),
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _postgresql(home: Home) -> str:
    host = embedded.start(home.server)
    engine = database.connect(f"postgresql+psycopg://postgres@/postgres?host={host}")
    try:
        with engine.connect() as connection:
            return str(connection.execute(text("show server_version")).scalar()).split()[0]
    finally:
        engine.dispose()
        home.stop_server()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parents[1]), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "marketing_assets", "benchmarks")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+" if changed else "")
