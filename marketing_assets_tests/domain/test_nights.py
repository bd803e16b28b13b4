from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from marketing_assets.domain.nights import standing
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
