"""Nights at one size: the days before them once, the first night, then steady ones, each a process.

The first night is the one on which everyone is new. Databases and everything decided are made anew before
it, so that every measurement starts from the same state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pydantic import TypeAdapter

from benchmarks import child
from benchmarks.home import FIRST_NIGHT, INGESTED, STEADY_NIGHTS, WINDOW_DAYS, Home, Ingest
from benchmarks.memory import Peak, Sample, peak
from benchmarks.night import RunRecord
from benchmarks.progress import Progress
from marketing_assets.domain.days import window
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.datasets import TRANSACTIONS

_RECORD = TypeAdapter(RunRecord)


@dataclass(frozen=True)
class StepResult:
    """One step: seconds, the rows it worked on (None where it works on a handful), peak memory."""

    step: str
    seconds: float
    rows: int | None
    peak: Peak


@dataclass(frozen=True)
class NightResult:
    """One night: seconds of its process from start to end, its steps, what it saw and what it decided."""

    day: date
    seconds: float
    steps: list[StepResult]
    peak: Peak
    window_rows: int
    new_targets: int

    @property
    def step_seconds(self) -> float:
        """Seconds of all steps together."""
        return sum(step.seconds for step in self.steps)


@dataclass(frozen=True)
class NightsResult:
    """The nights of one size; `steady` is the median of `steady_seconds`."""

    users: int
    ingest: Ingest
    first: NightResult
    steady: NightResult
    steady_seconds: list[float]

    @property
    def window_rows(self) -> int:
        """Transactions in the window of the steady night."""
        return self.steady.window_rows


def measure(home: Home, steady_nights: int, progress: Progress) -> NightsResult:
    """Run the first night and `steady_nights` (1 to 3) after it.

    Raises:
        ChildError: a night failed.
    """
    ensure_ingested(home, progress)
    try:
        progress("empty databases, transactions before the first night")
        child.run("benchmarks.night", ["prepare"], home, progress)
        first = _night(home, FIRST_NIGHT, progress)
        steady = [_night(home, day, progress) for day in STEADY_NIGHTS[:steady_nights]]
    finally:
        home.stop_server()
    return NightsResult(
        users=home.users,
        ingest=home.ingest,
        first=first,
        steady=sorted(steady, key=lambda night: night.seconds)[len(steady) // 2],
        steady_seconds=[night.seconds for night in steady],
    )


def ensure_ingested(home: Home, progress: Progress) -> None:
    """Ingest what is missing of the days before the first night; they stay for later runs."""
    missing = home.missing
    if not missing:
        return
    progress(f"ingesting {len(missing)} of {len(INGESTED)} days of {home.users:,} simulated users, once")
    try:
        arguments = ["ingest", "--first", missing[0].isoformat(), "--day", missing[-1].isoformat()]
        finished = child.run("benchmarks.night", arguments, home, progress)
    finally:
        home.stop_server()
    record = _RECORD.validate_json(finished.report)
    seconds = sum(step.end - step.start for step in record.steps)
    home.add_ingest(Ingest(len(missing), int(record.figures[TRANSACTIONS.name]["rows"]), seconds))


def window_rows(home: Home, day: date) -> int:
    """Transactions in the window that ends with `day`."""
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=home.directory / "spill")
    try:
        home.lake.register(engine, "window_transactions", TRANSACTIONS, window(day, WINDOW_DAYS))
        return int(str(engine.fetch("select count(*) as rows from window_transactions")[0]["rows"]))
    finally:
        engine.close()


def _night(home: Home, day: date, progress: Progress) -> NightResult:
    progress(f"night of {day}")
    finished = child.run("benchmarks.night", ["night", "--day", day.isoformat()], home, progress)
    record = _RECORD.validate_json(finished.report)
    in_window = window_rows(home, day)
    rows = rows_worked_on(record.figures, in_window)
    whole = peak(finished.samples, 0, float("inf"))
    return NightResult(
        day=day,
        seconds=finished.seconds,
        steps=_steps(record, rows, finished.samples),
        peak=Peak(max(record.peak_memory, whole.process), whole.server_private, whole.server_shared),
        window_rows=in_window,
        new_targets=int(record.figures["published_night"]["new_targets"]),
    )


def _steps(record: RunRecord, rows: dict[str, int], samples: Sequence[Sample]) -> list[StepResult]:
    return [
        StepResult(each.step, each.end - each.start, rows.get(each.step), peak(samples, each.start, each.end))
        for each in record.steps
    ]


def rows_worked_on(figures: dict[str, dict[str, float]], window_transactions: int) -> dict[str, int]:
    """What each step's seconds are spent on, in rows, from what the assets recorded of themselves."""
    published = figures["published_night"]
    return {
        "ingest": int(figures["transactions"]["read"]),
        "user_features": window_transactions,
        "user_patterns": int(figures["user_features"]["rows"]),
        "campaign_targets": int(figures["user_patterns"]["rows"]),
        "published_night": int(published["new_targets"] + published["segments"]),
    }
