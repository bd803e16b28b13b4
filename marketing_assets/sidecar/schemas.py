"""What the calls read and answer, as types: the source of the OpenAPI.

Many answers are written by PostgreSQL as JSON; the types here describe them, and schemathesis holds both
together.
"""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Money = Annotated[
    str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="decimal, in the currency", examples=["25.00"])
]
Status = Literal["draft", "active", "paused", "expired", "archived"]
Cursor = Annotated[
    str | None,
    Field(
        description="`cursor` of the next page; null where this is the last",
        examples=["7~category-focus-2026-11-22"],
    ),
]


class Answer(BaseModel):
    """Something that the sidecar says."""

    model_config = ConfigDict(extra="forbid")


class Body(BaseModel):
    """Something that a caller says; nothing is taken for something else (`strict`)."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OfferValue(Answer):
    """What is offered: `value` is percent of the amount, money, or points per unit of currency."""

    type: Literal["discount", "cashback", "points", "bonus"]
    value: Money
    unit: Literal["percentage", "fixed", "multiplier"]


class Offer(Answer):
    """One open offer of the caller, its texts filled in for them."""

    campaign_id: str = Field(examples=["location-promo-2026-11-22"])
    name: str = Field(examples=["Your Store 12"])
    description: str = Field(examples=["15% off at Store 12, up to 25 USD."])
    type: str = Field(examples=["location"])
    offer: OfferValue
    max_reward: Money | None = Field(description="the most that the caller can earn with it")
    currency: str = Field(examples=["USD"])
    location: str | None = Field(description="where it holds; null: everywhere")
    category: str | None = Field(description="what it holds for; null: everything")
    status: Literal["eligible", "viewed", "converted"]
    viewed_at: datetime | None
    priority: int
    valid_from: datetime
    valid_until: datetime = Field(description="first instant after the offer")


class OfferPage(Answer):
    """Open offers of the caller, best priority first."""

    items: list[Offer]
    next_cursor: Cursor


class CampaignOffer(OfferValue):
    """What a campaign offers, and what the offer is tied to."""

    at: Literal["top_location", "top_category"] | None


class BudgetState(Answer):
    """Money of a campaign; `budget` null is unlimited."""

    budget: Money | None
    reserved: Money = Field(description="promised, not yet confirmed by the ledger")
    spent: Money


class Campaign(Answer):
    """One campaign as its newest version has it."""

    campaign_id: str = Field(examples=["vip-rewards-2026-11-22"])
    template: str
    name: str
    description: str = Field(description="with its placeholders")
    type: str
    offer: CampaignOffer
    max_reward: Money | None
    pattern: str
    criteria: dict[str, object]
    status: Status
    priority: int
    starts_at: datetime
    ends_at: datetime
    holdout_share: Money
    attribution_days: int
    origin: Literal["policy", "manual"]
    policy_version: str
    version: int
    revision: int = Field(description="rises with every edit; for `If-Match`")
    suppressed_until: datetime | None = Field(description="until when its template opens no other")
    ended_by_hand_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    budget: BudgetState


class CampaignPage(Answer):
    """Campaigns, the one that starts last first."""

    items: list[Campaign]
    next_cursor: Cursor


class Funnel(Answer):
    """What became of the targets of one campaign or of several, and what its offers cost."""

    targeted: int = Field(description="targets of the treatment arm")
    control: int = Field(description="targets of the control arm, who are shown nothing")
    viewed: int
    clicked: int
    dismissed: int
    converted: int = Field(description="targets with a conversion that the app reported")
    click_through: float | None = Field(description="clicked / viewed")
    conversion_rate: float | None = Field(description="converted / targeted x 100")
    revenue: Money = Field(description="sum of the amounts that the app claimed")
    average_order: Money | None = Field(description="of these")
    own_average_order: Money | None = Field(
        description="what the converted users spend on an order otherwise"
    )
    seconds_to_conversion: float | None = Field(description="median, from the offer's start; descriptive")
    cost: Money = Field(description="rewards reserved and spent")
    net: Money = Field(description="revenue less cost; not what was caused")


class Lift(Answer):
    """What was caused, over the control arm; null with the reason while it is not known."""

    value: None = None
    reason: str = Field(examples=["not measured yet"])


class MeasuredFunnel(Funnel):
    """The same with what was caused."""

    lift: Lift


class CampaignWithMetrics(Campaign):
    """One campaign with what became of its targets."""

    metrics: MeasuredFunnel


class UserPattern(Answer):
    """A pattern that the caller shows."""

    pattern: str = Field(examples=["high_spender"])
    label: str = Field(examples=["High Spender"])
    is_primary: bool
    as_of: date = Field(description="the day that it was worked out from")


class UserPatterns(Answer):
    """The caller's patterns, the primary one first."""

    items: list[UserPattern]


class Segment(Answer):
    """All users who show a pattern, on the newest day."""

    pattern: str
    label: str
    day: date
    users: int
    share: float = Field(description="of all users of the day")
    spend: Money = Field(description="of the window")
    average_order: Money | None


class Segments(Answer):
    """The segments of the newest night."""

    items: list[Segment]


class TypeAnalytics(MeasuredFunnel):
    """All campaigns of a type."""

    type: str
    campaigns: int


class CampaignAnalytics(MeasuredFunnel):
    """One campaign."""

    campaign_id: str
    type: str
    status: Status
    starts_at: datetime
    ends_at: datetime


class SuppressedTemplate(Answer):
    """A template that opens no campaign, and why."""

    template: str
    campaign_id: str = Field(description="the campaign that was paused or ended")
    until: datetime | None = Field(description="null: until that campaign is resumed")


class Analytics(Answer):
    """How campaigns did that were open in a range of days."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_day: date = Field(alias="from")
    to_day: date = Field(alias="to")
    overall: MeasuredFunnel
    by_type: list[TypeAnalytics]
    campaigns: list[CampaignAnalytics]
    active: int
    expired: int
    nights: int = Field(description="nights that were published in the range")
    campaigns_per_night: float | None
    suppressed: list[SuppressedTemplate]


Channel = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,29}$", examples=["push"])]


class ConsentGiven(Body):
    """What the caller agrees to; without `channels` these stay as they are."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"opted_out": True, "channels": ["push"]}]},
    )

    opted_out: bool = Field(description="true: no offers at all")
    channels: list[Channel] | None = Field(None, max_length=20, description="agreed to")


class ConsentHeld(Answer):
    """What now holds."""

    opted_out: bool
    opted_out_at: datetime | None = Field(description="since when; null: the caller has not opted out")
    channels: list[str] = Field(examples=[["push"]])
    updated_at: datetime


class AcceptedRequest(Answer):
    """A request that is being seen to; `Location` says where."""

    request_id: UUID = Field(examples=["7d5f2b1c-0d57-4f35-9d53-0b6f7c1f7a54"])
    kind: str = Field(examples=["export"])


class Alive(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """Whether it can do its work, and which schema it found."""

    status: Literal["ready"] = "ready"
    schema_revision: str = Field(examples=["0006"])
