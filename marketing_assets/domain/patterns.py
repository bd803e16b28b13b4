"""Patterns as one query over `user_features`, built from the rules of a policy.

Portable SQL only, made of sqlglot expressions: no value of a policy is ever pasted into text. What a
rule may say belongs in `policy/rules.py`; running the query is the engine's part.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING

from marketing_assets.policy.model import Pattern
from marketing_assets.policy.rules import KINDS, Condition, Kind, Operator, Rule

# Importing sqlglot takes over half a second; the code location must load without it.
if TYPE_CHECKING:
    from sqlglot import exp

RELATION = "user_features"

_TYPES: dict[Kind, str] = {
    "count": "integer",
    "money": "decimal(14, 2)",
    "ratio": "double",
    "text": "varchar",
}
# Wide, because a trend after a prior spend of next to nothing passes 18 digits and would end the night.
_PRINTED_RATIO = "decimal(38, 6)"
_INCLUDING: dict[Operator, Operator] = {"above": "at_least", "below": "at_most"}
_CONTROL_CHARACTERS = r"[\x00-\x1f\x7f]"


def pattern_matches(patterns: Sequence[Pattern]) -> "exp.Query":
    """The query for every user's patterns, one row a user and pattern whose rule holds.

    Reads the relation `user_features`. Columns: user_id varchar, pattern varchar, rank integer, and
    reason varchar, JSON text of the features that the rule names and the user's values of them.

    Raises:
        ValueError: there are no patterns.
    """
    from sqlglot import exp

    if not patterns:
        raise ValueError("a query needs at least one pattern")
    selects = [_matches(pattern) for pattern in patterns]
    return selects[0] if len(selects) == 1 else exp.union(*selects, distinct=False)


def reason_holds(rule: Rule, reason: "exp.Expr", relation: str = RELATION) -> "exp.Expr":
    """Whether the rule is true of the values in `reason`, JSON text as `pattern_matches` writes it.

    Ratios are printed with six places, half-up: a value above (below) a limit may be printed as the limit, so
    for these `above` and `below` include it. `relation` is what `top_percent` ranks.
    """
    from sqlglot import exp

    groups = [
        exp.or_(*(_reason_meets(condition, reason, relation) for condition in group)) for group in rule.groups
    ]
    return exp.and_(*groups) if groups else exp.true()


def _reason_meets(condition: Condition, reason: "exp.Expr", relation: str) -> "exp.Expr":
    from sqlglot import exp

    kind = KINDS[condition.feature]
    printed = exp.func(
        "json_extract_string",
        reason.copy(),
        exp.Literal.string(f"$.{condition.feature}"),
        dialect="duckdb",
    )
    # Text that is no JSON at all must be untrue, and must not end the query with an error that quotes it.
    value: exp.Expr = exp.TryCast(
        this=exp.Try(this=printed), to=exp.DataType.build(_TYPES[kind], dialect="duckdb")
    )
    rounded = kind == "ratio"
    if condition.operator == "top_percent":
        threshold: exp.Expr = _top_threshold(condition.feature, condition.value, relation).subquery()
        if rounded:
            threshold = exp.cast(exp.cast(threshold, _PRINTED_RATIO), "double")
        positive = exp.GTE if rounded else exp.GT
        test: exp.Expr = exp.and_(
            exp.GTE(this=value, expression=threshold),
            positive(this=value.copy(), expression=exp.Literal.number(0)),
        )
    else:
        operator = _INCLUDING.get(condition.operator, condition.operator) if rounded else condition.operator
        test = _compared(operator, value, condition)
    return exp.Coalesce(this=test, expressions=[exp.false()])


def _matches(pattern: Pattern) -> "exp.Select":
    from sqlglot import exp

    query = exp.select(
        exp.cast(exp.column("user_id"), "varchar").as_("user_id"),
        exp.cast(exp.Literal.string(pattern.name), "varchar").as_("pattern"),
        exp.cast(exp.Literal.number(pattern.rank), "integer").as_("rank"),
        exp.cast(_reason(pattern.rule), "varchar").as_("reason"),
    ).from_(RELATION)
    for group in pattern.rule.groups:
        query = query.where(exp.or_(*(_holds(condition) for condition in group)))
    return query


def _holds(condition: Condition) -> "exp.Expr":
    """The condition, false where the feature is null: null never reaches the `or` and `and` around it."""
    from sqlglot import exp

    feature = exp.column(condition.feature)
    if condition.operator == "top_percent":
        threshold = _top_threshold(condition.feature, condition.value).subquery()
        test: exp.Expr = exp.and_(
            exp.GTE(this=feature, expression=threshold),
            exp.GT(this=feature.copy(), expression=exp.Literal.number(0)),
        )
    else:
        test = _compared(condition.operator, feature, condition)
    return exp.Coalesce(this=test, expressions=[exp.false()])


def _compared(operator: Operator, value: "exp.Expr", condition: Condition) -> "exp.Expr":
    from sqlglot import exp

    comparison = {
        "at_least": exp.GTE,
        "at_most": exp.LTE,
        "above": exp.GT,
        "below": exp.LT,
        "equals": exp.EQ,
    }[operator]
    return comparison(this=value, expression=_literal(condition))


def _literal(condition: Condition) -> "exp.Expr":
    """The compared value in the type of its feature, so that no engine has to choose one."""
    from sqlglot import exp

    value = condition.value
    literal = exp.Literal.string(value) if isinstance(value, str) else exp.Literal.number(f"{value:f}")
    return exp.cast(literal, _TYPES[KINDS[condition.feature]])


def _top_threshold(feature: str, percent: Decimal | str, relation: str = RELATION) -> "exp.Select":
    """The k-th largest value, k = ceil(n * percent / 100); one row, null where nobody has a value.

    k is the only place with (k - 1) * d < n * m <= k * d, where percent / 100 = m / d: integers
    alone, no division. The largest product is users * 10^8, far inside a bigint.
    """
    from sqlglot import exp

    share = Fraction(percent) / 100
    ranked = (
        exp.select(
            exp.column(feature).as_("value"),
            exp.cast(_numbered(feature), "bigint").as_("place"),
            exp.cast(exp.Window(this=exp.Count(this=exp.Star())), "bigint").as_("users"),
        )
        .from_(relation)
        .where(exp.Not(this=exp.Is(this=exp.column(feature), expression=exp.null())))
    )
    place, users = exp.column("place"), exp.column("users")
    reached = users * share.numerator
    return (
        exp.select(exp.Max(this=exp.column("value")).as_("threshold"))
        .from_(ranked.subquery("ranked"))
        .where((place - 1) * share.denominator < reached)
        .where(reached <= place * share.denominator)
    )


def _numbered(feature: str) -> "exp.Window":
    from sqlglot import exp

    largest_first = exp.Ordered(this=exp.column(feature), desc=True, nulls_first=False)
    return exp.Window(this=exp.RowNumber(), order=exp.Order(expressions=[largest_first]))


def _reason(rule: Rule) -> "exp.Expr":
    """JSON text of an object: each feature that the rule names with the user's value, or null."""
    from sqlglot import exp

    if not rule.features:
        return exp.Literal.string("{}")
    pieces: list[exp.Expr] = []
    for index, feature in enumerate(rule.features):
        pieces += [exp.Literal.string(f'{", " if index else "{"}"{feature}": '), _json_value(feature)]
    return _concatenated(*pieces, exp.Literal.string("}"))


def _json_value(feature: str) -> "exp.Expr":
    from sqlglot import exp

    value: exp.Expr = exp.column(feature)
    match KINDS[feature]:
        case "text":
            value = _json_text(value)
        case "ratio":
            value = exp.cast(exp.cast(value, _PRINTED_RATIO), "varchar")
        case "count" | "money":
            value = exp.cast(value, "varchar")
    return exp.Coalesce(this=value, expressions=[exp.Literal.string("null")])


def _json_text(value: "exp.Expr") -> "exp.Expr":
    """The text in quotes, control characters dropped, backslashes and quotes escaped."""
    from sqlglot import exp

    text: exp.Expr = exp.RegexpReplace(
        this=value,
        expression=exp.Literal.string(_CONTROL_CHARACTERS),
        replacement=exp.Literal.string(""),
        modifiers=exp.Literal.string("g"),
    )
    # Backslashes first: those that escape a quote are not to be doubled.
    for character in ("\\", '"'):
        text = exp.func("replace", text, exp.Literal.string(character), exp.Literal.string("\\" + character))
    return _concatenated(exp.Literal.string('"'), text, exp.Literal.string('"'))


def _concatenated(*pieces: "exp.Expr") -> "exp.Expr":
    """The pieces joined by `||`, which is null where one of them is."""
    from sqlglot import exp

    return reduce(lambda left, right: exp.DPipe(this=left, expression=right), pieces)
