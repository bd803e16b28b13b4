"""The interval that is acted on holds at all looks at once, on campaigns whose truth is known."""

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage import (
    EFFECTS,
    POPULATIONS,
    SHARES,
    Arm,
    Design,
    Population,
    missed,
    share_of_replays,
    standard_errors,
)
from marketing_assets.domain.lift import difference, guard_applies
from marketing_assets.domain.moments import Moments

REPLAYS, LOOKS = 1_000, 100
CONVERSION, SPEND, HEAVY = POPULATIONS
# 5% of the replays may miss, and two standard errors of that share more.
MOST = 0.05 + 2 * (0.05 * 0.95 / REPLAYS) ** 0.5


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("population", POPULATIONS, ids=lambda each: each.name)
def test_the_guarded_interval_holds_the_truth_at_every_look(
    population: Population, share: float, effect: float
) -> None:
    found = missed(Design(population, share, effect, last_control=2_000), REPLAYS, LOOKS)
    assert share_of_replays(found.guarded) <= MOST
    # So the replays are hard enough to tell an interval that does not hold.
    assert share_of_replays(found.fixed) > 0.15


@pytest.mark.parametrize("population", [CONVERSION, HEAVY], ids=lambda each: each.name)
def test_without_the_guard_a_small_control_arm_misleads(population: Population) -> None:
    found = missed(Design(population, 0.1, 0.0, last_control=2_000), REPLAYS, LOOKS)
    assert share_of_replays(found.plain) > 2 * MOST


@pytest.mark.parametrize("share", SHARES)
def test_a_campaign_that_breaks_even_gets_no_verdict(share: float) -> None:
    """A fifth of the revenue is paid back, and a quarter more is bought: all that rewards cost."""
    design = Design(HEAVY, share, effect=0.25, reward=0.2, last_control=10_000)
    assert design.truth == pytest.approx(0)
    found = missed(design, REPLAYS, LOOKS)
    assert share_of_replays(found.past_learning) == 1
    assert share_of_replays(found.guarded & found.past_learning) <= MOST


def test_arrays_of_replays_are_computed_as_one_campaign_is() -> None:
    for share in SHARES:
        design = Design(SPEND, share, 0.05, last_control=2_000)
        treatment, control = design.replay(np.random.default_rng(7), replays=3, looks=10)
        net = treatment.less_rewards(0.2)
        welch, guarded = standard_errors(net, control, treatment)
        for index in np.ndindex(3, 10):
            compared = difference(
                moments(net, index), moments(control, index), 5000, gross_treatment=moments(treatment, index)
            )
            assert guard_applies(compared.n, compared.n_control) == (share == 0.1)
            assert compared.welch_se == pytest.approx(welch[index])
            assert compared.guarded_se == pytest.approx(guarded[index])


def moments(arm: Arm, index: tuple[int, ...]) -> Moments:
    return Moments(int(arm.n[index[1]]), float(arm.mean[index]), float(arm.variance[index]))


def test_simulated_arms_have_the_means_and_variances_they_should() -> None:
    design = Design(SPEND, 0.5, 0.05, last_control=50_000)
    treatment, control = design.replay(np.random.default_rng(7), replays=200, looks=5)
    differences = treatment.mean[:, -1] - control.mean[:, -1]
    error = float(differences.std(ddof=1)) / 200**0.5
    assert abs(float(differences.mean()) - design.truth) < 3 * error
    # E(y^2) = rate x e^2 for sigma 1, less the square of the mean
    expected = 0.05 * np.exp(2.0) - (0.05 * np.exp(0.5)) ** 2
    assert float(control.variance[:, -1].mean()) == pytest.approx(expected, rel=0.02)
    assert float(control.converters[:, -1].mean()) == pytest.approx(2_500, rel=0.01)


def test_power_in_the_docs() -> None:
    """The figures that SEMANTICS names: a relative +5% of 10% conversion."""
    assert coverage.targets_to_see(0.1, 0.1, 0.005) == pytest.approx(600_000, rel=0.01)
    assert coverage.targets_to_see(0.1, 0.5, 0.005) == pytest.approx(217_000, rel=0.01)


def test_the_page_holds_the_power_that_is_computed_now() -> None:
    page = coverage.PAGE.read_text(encoding="utf-8")
    assert "coverage:power" in page
    assert coverage.filled(page, [coverage.power()]) == page, "python -m benchmarks.coverage --docs"


def test_the_page_shows_every_simulation_within_its_bound() -> None:
    page = coverage.PAGE.read_text(encoding="utf-8")
    table = page.split("<!-- coverage:coverage -->")[1].split("<!-- end of coverage:coverage -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
    assert [row[0] for row in rows] == [each.name for each in POPULATIONS for _ in range(6)]
    assert all(float(figure.rstrip("%")) <= 5 for row in rows for figure in row[3:5])
