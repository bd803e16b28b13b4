"""What a reader of one user's offers meets while a night is published: waits, errors, halves of a night.

The reader is a process of its own, as the sidecar is, and asks again and again for one user after another.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import psycopg

from benchmarks.made_nights import FIRST, MadeNights, made_campaign
from benchmarks.progress import Progress
from marketing_assets.storage.publish import Published

_WHILE_SECONDS = 3.0
_FEWEST_NIGHTS, _MOST_NIGHTS = 3, 9
_GROUPS = 3
_PAUSE_SECONDS = 0.001
_ROOT = Path(__file__).parents[1]
# Every user gets one target a night: more or fewer than nights published, or segments of another night than
# the newest, is a part of a night.
_ASK = (
    "select (select max(day) from marketing.published_nights where status = 'published') as night,"
    " (select as_of from marketing.user_segments where user_id = %(user)s) as segments,"
    " (select count(*) from marketing.campaign_targets where user_id = %(user)s) as targets"
)


@dataclass(frozen=True)
class ServingResult:
    """The reader while nothing and while nights are published, in turn; milliseconds from asking to answer.

    Each night has `rows` new targets and as many segments. There are as many nights as give the reader three
    seconds of publishing, at least three; before each it is left alone for as long as a night took.
    `p99_ratio` is the median of the ratios in three groups of nights that follow each other.
    """

    users: int
    rows: int
    nights: int
    publish_seconds: float
    asked_alone: int
    asked_while: int
    median_alone: float
    median_while: float
    p99_alone: float
    p99_while: float
    p99_ratio: float
    slowest_while: float
    errors: int
    inconsistent: int


@dataclass
class _Spans:
    """When the reader was alone, and when a night was published: pairs of instants."""

    alone: list[tuple[float, float]] = field(default_factory=list)
    publishing: list[tuple[float, float]] = field(default_factory=list)


def measure(directory: Path, *, users: int, rows: int, progress: Progress) -> ServingResult:
    """Read without end, publish nights of `rows` (as many as users) new targets now and then, and compare.

    Raises:
        MarketingError: a night could not be published.
    """
    report, ready, stop = (directory / name for name in ("reader.json", "ready", "stop"))
    with MadeNights(directory, users) as made:
        _publish(made, 0, users)
        _, took = _publish(made, 1, users)
        arguments = ["--url", made.url, "--users", str(users), "--report", str(report)]
        arguments += ["--ready", str(ready), "--stop", str(stop)]
        reader = subprocess.Popen([sys.executable, "-m", "benchmarks.serving", *arguments], cwd=_ROOT)
        made.give_way()  # as every night does
        try:
            while not ready.exists() and reader.poll() is None:
                time.sleep(0.05)
            spans = _in_turn(made, users, took, progress)
        finally:
            stop.touch()
            with suppress(subprocess.TimeoutExpired):
                reader.wait(30)
            reader.kill()
        found = json.loads(report.read_text(encoding="utf-8"))
    return _result(users, rows, spans, found)


def _in_turn(made: MadeNights, users: int, took: float, progress: Progress) -> _Spans:
    spans = _Spans()
    while len(spans.publishing) < _FEWEST_NIGHTS or (
        len(spans.publishing) < _MOST_NIGHTS and _seconds(spans.publishing) < _WHILE_SECONDS
    ):
        number = 2 + len(spans.publishing)
        day = FIRST + timedelta(days=number)
        made.write(day, [made_campaign(0, day)], range(users))
        progress(f"the reader alone, then while night {number + 1} is published")
        start = time.time()
        time.sleep(took)
        spans.alone.append((start, time.time()))
        start = time.time()
        made.publish(day, [made_campaign(0, day)])
        spans.publishing.append((start, time.time()))
    return spans


def _publish(made: MadeNights, number: int, users: int) -> tuple[Published, float]:
    day = FIRST + timedelta(days=number)
    made.write(day, [made_campaign(0, day)], range(users))
    return made.publish(day, [made_campaign(0, day)])


def _result(users: int, rows: int, spans: _Spans, found: dict[str, list[list[float]]]) -> ServingResult:
    alone = _milliseconds(found["asked"], spans.alone)
    during = _milliseconds(found["asked"], spans.publishing)
    return ServingResult(
        users=users,
        rows=rows,
        nights=len(spans.publishing),
        publish_seconds=_seconds(spans.publishing) / len(spans.publishing),
        asked_alone=len(alone),
        asked_while=len(during),
        median_alone=statistics.median(alone),
        median_while=statistics.median(during),
        p99_alone=_p99(alone),
        p99_while=_p99(during),
        p99_ratio=_p99_ratio(found["asked"], spans),
        slowest_while=max(during),
        errors=len(found["errors"]),
        inconsistent=len(found["inconsistent"]),
    )


def _p99_ratio(asked: list[list[float]], spans: _Spans) -> float:
    nights = len(spans.publishing)
    edges = [nights * group // _GROUPS for group in range(_GROUPS + 1)]
    return statistics.median(
        _p99(_milliseconds(asked, spans.publishing[first:after]))
        / _p99(_milliseconds(asked, spans.alone[first:after]))
        for first, after in pairwise(edges)
    )


def _milliseconds(asked: list[list[float]], spans: list[tuple[float, float]]) -> list[float]:
    return [1000 * took for at, took in asked if any(start <= at <= end for start, end in spans)]


def _seconds(spans: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in spans)


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def read(url: str, users: int, ready: Path, stop: Path) -> dict[str, list[object]]:
    """Ask until `stop` is there; each question's instant and seconds, errors, and answers of half a night."""
    asked: list[object] = []
    errors: list[object] = []
    inconsistent: list[object] = []
    draw = random.Random(1)
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.exists():
            user = f"u{draw.randrange(users):08d}"
            at, start = time.time(), time.perf_counter()
            try:
                row = connection.execute(_ASK, {"user": user}).fetchone()
            except psycopg.Error as error:
                errors.append(str(error))
                if connection.closed:
                    break
                continue
            asked.append((at, time.perf_counter() - start))
            if len(asked) == 1:
                ready.touch()
            assert row is not None
            night, segments, targets = row
            if segments != night or targets != (night - FIRST).days + 1:
                inconsistent.append([user, str(row)])
            time.sleep(_PAUSE_SECONDS)
    return {"asked": asked, "errors": errors, "inconsistent": inconsistent}


def main() -> None:
    """Be the reader."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--ready", type=Path, required=True)
    parser.add_argument("--stop", type=Path, required=True)
    asked = parser.parse_args()
    found = read(asked.url, asked.users, asked.ready, asked.stop)
    asked.report.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
