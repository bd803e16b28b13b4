from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.days import ONE_DAY, day_of, days_between, end_of, start_of
from marketing_assets.domain.nights import MOST_TRIES, Repair, again_at, due_at, repair, standing
from marketing_assets.errors import NightError

UTC_ZONE = ZoneInfo("UTC")
DAY = date(2026, 11, 21)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "newest", "decided", "expected"),
    [
        ("2026-11-22T02:00", None, False, "decide"),
        ("2026-11-22T23:59", date(2026, 11, 20), False, "decide"),
        ("2026-11-22T12:00", DAY, True, "decide"),
        ("2026-11-23T00:00", date(2026, 11, 20), False, "missed"),
        ("2026-11-23T00:00", DAY, True, "stays"),
        ("2026-11-22T02:00", date(2026, 11, 22), True, "stays"),
        ("2026-11-22T02:00", date(2026, 11, 22), False, "missed"),
    ],
)
def test_standing(now: str, newest: date | None, decided: bool, expected: str) -> None:
    assert standing(DAY, at(now), UTC_ZONE, newest, decided=decided) == expected


def test_a_day_that_is_not_over_is_refused_with_the_newest_that_is() -> None:
    with pytest.raises(NightError, match="2026-11-21 is not over yet") as caught:
        standing(DAY, at("2026-11-21T23:59"), UTC_ZONE, None, decided=False)
    assert "2026-11-20" in caught.value.remedy


def test_the_zone_says_when_the_target_day_is_over() -> None:
    auckland = ZoneInfo("Pacific/Auckland")
    assert standing(DAY, at("2026-11-22T10:59"), auckland, None, decided=False) == "decide"
    assert standing(DAY, at("2026-11-22T11:00"), auckland, None, decided=False) == "missed"


AT_TWO = time(2)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2026-11-22T02:00"),
        ("America/New_York", "2026-11-22T07:00"),
        ("Asia/Kolkata", "2026-11-21T20:30"),
    ],
)
def test_a_night_is_due_on_the_day_after_by_the_clock_of_the_zone(zone: str, expected: str) -> None:
    assert due_at(DAY, AT_TWO, ZoneInfo(zone)) == at(expected)


def nights(decided: str = "", skipped: str = "") -> dict[date, bool]:
    return {date(2026, 11, int(day)): True for day in decided.split()} | {
        date(2026, 11, int(day)): False for day in skipped.split()
    }


def november(*days: int) -> list[date]:
    return [date(2026, 11, day) for day in days]


@pytest.mark.parametrize(
    ("now", "recorded", "measured", "expected"),
    [
        pytest.param("2026-11-21T09:00", {}, [], Repair(), id="a new installation"),
        pytest.param(
            "2026-11-21T09:00", nights("20"), november(20), Repair(), id="the first night is behind"
        ),
        pytest.param(
            "2026-11-22T02:14", nights("20"), november(20), Repair(), id="the night may still begin"
        ),
        pytest.param(
            "2026-11-22T02:15", nights("20"), november(20), Repair(decide=DAY), id="the night did not begin"
        ),
        pytest.param(
            "2026-11-22T23:59",
            nights("20"),
            november(20),
            Repair(decide=DAY),
            id="as long as its target day lasts",
        ),
        pytest.param(
            "2026-11-23T00:00",
            nights("20"),
            november(20),
            Repair(None, ((DAY, DAY),), (DAY,)),
            id="too late: measured and recorded, and the next night is not due yet",
        ),
        pytest.param(
            "2026-11-26T08:00",
            nights("18 19 22", skipped="20"),
            november(18, 19, 22),
            Repair(
                date(2026, 11, 25),
                ((DAY, DAY), (date(2026, 11, 23), date(2026, 11, 24))),
                (DAY, *november(23, 24)),
            ),
            id="two gaps, oldest first, as far back as patterns are kept",
        ),
        pytest.param(
            "2026-11-30T08:00",
            nights("10", skipped="11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28"),
            november(27, 29),
            Repair(
                date(2026, 11, 29), ((date(2026, 11, 25), date(2026, 11, 26)), (date(2026, 11, 28),) * 2), ()
            ),
            id="patterns of days past their retention are not missing",
        ),
    ],
)
def test_repair(now: str, recorded: dict[date, bool], measured: list[date], expected: Repair) -> None:
    assert repair(at(now), UTC_ZONE, AT_TWO, recorded, measured, keep_days=5) == expected


@pytest.mark.parametrize(
    ("tries", "transient", "expected"),
    [(1, True, "02:25"), (3, True, "02:25"), (MOST_TRIES, True, None), (1, False, None)],
)
def test_a_run_that_failed_is_tried_again_a_few_times_and_spaced(
    tries: int, transient: bool, expected: str | None
) -> None:
    found = again_at(tries, at("2026-11-22T02:10"), transient=transient)
    assert found == (None if expected is None else at(f"2026-11-22T{expected}"))


ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Auckland", "America/Havana")
_OFFSETS = st.integers(0, 60)


@given(
    zone=st.sampled_from(ZONES),
    minutes=st.integers(0, 120 * 24 * 60),
    due=st.times(timezones=st.none()),
    decided=st.sets(_OFFSETS, min_size=1),
    skipped=st.sets(_OFFSETS),
    measured=st.sets(_OFFSETS),
    keep_days=st.integers(2, 70),
)
def test_a_repair_completes_what_is_missing_and_nothing_else(
    zone: str,
    minutes: int,
    due: time,
    decided: set[int],
    skipped: set[int],
    measured: set[int],
    keep_days: int,
) -> None:
    begin, where = date(2026, 2, 1), ZoneInfo(zone)
    now = start_of(begin, where) + timedelta(minutes=minutes)
    yesterday = day_of(now, where) - timedelta(days=1)

    def days(offsets: set[int]) -> set[date]:
        return {begin + timedelta(days=offset) for offset in offsets}

    recorded = dict.fromkeys(days(skipped), False) | dict.fromkeys(days(decided), True)
    found = repair(now, where, due, recorded, days(measured), keep_days)
    measuring = {day for first, last in found.measure for day in days_between(first, last)}
    first = min(days(decided))

    if found.decide is not None:
        assert standing(found.decide, now, where, max(days(decided)), decided=False) == "decide"
        assert found.decide not in recorded
        assert now >= due_at(found.decide, due, where)
    too_late = {day for day in days_between(first, yesterday) if end_of(day + ONE_DAY, where) <= now}
    assert set(found.record) == too_late - recorded.keys()
    kept = {day for day in too_late if day > yesterday - timedelta(days=keep_days)}
    assert measuring == kept - days(measured)
    assert list(found.measure) == sorted(found.measure)
    assert all((last - begin).days < 31 for begin, last in found.measure)

    afterwards = recorded | dict.fromkeys(found.record, False)
    afterwards |= {} if found.decide is None else {found.decide: True}
    assert repair(now, where, due, afterwards, days(measured) | measuring, keep_days) == Repair()
