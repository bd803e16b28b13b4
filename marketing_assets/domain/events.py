"""What the app reports of an offer: when it happened, and what makes two reports of one event the same.

Pure functions. Whether an event is taken is decided where targets are kept (`storage/repositories/events`),
what a conversion earns in `claims.py`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

Kind = Literal["view", "click", "dismiss", "conversion"]
Rejection = Literal["not_a_target", "outside_window", "archived", "conflicting_duplicate"]
Scalar = str | int | float | bool | None
Item = Mapping[str, Scalar]

LATEST_REPORT = timedelta(days=30)
"""How long an event may wait on a phone; one that waited longer counts as that old."""

LEAST_AMOUNT, MOST_AMOUNT = Decimal("0.01"), Decimal(1_000_000)
"""What a purchase can come to, in `MARKETING_CURRENCY`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the app says it; instants are aware and by the app's clock.

    `amount` (money), `items` and `transaction_id` are of conversions.
    """

    event_id: UUID
    campaign_id: str
    kind: Kind
    occurred_at: datetime
    sent_at: datetime
    amount: Decimal | None = None
    items: Sequence[Item] | None = None
    transaction_id: str | None = None


def corrected(event: Event, received_at: datetime) -> datetime:
    """When it happened by the sidecar's clock: as long before it came as it was before it was sent.

    That is `occurred_at + (received_at - sent_at)`, clamped to [received_at - 30 days, received_at], so that
    a clock that goes wrong by years does no more harm than one that goes wrong by a day.
    """
    waited = event.sent_at - event.occurred_at
    return received_at - min(max(waited, timedelta(0)), LATEST_REPORT)


def body_hash(event: Event) -> str:
    """SHA-256, in hex, of all that the app says of it, `sent_at` apart: each attempt is sent anew."""
    said = [
        event.campaign_id,
        event.kind,
        (event.occurred_at - _EPOCH) // _MICROSECOND,
        None if event.amount is None else str(event.amount.quantize(LEAST_AMOUNT)),
        event.items,
        event.transaction_id,
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_sensible(amount: Decimal) -> bool:
    """Whether a purchase can come to this: from a cent to a million, both included."""
    return amount.is_finite() and LEAST_AMOUNT <= amount <= MOST_AMOUNT


def in_utc(instant: datetime) -> datetime:
    """An aware instant in UTC; within a day of the ends of the calendar the nearest one that UTC can say."""
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        early = instant.year == datetime.min.year
        return (datetime.min if early else datetime.max).replace(tzinfo=UTC)
