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
from dataclasses import dataclass

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

PAGE = ROOT / "docs" / "measurement.md"
REPLAYS = 2_000
LOOKS = 100
FEWER_LOOKS = 20
SHARES = (0.5, 0.1)
EFFECTS = (0.0, 0.05, -0.05)
FIRST_CONTROL, LAST_CONTROL = 100, 10_000
SEED = 20261125
_CHUNK = 250
_STEPS = 30
_FEW = 1_000
_MARK = re.compile(r"(<!-- coverage:([a-z]+) -->\n)(.*?)(<!-- end of coverage:\2 -->)", re.DOTALL)

Doubles = NDArray[np.float64]


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
    """An arm of many replays: targets at each look, and means and sample variances (replays x looks)."""

    n: Doubles
    mean: Doubles
    variance: Doubles


def grow(
    generator: np.random.Generator, population: Population, lift: float, n: Doubles, replays: int
) -> Arm:
    """Replays of an arm of `n` targets at the looks, whose purchase rate is lifted by the share `lift`."""
    joining = np.diff(n, prepend=0).astype(np.int64)
    buying = generator.binomial(np.tile(joining, (replays, 1)), population.rate * (1 + lift))
    if population.sigma is None:
        total = squares = buying.astype(np.float64)
    else:
        amounts = generator.lognormal(0, population.sigma, int(buying.sum()))
        cells = np.repeat(np.arange(buying.size), buying.ravel())
        total = np.bincount(cells, amounts, buying.size).reshape(buying.shape)
        squares = np.bincount(cells, amounts * amounts, buying.size).reshape(buying.shape)
    mean = total.cumsum(axis=1) / n
    return Arm(n, mean, (squares.cumsum(axis=1) - n * mean * mean) / (n - 1))


def standard_errors(treatment: Arm, control: Arm) -> tuple[Doubles, Doubles]:
    """Welch's and the guarded one, replays x looks, as `lift.welch_se` and `lift.guarded_se` have them."""
    n = treatment.n + control.n
    pooled = ((treatment.n - 1) * treatment.variance + (control.n - 1) * control.variance) / (n - 2)
    small = np.array([guard_applies(int(one), int(other)) for one, other in zip(n, control.n, strict=True)])
    guarded = np.where(small, np.maximum(control.variance, pooled), control.variance)
    within = treatment.variance / treatment.n
    return np.sqrt(within + control.variance / control.n), np.sqrt(within + guarded / control.n)


@dataclass(frozen=True)
class Missed:
    """Shares of replays in which an interval misses the truth at any of the looks."""

    naive: float
    plain: float
    guarded: float


@dataclass(frozen=True)
class Design:
    """What is simulated: a population, the share of control, the relative effect, and targets in control."""

    population: Population
    share: float
    effect: float
    last_control: int = LAST_CONTROL

    @property
    def truth(self) -> float:
        """The difference that there is."""
        return self.population.rate * self.effect * self.population.of_purchase

    def control_targets(self, looks: int) -> Doubles:
        """Targets in control at each look, ever more of them between looks by the same factor."""
        return np.geomspace(FIRST_CONTROL, self.last_control, looks).round()


def replay(design: Design, generator: np.random.Generator, replays: int, looks: int) -> tuple[Arm, Arm]:
    """Treatment and control of so many replays at each look."""
    n_control = design.control_targets(looks)
    n_treatment = (n_control * (1 - design.share) / design.share).round()
    treatment = grow(generator, design.population, design.effect, n_treatment, replays)
    return treatment, grow(generator, design.population, 0.0, n_control, replays)


def missed(design: Design, replays: int, looks: int, fewer: int, seed: int = SEED) -> tuple[Missed, Missed]:
    """How often each interval misses at any of `looks` looks, and at `fewer` of these alone."""
    generator = np.random.default_rng(seed)
    some = np.linspace(0, looks - 1, fewer).round().astype(int)
    counts = np.zeros((2, 3))
    for start in range(0, replays, _CHUNK):
        treatment, control = replay(design, generator, min(_CHUNK, replays - start), looks)
        n = treatment.n + control.n
        welch, guarded = standard_errors(treatment, control)
        off = np.abs(treatment.mean - control.mean - design.truth)
        factor = np.array([always_valid_factor(int(each), LEAST_PLANNED) for each in n])
        # Where no target has bought yet there is no interval, and so none that misses.
        outside = [
            (welch > 0) & (off > fixed_interval(0.0, 1.0).high * welch),
            (welch > 0) & (off > factor * welch),
            (guarded > 0) & (off > factor * guarded),
        ]
        for index, each in enumerate(outside):
            counts[0, index] += each.any(axis=1).sum()
            counts[1, index] += each[:, some].any(axis=1).sum()
    of_all, of_some = counts / replays
    return Missed(*map(float, of_all)), Missed(*map(float, of_some))


def coverage(replays: int = REPLAYS) -> Table:
    """Every population, share and effect: how many replays each interval misses."""
    header = ["simulated", "arms", "effect"]
    for interval in ("guarded", "always-valid, Welch", "fixed 95%"):
        header += [f"{interval}, {FEWER_LOOKS} looks", f"{LOOKS} looks"]
    rows = []
    for population in POPULATIONS:
        for share in SHARES:
            for effect in EFFECTS:
                every, some = missed(Design(population, share, effect), replays, LOOKS, FEWER_LOOKS)
                figures = [some.guarded, every.guarded, some.plain, every.plain, some.naive, every.naive]
                arms = f"{100 - share * 100:.0f}:{share * 100:.0f}"
                rows.append([population.name, arms, f"{effect:+.0%}", *(f"{each:.1%}" for each in figures)])
    return Table(
        "coverage", f"Of {replays:,} replays, those in which an interval misses the truth", header, rows
    )


def power() -> Table:
    """Targets of both arms until a relative effect on conversion is seen with 80% probability."""
    effects = (0.05, 0.1, 0.2, 0.5)
    header = ["conversion", "arms", *(f"{effect:+.0%}" for effect in effects)]
    rows = []
    for rate in (0.01, 0.05, 0.1):
        for share in SHARES:
            needed = [rounded(targets_to_see(rate, share, rate * effect)) for effect in effects]
            rows.append([f"{rate:.0%}", f"{100 - share * 100:.0f}:{share * 100:.0f}", *needed])
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
    tables = [coverage(given.replays), power()]
    for table in tables:
        sys.stdout.write(f"{table.title}\n\n{markdown(table)}\n\n")
    if given.docs:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
