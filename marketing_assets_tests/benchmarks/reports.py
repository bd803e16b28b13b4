"""A report with round figures, for the tests that render or judge one."""

from dataclasses import replace
from datetime import date

from benchmarks.comparison import ComparisonResult
from benchmarks.features import FeaturesResult, result
from benchmarks.home import Ingest
from benchmarks.machine import Machine
from benchmarks.memory import Peak
from benchmarks.nights import NightResult, NightsResult, StepResult
from benchmarks.passes import Pass, Round
from benchmarks.suite import Report, SizeResult

MIB = 1 << 20

MACHINE = Machine(
    cpu="Some CPU",
    cores=2,
    memory=8 << 30,
    system="Linux 6.1",
    python="3.11.7",
    duckdb="1.5.6",
    postgresql="18.4",
    dagster="1.13.27",
    measured_on=date(2026, 11, 23),
    commit="0123456789",
)

COMPARED = ComparisonResult(
    seconds=20.0,
    load_seconds=1.0,
    rows=10_000_000,
    users=100_000,
    peak_memory=400 * MIB,
    product_seconds=2.0,
    equal=True,
    differences=[],
)


def night(users: int, seconds: float) -> NightResult:
    peak = Peak(400 * MIB, 20 * MIB, 30 * MIB)
    steps = [
        StepResult("user_features", seconds / 2, users * 100, peak),
        StepResult("campaigns", seconds / 4, None, peak),
    ]
    return NightResult(date(2025, 12, 30), seconds, steps, peak, window_rows=users * 100, new_targets=users)


def nights(users: int, seconds: float) -> NightsResult:
    ingest = Ingest(days=90, rows=users * 100, seconds=10.0)
    return NightsResult(users, ingest, night(users, seconds * 2), night(users, seconds), [seconds])


def features(
    users: int, *, scan: float, wide_scan: float, whole: float, in_ranges: float, row_groups: int = 10
) -> FeaturesResult:
    one = Pass(seconds=scan, rows=users * 100, ranges=1, peak_memory=100 * MIB)
    only = Round(
        scan=one,
        wide_scan=replace(one, seconds=wide_scan),
        features=replace(one, seconds=whole),
        features_in_ranges=replace(one, seconds=in_ranges, ranges=4),
    )
    return result(users, row_groups, [only])


def report() -> Report:
    compared = features(100_000, scan=0.5, wide_scan=1.0, whole=3.0, in_ranges=4.0)
    small = SizeResult(10_000, nights=nights(10_000, 4.0))
    large = SizeResult(100_000, nights=nights(100_000, 20.0), features=compared)
    return Report(
        MACHINE,
        [small, large],
        publishing={"targets": 2_000_000, "seconds": 9.5, "bloat": 1.2},
        serving={"p99_ratio": 1.5, "errors": 0, "inconsistent": 0},
        compared={"pandas_plain": COMPARED, "pandas": COMPARED, "postgres": COMPARED},
    )
