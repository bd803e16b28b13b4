"""Verdict: what it needs, what it says and why; and what is concluded over many campaigns."""

import math
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.lift import Difference, always_valid_factor, difference, lift
from marketing_assets.domain.moments import ArmSums, Moments
from marketing_assets.domain.sample_ratio import sample_ratio
from marketing_assets.domain.verdict import (
    Prospect,
    Verdict,
    acting,
    confirmed,
    pooled,
    smallest_effect,
    verdict,
    withheld,
)
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Limits
from marketing_assets_tests.domain.arms import arm, spending

PLANNED = 5000
LIMITS = load_policy(None).limits  # 100 targets in each arm, 200 converters
TENTH = Decimal("0.1")


def prospect(share: Decimal = TENTH, at_end: int = 0) -> Prospect:
    return Prospect(share, targets_at_end=at_end, expected_conversion=Decimal("0.05"))


def buyers(n: int, converted: int, amount: int, cost: int = 0) -> ArmSums:
    """An arm of `n` of whom so many bought, half of them for 1 more and half for 1 less than `amount`."""
    pairs = [str(amount + (-1) ** index) for index in range(converted)]
    rest = arm(spending(*["0"] * (n - converted)))
    return arm(spending(*pairs, cost=str(cost))) + rest


def decided(
    treatment: ArmSums, control: ArmSums, limits: Limits = LIMITS, of: Prospect | None = None
) -> Verdict:
    found = lift(treatment, control, Decimal(1), PLANNED)
    return verdict(treatment, control, found, limits, of or prospect(), PLANNED)


def test_winning_losing_and_unclear_say_between_what_the_effect_lies() -> None:
    control = buyers(200, 100, 20)
    winning = decided(buyers(1800, 1500, 20), control)
    assert winning.outcome == "winning"
    assert winning.why == "net value per target over control lies between 4.38 and 8.95"
    assert winning.more_targets == 0
    assert decided(buyers(1800, 900, 20), control).outcome == "unclear"
    assert decided(buyers(1800, 900, 20), control).why.endswith("it may be nothing")
    # As many buy as without it, and each of them costs more than half of what was bought.
    losing = decided(buyers(1800, 900, 20, cost=12), control)
    assert losing.outcome == "losing"
    assert losing.why.startswith("net value per target over control lies between -8.")


def test_the_capped_figure_decides() -> None:
    """One target of treatment spends a fortune: in the uncapped figure alone."""
    usual = spending(*["20", "21", "0", "0"] * 50)
    fortune = spending(*["20", "21", "0", "0"] * 250, "5000000")
    treatment, control = arm(fortune, cap=Decimal(21)), arm(usual, cap=Decimal(21))
    found = lift(treatment, control, Decimal(1), PLANNED)
    assert found is not None
    assert found.net_value.plain.d > 4000
    assert verdict(treatment, control, found, LIMITS, prospect(), PLANNED).outcome == "unclear"


def test_learning_until_each_arm_and_the_converters_are_enough() -> None:
    enough = buyers(900, 150, 20), buyers(100, 50, 20)
    assert decided(*enough).outcome != "learning"
    little = decided(buyers(900, 150, 20), buyers(99, 50, 20))
    assert (little.outcome, little.why) == ("learning", "control has 99 of 100 settled targets")
    assert little.more_targets == 10  # one more in control: a tenth of the targets
    few = decided(buyers(900, 140, 20), buyers(100, 50, 20))
    assert (few.outcome, few.why) == ("learning", "there are 190 of 200 converters")
    assert few.more_targets == math.ceil(10 / 0.19)
    both = decided(buyers(40, 2, 20), buyers(10, 0, 20))
    assert both.why == (
        "treatment has 40 of 100 settled targets; control has 10 of 100 settled targets; "
        "there are 2 of 200 converters"
    )
    assert both.more_targets == 198 * 25


def test_while_nobody_has_converted_the_template_says_how_many_will() -> None:
    none = decided(buyers(900, 0, 20), buyers(100, 0, 20))
    assert (none.outcome, none.more_targets) == ("learning", 4000)
    assert none.smallest_effect is None
    assert decided(ArmSums(), ArmSums()).more_targets == 4000


@pytest.mark.parametrize(("share", "treatment", "control"), [("0", 5000, 0), ("1", 0, 5000)])
def test_without_a_second_arm_no_number_of_targets_will_do(share: str, treatment: int, control: int) -> None:
    alone = decided(
        buyers(treatment, treatment // 10, 20),
        buyers(control, control // 10, 20),
        of=prospect(Decimal(share)),
    )
    assert alone.outcome == "learning"
    assert alone.why == "one arm stays empty: there is nothing to compare"
    assert alone.more_targets is None
    assert alone.smallest_effect is None


def test_a_policy_that_needs_nothing_still_needs_two_targets_an_arm() -> None:
    little = decided(
        buyers(9, 9, 20), buyers(1, 1, 20), LIMITS.model_copy(update={"min_arm": 1, "min_converters": 1})
    )
    assert (little.outcome, little.why) == ("learning", "control has 1 of 2 settled targets")


def test_targets_without_any_spread_are_unclear() -> None:
    alike = decided(arm(spending(*["20"] * 900)), arm(spending(*["10"] * 100)))
    assert (alike.outcome, alike.smallest_effect) == ("unclear", None)
    assert "no spread" in alike.why


@given(st.integers(2, 5000), st.integers(0, 5000), st.integers(2, 600), st.integers(0, 600))
def test_as_many_more_targets_as_it_says_end_the_learning(n_t: int, k_t: int, n_c: int, k_c: int) -> None:
    """If they come at the configured share and convert as the ones before."""
    treatment, control = ArmSums(n_t, min(k_t, n_t)), ArmSums(n_c, min(k_c, n_c))
    more = verdict(treatment, control, None, LIMITS, prospect(), PLANNED).more_targets
    assert more is not None
    converters = treatment.converted + control.converted
    rate = converters / (n_t + n_c) if converters else 0.05
    assert n_c + more * 0.1 >= 100 - 1e-6
    assert n_t + more * 0.9 >= 100 - 1e-6
    assert converters + more * rate >= 200 - 1e-6


def test_the_smallest_effect_is_that_of_the_campaigns_end() -> None:
    treatment, control = buyers(900, 150, 20), buyers(100, 50, 20)
    found = lift(treatment, control, Decimal(1), PLANNED)
    assert found is not None
    now = found.capped_net_value.plain
    at_end = decided(treatment, control, of=prospect(at_end=4000)).smallest_effect
    assert at_end == pytest.approx(now.guarded_se / 2 * (always_valid_factor(4000, PLANNED) + 0.841621))
    # Over: what there is, is all there will be.
    over = decided(treatment, control).smallest_effect
    assert over == pytest.approx(now.guarded_se * (always_valid_factor(1000, PLANNED) + 0.841621))


def test_power_of_the_docs() -> None:
    """10% conversion, a relative 5% more: seen with 80% probability at about these numbers of targets."""
    for n, share in ((600_000, 0.1), (217_000, 0.5)):
        control = ArmSums(round(n * share), round(n * share * 0.1)).conversion()
        treatment = ArmSums(round(n * (1 - share)), round(n * (1 - share) * 0.1)).conversion()
        effect = smallest_effect(difference(treatment, control, n), n, n)
        assert effect == pytest.approx(0.005, rel=0.005)


def test_an_arm_of_the_wrong_size_withholds_the_verdict() -> None:
    found = withheld(sample_ratio(9150, 850, TENTH))
    assert found == Verdict(
        "unclear",
        "lift is withheld: 850 of 10,000 targets are in control where the share is 0.1, which chance "
        "does not explain (e-value 4.541e+04)",
        None,
        None,
    )


def test_the_newest_version_past_learning_acts() -> None:
    losing, unclear, learning = (Verdict(each, "", 0, None) for each in ("losing", "unclear", "learning"))
    assert acting({1: losing, 2: unclear, 3: learning}) == unclear
    assert acting({2: learning, 1: losing}) == losing
    assert acting({1: learning}) is None
    assert acting({}) is None


# Many campaigns


def logs(*e_values: float) -> dict[str, float]:
    return {f"c{index}": math.log(each) for index, each in enumerate(e_values)}


def test_confirmed_at_ten_percent() -> None:
    # Of four, the k-th largest must be at least 40 / k: 40, 20, 13.3, 10.
    assert confirmed(logs(1, 1, 1, 39.9)) == frozenset()
    assert confirmed(logs(1, 1, 1, 40.1)) == {"c3"}
    assert confirmed(logs(21, 1, 1, 21)) == {"c0", "c3"}
    assert confirmed(logs(19, 19, 11, 11)) == {"c0", "c1", "c2", "c3"}
    assert confirmed(logs(19, 19, 11, 9)) == frozenset()
    assert confirmed({}) == frozenset()
    assert confirmed({"large": 10_000.0, "none": 0.0}) == {"large"}


@given(st.lists(st.floats(-5, 10), max_size=8))
def test_confirmed_is_the_largest_set_that_supports_itself(values: list[float]) -> None:
    """Every set is tried: e-BH gives the largest in which each has at least K / (0.1 x size)."""
    given_values = {str(index): value for index, value in enumerate(values)}
    sizes = [
        size
        for size in range(1, len(values) + 1)
        for chosen in combinations(values, size)
        if min(chosen) >= math.log(len(values) / (0.1 * size))
    ]
    assert len(confirmed(given_values)) == max(sizes, default=0)


@given(st.lists(st.floats(-5, 10), min_size=1, max_size=8), st.floats(0, 5))
def test_more_evidence_never_takes_a_mark_away(values: list[float], more: float) -> None:
    before = confirmed({str(index): value for index, value in enumerate(values)})
    values[0] += more
    assert before <= confirmed({str(index): value for index, value in enumerate(values)})


def successive(d: float, se: float) -> Difference:
    """A campaign with this difference and guarded standard error."""
    return difference(Moments(200, d, se * se * 100), Moments(200, 0, se * se * 100), PLANNED)


def test_successive_campaigns_are_pooled_by_inverse_variance() -> None:
    average = pooled([successive(1.0, 0.5), successive(4.0, 1.0)])
    assert average is not None
    assert average.campaigns == 2
    assert average.d == pytest.approx((4 * 1.0 + 1 * 4.0) / 5)
    assert average.se == pytest.approx(math.sqrt(1 / 5))
    assert average.fixed.high - average.fixed.low == pytest.approx(2 * 1.96 * average.se)


def test_campaigns_without_spread_have_no_weight() -> None:
    nothing = difference(Moments(200, 7, 0), Moments(200, 0, 0), PLANNED)
    assert pooled([]) is None
    assert pooled([nothing]) is None
    assert pooled([nothing, successive(1.0, 0.5)]) == pooled([successive(1.0, 0.5)])


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.01, 100)), min_size=1, max_size=6))
def test_a_pool_lies_within_its_campaigns_and_is_surer_than_each(
    campaigns: list[tuple[float, float]],
) -> None:
    average = pooled([successive(d, se) for d, se in campaigns])
    assert average is not None
    assert min(d for d, _ in campaigns) - 1e-9 <= average.d <= max(d for d, _ in campaigns) + 1e-9
    assert average.se <= min(se for _, se in campaigns) * (1 + 1e-9)
