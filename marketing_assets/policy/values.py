"""The kinds of value a policy is made of, and the model they stand in: frozen, closed, exact.

Numbers are decimal and never pass through binary floating point. What a value means belongs in
`rules.py` and `model.py`.
"""

from collections.abc import Hashable, Sequence
from decimal import Decimal
from typing import Annotated, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError


def _refuse_binary(value: object) -> object:
    if isinstance(value, float | bool):
        raise PydanticCustomError("exact_number", "should be an exact number (int, Decimal or decimal text)")
    return value


def _plain(number: Decimal) -> Decimal:
    """The same number without trailing zeros or exponent: 0.10 and 0.1 are one policy."""
    return Decimal(format(number.normalize() + 0, "f"))


Number = Annotated[
    Decimal, BeforeValidator(_refuse_binary), Field(max_digits=18, decimal_places=6), AfterValidator(_plain)
]
Share = Annotated[Number, Field(ge=0, le=1)]
PositiveShare = Annotated[Number, Field(gt=0, le=1)]
Amount = Annotated[Number, Field(gt=0, le=Decimal(100_000_000_000), decimal_places=2)]
AtLeastZero = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
AtLeastOne = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Days = Annotated[int, Field(strict=True, ge=1, le=366)]
Wait = Annotated[int, Field(strict=True, ge=0, le=3660)]
Flag = Annotated[bool, Field(strict=True)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
PatternName = Annotated[str, StringConstraints(max_length=60, pattern=r"^[a-z][a-z0-9_]*$")]
TemplateName = Annotated[str, StringConstraints(max_length=60, pattern=r"^[a-z0-9-]+$")]
CampaignType = Annotated[str, StringConstraints(max_length=30, pattern=r"^[a-z][a-z0-9_]*$")]


class Problem(NamedTuple):
    """What is wrong inside a model, at which path from that model, and what would be right."""

    at: tuple[str | int, ...]
    message: str
    allowed: tuple[str, ...] = ()


def _error_type(problem: Problem) -> PydanticCustomError:
    # The text is a parameter, since braces in a template of pydantic's are placeholders.
    allowed = f" (allowed: {', '.join(problem.allowed)})" if problem.allowed else ""
    return PydanticCustomError("policy", "{text}", {"text": problem.message + allowed})


def refuse(problems: Sequence[Problem]) -> None:
    """Raise all problems as one ValidationError, each at its own path."""
    if problems:
        errors = [
            InitErrorDetails(type=_error_type(problem), loc=problem.at, input=None) for problem in problems
        ]
        raise ValidationError.from_exception_data("policy", errors)


def repeated(values: Sequence[Hashable], key: str) -> list[Problem]:
    """A problem for every value that an earlier entry of the list has too."""
    return [
        Problem((index, key), f"{value!r} is taken by entry {values.index(value) + 1} of this list")
        for index, value in enumerate(values)
        if value in values[:index]
    ]


class PolicyModel(BaseModel):
    """Frozen, hashable, and closed: a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
