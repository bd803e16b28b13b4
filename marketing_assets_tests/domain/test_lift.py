"""Lift: the published check vectors, what must hold for any two arms, and input that nobody wants."""

import math
import sys
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from marketing_assets.domain.lift import (
    Difference,
    Interval,
    Lift,
    always_valid,
    always_valid_factor,
    compare,
    difference,
    guarded_se,
    lift,
    planned_targets,
    welch_se,
)
from marketing_assets.domain.moments import ArmSums, Moments
from marketing_assets_tests.domain.arms import Target, arm, spending

PLANNED = 5000
# The Hillstrom e-mail experiment: arm, spend, visits, conversions.
NONE = Moments(21_306, 0.652789, 11.5882**2)
MENS = Moments(21_307, 1.422617, 17.7542**2)
WOMENS = Moments(21_387, 1.077202, 15.1161**2)

MOMENTS = st.builds(
    Moments, n=st.integers(2, 10**6), mean=st.floats(-1e4, 1e4), variance=st.floats(1e-6, 1e8)
)
PLANS = st.integers(5000, 10**6)
MONEY = st.decimals(-1000, 100_000, places=2)
ARMS = st.lists(st.builds(Target, MONEY, st.decimals(0, 50, places=2), MONEY), min_size=2, max_size=10)


def shares(n: int, converted: int) -> Moments:
    return ArmSums(targets=n, converted=converted).conversion()


def found(treatment: list[Target], control: list[Target], cap: str = "1000000000") -> Lift:
    lifted = lift(arm(treatment, Decimal(cap)), arm(control, Decimal(cap)), Decimal(1), PLANNED)
    assert lifted is not None
    return lifted


@pytest.mark.parametrize(
    ("treatment", "d", "se", "fixed", "always", "e_value"),
    [
        (MENS, 0.769828, 0.145247, (0.485145, 1.054511), (0.302067, 1.237589), (1.238e5, 50)),
        (WOMENS, 0.424413, 0.130333, (0.168961, 0.679865), (0.004648, 0.844178), (22.411, 5e-4)),
    ],
)
def test_check_vectors_of_spend(
    treatment: Moments,
    d: float,
    se: float,
    fixed: tuple[float, float],
    always: tuple[float, float],
    e_value: tuple[float, float],
) -> None:
    compared = difference(treatment, NONE, PLANNED)
    assert compared.d == pytest.approx(d, abs=5e-7)
    assert compared.welch_se == compared.guarded_se == pytest.approx(se, abs=5e-7)
    assert compared.fixed is not None
    assert (compared.fixed.low, compared.fixed.high) == pytest.approx(fixed, abs=5.5e-7)
    assert compared.always_valid is not None
    assert (compared.always_valid.low, compared.always_valid.high) == pytest.approx(always, abs=5.5e-7)
    assert compared.e_value == pytest.approx(e_value[0], abs=e_value[1])
    assert compared.relative == pytest.approx(d / 0.652789, rel=1e-5)


@pytest.mark.parametrize(
    ("treatment", "control", "d", "se", "always"),
    [
        (shares(21_307, 3_894), shares(21_306, 2_262), 0.0765896, 0.0033859, (0.065685, 0.087494)),
        (shares(21_387, 189), shares(21_306, 122), 0.0031111, 0.0008227, (0.000461, 0.005761)),
    ],
    ids=["men's visits", "women's conversions"],
)
def test_check_vectors_of_shares(
    treatment: Moments, control: Moments, d: float, se: float, always: tuple[float, float]
) -> None:
    compared = difference(treatment, control, PLANNED)
    assert compared.d == pytest.approx(d, abs=5e-8)
    assert compared.welch_se == pytest.approx(se, abs=5e-8)
    assert compared.always_valid is not None
    assert (compared.always_valid.low, compared.always_valid.high) == pytest.approx(always, abs=5.5e-7)


def test_check_vector_of_the_guard() -> None:
    compared = difference(Moments(900, 5, 400), Moments(100, 4, 100), PLANNED)
    assert compared.welch_se == pytest.approx(1.201850, abs=5e-7)
    assert compared.guarded_se == pytest.approx(2.036381, abs=5e-7)
    pooled_variance = (compared.guarded_se**2 - 400 / 900) * 100
    assert pooled_variance == pytest.approx(370.2405, abs=5e-5)
    assert compared.always_valid is not None
    assert compared.always_valid.low == pytest.approx(-5.850158, abs=1e-6)
    assert compared.always_valid.high == pytest.approx(7.850158, abs=1e-6)


def test_p_is_two_sided_and_of_the_plain_standard_error() -> None:
    compared = difference(Moments(900, 5, 400), Moments(100, 5 - 1.96 * 1.201850, 100), PLANNED)
    assert compared.p_value == pytest.approx(0.05, abs=1e-4)


def test_the_plan_is_at_least_five_thousand_targets() -> None:
    assert [planned_targets(drawn) for drawn in (0, 5000, 60_000)] == [5000, 5000, 60_000]


def test_the_interval_is_tightest_at_the_plan() -> None:
    widths = {n: always_valid_factor(n, 20_000) for n in range(1_000, 60_000, 1_000)}
    assert 19_000 <= min(widths, key=widths.__getitem__) <= 21_000


@given(MOMENTS, MOMENTS, PLANS)
def test_zero_is_outside_the_interval_exactly_where_e_is_20(
    treatment: Moments, control: Moments, planned: int
) -> None:
    compared = difference(treatment, control, planned)
    assert compared.always_valid is not None
    outside = compared.always_valid.low > 0 or compared.always_valid.high < 0
    assume(abs(compared.log_e_value - math.log(20)) > 1e-9)
    assert outside == (compared.e_value >= 20)
    assert compared.e_value <= sys.float_info.max


@given(st.integers(2, 10**6), st.sampled_from([0.999999, 1.000001]), PLANS)
def test_so_it_is_at_the_very_edge(n: int, just: float, planned: int) -> None:
    se = 0.5
    d = se * always_valid_factor(2 * n, planned) * just
    compared = difference(Moments(n, d, se * se * n / 2), Moments(n, 0, se * se * n / 2), planned)
    assert compared.always_valid is not None
    assert (compared.always_valid.low > 0) == (compared.e_value >= 20) == (just > 1)


@given(MOMENTS, MOMENTS, PLANS)
def test_the_guard_only_widens(treatment: Moments, control: Moments, planned: int) -> None:
    compared = difference(treatment, control, planned)
    assert compared.guarded_se >= compared.welch_se
    assert compared.guarded_se >= math.sqrt(control.variance / control.n) * (1 - 1e-12)
    assert compared.fixed is not None
    assert compared.always_valid is not None
    assert compared.always_valid.low < compared.fixed.low < compared.fixed.high < compared.always_valid.high
    if control.n >= 0.4 * compared.n:
        assert compared.guarded_se == compared.welch_se


@given(MOMENTS, MOMENTS)
def test_a_small_control_arm_is_believed_to_be_as_spread_as_the_pool(one: Moments, other: Moments) -> None:
    treatment, control = (one, other) if one.n > 2 * other.n else (other, one)
    assume(control.n < 0.4 * (treatment.n + control.n))
    squares = (treatment.n - 1) * treatment.variance + (control.n - 1) * control.variance
    least = squares / (treatment.n + control.n - 2) / control.n
    assert guarded_se(treatment, control, treatment) ** 2 >= least


@given(MOMENTS, MOMENTS, PLANS)
def test_arms_that_change_places_change_the_sign(one: Moments, other: Moments, planned: int) -> None:
    there, back = difference(one, other, planned), difference(other, one, planned)
    assert there.d == -back.d
    assert there.welch_se == back.welch_se
    assert there.p_value == back.p_value


def test_the_guard_counts_value_before_costs() -> None:
    """Rewards move with revenue, so that y spreads less than what control, without rewards, may hold."""
    net, gross, control = Moments(900, 4, 100), Moments(900, 5, 400), Moments(100, 4, 50)
    assert guarded_se(net, control, gross) > guarded_se(net, control, net)
    spread = (899 * 400 + 99 * 50) / 998
    assert guarded_se(net, control, gross) == pytest.approx(math.sqrt(100 / 900 + spread / 100))


def test_lift_of_a_campaign() -> None:
    treatment = spending("40", "0", "100", "20", cost="5")
    control = spending("30", "0", "10", "0")
    lifted = found(treatment, control, cap="50")
    assert lifted.conversion.plain.d == 0.25
    assert lifted.revenue.plain.d == 30
    assert lifted.capped_revenue.plain.d == 17.5
    assert lifted.net_value.plain.d == 25
    assert lifted.capped_net_value.plain.d == 12.5
    assert lifted.reward_cost == 20
    assert lifted.incremental_revenue == 120
    assert lifted.net_incremental == 100
    net = lifted.net_value.plain
    assert net.always_valid is not None
    assert net.incremental_always_valid == Interval(4 * net.always_valid.low, 4 * net.always_valid.high)


def test_a_margin_scales_revenue_and_not_cost() -> None:
    lifted = lift(arm(spending("40", "20", cost="5")), arm(spending("10", "10")), Decimal("0.5"), PLANNED)
    assert lifted is not None
    assert lifted.revenue.plain.d == 20
    assert lifted.net_value.plain.d == 5


# CUPED


def test_cuped_takes_out_what_prior_spend_explains() -> None:
    """Control happened to get those who spent more before: the difference that this made is gone."""
    treatment = [
        Target(Decimal(x + 3 + wobble), prior_spend=Decimal(x)) for x in range(20) for wobble in (-1, 1)
    ]
    control = [
        Target(Decimal(x + wobble), prior_spend=Decimal(x)) for x in range(8, 28) for wobble in (-1, 1)
    ]
    revenue = found(treatment, control).revenue
    assert revenue.plain.d == pytest.approx(-5)
    assert revenue.theta == pytest.approx(1)
    assert revenue.cuped.d == pytest.approx(3)
    within = sum((x - 9.5) ** 2 for x in range(20)) / 20
    assert revenue.variance_removed == pytest.approx(within / (within + 1))
    assert revenue.cuped.welch_se == pytest.approx(
        revenue.plain.welch_se * math.sqrt(1 - revenue.variance_removed)
    )


def test_theta_weighs_the_arms_by_what_they_add_to_the_variance() -> None:
    treatment = Moments(900, 0, 10, x_mean=1, x_variance=9, covariance=9)
    control = Moments(100, 0, 10, x_mean=2, x_variance=4, covariance=-4)
    compared = compare(treatment, control, PLANNED)
    theta = (9 / 900 - 4 / 100) / (9 / 900 + 4 / 100)
    assert compared.theta == pytest.approx(theta)
    assert compared.cuped.d == pytest.approx(0 - theta * (1 - 2))


@given(ARMS, ARMS)
def test_cuped_never_adds_variance(treatment: list[Target], control: list[Target]) -> None:
    for compared in vars(found(treatment, control)).values():
        if not isinstance(compared, Decimal):
            assert 0 <= compared.variance_removed <= 1
            assert compared.cuped.welch_se <= compared.plain.welch_se * (1 + 1e-9)


def test_without_history_cuped_changes_nothing() -> None:
    lifted = found(spending("10", "20", "35"), spending("10", "15"))
    assert lifted.net_value.theta == lifted.net_value.variance_removed == 0
    assert lifted.net_value.cuped == lifted.net_value.plain


# Bad input


@pytest.mark.parametrize("size", [0, 1])
def test_an_arm_that_is_empty_or_of_one_is_compared_with_nothing(size: int) -> None:
    few, many = arm(spending(*["5"] * size)), arm(spending("5", "6", "7"))
    assert lift(few, many, Decimal(1), PLANNED) is None
    assert lift(many, few, Decimal(1), PLANNED) is None
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(few.gross_value(), many.gross_value(), PLANNED)


def test_without_any_spread_there_is_no_interval_and_no_evidence() -> None:
    nobody_bought = found(spending(*["0"] * 50), spending(*["0"] * 50)).net_value
    assert nobody_bought.plain.d == 0
    assert_nothing_is_claimed(nobody_bought.plain)
    everybody_alike = found(spending(*["9"] * 50), spending(*["4"] * 50)).net_value
    assert everybody_alike.plain.d == 5
    assert_nothing_is_claimed(everybody_alike.plain)
    assert_nothing_is_claimed(everybody_alike.cuped)


def assert_nothing_is_claimed(compared: Difference) -> None:
    assert (compared.fixed, compared.p_value, compared.always_valid) == (None, None, None)
    assert compared.incremental_always_valid is None
    assert compared.e_value == 1


def test_revenue_that_prior_spend_explains_fully_leaves_nothing_to_measure_with() -> None:
    treatment = [Target(Decimal(x), prior_spend=Decimal(x)) for x in range(0, 90, 7)]
    control = [Target(Decimal(x), prior_spend=Decimal(x)) for x in range(0, 50, 3)]
    revenue = found(treatment, control).revenue
    assert revenue.variance_removed == 1
    assert_nothing_is_claimed(revenue.cuped)


def test_a_single_enormous_purchase_proves_nothing() -> None:
    ordinary = [str(10 + index % 5) for index in range(300)]
    for treatment, control in (
        ([*ordinary, "900000.00"], ordinary),
        (ordinary, [*ordinary, "900000.00"]),
        ([*ordinary, *ordinary, "900000.00"], ordinary[:60]),
        ([*ordinary, *ordinary], [*ordinary[:60], "900000.00"]),
    ):
        lifted = found(spending(*treatment), spending(*control), cap="14")
        assert lifted.revenue.plain.e_value < 1
        assert abs(lifted.capped_revenue.plain.d) < 0.1
        assert lifted.capped_revenue.plain.always_valid is not None
        assert lifted.capped_revenue.plain.always_valid.high < 2


def test_negative_revenue_counts_and_has_no_relative_lift() -> None:
    lifted = found(spending("-5", "0", "-1"), spending("-20", "5", "-6"))
    assert lifted.revenue.plain.mean_control == -7
    assert lifted.revenue.plain.d == 5
    assert lifted.revenue.plain.relative is None
    assert found(spending("1", "2"), spending("0", "0")).revenue.plain.relative is None


@given(ARMS, ARMS, st.decimals("0.01", 1, places=2), PLANS)
def test_every_figure_is_a_number(
    treatment: list[Target], control: list[Target], margin: Decimal, planned: int
) -> None:
    """JSON, PostgreSQL and a chart take no infinity."""
    lifted = lift(arm(treatment), arm(control), margin, planned)
    assert lifted is not None
    for compared in vars(lifted).values():
        if not isinstance(compared, Decimal):
            for each in (compared.plain, compared.cuped):
                figures = [*vars(each).values(), each.d, each.e_value, each.incremental]
                assert all(math.isfinite(figure) for figure in figures if isinstance(figure, float))


@pytest.mark.parametrize(
    ("n", "planned", "alpha"), [(0, 5000, 0.05), (10, 0, 0.05), (10, 10, 0), (10, 10, 1)]
)
def test_an_interval_of_nothing_is_refused(n: int, planned: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="no interval"):
        always_valid(1.0, 1.0, n, planned, alpha)


def test_welch_keeps_each_arm_to_its_own_variance() -> None:
    assert welch_se(Moments(4, 0, 16), Moments(9, 0, 81)) == pytest.approx(math.sqrt(4 + 9))
