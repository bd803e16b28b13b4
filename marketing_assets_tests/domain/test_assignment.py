"""Assignment: the published check vectors, and Python and SQL in agreement on any id."""

import math
from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_assets.domain.assignment import CERTAIN, bucket_digits, deviation, held_out, share_digits

# What PostgreSQL and DuckDB can hold as text: everything but half a surrogate pair and NUL.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SHARES = st.decimals(min_value=0, max_value=1, places=6)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        yield connection


def test_check_vectors() -> None:
    assert bucket_digits("global:2026", "u1") == "9486f69b"
    assert share_digits(Decimal("0.05")) == "0ccccccc"
    assert not held_out("global:2026", "u1", Decimal("0.05"))
    assert held_out("global:2026", "u1", Decimal("0.6"))


@pytest.mark.parametrize(
    ("share", "digits"),
    [
        ("0", "00000000"),
        ("0.1", "19999999"),
        ("0.5", "80000000"),
        ("0.0000000001", "00000000"),
        ("0.9999999999999999999999999999999999", "ffffffff"),
    ],
)
def test_share_digits_are_the_exact_floor(share: str, digits: str) -> None:
    assert share_digits(Decimal(share)) == digits


@pytest.mark.parametrize("share", ["-0.1", "1", "1.5", "Infinity"])
def test_shares_without_digits_are_refused(share: str) -> None:
    with pytest.raises(ValueError, match="not in"):
        share_digits(Decimal(share))


@given(TEXT, TEXT)
def test_share_0_is_nobody_and_share_1_everybody(salt: str, user_id: str) -> None:
    assert not held_out(salt, user_id, Decimal("0.00"))
    assert held_out(salt, user_id, Decimal("1.0"))


def test_about_the_share_is_held_out() -> None:
    users, share = 50_000, Decimal("0.1")
    held = sum(held_out("vip-rewards-2026-11-22", f"user-{index}", share) for index in range(users))
    standard_error = (users * 0.1 * 0.9) ** 0.5
    assert abs(held - users * 0.1) < 4 * standard_error


@settings(max_examples=100, deadline=None)
@given(TEXT, TEXT, SHARES.filter(lambda share: 0 < share < 1))
def test_sql_agrees_with_python(
    connection: duckdb.DuckDBPyConnection, salt: str, user_id: str, share: Decimal
) -> None:
    statement = "select substr(md5(? || ':' || ?), 1, 8) < ?, substr(md5(? || ':' || ?), 1, 8)"
    values = [salt, user_id, share_digits(share), salt, user_id]
    rows = connection.execute(statement, values).fetchall()
    assert rows == [(held_out(salt, user_id, share), bucket_digits(salt, user_id))]


@pytest.mark.parametrize(
    ("targets", "control", "share", "expected"),
    [
        (1_000_000, 100_000, "0.1", 0.0),
        (1_000_000, 101_200, "0.1", 4.0),  # the normal curve: 1,200 / sqrt(90,000)
        (1_000_000, 98_800, "0.1", -4.0),
        (1, 1, "0.05", 1.645),  # one in twenty
        (10, 0, "0.1", -0.389),  # 0.9 ** 10 = 0.349
        (0, 0, "0.1", 0.0),
        (5, 0, "0", 0.0),
        (5, 1, "0", CERTAIN),
        (5, 5, "1", 0.0),
        (5, 4, "1", -CERTAIN),
    ],
)
def test_how_far_an_arm_lies_from_its_share(targets: int, control: int, share: str, expected: float) -> None:
    assert deviation(targets, control, Decimal(share)) == pytest.approx(expected, abs=0.001)


def test_a_fair_draw_is_hardly_ever_four_deviations_away() -> None:
    """Whatever the size: the probability of all outcomes that far away is below that of a normal curve."""
    for targets in (1, 2, 5, 20, 100, 1_000):
        for share in (Decimal("0.01"), Decimal("0.1"), Decimal("0.5")):
            probability = sum(
                math.comb(targets, k) * float(share) ** k * (1 - float(share)) ** (targets - k)
                for k in range(targets + 1)
                if abs(deviation(targets, k, share)) > 4
            )
            assert probability <= 6.4e-5
