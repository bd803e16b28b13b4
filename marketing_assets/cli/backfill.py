"""`marketing backfill`: transactions, features and patterns of a range of days; nothing is decided.

What is there already stays, so that an interrupted backfill goes on where it was: each partition appears
whole or not at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from marketing_assets.cli.nights import Nights
from marketing_assets.domain.days import ONE_DAY, window
from marketing_assets.orchestration.jobs import BEHAVIOUR, BEHAVIOUR_RANGE, INGEST_RANGE
from marketing_assets.orchestration.running import RunReport
from marketing_assets.storage.datasets import (
    SEGMENT_SUMMARY,
    TRANSACTIONS,
    USER_FEATURES,
    USER_PATTERNS,
    Dataset,
)
from marketing_assets.storage.lake import Lake

_PATTERNS = (USER_PATTERNS.name, SEGMENT_SUMMARY.name)


@dataclass(frozen=True)
class Piece:
    """One run of a backfill: a job, or some assets of it, over days that follow each other."""

    what: str
    job: str
    days: list[date]
    assets: tuple[str, ...] | None = None


def backfill(nights: Nights, days: Sequence[date], *, again: bool) -> Iterator[tuple[Piece, RunReport]]:
    """Make what is missing of `days`, and of the windows that end with them; with `again`, all of `days`.

    Raises:
        NightError: a day lies outside the lake or is not over.
        RunFailedError: a run failed; what was made before stands.
    """
    nights.refuse_outside(days)
    tags = {"trigger": "backfill"}
    for piece in pieces(Lake(nights.settings.lake), days, _needed(nights, days[0]), again=again):
        yield piece, nights.run_range(piece.job, piece.days, tags, piece.assets)


def pieces(lake: Lake, days: Sequence[date], earlier: Sequence[date], *, again: bool) -> Iterator[Piece]:
    """What a backfill of `days` runs, in its order.

    `earlier` are the days before them that their windows need. One run covers features and patterns of all
    days, unless what is missing has gaps or an interrupted backfill left more features than patterns.
    """
    ingest = _missing(lake, (TRANSACTIONS,), earlier if again else [*earlier, *days])
    yield from (Piece("transactions", INGEST_RANGE, part) for part in _runs(ingest))
    if again:
        yield Piece("transactions, features and patterns", BEHAVIOUR_RANGE, list(days))
        return
    features = _missing(lake, (USER_FEATURES,), days)
    patterns = _missing(lake, (USER_FEATURES, USER_PATTERNS, SEGMENT_SUMMARY), days)
    if features == patterns:
        for part in _runs(features):
            yield Piece("features and patterns", BEHAVIOUR_RANGE, part, BEHAVIOUR)
        return
    for part in _runs(features):
        yield Piece("features", BEHAVIOUR_RANGE, part, (USER_FEATURES.name,))
    for part in _runs(patterns):
        yield Piece("patterns", BEHAVIOUR_RANGE, part, _PATTERNS)


def _needed(nights: Nights, first: date) -> list[date]:
    before = window(first, nights.settings.window_days)[:-1]
    return [day for day in before if day >= nights.record.start_date]


def _missing(lake: Lake, datasets: Sequence[Dataset], days: Sequence[date]) -> list[date]:
    """Those of `days` that lack a partition of one of the datasets."""
    return [day for day in days if not all(lake.path(dataset, day).exists() for dataset in datasets)]


def _runs(days: Sequence[date]) -> Iterator[list[date]]:
    """Cut ascending days where one is missing."""
    run: list[date] = []
    for day in days:
        if run and day - run[-1] != ONE_DAY:
            yield run
            run = []
        run.append(day)
    if run:
        yield run
