"""What a day is compared with: the median of its weekday, or the day before."""

from datetime import date, timedelta

import pytest

from marketing_assets.domain.expectations import change, expected_rows, same_weekdays

D = date(2026, 2, 10)


def test_the_same_weekday_of_the_last_four_weeks() -> None:
    days = same_weekdays(D)
    assert days == [date(2026, 1, 13), date(2026, 1, 20), date(2026, 1, 27), date(2026, 2, 3)]
    assert {day.weekday() for day in days} == {D.weekday()}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([10, 20, 30, 100], 25.0), ([10, 20], 15.0), ([0, 0, 50], 0.0), ([10], None), ([], None)],
)
def test_the_median_of_those_that_are_known(rows: list[int], expected: float | None) -> None:
    known = {D - timedelta(weeks=week): each for week, each in enumerate(rows, start=1)}
    others = {D - timedelta(days=1): 1_000, D - timedelta(weeks=5): 1_000}
    assert expected_rows({**known, **others}, D) == expected


@pytest.mark.parametrize(
    ("observed", "expected", "is_change"),
    [(50, 100, 0.5), (150, 100, 0.5), (100, 100, 0), (0, 0, 0), (7, 0, 7.0), (0, 10, 1)],
)
def test_a_change_is_a_share_of_what_was_expected(observed: float, expected: float, is_change: float) -> None:
    assert change(observed, expected) == is_change
