"""Rules over user features: what a condition may name and compare, and how conditions combine.

The language of the policy and the checks that each condition makes sense. What rules are used for
belongs in `model.py`; turning one into SQL in `domain/patterns.py`.
"""

from collections.abc import Sequence
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
from marketing_assets.settings import LONGEST_WINDOW

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

# Least and greatest value of each feature. Refunds make spend negative, and the trend too; every user has a
# purchase in the window. The window has the last word on how many days there are: see `_range`.
RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(get_args(Count), (0, 1_000_000_000)),
    "transactions": (1, 1_000_000_000),
    "active_days": (1, LONGEST_WINDOW),
    "days_since_last": (0, LONGEST_WINDOW - 1),
    **dict.fromkeys(get_args(Money), (-100_000_000_000, 100_000_000_000)),
    "average_order": (0, 1_000_000),
    "top_location_share": (0, 1),
    "top_category_share": (0, 1),
    "spend_trend": (-1_000_000, 1_000_000),
}
_DAYS = ("active_days", "days_since_last")
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
    def _makes_sense(self, info: ValidationInfo) -> Self:
        given = [name for name in OPERATORS if getattr(self, name) is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            refuse([Problem((), f"needs exactly one of {', '.join(OPERATORS)}; found: {found}")])
        window_days = (info.context or {}).get("window_days", LONGEST_WINDOW)
        is_text = KINDS[self.feature] == "text"
        problem = _text_problem(self) if is_text else _number_problem(self, window_days)
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


def _number_problem(condition: Condition, window_days: int) -> str | None:
    feature, value, operator = condition.feature, condition.value, condition.operator
    if isinstance(value, str):
        return f"should be a number: {feature} is not text"
    if operator == "top_percent":
        return None
    lowest, highest = _range(feature, window_days)
    if not lowest <= value <= highest:
        days = f" in a window of {window_days} days" if feature in _DAYS else ""
        return f"{feature} lies between {lowest} and {highest}{days}, {value} does not"
    if (operator == "below" and value == lowest) or (operator == "above" and value == highest):
        return f"{feature} is never {operator} {value}"
    # Every user has counts; other features can be null, and a condition on null is false.
    is_bound = (operator == "at_least" and value == lowest) or (operator == "at_most" and value == highest)
    if is_bound and KINDS[feature] == "count":
        return f"{feature} is {operator} {value} for every user: leave this condition out"
    places = _PLACES[KINDS[feature]]
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        return f"{feature} has {places or 'no'} decimal places, {value} has {-exponent}"
    return None


def _range(feature: str, window_days: int) -> tuple[int, int]:
    lowest, highest = RANGES[feature]
    return lowest, highest - (LONGEST_WINDOW - window_days if feature in _DAYS else 0)


def _repeated(entries: Sequence[PolicyModel]) -> list[Problem]:
    return [
        Problem((index,), f"says the same as entry {entries.index(entry) + 1} of this list")
        for index, entry in enumerate(entries)
        if entry in entries[:index]
    ]


class AnyOf(PolicyModel):
    """A group of conditions of which at least one has to hold."""

    any_of: tuple[Condition, ...]

    # Not min_length, which pydantic also reports where an entry is wrong.
    @field_validator("any_of")
    @classmethod
    def _not_empty(cls, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        if not conditions:
            refuse([Problem((), "needs at least one condition: an empty group never holds")])
        refuse(_repeated(conditions))
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


def _contradictions(lone: Sequence[tuple[int, Condition]]) -> list[Problem]:
    """Conditions that an earlier one of the same rule rules out, whatever the user's values are."""
    return [
        Problem((index,), f"{_said(condition)} and {_said(earlier)} (entry {place + 1}) never hold together")
        for number, (index, condition) in enumerate(lone)
        for place, earlier in lone[:number]
        if condition.feature == earlier.feature and _exclude(condition, earlier)
    ]


def _exclude(one: Condition, other: Condition) -> bool:
    if "top_percent" in (one.operator, other.operator):
        return False
    if isinstance(one.value, str) or isinstance(other.value, str):
        return one.value != other.value
    (low, low_open), (high, high_open) = (
        max(_lower(one), _lower(other)),
        min(_upper(one), _upper(other), key=lambda bound: (bound[0], not bound[1])),
    )
    if KINDS[one.feature] == "count":  # whole numbers only: above 4 is at least 5
        low, high = low + low_open, high - high_open
        return low > high
    return low > high or (low == high and (low_open or high_open))


def _lower(condition: Condition) -> tuple[Decimal, bool]:
    """The bound below, and whether it is left out itself."""
    given = condition.operator in ("at_least", "above", "equals")
    return (
        (Decimal(condition.value), condition.operator == "above") if given else (Decimal("-Infinity"), False)
    )


def _upper(condition: Condition) -> tuple[Decimal, bool]:
    given = condition.operator in ("at_most", "below", "equals")
    return (
        (Decimal(condition.value), condition.operator == "below") if given else (Decimal("Infinity"), False)
    )


def _said(condition: Condition) -> str:
    return f"{condition.feature} {condition.operator} {condition.value}"


class Rule(RootModel[tuple[Clause, ...]]):
    """All clauses have to hold; no clause at all holds for every user."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        lone = [(index, clause) for index, clause in enumerate(self.root) if isinstance(clause, Condition)]
        refuse(_contradictions(lone) + _repeated(self.root))
        return self

    @property
    def groups(self) -> tuple[tuple[Condition, ...], ...]:
        """The rule as an all-of over any-of groups; a lone condition is a group of one."""
        return tuple(clause.any_of if isinstance(clause, AnyOf) else (clause,) for clause in self.root)

    @property
    def meaning(self) -> frozenset[frozenset[Condition]]:
        """The groups without their order, which means nothing."""
        return frozenset(frozenset(group) for group in self.groups)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Every feature that the rule names, once, in the order of first mention."""
        return tuple(dict.fromkeys(condition.feature for group in self.groups for condition in group))
