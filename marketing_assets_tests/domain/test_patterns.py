"""The query for patterns, run in DuckDB against a slow and obvious reading of the same rules."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil
from operator import eq, ge, gt, le, lt

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlglot import exp

from marketing_assets.domain.patterns import pattern_matches, reason_holds
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Condition, Pattern, Rule
from marketing_assets.policy.rules import KINDS, OPERATORS

Value = int | float | Decimal | str | None
User = Mapping[str, Value]
Match = tuple[str, str, int, str]

COLUMNS = {
    "user_id": "varchar",
    "transactions": "integer",
    "spend": "decimal(14,2)",
    "average_order": "decimal(14,2)",
    "active_days": "integer",
    "first_transaction_at": "timestamptz",
    "last_transaction_at": "timestamptz",
    "days_since_last": "integer",
    "locations": "integer",
    "top_location": "varchar",
    "top_location_share": "double",
    "categories": "integer",
    "top_category": "varchar",
    "top_category_share": "double",
    "spend_recent": "decimal(14,2)",
    "spend_prior": "decimal(14,2)",
    "spend_trend": "double",
}
COMPARE: dict[str, Callable[..., bool]] = {
    "at_least": ge,
    "at_most": le,
    "above": gt,
    "below": lt,
    "equals": eq,
}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        connection.execute(f"create table user_features ({columns})").fetchall()
        yield connection


def matches(connection: duckdb.DuckDBPyConnection, users: list[User], *patterns: Pattern) -> list[Match]:
    """What the query finds among users, of whom every feature that is not given is null."""
    connection.execute("delete from user_features").fetchall()
    marks = ", ".join(f"({', '.join('?' * len(COLUMNS))})" for _ in users)
    values = [user.get(name) for user in users for name in COLUMNS]
    connection.execute(f"insert into user_features values {marks}", values).fetchall()
    return sorted(connection.execute(pattern_matches(patterns).sql("duckdb")).fetchall())


def pattern(*rule: object, name: str = "p", rank: int = 1) -> Pattern:
    return Pattern.model_validate({"name": name, "label": "P", "rank": rank, "rule": rule})


def found(connection: duckdb.DuckDBPyConnection, users: list[User], *rule: object) -> list[str]:
    return [match[0] for match in matches(connection, users, pattern(*rule))]


# The reading to compare with: one user, one condition at a time.


def threshold(condition: Condition, users: list[User]) -> Fraction:
    values = [user[condition.feature] for user in users]
    numbers = sorted((Fraction(value) for value in values if value is not None), reverse=True)
    return numbers[ceil(len(numbers) * Fraction(condition.value) / 100) - 1]


def condition_holds(condition: Condition, user: User, users: list[User]) -> bool:
    value = user[condition.feature]
    if value is None or isinstance(value, str):
        return value is not None and value == condition.value
    if condition.operator == "top_percent":
        return Fraction(value) >= threshold(condition, users) and value > 0
    assert isinstance(condition.value, Decimal)
    compared = float(condition.value) if isinstance(value, float) else condition.value
    return COMPARE[condition.operator](value, compared)


def rule_holds(rule: Rule, user: User, users: list[User]) -> bool:
    return all(any(condition_holds(condition, user, users) for condition in group) for group in rule.groups)


def reason(rule: Rule, user: User) -> dict[str, Value]:
    shown: dict[str, Value] = {}
    for feature in rule.features:
        value = user[feature]
        if isinstance(value, float):
            value = Decimal(f"{value:.6f}")
        elif isinstance(value, str):
            value = re.sub(r"[\x00-\x1f\x7f]", "", value)
        shown[feature] = value
    return shown


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["Fuel", "it's", 'a "b" \\', "\t\\n\0"]
)
SHARES = st.integers(0, 12).map(lambda part: part / 12)
VALUES: dict[str, st.SearchStrategy[Value]] = {
    "count": st.integers(0, 5),
    "money": st.integers(-300, 500).map(lambda cents: Decimal(cents) / 100) | st.sampled_from([Decimal(2)]),
    "ratio": SHARES,
    "text": TEXTS,
}
USERS = st.lists(
    st.fixed_dictionaries({name: st.none() | VALUES[kind] for name, kind in KINDS.items()}),
    min_size=1,
    max_size=12,
).map(lambda users: [{"user_id": f"u{index:02}", **user} for index, user in enumerate(users)])


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    feature = draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[feature]
    operator = "equals" if kind == "text" else draw(st.sampled_from(OPERATORS))
    value: Value = draw(
        st.sampled_from(["Fuel", "it's", 'a "b" \\', "back\\slash"] if kind == "text" else [None])
    )
    if operator == "top_percent":
        value = draw(st.decimals("0.000001", 100, places=6) | st.sampled_from([Decimal(25), Decimal(100)]))
    elif kind == "ratio":
        value = draw(
            st.sampled_from([Decimal(0), Decimal("0.25"), Decimal("0.333333"), Decimal("0.5"), Decimal(1)])
        )
    elif kind != "text":
        value = draw(VALUES[kind])
    try:
        return Condition.model_validate({"feature": feature, operator: value})
    except ValidationError:
        assume(False)
        raise


def is_accepted(clauses: Sequence[object]) -> bool:
    """Whether a policy may say it: no condition twice, none that contradicts another."""
    try:
        pattern(*clauses)
    except ValidationError:
        return False
    return True


RULES = st.lists(
    conditions() | st.lists(conditions(), min_size=1, max_size=3).map(lambda group: {"any_of": group}),
    max_size=3,
).filter(is_accepted)


@settings(max_examples=40, deadline=None)
@given(users=USERS, first=RULES, second=RULES)
def test_the_query_finds_what_the_rules_say(
    connection: duckdb.DuckDBPyConnection, users: list[User], first: list[object], second: list[object]
) -> None:
    patterns = [pattern(*first, name="first", rank=1), pattern(*second, name="second", rank=2)]
    expected = sorted(
        (str(user["user_id"]), each.name, each.rank, reason(each.rule, user))
        for each in patterns
        for user in users
        if rule_holds(each.rule, user, users)
    )
    results = [
        (user_id, name, rank, json.loads(text, parse_float=Decimal))
        for user_id, name, rank, text in matches(connection, users, *patterns)
    ]
    assert results == expected


@settings(max_examples=40, deadline=None)
@given(users=USERS, rule=RULES)
def test_the_reason_of_every_match_is_true_by_the_rule_that_made_it(
    connection: duckdb.DuckDBPyConnection, users: list[User], rule: list[object]
) -> None:
    made = pattern(*rule)
    matches(connection, users, made)  # puts the users into the table
    untrue = (
        exp.select("reason")
        .from_(pattern_matches([made]).subquery("m"))
        .where(exp.not_(reason_holds(made.rule, exp.column("reason", "m"))))
    )
    assert connection.execute(untrue.sql("duckdb")).fetchall() == []


@pytest.mark.parametrize(
    ("reason", "holds"),
    [
        ('{"spend": 5000.00}', True),
        ('{"spend": 4999.99}', False),
        ('{"spend": null}', False),
        ('{"spend": "much"}', False),
        ("{}", False),
        ("no JSON", False),
        (None, False),
    ],
)
def test_whether_a_reason_is_true(
    connection: duckdb.DuckDBPyConnection, reason: str | None, holds: bool
) -> None:
    rule = pattern({"feature": "spend", "at_least": 5000}).rule
    query = exp.select(reason_holds(rule, exp.column("reason"))).from_(
        exp.values([(reason,)], alias="given", columns=["reason"])
    )
    assert connection.execute(query.sql("duckdb")).fetchall() == [(holds,)]


def test_a_ratio_printed_as_its_limit_may_have_been_above_or_below_it(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    for operator, share in (("above", 0.3333333), ("below", 0.3333328)):
        made = pattern({"feature": "top_location_share", operator: Decimal("0.333333")})
        [(_, _, _, reason)] = matches(connection, [{"user_id": "u", "top_location_share": share}], made)
        assert reason == '{"top_location_share": 0.333333}'
        holds = exp.select(reason_holds(made.rule, exp.Literal.string(reason)))
        assert connection.execute(holds.sql("duckdb")).fetchall() == [(True,)]


def test_the_default_patterns(connection: duckdb.DuckDBPyConnection) -> None:
    ada: User = {
        "user_id": "ada",
        "transactions": 20,
        "spend": Decimal("5123.10"),
        "days_since_last": 29,
        "locations": 2,
        "spend_trend": 0.5,
    }
    bob: User = {
        "user_id": "bob",
        "transactions": 4,
        "spend": Decimal("4999.99"),
        "days_since_last": 30,
        "locations": 0,
        "spend_trend": None,
    }
    assert matches(connection, [ada, bob], *load_policy(None).patterns) == [
        ("ada", "frequent_shopper", 5, '{"transactions": 20}'),
        ("ada", "general", 7, "{}"),
        ("ada", "high_spender", 1, '{"spend": 5123.10}'),
        ("ada", "location_cluster", 6, '{"locations": 2}'),
        ("ada", "seasonal", 4, '{"spend_trend": 0.500000}'),
        ("bob", "general", 7, "{}"),
        ("bob", "inactive", 2, '{"days_since_last": 30}'),
        ("bob", "new_shopper", 3, '{"transactions": 4}'),
    ]


def test_top_percent_takes_the_kth_largest_with_all_its_ties(connection: duckdb.DuckDBPyConnection) -> None:
    users: list[User] = [
        {"user_id": f"u{index}", "spend": spend and Decimal(spend)}
        for index, spend in enumerate(["9", "8", "8", "5", "0", "-1", "-2", "-3", "-4", "-5", None])
    ]
    assert found(connection, users, {"feature": "spend", "top_percent": Decimal(10)}) == ["u0"]
    # 10.000001 % of ten users is a little more than one, so the second counts, and who equals him.
    assert found(connection, users, {"feature": "spend", "top_percent": "10.000001"}) == ["u0", "u1", "u2"]
    assert found(connection, users, {"feature": "spend", "top_percent": 40}) == ["u0", "u1", "u2", "u3"]
    # Nobody is in the top for spending nothing.
    assert found(connection, users, {"feature": "spend", "top_percent": 100}) == ["u0", "u1", "u2", "u3"]
    assert found(connection, users, {"feature": "spend_trend", "top_percent": 100}) == []


def test_null_is_false_and_its_alternatives_still_count(connection: duckdb.DuckDBPyConnection) -> None:
    users: list[User] = [{"user_id": "u", "transactions": 3}]
    unknown, known = {"feature": "spend", "below": 9}, {"feature": "transactions", "equals": 3}
    assert found(connection, users, unknown) == []
    assert found(connection, users, known, unknown) == []
    both = pattern({"any_of": [unknown, known]})
    assert matches(connection, users, both) == [("u", "p", 1, '{"spend": null, "transactions": 3}')]


def test_the_reason_is_json_whatever_the_text(connection: duckdb.DuckDBPyConnection) -> None:
    users: list[User] = [{"user_id": "u", "top_location": 'A "b" \\ c\n\0\x1f\x7f é'}]
    rule = {
        "any_of": [
            {"feature": "top_location", "equals": "x"},
            {"feature": "top_location", "equals": 'A "b" \\ c'},
        ]
    }
    assert found(connection, users, rule) == []
    users = [{"user_id": "u", "transactions": 1, "top_location": 'A "b" \\ c\n\0\x1f\x7f é'}]
    either = pattern(
        {"any_of": [{"feature": "top_location", "equals": "x"}, {"feature": "transactions", "equals": 1}]}
    )
    [(_, _, _, text)] = matches(connection, users, either)
    assert text == '{"top_location": "A \\"b\\" \\\\ c é", "transactions": 1}'
    assert json.loads(text)["top_location"] == 'A "b" \\ c é'


def test_a_trend_of_any_size_is_printed(connection: duckdb.DuckDBPyConnection) -> None:
    users: list[User] = [{"user_id": "u", "spend_trend": 2e14}]
    match = ("u", "p", 1, '{"spend_trend": 200000000000000.000000}')
    assert matches(connection, users, pattern({"feature": "spend_trend", "above": 0})) == [match]


def test_columns_and_their_types(connection: duckdb.DuckDBPyConnection) -> None:
    query = pattern_matches(load_policy(None).patterns).sql("duckdb")
    described = connection.execute(f"describe {query}").fetchall()
    assert [row[:2] for row in described] == [
        ("user_id", "VARCHAR"),
        ("pattern", "VARCHAR"),
        ("rank", "INTEGER"),
        ("reason", "VARCHAR"),
    ]


def test_spark_gets_the_same_text_in_its_own_escapes() -> None:
    query = pattern_matches([pattern({"feature": "top_category", "equals": "it's \\"})]).sql("spark")
    assert r"""top_category = CAST('it\'s \\' AS STRING)""" in query
    assert r"""REGEXP_REPLACE(top_category, '[\\x00-\\x1f\\x7f]', '')""" in query


def test_no_patterns_make_no_query() -> None:
    with pytest.raises(ValueError, match="at least one"):
        pattern_matches([])
