"""How often an interval misses the truth at any of many looks, on simulated campaigns whose truth is known.

`python -m benchmarks.coverage` prints the tables of docs/measurement.md as Markdown, and puts them there with
`--docs`. Seeded: the same version of numpy gives the same figures. The intervals are those of
`marketing_assets/domain/lift.py`, over arrays of replays x looks.
"""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import ROOT, markdown
from benchmarks.tables import Table, rounded
from marketing_assets.domain.lift import (
    LEAST_PLANNED,
    always_valid_factor,
    difference,
    fixed_interval,
    guard_applies,
    planned_targets,
)
from marketing_assets.domain.moments import Moments
from marketing_assets.domain.verdict import smallest_effect
from marketing_assets.policy.load import load_policy

PAGE = ROOT / "docs" / "measurement.md"
REPLAYS = 2_000
LOOKS = 100
FEWER_LOOKS = 20
SHARES = (0.5, 0.1)
EFFECTS = (0.0, 0.05, -0.05)
REWARDS = (0.05, 0.2, 0.5)
FIRST_CONTROL, LAST_CONTROL = 100, 10_000
SEED = 20261125
_CHUNK = 250
_STEPS = 30
_FEW = 1_000
_LIMITS = load_policy(None).limits
_MARK = re.compile(r"(<!-- coverage:([a-z]+) -->\n)(.*?)(<!-- end of coverage:\2 -->)", re.DOTALL)

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """Targets of whom the share `rate` buys: 1 each (conversion), or lognormal sums of median 1 (spend)."""

    name: str
    rate: float
    sigma: float | None = None

    @property
    def of_purchase(self) -> float:
        """The mean of a purchase."""
        return 1.0 if self.sigma is None else math.exp(self.sigma**2 / 2)


POPULATIONS = (
    Population("conversion, 1%", 0.01),
    Population("spend, 5% buy, lognormal sigma 1", 0.05, 1.0),
    Population("spend, 5% buy, lognormal sigma 1.5", 0.05, 1.5),
)


@dataclass(frozen=True)
class Arm:
    """An arm of many replays: targets at each look; converters, means and variances as replays x looks."""

    n: Doubles
    converters: Doubles
    mean: Doubles
    variance: Doubles

    def less_rewards(self, share: float) -> "Arm":
        """The net value of the same targets, of whose revenue a share is paid back."""
        return replace(self, mean=self.mean * (1 - share), variance=self.variance * (1 - share) ** 2)


def grow(
    generator: np.random.Generator, population: Population, lift: float, n: Doubles, replays: int
) -> Arm:
    """Replays of an arm of `n` targets at the looks, whose purchase rate is lifted by the share `lift`."""
    joining = np.diff(n, prepend=0).astype(np.int64)
    buying = generator.binomial(np.tile(joining, (replays, 1)), population.rate * (1 + lift))
    total: Doubles = buying.astype(np.float64)
    squares = total
    if population.sigma is not None:
        amounts = generator.lognormal(0, population.sigma, int(buying.sum()))
        cells = np.repeat(np.arange(buying.size), buying.ravel())
        total = np.bincount(cells, amounts, buying.size).astype(np.float64).reshape(buying.shape)
        squares = np.bincount(cells, amounts * amounts, buying.size).astype(np.float64).reshape(buying.shape)
    mean = total.cumsum(axis=1) / n
    variance = (squares.cumsum(axis=1) - n * mean * mean) / (n - 1)
    return Arm(n, buying.cumsum(axis=1).astype(np.float64), mean, variance)


def standard_errors(net_treatment: Arm, control: Arm, treatment: Arm) -> tuple[Doubles, Doubles]:
    """Welch's and the guarded one, replays x looks, as `lift.welch_se` and `lift.guarded_se` have them."""
    n = treatment.n + control.n
    pooled = ((treatment.n - 1) * treatment.variance + (control.n - 1) * control.variance) / (n - 2)
    small = np.array([guard_applies(int(one), int(other)) for one, other in zip(n, control.n, strict=True)])
    guarded = np.where(small, np.maximum(control.variance, pooled), control.variance)
    within = net_treatment.variance / treatment.n
    return np.sqrt(within + control.variance / control.n), np.sqrt(within + guarded / control.n)


@dataclass(frozen=True)
class Design:
    """What is simulated: a population, the share of control, and what the campaign does.

    `effect` lifts the purchase rate by that share, `reward` is the share of revenue that it pays back.
    """

    population: Population
    share: float
    effect: float
    reward: float = 0.0
    last_control: int = LAST_CONTROL

    @property
    def truth(self) -> float:
        """The difference in net value per target that there is."""
        mean = self.population.rate * self.population.of_purchase
        return mean * ((1 + self.effect) * (1 - self.reward) - 1)

    def control_targets(self, looks: int) -> Doubles:
        """Targets in control at each look, ever more of them between looks by the same factor."""
        return np.geomspace(FIRST_CONTROL, self.last_control, looks).round()

    def replay(self, generator: np.random.Generator, replays: int, looks: int) -> tuple[Arm, Arm]:
        """Treatment, before rewards, and control of so many replays at each look."""
        n_control = self.control_targets(looks)
        n_treatment = (n_control * (1 - self.share) / self.share).round()
        treatment = grow(generator, self.population, self.effect, n_treatment, replays)
        return treatment, grow(generator, self.population, 0.0, n_control, replays)


@dataclass(frozen=True)
class Missed:
    """Where each interval misses the truth, and where the campaign is past learning (replays x looks)."""

    fixed: Flags
    plain: Flags
    guarded: Flags
    past_learning: Flags

    def at(self, looks: NDArray[np.int64]) -> "Missed":
        """At these looks alone."""
        return Missed(*(each[:, looks] for each in vars(self).values()))


def share_of_replays(missed_at: Flags) -> float:
    """The share of replays with at least one look."""
    return float(missed_at.any(axis=1).mean())


def missed(design: Design, replays: int, looks: int, seed: int = SEED) -> Missed:
    """Replay the design."""
    generator = np.random.default_rng(seed)
    parts = [
        _missed(design, *design.replay(generator, min(_CHUNK, replays - start), looks))
        for start in range(0, replays, _CHUNK)
    ]
    return Missed(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))


def _missed(design: Design, treatment: Arm, control: Arm) -> Missed:
    net = treatment.less_rewards(design.reward)
    welch, guarded = standard_errors(net, control, treatment)
    off = np.abs(net.mean - control.mean - design.truth)
    n = treatment.n + control.n
    factor = np.array([always_valid_factor(int(each), LEAST_PLANNED) for each in n])
    enough = np.minimum(treatment.n, control.n) >= _LIMITS.min_arm
    converters = treatment.converters + control.converters
    return Missed(
        # Where no target has bought yet there is no interval, and so none that misses.
        fixed=(welch > 0) & (off > fixed_interval(0.0, 1.0).high * welch),
        plain=(welch > 0) & (off > factor * welch),
        guarded=(guarded > 0) & (off > factor * guarded),
        past_learning=enough & (converters >= _LIMITS.min_converters),
    )


def coverage(replays: int = REPLAYS) -> Table:
    """Every population, share and effect: how many replays each interval misses."""
    header = ["simulated", "arms", "effect"]
    for interval in ("guarded", "always-valid, Welch", "fixed 95%"):
        header += [f"{interval}, {FEWER_LOOKS} looks", f"{LOOKS} looks"]
    fewer = np.linspace(0, LOOKS - 1, FEWER_LOOKS).round().astype(np.int64)
    rows = []
    for population, share, effect in product(POPULATIONS, SHARES, EFFECTS):
        every = missed(Design(population, share, effect), replays, LOOKS)
        some = every.at(fewer)
        shown = [some.guarded, every.guarded, some.plain, every.plain, some.fixed, every.fixed]
        figures = [f"{share_of_replays(each):.1%}" for each in shown]
        rows.append([population.name, arms(share), f"{effect:+.0%}", *figures])
    return Table(
        "coverage", f"Of {replays:,} replays, those in which an interval misses the truth", header, rows
    )


def break_even(replays: int = REPLAYS) -> Table:
    """Campaigns that bring exactly what their rewards cost, in net value per target."""
    header = ["simulated", "arms", "rewards", f"interval misses, {LOOKS} looks", "wrong verdict"]
    rows = []
    for population, share, reward in product(POPULATIONS[1:], SHARES, REWARDS):
        effect = 1 / (1 - reward) - 1
        every = missed(Design(population, share, effect, reward), replays, LOOKS)
        figures = [every.guarded, every.guarded & every.past_learning]
        shown = [f"{share_of_replays(each):.1%}" for each in figures]
        rows.append([population.name, arms(share), f"{reward:.0%}", *shown])
    return Table("verdicts", f"Of {replays:,} replays of campaigns that break even", header, rows)


def arms(share: float) -> str:
    """The sizes of treatment and control, of a hundred."""
    return f"{100 - share * 100:.0f}:{share * 100:.0f}"


def power() -> Table:
    """Targets of both arms until a relative effect on conversion is seen with 80% probability."""
    effects = (0.05, 0.1, 0.2, 0.5)
    header = ["conversion", "arms", *(f"{effect:+.0%}" for effect in effects)]
    rows = []
    for rate, share in product((0.01, 0.05, 0.1), SHARES):
        needed = [rounded(targets_to_see(rate, share, rate * effect)) for effect in effects]
        rows.append([f"{rate:.0%}", arms(share), *needed])
    return Table("power", "Targets that a campaign needs", header, rows)


def targets_to_see(rate: float, share: float, effect: float) -> float:
    """Targets of both arms, planned for, that show `effect` (a difference of rates) with 80% probability."""
    variance = rate * (1 - rate)
    control = Moments(round(_FEW * share), rate, variance)
    compared = difference(Moments(_FEW - control.n, rate, variance), control, LEAST_PLANNED)
    needed = 1e6
    for _ in range(_STEPS):
        seen = smallest_effect(compared, round(needed), planned_targets(round(needed)))
        assert seen is not None
        needed *= (seen / effect) ** 2
    return needed


def filled(text: str, tables: Sequence[Table]) -> str:
    """The page with each of the tables between its marks; what stands between others stays."""
    made = {table.name: f"{markdown(table)}\n" for table in tables}
    return _MARK.sub(lambda found: f"{found[1]}{made.get(found[2], found[3])}{found[4]}", text)


def main() -> None:
    """Simulate and print, or fill in the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replays", type=int, default=REPLAYS)
    parser.add_argument("--docs", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    tables = [coverage(given.replays), break_even(given.replays), power()]
    for table in tables:
        sys.stdout.write(f"{table.title}\n\n{markdown(table)}\n\n")
    if given.docs:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
