"""The feature step next to a bare scan of the same files, in the same minutes on the same machine.

Passes alternate in one process. A ratio is the median of the ratios of each round, whose passes follow each
other, so that whatever else the machine does falls on both.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from pydantic import TypeAdapter

from benchmarks import child
from benchmarks.home import INGESTED, Home
from benchmarks.nights import ensure_ingested
from benchmarks.passes import Pass, Round
from benchmarks.progress import Progress
from marketing_assets.storage.datasets import TRANSACTIONS

DAY = INGESTED[-1]
"""The window that is measured ends here: it is there before any night has run."""

_ROUNDS = TypeAdapter(list[Round])
_PASS = TypeAdapter(Pass)


@dataclass(frozen=True)
class Compared:
    """One kind of pass: medians over the rounds, the highest memory, and how many scans long it is."""

    seconds: float
    rows: int
    ranges: int
    peak_memory: int
    over_scan: float
    over_wide_scan: float


@dataclass(frozen=True)
class FeaturesResult:
    """Two scans, the feature step as the product runs it, and the same in four ranges.

    `row_groups` are those of one day's file. A range can skip what it does not need only where there are
    several: below that, each range reads every file whole.
    """

    users: int
    rounds: int
    row_groups: int
    scan: Compared
    wide_scan: Compared
    features: Compared
    features_in_ranges: Compared


def measure(home: Home, progress: Progress) -> FeaturesResult:
    """Measure one size.

    Raises:
        ChildError: the process failed.
    """
    ensure_ingested(home, progress)
    progress("the feature step next to a bare scan, in turn")
    finished = child.run("benchmarks.passes", ["features", "--day", DAY.isoformat()], home, progress)
    rounds = _ROUNDS.validate_json(finished.report)
    return result(home.users, _row_groups(home.lake.path(TRANSACTIONS, DAY)), rounds)


def result(users: int, row_groups: int, rounds: Sequence[Round]) -> FeaturesResult:
    """What the rounds come to."""
    return FeaturesResult(
        users,
        len(rounds),
        row_groups,
        scan=_compared(rounds, lambda each: each.scan),
        wide_scan=_compared(rounds, lambda each: each.wide_scan),
        features=_compared(rounds, lambda each: each.features),
        features_in_ranges=_compared(rounds, lambda each: each.features_in_ranges),
    )


def _compared(rounds: Sequence[Round], kind: Callable[[Round], Pass]) -> Compared:
    return Compared(
        seconds=statistics.median(kind(each).seconds for each in rounds),
        rows=kind(rounds[0]).rows,
        ranges=kind(rounds[0]).ranges,
        peak_memory=max(kind(each).peak_memory for each in rounds),
        over_scan=statistics.median(kind(each).seconds / each.scan.seconds for each in rounds),
        over_wide_scan=statistics.median(kind(each).seconds / each.wide_scan.seconds for each in rounds),
    )


def measure_source(home: Home, progress: Progress) -> Pass:
    """The speed of the simulated source alone."""
    finished = child.run("benchmarks.passes", ["source", "--day", DAY.isoformat()], home, progress)
    done = _PASS.validate_json(finished.report)
    progress(f"the simulated source alone: {done.rows / done.seconds:,.0f} rows a second")
    return done


def _row_groups(file: Path) -> int:
    with duckdb.connect() as connection:
        found = connection.execute("select num_row_groups from parquet_file_metadata(?)", [str(file)])
        (groups,) = found.fetchall()[0]
        return int(groups)
