from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.days import day_of, days_between, end_of, spans, start_of, stretches, window

ZONES = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 3, 30), 24), (date(2026, 10, 25), 25)]
)
def test_a_day_is_as_long_as_the_clock_says(day: date, hours: int) -> None:
    paris = ZoneInfo("Europe/Paris")
    assert end_of(day, paris) - start_of(day, paris) == timedelta(hours=hours)


def test_midnight_that_does_not_exist_is_the_moment_of_the_jump() -> None:
    # Cairo jumped from 00:00 to 01:00 on 2024-04-26.
    cairo = ZoneInfo("Africa/Cairo")
    assert start_of(date(2024, 4, 26), cairo) == datetime(2024, 4, 25, 22, tzinfo=UTC)
    assert end_of(date(2024, 4, 26), cairo) - start_of(date(2024, 4, 26), cairo) == timedelta(hours=23)


@given(st.dates(date(1990, 1, 1), date(2037, 1, 1)), st.sampled_from(ZONES))
def test_days_follow_each_other_without_gap_or_overlap(day: date, name: str) -> None:
    zone = ZoneInfo(name)
    assert end_of(day, zone) == start_of(day + timedelta(days=1), zone)
    assert day_of(start_of(day, zone), zone) == day
    assert day_of(end_of(day, zone) - timedelta(microseconds=1), zone) == day


def test_the_window_ends_with_the_day() -> None:
    days = window(date(2026, 3, 1), 31)
    assert (days[0], days[-1], len(days)) == (date(2026, 1, 30), date(2026, 3, 1), 31)


def test_the_window_begins_with_the_first_day_there_is() -> None:
    first = date(2026, 2, 20)
    assert window(date(2026, 3, 1), 31, first)[0] == first
    assert window(first, 31, first) == [first]
    assert window(date(2026, 2, 19), 31, first) == []


def test_spans_cut_without_losing_a_day() -> None:
    days = days_between(date(2026, 1, 1), date(2026, 1, 25))
    parts = list(spans(days, 10))
    assert [len(part) for part in parts] == [10, 10, 5]
    assert [day for part in parts for day in part] == days


def test_stretches_are_runs_of_consecutive_days_of_bounded_length() -> None:
    first = date(2026, 2, 27)
    days = [first + timedelta(days=offset) for offset in (4, 0, 1, 2, 6)]
    assert list(stretches(days, 2)) == [
        (date(2026, 2, 27), date(2026, 2, 28)),
        (date(2026, 3, 1), date(2026, 3, 1)),
        (date(2026, 3, 3), date(2026, 3, 3)),
        (date(2026, 3, 5), date(2026, 3, 5)),
    ]
    assert list(stretches([], 31)) == []


def test_a_window_begins_no_earlier_than_since() -> None:
    day = date(2026, 3, 2)
    assert window(day, 3) == [date(2026, 2, 28), date(2026, 3, 1), day]
    assert window(day, 3, since=date(2026, 3, 1)) == [date(2026, 3, 1), day]
    assert window(day, 3, since=date(2026, 3, 3)) == []
