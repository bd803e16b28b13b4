"""Rows of `published_nights`: what is decided, recorded, and stale."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection

from marketing_assets.storage import database
from marketing_assets.storage.repositories import nights
from marketing_assets.storage.repositories.nights import Night

D = date(2026, 2, 10)
AT = datetime(2026, 2, 11, 2, tzinfo=UTC)


@pytest.fixture
def connection(fresh_database: str) -> Iterator[Connection]:
    url = fresh_database.replace("postgresql:", "postgresql+psycopg:")
    database.prepare(database.DatabaseUrls(url, url))
    engine = database.connect(url)
    with engine.begin() as made:
        yield made
    engine.dispose()


def publish(connection: Connection, *numbers: int) -> None:
    for number in numbers:
        day = D + timedelta(days=number)
        nights.record_published(connection, Night(day, "run", "policy", "published", None, 3, AT))


def skip(connection: Connection, *numbers: int) -> None:
    days = [D + timedelta(days=number) for number in numbers]
    nights.record_skipped(connection, days, run_id="run", policy_version="p", reason="missed", at=AT)


def standing(connection: Connection) -> dict[int, tuple[str, str | None]]:
    found = {day: nights.night(connection, day) for day in nights.recorded(connection)}
    return {(day - D).days: (row.status, row.reason) for day, row in sorted(found.items()) if row}


def test_nothing_is_recorded_at_first(connection: Connection) -> None:
    assert nights.recorded(connection) == {}
    assert nights.first_decided(connection) is None


def test_skipped_nights_are_recorded_and_not_decided(connection: Connection) -> None:
    skip(connection, 0, 1)
    publish(connection, 2, 3)
    assert nights.first_decided(connection) == D + timedelta(days=2)
    assert nights.recorded(connection) == {
        D: False,
        D + timedelta(days=1): False,
        D + timedelta(days=2): True,
        D + timedelta(days=3): True,
    }


def test_published_nights_of_a_range_become_stale_and_stay_decided(connection: Connection) -> None:
    publish(connection, 0, 1, 3, 4)
    skip(connection, 2)
    marked = nights.mark_stale(connection, D + timedelta(days=1), D + timedelta(days=3), reason="late rows")
    assert marked == 2
    assert standing(connection) == {
        0: ("published", None),
        1: ("stale", "late rows"),
        2: ("skipped", "missed"),
        3: ("stale", "late rows"),
        4: ("published", None),
    }
    assert nights.recorded(connection)[D + timedelta(days=1)]
    assert nights.mark_stale(connection, D, D + timedelta(days=3), reason="more") == 1
    publish(connection, 1)  # decided again
    assert standing(connection)[1] == ("published", None)
    assert standing(connection)[3] == ("stale", "late rows")


def targeted(connection: Connection, number: int, targets: int) -> None:
    day = D + timedelta(days=number)
    nights.record_targeted(connection, day, run_id="now", policy_version="p", targets=targets, at=AT)


def test_targets_by_hand_raise_what_a_night_has_and_change_nothing_else(connection: Connection) -> None:
    publish(connection, 0, 1)
    nights.mark_stale(connection, D, D, reason="late rows")
    targeted(connection, 0, 5)
    targeted(connection, 1, 7)
    assert nights.decided_targets(connection, D) == {D: 5, D + timedelta(days=1): 7}
    assert standing(connection) == {0: ("stale", "late rows"), 1: ("published", None)}
    assert nights.night(connection, D) == Night(D, "run", "policy", "stale", "late rows", 5, AT)


def test_a_night_that_only_has_targets_by_hand_is_neither_decided_nor_skipped(connection: Connection) -> None:
    publish(connection, 0)
    targeted(connection, 1, 4)
    day = D + timedelta(days=1)
    assert nights.newest_decided(connection) == D
    assert nights.recorded(connection) == {D: True}  # so that it is missed where it does not come
    assert nights.decided_targets(connection, D) == {D: 3, day: 4}
    found = nights.night(connection, day)
    assert found is not None
    assert (found.status, found.is_decided) == ("targeted", False)
    targeted(connection, 1, 6)
    assert nights.decided_targets(connection, day) == {day: 6}
    publish(connection, 1)
    assert nights.night(connection, day) == Night(day, "run", "policy", "published", None, 3, AT)


def test_a_night_that_never_came_keeps_its_targets_by_hand(connection: Connection) -> None:
    publish(connection, 0)
    targeted(connection, 1, 4)
    skip(connection, 0, 1, 2)
    assert standing(connection) == {
        0: ("published", None),
        1: ("skipped", "missed"),
        2: ("skipped", "missed"),
    }
    assert nights.decided_targets(connection, D) == {D: 3, D + timedelta(days=1): 4}
