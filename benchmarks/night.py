"""The process that `nights.py` measures: it prepares databases, ingests days, or runs one night.

It runs them as the `marketing` command does, through Dagster on its instance, and reports the steps of the
run from Dagster's own event log.
"""

import argparse
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg

from benchmarks.home import FIRST_NIGHT
from benchmarks.memory import own_peak
from marketing_assets.cli.console import Progress
from marketing_assets.cli.nights import Nights, night_time
from marketing_assets.orchestration.jobs import INGEST_RANGE
from marketing_assets.orchestration.running import Runner
from marketing_assets.settings import Settings, load_settings
from marketing_assets.storage import clock, database, embedded
from marketing_assets.storage.datasets import DATASETS, REJECTED_TRANSACTIONS, TRANSACTIONS
from marketing_assets.storage.lake import Lake


@dataclass(frozen=True)
class Step:
    """One step of a run, by the instants of its events (seconds since 1970)."""

    step: str
    start: float
    end: float


@dataclass(frozen=True)
class RunRecord:
    """One run: its steps, the numbers each asset recorded (summed over partitions), its peak memory."""

    steps: list[Step] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_memory: int = 0


class _Lines(Progress):
    """Progress as plain lines, for the process that started this one."""

    def __call__(self, message: str) -> None:
        sys.stdout.write(f"{self._title}: {message}\n")
        sys.stdout.flush()


def prepare(settings: Settings) -> RunRecord:
    """Empty databases, and a lake that holds nothing but the transactions before the first night."""
    lake = Lake(settings.lake)
    for dataset in DATASETS.values():
        kept = dataset in (TRANSACTIONS, REJECTED_TRANSACTIONS)
        for day in lake.days(dataset):
            if not kept or day >= FIRST_NIGHT:
                shutil.rmtree(lake.path(dataset, day).parent)
    assert settings.database_url is None, "only the embedded server's databases are dropped"
    host = embedded.start(settings.embedded_database)
    with psycopg.connect(f"postgresql://postgres@/postgres?host={host}", autocommit=True) as connection:
        for name in ("marketing", "dagster"):
            drop = psycopg.sql.SQL("drop database if exists {} with (force)")
            connection.execute(drop.format(psycopg.sql.Identifier(name)))
    Runner(settings, _Lines("prepare")).close()
    return RunRecord()


def ingest(settings: Settings, first: date, last: date) -> RunRecord:
    """The days from `first` to `last` in one run, at the time of the night of `last`."""
    runner = Runner(settings, _Lines("ingest"))
    serving = database.connect(database.locate(settings).product)
    try:
        with clock.simulated(serving, "benchmarks") as simulated:
            simulated.set(night_time(last, settings))
            report = runner.run_range(INGEST_RANGE, first, last, {"trigger": "bench"})
        if not report.success:
            raise RuntimeError(report.error)
        return _recorded(report.run_id)
    finally:
        serving.dispose()
        runner.close()


def night(settings: Settings, day: date) -> RunRecord:
    """One night, at its own time."""
    nights = Nights(settings, _Lines("night"))
    try:
        (run,) = nights.run([day], trigger="bench", simulate=True)
        return _recorded(run.night.run_id)
    finally:
        nights.close()


def _recorded(run_id: str) -> RunRecord:
    with _instance() as instance:
        steps = [
            Step(each.step_key, each.start_time, each.end_time)
            for each in instance.get_run_step_stats(run_id)
            if each.start_time is not None and each.end_time is not None
        ]
        events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    figures: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for event in events:
        made = event.asset_materialization
        for name, value in made.metadata.items() if made is not None else ():
            if made is not None and isinstance(value.value, int | float):
                figures[made.asset_key.to_user_string()][name] += value.value
    ordered = sorted(steps, key=lambda step: step.start)
    return RunRecord(ordered, {asset: dict(found) for asset, found in figures.items()}, own_peak())


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance


def main() -> None:
    """Do what the arguments say and write the record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("prepare", "ingest", "night"))
    parser.add_argument("--first", type=date.fromisoformat, default=FIRST_NIGHT)
    parser.add_argument("--day", type=date.fromisoformat, default=FIRST_NIGHT)
    parser.add_argument("--report", type=Path, required=True)
    asked = parser.parse_args()
    settings = load_settings()
    match asked.what:
        case "prepare":
            record = prepare(settings)
        case "ingest":
            record = ingest(settings, asked.first, asked.day)
        case _:
            record = night(settings, asked.day)
    asked.report.write_text(json.dumps(asdict(record)), encoding="utf-8")


if __name__ == "__main__":
    main()
