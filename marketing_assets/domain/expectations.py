"""What a day is compared with, before anybody is alarmed: the same weekday, or the day before.

Pure functions over counts; where the counts come from, and from which change on one is warned, belongs
elsewhere.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from statistics import median

WEEKS = 4
_LEAST_DAYS = 2


def same_weekdays(day: date) -> list[date]:
    """The same weekday of the four weeks before `day`, ascending."""
    return [day - timedelta(weeks=week) for week in range(WEEKS, 0, -1)]


def expected_rows(rows: Mapping[date, int], day: date) -> float | None:
    """Median of the same weekdays of the last four weeks; None where fewer than two of them are known."""
    known = [rows[each] for each in same_weekdays(day) if each in rows]
    return float(median(known)) if len(known) >= _LEAST_DAYS else None


def change(observed: float, expected: float) -> float:
    """How far `observed` lies from `expected`, as a share of it; of at least one, so that it is finite."""
    return abs(observed - expected) / max(1.0, expected)
