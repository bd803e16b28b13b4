"""What the app reports, and what it is told: types of the event calls, the source of their OpenAPI.

Checked with as little as exactness allows: a view is checked for every offer that anybody looks at. No text
may hold a NUL, which PostgreSQL cannot keep.
"""

import re
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SkipValidation,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from marketing_assets.domain.claims import Decline
from marketing_assets.domain.events import (
    LEAST_AMOUNT,
    MOST_AMOUNT,
    Event,
    Kind,
    Rejection,
    in_utc,
    is_sensible,
)
from marketing_assets.sidecar.schemas import Answer, Money

MOST_EVENTS = 500
_MOST_ITEMS, _MOST_KEYS, _LONGEST_KEY, _LONGEST_VALUE, _LARGEST_NUMBER = 100, 20, 100, 500, 10**15
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_AMOUNT = r"^(0\.[1-9][0-9]?|0\.0[1-9]|[1-9][0-9]{0,5}(\.[0-9]{1,2})?|1000000(\.00?)?)$"
_NO_NUL = r"^[^\x00]+$"


def _instant(value: object) -> datetime:
    """An RFC 3339 `date-time`."""
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            return in_utc(datetime.fromisoformat(value.upper()))
        except ValueError:
            pass
    raise PydanticCustomError("instant", "Input should be an instant such as 2026-11-22T18:04:31Z")


def readable_id(value: object) -> UUID | None:
    """The id of an event, also of one that is not valid otherwise."""
    return UUID(value) if isinstance(value, str) and _UUID.fullmatch(value) else None


def _uuid(value: object) -> UUID:
    found = readable_id(value)
    if found is not None:
        return found
    raise PydanticCustomError("uuid", "Input should be a UUID, 32 hex digits with dashes")


def _amount(value: object) -> Decimal:
    """Money, rounded half-up to cents."""
    amount = None
    if (isinstance(value, int | float) and not isinstance(value, bool)) or (
        isinstance(value, str) and re.fullmatch(_AMOUNT, value)
    ):
        amount = Decimal(str(value))
    if amount is None or not is_sensible(amount):
        raise PydanticCustomError(
            "amount",
            "Input should be an amount from {least} to {most}, as a decimal string or a number",
            {"least": str(LEAST_AMOUNT), "most": str(MOST_AMOUNT)},
        )
    return amount.quantize(LEAST_AMOUNT, ROUND_HALF_UP)


Instant = Annotated[
    datetime,
    PlainValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-22T18:04:31Z"]}),
]
EventId = Annotated[
    UUID,
    PlainValidator(_uuid),
    WithJsonSchema(
        {
            "type": "string",
            "format": "uuid",
            "description": "made by the app, the same at every attempt to send the event",
            "examples": ["0b6f1a52-7c55-4a43-9d0e-5f6f4a3c1e11"],
        }
    ),
]
Amount = Annotated[
    Decimal,
    PlainValidator(_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _AMOUNT},
                {"type": "number", "minimum": float(LEAST_AMOUNT), "maximum": int(MOST_AMOUNT)},
            ],
            "description": "what the purchase came to, in the currency",
            "examples": ["48.90"],
        }
    ),
]
_Text = Annotated[str, StringConstraints(max_length=_LONGEST_VALUE, pattern=r"^[^\x00]*$", strict=True)]
_Whole = Annotated[int, Field(strict=True, ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
_Fraction = Annotated[float, Field(strict=True, ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
_Scalar = Annotated[bool, Field(strict=True)] | _Whole | _Fraction | _Text | None
_Key = Annotated[str, StringConstraints(max_length=_LONGEST_KEY, pattern=_NO_NUL)]
Item = Annotated[
    dict[_Key, _Scalar],
    Field(max_length=_MOST_KEYS),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": _MOST_KEYS,
            "propertyNames": {"maxLength": _LONGEST_KEY, "pattern": _NO_NUL},
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "maxLength": _LONGEST_VALUE, "pattern": r"^[^\x00]*$"},
                    {"type": "number", "minimum": -_LARGEST_NUMBER, "maximum": _LARGEST_NUMBER},
                    {"type": ["boolean", "null"]},
                ]
            },
        }
    ),
]
CampaignName = Annotated[
    str, StringConstraints(max_length=200, pattern=_NO_NUL), Field(examples=["vip-rewards-2026-11-22"])
]


_SAID = {
    "event_id": "0b6f1a52-7c55-4a43-9d0e-5f6f4a3c1e11",
    "occurred_at": "2026-11-22T18:04:31Z",
    "sent_at": "2026-11-22T18:04:32Z",
}
_BOUGHT = {**_SAID, "amount": "48.90", "items": [{"sku": "A-17", "pieces": 2}], "transaction_id": "tx-0815"}
_NAMED = {"campaign_id": "vip-rewards-2026-11-22"}
_REWARD = {"state": "reserved", "amount": "2.45", "currency": "USD", "reason": None}
_OUTCOME = {"event_id": _SAID["event_id"], "status": "accepted", "reason": None, "detail": None}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [example]})


class Said(BaseModel):
    """A view, a click or a dismissal, with both instants by the app's clock."""

    model_config = _example(_SAID)

    event_id: EventId
    occurred_at: Instant = Field(description="when it happened")
    sent_at: Instant = Field(description="when this attempt to send it was made: tells a wrong clock")


class Bought(Said):
    """A purchase for which the user takes a campaign's offer."""

    model_config = _example(_BOUGHT)

    amount: Amount
    items: list[Item] | None = Field(
        None,
        max_length=_MOST_ITEMS,
        description="what was bought",
        examples=[[{"sku": "A-17", "pieces": 2, "price": "24.45"}]],
    )
    transaction_id: (
        Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL)] | None
    ) = Field(
        None, description="of the purchase in the ledger; needed for a reward", examples=["tx-20261122-0815"]
    )


class ReportedEvent(Said):
    """A view, a click or a dismissal of a campaign's offer."""

    model_config = _example({**_SAID, **_NAMED, "kind": "view"})

    campaign_id: CampaignName
    kind: Literal["view", "click", "dismiss"]


class ReportedConversion(Bought):
    """A purchase for which the user takes the offer of the campaign that it names."""

    model_config = _example({**_BOUGHT, **_NAMED, "kind": "conversion"})

    campaign_id: CampaignName
    kind: Literal["conversion"]


Reported = Annotated[ReportedEvent | ReportedConversion, Field(discriminator="kind")]
REPORTED: TypeAdapter[ReportedEvent | ReportedConversion] = TypeAdapter(Reported)


class Batch(BaseModel):
    """Events that waited on the phone, oldest first. What is no event is rejected alone."""

    model_config = _example({"events": [{**_SAID, **_NAMED, "kind": "view"}]})

    # Each is checked by itself, with `REPORTED`.
    events: list[SkipValidation[Reported | Any]] = Field(min_length=1, max_length=MOST_EVENTS)


class RewardAnswer(Answer):
    """What a conversion earns: reserved until the ledger shows the purchase, or declined and why."""

    state: Literal["reserved", "spent", "released", "declined"]
    amount: Money
    currency: str = Field(examples=["USD"])
    reason: str | None = Field(
        description="of one that is declined: " + ", ".join(get_args(Decline)), examples=["already_rewarded"]
    )


class Taken(Answer):
    """The event is kept; `duplicate`: it was already."""

    model_config = _example({"status": "accepted"})

    status: Literal["accepted", "duplicate"]


class Converted(Taken):
    """The conversion is kept, and this is what it earns; a duplicate gets its first answer again."""

    model_config = _example({"status": "accepted", "reward": _REWARD})

    reward: RewardAnswer


class EventOutcome(Answer):
    """What became of one event of a batch."""

    event_id: UUID | None = Field(description="null where it cannot be read")
    status: Literal["accepted", "duplicate", "rejected"]
    reason: Rejection | Literal["invalid"] | None = Field(description="why it was rejected")
    detail: str | None = Field(description="what is wrong with one that is not valid")
    reward: RewardAnswer | None = Field(description="of a conversion that is kept")


class BatchOutcome(Answer):
    """One outcome an event, in the order in which they were sent."""

    model_config = _example({"results": [{**_OUTCOME, "reward": _REWARD}]})

    results: list[EventOutcome]


def event_of(said: Said, campaign_id: str, kind: Kind) -> Event:
    """The event that the app speaks of."""
    if isinstance(said, Bought):
        return Event(
            said.event_id,
            campaign_id,
            kind,
            said.occurred_at,
            said.sent_at,
            said.amount,
            said.items,
            said.transaction_id,
        )
    return Event(said.event_id, campaign_id, kind, said.occurred_at, said.sent_at)
