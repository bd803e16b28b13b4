"""A report as tables, by name: what the terminal, `bench.md` and the marked places of the docs show.

Pure: no file is read or written here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bounds import Bound, bounds
from benchmarks.comparison import ComparisonResult
from benchmarks.features import FeaturesResult
from benchmarks.figures import Figures
from benchmarks.machine import Machine
from benchmarks.memory import Peak
from benchmarks.nights import NightsResult, StepResult
from benchmarks.suite import Report, SizeResult

_MIB = 1 << 20
_GIB = 1 << 30
_DIGITS = 100
MEANS = {
    "pandas_plain": "pandas, as one writes it first",
    "pandas": "pandas, with all that makes it fast",
    "postgres": "PostgreSQL, plain SQL and a good index",
}
"""By which other means the features are computed, by the name of the part."""


@dataclass(frozen=True)
class Table:
    """A small table; the first column is text, the others are figures."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def machine_line(machine: Machine) -> str:
    """Where and when it was measured, in one sentence."""
    software = (
        f"Python {machine.python}, DuckDB {machine.duckdb}, PostgreSQL {machine.postgresql}, "
        f"Dagster {machine.dagster}"
    )
    hardware = f"{machine.cpu}, {machine.cores} cores, {machine.memory / _GIB:.0f} GiB, {machine.system}"
    return f"Measured on {machine.measured_on} at commit {machine.commit}: {hardware}, {software}."


def tables(report: Report) -> list[Table]:
    """Every table that the report has figures for."""
    nights = [size.nights for size in report.sizes if size.nights is not None]
    features = [size.features for size in report.sizes if size.features is not None]
    found: list[Table] = []
    if nights:
        found += [_nights(nights), _scaling(nights), *map(_steps, nights), _ingest(report.sizes)]
    if features:
        found.append(_features(features))
    if report.publishing:
        found.append(_figures("publishing", "Publishing new targets", report.publishing))
    if report.serving:
        found.append(_figures("serving", "A reader while a night is published", report.serving))
    if report.api:
        found.append(_figures("api", "The API beside an empty FastAPI route", report.api))
    if report.compared:
        found.append(_compared(report.compared))
    return [*found, _bounds(bounds(report))]


def _nights(nights: Sequence[NightsResult]) -> Table:
    header = ["users", "transactions in the window", "first night", "steady night", "largest process"]
    rows = [
        [
            f"{each.users:,}",
            f"{each.window_rows:,}",
            seconds(each.first.seconds),
            seconds(each.steady.seconds),
            size(max(each.first.peak.largest, each.steady.peak.largest)),
        ]
        for each in nights
    ]
    return Table("nights", "A night, from the start of its process to its end", header, rows)


def _scaling(nights: Sequence[NightsResult]) -> Table:
    header = ["step", *(f"{each.users:,} users" for each in nights)]
    names = [step.step for step in nights[-1].steady.steps]
    rows = [[name, *(seconds(_seconds_of(each, name)) for each in nights)] for name in names]
    total = ["all steps", *(seconds(each.steady.step_seconds) for each in nights)]
    process = ["the process", *(seconds(each.steady.seconds) for each in nights)]
    return Table("scaling", "Steps of a steady night", header, [*rows, total, process])


def _seconds_of(nights: NightsResult, name: str) -> float:
    return sum(step.seconds for step in nights.steady.steps if step.step == name)


def _steps(nights: NightsResult) -> Table:
    header = ["step", "first night", "rows/s", "process", "PostgreSQL",
              "steady night", "rows/s", "process", "PostgreSQL"]  # fmt: skip
    steady = {step.step: step for step in nights.steady.steps}
    rows = [[step.step, *_step(step), *_step(steady[step.step])] for step in nights.first.steps]
    title = f"Steps at {nights.users:,} users: seconds, rows a second, peak memory (PostgreSQL: own + shared)"
    return Table(f"steps-{nights.users}", title, header, rows)


def _step(step: StepResult) -> list[str]:
    speed = "–" if step.rows is None else rounded(step.rows / step.seconds)
    return [seconds(step.seconds), speed, size(step.peak.process), _server(step.peak)]


def _server(peak: Peak) -> str:
    return f"{peak.server_private / _MIB:.0f} + {peak.server_shared / _MIB:.0f} MiB"


def _ingest(sizes: Sequence[SizeResult]) -> Table:
    header = ["users", "days", "transactions", "seconds", "rows/s", "source alone, rows/s"]
    rows = [
        [
            f"{each.users:,}",
            str(each.nights.ingest.days),
            f"{each.nights.ingest.rows:,}",
            seconds(each.nights.ingest.seconds),
            rounded(each.nights.ingest.rows / each.nights.ingest.seconds),
            "–" if each.source is None else rounded(each.source.rows / each.source.seconds),
        ]
        for each in sizes
        if each.nights is not None
    ]
    return Table("ingest", "Ingesting the window at once, before the first night", header, rows)


def _features(features: Sequence[FeaturesResult]) -> Table:
    header = ["users", "pass", "seconds", "rows/s", "over the sums", "over all columns", "peak memory"]
    rows = [row for each in features for row in _feature_rows(each)]
    title = "The feature step and bare scans of the same files, in turn (medians)"
    return Table("features", title, header, rows)


def _feature_rows(each: FeaturesResult) -> Iterator[list[str]]:
    named = {
        "scan: count, sum, distinct users": each.scan,
        "scan of all columns it reads": each.wide_scan,
        f"features, ranges: {each.features.ranges}, as the night runs them": each.features,
        f"features, ranges: {each.features_in_ranges.ranges}": each.features_in_ranges,
    }
    for name, done in named.items():
        yield [
            f"{each.users:,}",
            name,
            seconds(done.seconds),
            rounded(done.rows / done.seconds),
            f"{done.over_scan:.1f} ×",
            f"{done.over_wide_scan:.1f} ×",
            size(done.peak_memory),
        ]


def _figures(name: str, title: str, figures: Figures) -> Table:
    rows = [[figure.replace("_", " "), _value(value, "")] for figure, value in figures.items()]
    return Table(name, title, ["figure", "value"], rows)


def _compared(compared: Mapping[str, ComparisonResult]) -> Table:
    header = ["by other means", "users", "transactions", "seconds", "the product", "slower", "loading",
              "peak memory", "rows"]  # fmt: skip
    rows = [
        [
            MEANS[name],
            f"{each.users:,}",
            f"{each.rows:,}",
            seconds(each.seconds),
            seconds(each.product_seconds),
            f"{each.seconds / each.product_seconds:.1f} ×",
            f"{seconds(each.load_seconds)}, {'before' if name == 'postgres' else 'included'}",
            size(each.peak_memory),
            "equal" if each.equal else "DIFFER",
        ]
        for name, each in compared.items()
    ]
    return Table("compared", "The same features by other means, in the same run", header, rows)


def _bounds(found: Sequence[Bound]) -> Table:
    header = ["bound", "measured", "limit", "kept", "if not"]
    rows = [
        [
            each.name,
            _value(each.value, each.unit),
            f"{'≥' if each.at_least else '≤'} {_value(each.limit, each.unit)}",
            "yes" if each.met else "NO",
            "fails" if each.fails else "is shown",
        ]
        for each in found
    ]
    return Table("bounds", "Bounds", header, rows)


def _value(value: float, unit: str) -> str:
    return f"{rounded(value) if value >= _DIGITS else f'{value:.2f}'.removesuffix('.00')} {unit}".strip()


def seconds(value: float) -> str:
    """Seconds with as many digits as say something."""
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def size(value: int) -> str:
    """Bytes in MiB or GiB."""
    return f"{value / _GIB:.2f} GiB" if value >= _GIB else f"{value / _MIB:.0f} MiB"


def rounded(value: float) -> str:
    """A large number in three digits."""
    return f"{float(f'{value:.3g}'):,.0f}"
