"""Events: when they happened by the sidecar's clock, and what makes two of them the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.events import Event, body_hash, corrected, in_utc, is_sensible

ID = UUID("6f1de1a6-52ad-4a0f-9c68-1f4f6f1f1a00")
RECEIVED = datetime(2026, 2, 12, 9, tzinfo=UTC)
MONTH = timedelta(days=30)
INSTANTS = st.datetimes(timezones=st.just(UTC))
SECONDS = st.integers(-(10**9), 10**9).map(lambda seconds: timedelta(seconds=seconds))


def event(occurred_at: datetime, sent_at: datetime, **more: Any) -> Event:
    return Event(ID, "welcome-bonus-2026-02-11", "view", occurred_at, sent_at, **more)


def at(**before: float) -> datetime:
    return RECEIVED - timedelta(**before)


CONVERSION = replace(
    event(at(hours=2), at(hours=1)),
    kind="conversion",
    amount=Decimal("12.50"),
    items=[{"sku": "a", "pieces": 2}],
    transaction_id="t1",
)


@pytest.mark.parametrize(
    ("occurred_at", "sent_at", "happened"),
    [
        (at(minutes=5), at(seconds=1), at(seconds=299)),  # a good clock, a second on the way
        (at(days=365), at(days=365), RECEIVED),  # a clock that is a year behind
        (at(days=-364), at(days=-365), at(days=1)),  # a year ahead, a day on the phone
        (at(days=40), at(days=0), at(days=30)),  # longer on the phone than counts
        (at(days=0), at(days=1), RECEIVED),  # said to have happened after it was sent
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), at(days=30)),
        (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), RECEIVED),
    ],
)
def test_when_it_happened(occurred_at: datetime, sent_at: datetime, happened: datetime) -> None:
    assert corrected(event(occurred_at, sent_at), RECEIVED) == happened


@given(INSTANTS, INSTANTS)
def test_it_never_happened_later_than_it_came_nor_a_month_before(occurred: datetime, sent: datetime) -> None:
    assert RECEIVED - MONTH <= corrected(event(occurred, sent), RECEIVED) <= RECEIVED


@given(st.integers(0, 30 * 86400), SECONDS)
def test_how_wrong_the_clock_is_makes_no_difference(waited: int, wrong: timedelta) -> None:
    sent = RECEIVED + wrong
    happened = corrected(event(sent - timedelta(seconds=waited), sent), RECEIVED)
    assert happened == RECEIVED - timedelta(seconds=waited)


def test_every_attempt_to_send_is_the_same_event() -> None:
    assert body_hash(replace(CONVERSION, sent_at=at(days=-3))) == body_hash(CONVERSION)


def test_the_same_said_otherwise_is_the_same_event() -> None:
    said = replace(
        CONVERSION,
        occurred_at=CONVERSION.occurred_at.astimezone(timezone(timedelta(hours=-7))),
        amount=Decimal("12.5"),
        items=[{"pieces": 2, "sku": "a"}],
    )
    assert body_hash(said) == body_hash(CONVERSION)


@pytest.mark.parametrize(
    "change",
    [
        {"campaign_id": "vip-rewards-2026-02-11"},
        {"kind": "view"},
        {"occurred_at": CONVERSION.occurred_at + timedelta(microseconds=1)},
        {"amount": Decimal("12.51")},
        {"amount": None},
        {"items": [{"sku": "a", "pieces": "2"}]},
        {"items": []},
        {"items": None},
        {"transaction_id": "t2"},
        {"transaction_id": None},
    ],
)
def test_anything_else_said_is_another_event(change: dict[str, Any]) -> None:
    assert body_hash(replace(CONVERSION, **change)) != body_hash(CONVERSION)


@pytest.mark.parametrize(
    ("amount", "sensible"),
    [
        ("0.01", True),
        ("1000000", True),
        ("1000000.01", False),
        ("0.009", False),
        ("0", False),
        ("-5", False),
        ("NaN", False),
        ("Infinity", False),
    ],
)
def test_what_a_purchase_can_come_to(amount: str, sensible: bool) -> None:
    assert is_sensible(Decimal(amount)) is sensible


def test_instants_at_the_ends_of_the_calendar() -> None:
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    assert in_utc(datetime(2026, 2, 12, 23, tzinfo=east)) == RECEIVED
    assert in_utc(datetime(1, 1, 1, tzinfo=east)) == datetime(1, 1, 1, tzinfo=UTC)
    assert in_utc(datetime(9999, 12, 31, 23, tzinfo=west)) == datetime.max.replace(tzinfo=UTC)
