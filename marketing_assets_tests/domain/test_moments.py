"""Moments: exact whatever the amounts, additive, and the same from SQL's columns."""

import statistics
from dataclasses import fields
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_assets.domain.moments import ArmSums, Moments
from marketing_assets_tests.domain.arms import Target, arm, spending

AMOUNTS = st.decimals(-100_000, 10_000_000, places=2)
COSTS = st.decimals(0, 250, places=2)
TARGETS = st.lists(st.builds(Target, AMOUNTS, COSTS, AMOUNTS), max_size=12)
MARGINS = st.decimals("0.01", 1, places=2)


def test_moments_of_an_arm() -> None:
    sums = arm([Target(Decimal(30), Decimal(3), Decimal(10)), Target(Decimal(-10), Decimal(0), Decimal(4))])
    assert sums.conversion() == Moments(2, 0.5, 0.5, x_mean=7, x_variance=18, covariance=3)
    assert sums.gross_value() == Moments(2, 10, 800, x_mean=7, x_variance=18, covariance=120)
    # 0.5 x 30 - 3 = 12 and 0.5 x -10 = -5
    assert sums.net_value(Decimal("0.5")) == Moments(2, 3.5, 144.5, x_mean=7, x_variance=18, covariance=51)


def test_capped_moments_cut_revenue_and_not_cost() -> None:
    capped = arm(spending("30", "500", cost="3"), cap=Decimal(40)).capped()
    assert capped.net_value().mean == 32
    assert capped.gross_value() == Moments(2, 35, 50)
    assert capped.cost == 6


@given(TARGETS, MARGINS)
def test_moments_are_those_of_the_targets(targets: list[Target], margin: Decimal) -> None:
    values = [float(margin * each.revenue - each.cost) for each in targets]
    priors = [float(each.prior_spend) for each in targets]
    found = arm(targets).net_value(margin)
    assert found.n == len(targets)
    if targets:
        assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6)
        assert found.x_mean == pytest.approx(statistics.fmean(priors), rel=1e-9, abs=1e-6)
    if len(targets) > 1:
        assert found.variance == pytest.approx(statistics.variance(values), rel=1e-9, abs=1e-6)
        assert found.x_variance == pytest.approx(statistics.variance(priors), rel=1e-9, abs=1e-6)
        scale = (found.variance * found.x_variance) ** 0.5
        assert found.covariance == pytest.approx(
            statistics.covariance(values, priors), abs=1e-9 * scale + 1e-6
        )


@given(TARGETS, TARGETS)
def test_sums_add_up_whatever_the_split(some: list[Target], others: list[Target]) -> None:
    assert arm(some) + arm(others) == arm(others) + arm(some) == arm([*some, *others])
    assert arm(some) + ArmSums() == arm(some)


@given(TARGETS, st.floats(-1e3, 1e3))
def test_x_that_explains_everything_leaves_no_spread(targets: list[Target], theta: float) -> None:
    moments = arm([Target(each.revenue, prior_spend=each.revenue) for each in targets]).gross_value()
    assert moments.less_x(1.0, around=moments.x_mean).variance == 0
    assert moments.less_x(theta, around=moments.x_mean).variance >= 0


def test_nothing_cancels_in_large_amounts() -> None:
    """A spread of one cent around a billion: in doubles the squares would not hold it."""
    sums = arm(spending("1000000000.01", "1000000000.02", "1000000000.03"))
    assert sums.gross_value().variance == pytest.approx(1e-4, rel=1e-12)


def test_sums_add_beyond_the_digits_that_python_keeps_by_itself() -> None:
    many = ArmSums(revenue_squares=Decimal("9999999999999999999999999999999999.0001"))
    assert (many + many).revenue_squares == Decimal("19999999999999999999999999999999998.0002")


def test_too_few_targets_have_no_variance() -> None:
    assert ArmSums().net_value() == Moments(0, 0.0, 0.0)
    assert arm([Target(Decimal(5), Decimal(1), Decimal(9))]).net_value() == Moments(1, 4.0, 0.0, x_mean=9.0)


def test_sums_that_no_targets_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        ArmSums(targets=2, revenue=Decimal(10), revenue_squares=Decimal(1)).gross_value()


@settings(max_examples=15, deadline=None)
@given(TARGETS.filter(bool))
def test_sql_computes_the_columns_without_rounding(targets: list[Target]) -> None:
    """Each column as its name says: products of decimal(19, 2), which doubles would round."""
    figures = ("converted", "revenue", "capped_revenue", "cost", "prior_spend")
    columns = []
    for each in fields(ArmSums):
        name = each.name.replace("_squares", "")
        first = next(figure for figure in ("targets", *figures) if name.startswith(figure))
        other = name.removeprefix(first).removeprefix("_")
        factors = [first, other] if other else [first, first] if name != each.name else [first]
        columns.append("count(*)" if first == "targets" else f"sum({' * '.join(factors)})")
    cap = Decimal(1000)
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "create table targets (converted integer, revenue decimal(19, 2),"
            " capped_revenue decimal(19, 2), cost decimal(19, 2), prior_spend decimal(19, 2))"
        )
        connection.executemany(
            "insert into targets values (?, ?, ?, ?, ?)",
            [
                [each.converted, each.revenue, min(each.revenue, cap), each.cost, each.prior_spend]
                for each in targets
            ],
        )
        row = connection.execute(f"select {', '.join(columns)} from targets").fetchone()
    assert row is not None
    assert ArmSums(*row) == arm(targets, cap)
