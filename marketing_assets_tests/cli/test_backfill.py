"""What a backfill runs: what is missing, in as few runs as that takes, and nothing twice."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from marketing_assets.cli.backfill import Piece, pieces
from marketing_assets.domain.days import days_between
from marketing_assets.storage.datasets import (
    SEGMENT_SUMMARY,
    TRANSACTIONS,
    USER_FEATURES,
    USER_PATTERNS,
    Dataset,
)
from marketing_assets.storage.lake import Lake

FIRST = date(2026, 2, 1)
DAYS = days_between(FIRST, FIRST + timedelta(days=9))
EARLIER = days_between(FIRST - timedelta(days=30), FIRST - timedelta(days=1))
BEHAVIOUR = ("user_features", "user_patterns", "segment_summary")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def put(lake: Lake, dataset: Dataset, days: Sequence[date]) -> None:
    for day in days:
        lake.path(dataset, day).parent.mkdir(parents=True)
        lake.path(dataset, day).touch()


def of(lake: Lake, *, again: bool = False) -> list[Piece]:
    return list(pieces(lake, DAYS, EARLIER, again=again))


def test_an_empty_lake_gets_its_windows_and_then_everything_in_one_run(lake: Lake) -> None:
    assert of(lake) == [
        Piece("transactions", "ingest_range", [*EARLIER, *DAYS]),
        Piece("features and patterns", "behaviour_range", DAYS, BEHAVIOUR),
    ]


def test_what_is_there_is_not_made_again(lake: Lake) -> None:
    put(lake, TRANSACTIONS, [*EARLIER, *DAYS])
    for dataset in (USER_FEATURES, USER_PATTERNS, SEGMENT_SUMMARY):
        put(lake, dataset, [*DAYS[:3], *DAYS[5:8]])
    assert of(lake) == [
        Piece("features and patterns", "behaviour_range", DAYS[3:5], BEHAVIOUR),
        Piece("features and patterns", "behaviour_range", DAYS[8:], BEHAVIOUR),
    ]


def test_an_interrupted_backfill_goes_on_where_it_was(lake: Lake) -> None:
    put(lake, TRANSACTIONS, [*EARLIER, *DAYS])
    put(lake, USER_FEATURES, DAYS[:6])  # killed after six days of features
    assert of(lake) == [
        Piece("features", "behaviour_range", DAYS[6:], ("user_features",)),
        Piece("patterns", "behaviour_range", DAYS, ("user_patterns", "segment_summary")),
    ]


def test_patterns_of_new_features_are_made_anew(lake: Lake) -> None:
    put(lake, TRANSACTIONS, [*EARLIER, *DAYS])
    put(lake, USER_FEATURES, DAYS[1:])
    put(lake, USER_PATTERNS, DAYS)
    put(lake, SEGMENT_SUMMARY, DAYS)
    assert of(lake) == [Piece("features and patterns", "behaviour_range", DAYS[:1], BEHAVIOUR)]


def test_with_everything_there_nothing_is_run(lake: Lake) -> None:
    put(lake, TRANSACTIONS, [*EARLIER, *DAYS])
    for dataset in (USER_FEATURES, USER_PATTERNS, SEGMENT_SUMMARY):
        put(lake, dataset, DAYS)
    assert of(lake) == []


def test_again_makes_the_days_anew_from_the_source_on_but_not_their_windows(lake: Lake) -> None:
    put(lake, TRANSACTIONS, [*EARLIER[1:], *DAYS])
    assert of(lake, again=True) == [
        Piece("transactions", "ingest_range", EARLIER[:1]),
        Piece("transactions, features and patterns", "behaviour_range", DAYS),
    ]
