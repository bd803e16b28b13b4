"""Rules over user features: what a condition may name and compare, and how conditions combine.

The language of the policy and the checks that each condition makes sense. What rules are used for
belongs in `model.py`; turning one into SQL in `domain/patterns.py`.
"""

from decimal import Decimal
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from marketing_assets.policy.values import Number, PolicyModel, Problem, refuse

Count = Literal["transactions", "active_days", "days_since_last", "locations", "categories"]
Money = Literal["spend", "average_order", "spend_recent", "spend_prior"]
Ratio = Literal["top_location_share", "top_category_share", "spend_trend"]
Text = Literal["top_location", "top_category"]
Feature = Literal[Count, Money, Ratio, Text]
Kind = Literal["count", "money", "ratio", "text"]
Operator = Literal["at_least", "at_most", "above", "below", "equals", "top_percent"]

KINDS: dict[str, Kind] = {
    **dict.fromkeys(get_args(Count), "count"),
    **dict.fromkeys(get_args(Money), "money"),
    **dict.fromkeys(get_args(Ratio), "ratio"),
    **dict.fromkeys(get_args(Text), "text"),
}
"""What a condition may name, and of which kind it is. Instants are no features of a rule."""

OPERATORS: tuple[Operator, ...] = get_args(Operator)

# Least and greatest value a condition may compare with. Refunds make spend negative, and the trend too.
_RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(get_args(Count), (0, 1_000_000_000)),
    **dict.fromkeys(get_args(Money), (-100_000_000_000, 100_000_000_000)),
    "average_order": (0, 1_000_000),
    "top_location_share": (0, 1),
    "top_category_share": (0, 1),
    "spend_trend": (-1_000_000, 1_000_000),
}
_PLACES: dict[Kind, int] = {"count": 0, "money": 2, "ratio": 6}


def _number_tag(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<number>"


# Tagged, so that a wrong number is one error and not one for each side of the union.
NumberOrText = Annotated[
    Annotated[Number, Tag("<number>")] | Annotated[str, Tag("<text>")], Discriminator(_number_tag)
]


class Condition(PolicyModel):
    """One comparison of one feature. On a user whose feature is null it is false."""

    feature: Feature
    at_least: Number | None = None
    at_most: Number | None = None
    above: Number | None = None
    below: Number | None = None
    equals: NumberOrText | None = None
    top_percent: Annotated[Number, Field(gt=0, le=100)] | None = None

    @property
    def operator(self) -> Operator:
        """The one operator that is given."""
        return next(name for name in OPERATORS if getattr(self, name) is not None)

    @property
    def value(self) -> Decimal | str:
        """What the feature is compared with; text for text features only."""
        value: Decimal | str = getattr(self, self.operator)
        return value

    @field_validator("equals", mode="before")
    @classmethod
    def _number_or_text(cls, value: object, info: ValidationInfo) -> object:
        # Quoted digits mean a number for a numeric feature, and stay text for a category called "0123".
        feature = info.data.get("feature")
        if isinstance(value, str) and feature in KINDS and KINDS[feature] != "text":
            try:
                return Decimal(value)
            except ArithmeticError:
                raise PydanticCustomError(
                    "policy", "should be a number: {name} is not text", {"name": feature}
                ) from None
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        given = [name for name in OPERATORS if getattr(self, name) is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            refuse([Problem((), f"needs exactly one of {', '.join(OPERATORS)}; found: {found}")])
        problem = _text_problem(self) if KINDS[self.feature] == "text" else _number_problem(self)
        if problem:
            refuse([Problem((self.operator,), problem)])
        return self


def _text_problem(condition: Condition) -> str | None:
    if condition.operator != "equals":
        return f"{condition.feature} is text and can only be compared by equals"
    if not isinstance(condition.value, str):
        return f"{condition.feature} is text: put {condition.value} in quotes"
    if not condition.value or not condition.value.isprintable():
        return "should be text of at least one character and no control characters"
    return None


def _number_problem(condition: Condition) -> str | None:
    feature, value, operator = condition.feature, condition.value, condition.operator
    if isinstance(value, str):
        return f"should be a number: {feature} is not text"
    if operator == "top_percent":
        return None
    lowest, highest = _RANGES[feature]
    if not lowest <= value <= highest:
        return f"{feature} lies between {lowest} and {highest}, {value} does not"
    if (operator == "below" and value == lowest) or (operator == "above" and value == highest):
        return f"{feature} is never {operator} {value}"
    places = _PLACES[KINDS[feature]]
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        return f"{feature} has {places or 'no'} decimal places, {value} has {-exponent}"
    return None


class AnyOf(PolicyModel):
    """A group of conditions of which at least one has to hold."""

    any_of: tuple[Condition, ...]

    # Not min_length, which pydantic also reports where an entry is wrong.
    @field_validator("any_of")
    @classmethod
    def _not_empty(cls, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        if not conditions:
            refuse([Problem((), "needs at least one condition: an empty group never holds")])
        return conditions


# What pydantic puts into the path of an error inside a union; the file has no such step.
UNION_TAGS = frozenset({"<condition>", "<any_of>", "<number>", "<text>"})


def _clause_tag(entry: object) -> str:
    group = "any_of" in entry if isinstance(entry, dict) else isinstance(entry, AnyOf)
    return "<any_of>" if group else "<condition>"


Clause = Annotated[
    Annotated[Condition, Tag("<condition>")] | Annotated[AnyOf, Tag("<any_of>")],
    Discriminator(_clause_tag),
]


class Rule(RootModel[tuple[Clause, ...]]):
    """All clauses have to hold; no clause at all holds for every user."""

    model_config = ConfigDict(frozen=True)

    @property
    def groups(self) -> tuple[tuple[Condition, ...], ...]:
        """The rule as an all-of over any-of groups; a lone condition is a group of one."""
        return tuple(clause.any_of if isinstance(clause, AnyOf) else (clause,) for clause in self.root)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Every feature that the rule names, once, in the order of first mention."""
        return tuple(dict.fromkeys(condition.feature for group in self.groups for condition in group))
