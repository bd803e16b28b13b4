"""What admins ask for, and what they are answered, as types: the source of the OpenAPI.

Bodies are closed and say all that JSON Schema can; what holds between values, and between them and what is
there, is checked by the domain.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from marketing_assets.policy.rules import KINDS, OPERATORS, Text
from marketing_assets.policy.values import Line, PatternName, Problem, refuse
from marketing_assets.sidecar.schemas import Answer, Status

_MONEY = r"^(0\.0[1-9]|0\.[1-9][0-9]?|[1-9][0-9]{0,10}(\.[0-9]{1,2})?)$"
_PERCENTAGE = r"^(0\.0[1-9]|0\.[1-9][0-9]?|[1-9][0-9]?(\.[0-9]{1,2})?|100(\.0{1,2})?)$"
_SHARE = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_MOST_CRITERIA = 50

_NOT_POINTS = {"enum": ["discount", "cashback", "bonus"]}
_OFFERS: list[dict[str, Any]] = [
    {"properties": {"type": {"const": "points"}, "unit": {"const": "multiplier"}}},
    {"properties": {"type": _NOT_POINTS, "unit": {"const": "fixed"}}},
    {
        "properties": {
            "type": _NOT_POINTS,
            "unit": {"const": "percentage"},
            "value": {"pattern": _PERCENTAGE},
        }
    },
]
_EXACT = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$"}]}
_NUMERIC = sorted(name for name, kind in KINDS.items() if kind != "text")
_CONDITION: dict[str, Any] = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "feature": {"enum": _NUMERIC},
                **dict.fromkeys(OPERATORS, _EXACT),
            },
            "required": ["feature"],
            "minProperties": 2,
            "maxProperties": 2,
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "feature": {"enum": sorted(get_args(Text))},
                "equals": {"type": "string", "minLength": 1},
            },
            "required": ["feature", "equals"],
            "additionalProperties": False,
        },
    ]
}
_CRITERIA: dict[str, Any] = {
    "type": "array",
    "maxItems": _MOST_CRITERIA,
    "items": {
        "anyOf": [
            _CONDITION,
            {
                "type": "object",
                "properties": {"any_of": {"type": "array", "minItems": 1, "items": _CONDITION}},
                "required": ["any_of"],
                "additionalProperties": False,
            },
        ]
    },
}


def _rfc3339(value: object) -> object:
    if not isinstance(value, str) or _INSTANT.fullmatch(value) is None:
        raise PydanticCustomError("instant", "should be an instant such as 2026-11-22T00:00:00Z")
    return value


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise PydanticCustomError("flag", "should be true or false")
    return value


MoneyText = Annotated[str, StringConstraints(pattern=_MONEY), Field(examples=["5000.00"])]
ShareText = Annotated[str, StringConstraints(pattern=_SHARE), Field(examples=["0.1"])]
Instant = Annotated[
    AwareDatetime,
    Field(ge=_EARLIEST, lt=_LATEST),
    BeforeValidator(_rfc3339, json_schema_input_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-12-24T00:00:00Z"]}),
]
Criteria = Annotated[list[object], Field(max_length=_MOST_CRITERIA), WithJsonSchema(_CRITERIA)]


class Asked(BaseModel):
    """A body: closed, and what is left out is not null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _says_what(cls, given: object) -> object:
        if isinstance(given, dict):
            refuse(
                [
                    Problem((name,), "cannot be null; leave it out")
                    for name, value in given.items()
                    if value is None and name in cls.model_fields and name not in cls._nullable()
                ]
            )
        return given

    @classmethod
    def _nullable(cls) -> frozenset[str]:
        """Names of the fields in which null says something."""
        return frozenset()


def _closed(**more: Any) -> ConfigDict:
    """The configuration of a body: its schema has no null in a field that may be left out, and `more`."""

    def complete(schema: dict[str, Any]) -> None:
        properties = schema["properties"]
        for name, described in properties.items():
            kinds = described.get("anyOf", [])
            if {"type": "null"} in kinds and name != "budget":
                [kind] = [each for each in kinds if each != {"type": "null"}]
                said = {key: value for key, value in described.items() if key not in ("anyOf", "default")}
                properties[name] = {**kind, **said}
        schema.update(more)

    return ConfigDict(json_schema_extra=complete)


class OfferAsked(Asked):
    """What is offered; `value` is percent of the amount, money, or points per unit of currency."""

    model_config = _closed(oneOf=_OFFERS)

    type: Literal["discount", "cashback", "points", "bonus"]
    value: Annotated[str, StringConstraints(pattern=_MONEY), Field(examples=["15"])]
    unit: Literal["percentage", "fixed", "multiplier"]
    at: Literal["top_location", "top_category"] | None = Field(
        None, description="the offer holds only at the user's own top location or category"
    )


class CampaignAsked(Asked):
    """A campaign by hand, for the users of a pattern of the policy or for those who meet criteria."""

    model_config = _closed(oneOf=[{"required": ["pattern"]}, {"required": ["criteria"]}])

    name: Line = Field(examples=["Spring sale"])
    description: Line = Field(examples=["{offer} off everything, this week only."])
    offer: OfferAsked
    pattern: PatternName | None = Field(None, examples=["inactive"])
    criteria: Criteria | None = Field(
        None,
        description="conditions all of which hold, as the policy writes them",
        examples=[[{"feature": "spend", "at_least": 500}]],
    )
    starts_at: Instant | None = Field(None, description="left out: now")
    ends_at: Instant = Field(description="first instant after the offer")
    budget: MoneyText | None = Field(None, description="of all its rewards; null: unlimited")
    holdout_share: ShareText | None = Field(None, description="of its targets, who are shown nothing")
    priority: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None = Field(
        None, description="1 goes first"
    )
    target_now: Annotated[bool, BeforeValidator(_flag, json_schema_input_type=bool)] = Field(
        False, description="targets at once, not only with the next night"
    )

    @classmethod
    def _nullable(cls) -> frozenset[str]:
        return frozenset({"budget"})


class CampaignChange(Asked):
    """What is to be changed; the rest stays."""

    model_config = _closed(minProperties=1)

    name: Line | None = None
    description: Line | None = None
    offer: OfferAsked | None = Field(None, description="a new version, for new targets")
    ends_at: Instant | None = Field(None, description="for new targets; old ones keep their promise")
    budget: MoneyText | None = Field(None, description="null: unlimited")
    status: Literal["active", "paused"] | None = Field(None, description="pause it, or resume it")

    @classmethod
    def _nullable(cls) -> frozenset[str]:
        return frozenset({"budget"})

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            refuse([Problem((), "says nothing that is to be changed")])
        return self


class CampaignRevision(Answer):
    """A campaign as a change left it."""

    campaign_id: str = Field(examples=["manual-spring-sale-2026-11-22"])
    status: Status
    version: int = Field(description="of the offer, for new targets", examples=[1])
    revision: int = Field(description="for the next `If-Match`, and the ETag of this answer", examples=[1])


class CreatedCampaign(CampaignRevision):
    """A campaign that was created."""

    request_id: UUID | None = Field(description="of `target_now`: the request whose result says who has it")


class AnalysisAsked(Asked):
    """Which night is to be run."""

    model_config = _closed()

    day: (
        Annotated[
            str,
            StringConstraints(pattern=_DAY),
            WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-21"]}),
        ]
        | None
    ) = Field(None, description="a business day that is over; left out: yesterday")


class RequestAccepted(Answer):
    """A request that will be carried out; `GET /requests/{request_id}` says how far it is."""

    request_id: UUID
    kind: str = Field(examples=["analysis"])
    status: Literal["queued", "running"]


class AnalysisResult(Answer):
    """What the night of a day came to."""

    day: date
    night: Literal["published", "skipped", "stale", "targeted", "not recorded"]
    reason: str | None = Field(description="why it was not decided")
    users: int = Field(description="users analysed", examples=[2469])
    patterns: dict[str, int] = Field(
        description="users of each pattern", examples=[{"high_spender": 12, "general": 2469}]
    )
    campaigns_opened: int
    users_targeted: int


class TargetingResult(Answer):
    """What became of the audience of a campaign that was given targets at once."""

    campaign_id: str
    assigned_on: date
    users_targeted: int = Field(description="treatment arm")
    users_held_out: int = Field(description="control arm, who are shown nothing")
    refused: dict[str, int] = Field(description="users by reason", examples=[{"limit": 3, "opted_out": 1}])


class RequestState(Answer):
    """How far a request is."""

    request_id: UUID
    kind: str = Field(examples=["analysis"])
    status: Literal["queued", "running", "succeeded", "failed"]
    requested_at: datetime
    finished_at: datetime | None
    result: AnalysisResult | TargetingResult | dict[str, object] | None = Field(
        description="what it came to, where it succeeded"
    )
    reason: str | None = Field(description="why it failed")
    document: dict[str, object] | None = Field(description="of an export: everything held about the caller")
