"""The process that `features.py` measures: passes over a window's files, one after another, timed inside.

Each pass has an engine of its own. Whatever comes before it (imports, opening DuckDB, naming files) is not in
its seconds.
"""

import argparse
import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from sqlglot import exp

from benchmarks.memory import own_peak, reset_own_peak
from marketing_assets.domain.days import end_of, start_of, window
from marketing_assets.engine.base import Value
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.orchestration.assets import user_features
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings, load_settings
from marketing_assets.sources.simulated import SimulatedSource
from marketing_assets.storage.datasets import TRANSACTIONS
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.lake_record import read_record

RANGES = 4
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 9
_ENOUGH_SECONDS = 10.0
_DAYS_AT_ONCE, _SMALL_POPULATION = 10, 100_000
_SCAN = "select count(*) as rows, sum(amount) as spend, count(distinct user_id) as users from files"
_WIDE_SCAN = (
    "select count(*) as rows, sum(amount) as spend, count(distinct user_id) as users, "
    "count(bucket) as buckets, count(location) as locations, count(category) as categories, "
    "count(occurred_at) as instants, count(day) as days from files"
)


@dataclass(frozen=True)
class Pass:
    """One pass: its seconds, the rows it read (or made), ranges of user buckets, peak memory in bytes."""

    seconds: float
    rows: int
    ranges: int
    peak_memory: int


@dataclass(frozen=True)
class Round:
    """One after another: a scan of what is summed, one of every column the features need, the features.

    The feature step runs as the night runs it, and in `RANGES` ranges.
    """

    scan: Pass
    wide_scan: Pass
    features: Pass
    features_in_ranges: Pass


class _Counting(DuckDBEngine):
    """The product's engine, which counts the ranges of buckets that are computed."""

    ranges = 0

    def create(
        self, relation: str, statement: str | exp.Expr, parameters: Mapping[str, Value] | None = None
    ) -> None:
        self.ranges += "bucket_from" in (parameters or {})
        super().create(relation, statement, parameters)

    def append(
        self, relation: str, statement: str | exp.Expr, parameters: Mapping[str, Value] | None = None
    ) -> None:
        self.ranges += "bucket_from" in (parameters or {})
        super().append(relation, statement, parameters)


class Window:
    """The window that ends with `day`, in the lake of the settings."""

    def __init__(self, settings: Settings, day: date) -> None:
        self._settings = settings
        self._day = day
        self._lake = Lake(settings.lake)
        self._rows = 0

    def rounds(self) -> list[Round]:
        """At least three rounds, and more where they are short."""
        done: list[Round] = []
        start = time.monotonic()
        while len(done) < _FEWEST_ROUNDS or (
            len(done) < _MOST_ROUNDS and time.monotonic() - start < _ENOUGH_SECONDS
        ):
            scan = self._scan(_SCAN)
            self._rows = scan.rows
            done.append(Round(scan, self._scan(_WIDE_SCAN), self._features(None), self._features(RANGES)))
        return done

    def _engine(self) -> _Counting:
        return _Counting(
            memory_limit=self._settings.memory_limit,
            threads=self._settings.threads,
            temp_directory=self._lake.scratch / "spill",
        )

    def _scan(self, statement: str) -> Pass:
        engine = self._engine()
        files = [
            self._lake.path(TRANSACTIONS, each) for each in window(self._day, self._settings.window_days)
        ]
        named = exp.Array(expressions=[exp.Literal.string(str(file)) for file in files])
        scan = exp.Anonymous(this="read_parquet", expressions=[named])
        engine.register_query("files", exp.select(exp.Star()).from_(scan))
        reset_own_peak()
        start = time.perf_counter()
        (found,) = engine.fetch(statement)
        seconds = time.perf_counter() - start
        engine.close()
        return Pass(seconds, int(str(found["rows"])), 1, own_peak())

    def _features(self, ranges: int | None) -> Pass:
        record = read_record(self._settings.lake)
        assert record is not None
        engine = self._engine()
        platform = Platform(self._settings, "benchmarks")
        platform.lake, platform.record, platform.engine = self._lake, record, engine
        reset_own_peak()
        with (
            nullcontext()
            if ranges is None
            else patch.object(user_features, "_ROWS_AT_ONCE", self._rows // ranges + 1)
        ):
            start = time.perf_counter()
            user_features.compute_features(platform, self._day)
            seconds = time.perf_counter() - start
        engine.close()
        return Pass(seconds, self._rows, engine.ranges, own_peak())


def source(settings: Settings, day: date) -> Pass:
    """Days of the simulated source that end with `day`, made as a table, before ingest sees them.

    As many as ingest reads at once: ten of a small population, one of a large one.
    """
    days = _DAYS_AT_ONCE if settings.simulated_users <= _SMALL_POPULATION else 1
    first = day - timedelta(days=days - 1)
    directory = settings.home / "source"
    engine = DuckDBEngine(
        memory_limit=settings.memory_limit, threads=settings.threads, temp_directory=directory / "spill"
    )
    simulated = SimulatedSource(
        users=settings.simulated_users,
        seed=settings.simulated_seed,
        lake=Lake(directory),
        now=lambda: datetime.now(UTC),
    )
    start = time.perf_counter()
    simulated.load(engine, "made", start_of(first, settings.zone), end_of(day, settings.zone))
    seconds = time.perf_counter() - start
    rows = int(str(engine.fetch("select count(*) as rows from made")[0]["rows"]))
    engine.close()
    return Pass(seconds, rows, 1, own_peak())


def main() -> None:
    """Do what the arguments name and write what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("features", "source"))
    parser.add_argument("--day", type=date.fromisoformat, required=True)
    parser.add_argument("--report", type=Path, required=True)
    asked = parser.parse_args()
    settings = load_settings()
    if asked.what == "source":
        found: object = asdict(source(settings, asked.day))
    else:
        found = [asdict(each) for each in Window(settings, asked.day).rounds()]
        Lake(settings.lake).remove_scratch()
    asked.report.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
