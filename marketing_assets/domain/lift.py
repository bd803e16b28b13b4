"""What a campaign caused: treatment against control, with intervals that hold however often one looks.

Pure figures from the moments of two arms (`moments.py`), as SEMANTICS, "Lift", defines them. What follows
from them is decided in `verdict.py`; whether the arms may be compared at all, in `sample_ratio.py`.
"""

import math
import sys
from dataclasses import dataclass
from decimal import Decimal

from marketing_assets.domain.moments import FEWEST, ArmSums, Moments

ALPHA = 0.05
"""The share of campaigns in which an interval may miss the truth."""
LEAST_PLANNED = 5000
_TWO_SIDED = 1.96
_EVEN = 0.4
"""The share of control from which on the arms count as alike in size, and the guard rests."""
_LARGEST_LOG = math.log(sys.float_info.max)


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, in units of what it is about."""

    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        """The interval of `factor`, which is at least 0, times what this one is about."""
        return Interval(self.low * factor, self.high * factor)


def planned_targets(drawn: int) -> int:
    """N*, frozen at opening: the number of targets at which the always-valid interval is tightest.

    Args:
        drawn: candidates that reach the draw on the opening night, in either arm.
    """
    return max(LEAST_PLANNED, drawn)


def fixed_interval(d: float, se: float) -> Interval:
    """The usual 95% interval around `d`, 1.96 standard errors; valid for one look planned beforehand."""
    return Interval(d - _TWO_SIDED * se, d + _TWO_SIDED * se)


def p_value(d: float, se: float) -> float:
    """Two-sided p of no effect, by the normal curve; not valid when looked at repeatedly. `se` above 0."""
    return math.erfc(abs(d) / se / math.sqrt(2))


def always_valid(d: float, se: float, n: int, planned: int, alpha: float = ALPHA) -> Interval:
    """The asymptotic confidence sequence around `d`: it holds at every look at once with 1 − `alpha`.

    Gaussian mixture boundary of Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit
    theory and asymptotic confidence sequences" (Annals of Statistics, 2024), with the rho that is
    tightest at `planned` targets.

    Args:
        d: the difference.
        se: its standard error.
        n: targets of both arms.
        planned: N*, frozen before the first look.
        alpha: the probability with which any look may miss the truth.

    Raises:
        ValueError: `n` or `planned` is below 1, or `alpha` not between 0 and 1.
    """
    half_width = se * always_valid_factor(n, planned, alpha)
    return Interval(d - half_width, d + half_width)


def always_valid_factor(n: int, planned: int, alpha: float = ALPHA) -> float:
    """Half the width of `always_valid`, in standard errors. The fixed interval's is 1.96 at 5%."""
    information = _information(n, planned, alpha)
    boundary = math.log(math.sqrt(information + 1) / alpha)
    return math.sqrt(2 * (information + 1) / information * boundary)


def log_e_value(d: float, se: float, n: int, planned: int, alpha: float = ALPHA) -> float:
    """Logarithm of the evidence against no effect: at least ln(1/alpha) where 0 is not in the interval.

    The mixture of likelihood ratios that `always_valid` inverts (same source): a non-negative martingale
    under no effect, so it passes 1/alpha ever with probability alpha at most. `se` above 0.
    """
    information = _information(n, planned, alpha)
    z = d / se
    return information / (2 * (information + 1)) * z * z - math.log1p(information) / 2


def _information(n: int, planned: int, alpha: float) -> float:
    """The product n · rho², without unit."""
    if n < 1 or planned < 1 or not 0 < alpha < 1:
        raise ValueError(f"no interval for n {n}, planned {planned}, alpha {alpha}")
    return n * (math.log1p(-2 * math.log(alpha)) - 2 * math.log(alpha)) / planned


def exp_bounded(logarithm: float) -> float:
    """An e-value from its logarithm; the largest double where it is larger, so that tables can hold it."""
    return math.exp(logarithm) if logarithm < _LARGEST_LOG else sys.float_info.max


def welch_se(treatment: Moments, control: Moments) -> float:
    """Standard error of the difference of two means with variances of their own."""
    return math.sqrt(treatment.variance / treatment.n + control.variance / control.n)


def guard_applies(n: int, n_control: int) -> bool:
    """Whether control, with `n_control` of `n` targets, is too small an arm to know its own spread."""
    return n_control < _EVEN * n


def guarded_se(treatment: Moments, control: Moments, gross_treatment: Moments) -> float:
    """`welch_se`, where a small control arm counts as at least as spread as both arms pooled.

    Big spenders are rare: a small control arm does not have them yet, believes that there are none, and an
    interval from its own variance misses the truth too often. `gross_treatment` is the figure in treatment
    before costs, which control does not have. Own construction; docs/measurement.md has what it achieves.
    """
    n = treatment.n + control.n
    spread = control.variance
    if guard_applies(n, control.n):
        squares = (treatment.n - 1) * gross_treatment.variance + (control.n - 1) * control.variance
        spread = max(spread, squares / (n - 2))
    return math.sqrt(treatment.variance / treatment.n + spread / control.n)


@dataclass(frozen=True)
class Difference:
    """Treatment minus control in one figure, per target and in its unit.

    `fixed` and `p_value` are of `welch_se` and not valid when looked at repeatedly; `always_valid` and
    `log_e_value` are of `guarded_se`, shown and acted on. Where nobody differs from anybody there is no
    spread to measure with: no intervals, no p, and no evidence (`log_e_value` 0).
    """

    n_treatment: int
    n_control: int
    mean_treatment: float
    mean_control: float
    welch_se: float
    guarded_se: float
    fixed: Interval | None
    p_value: float | None
    always_valid: Interval | None
    log_e_value: float

    @property
    def d(self) -> float:
        """The difference of the means."""
        return self.mean_treatment - self.mean_control

    @property
    def n(self) -> int:
        """Targets of both arms."""
        return self.n_treatment + self.n_control

    @property
    def relative(self) -> float | None:
        """Relative lift, d / mean of control; None where that mean is not above 0. It has no interval."""
        return self.d / self.mean_control if self.mean_control > 0 else None

    @property
    def e_value(self) -> float:
        """Evidence against no effect: 20 and more exactly where 0 is not in the always-valid interval."""
        return exp_bounded(self.log_e_value)

    @property
    def incremental(self) -> float:
        """What treatment brought over control in total: d · targets in treatment."""
        return self.d * self.n_treatment

    @property
    def incremental_always_valid(self) -> Interval | None:
        """The always-valid interval of `incremental`."""
        return self.always_valid and self.always_valid.times(self.n_treatment)


def difference(
    treatment: Moments, control: Moments, planned: int, gross_treatment: Moments | None = None
) -> Difference:
    """Compare the arms in one figure.

    Args:
        treatment: the figure in treatment.
        control: the same in control, where nothing costs anything.
        planned: N* of the campaign.
        gross_treatment: the figure in treatment before costs, where it has any.

    Raises:
        ValueError: an arm has fewer than two targets, or `planned` is below 1.
    """
    if min(treatment.n, control.n) < FEWEST:
        raise ValueError(f"arms of {treatment.n} and {control.n} targets cannot be compared")
    d, n = treatment.mean - control.mean, treatment.n + control.n
    plain = welch_se(treatment, control)
    guarded = guarded_se(treatment, control, gross_treatment or treatment)
    return Difference(
        n_treatment=treatment.n,
        n_control=control.n,
        mean_treatment=treatment.mean,
        mean_control=control.mean,
        welch_se=plain,
        guarded_se=guarded,
        fixed=fixed_interval(d, plain) if plain > 0 else None,
        p_value=p_value(d, plain) if plain > 0 else None,
        always_valid=always_valid(d, guarded, n, planned) if guarded > 0 else None,
        log_e_value=log_e_value(d, guarded, n, planned) if guarded > 0 else 0.0,
    )


@dataclass(frozen=True)
class Comparison:
    """One figure compared twice: as it is, and beside it with what prior spend explains taken out (CUPED).

    `theta` is in units of the figure per unit of prior spend, `variance_removed` the share of the variance
    of d that is gone, from 0 to 1. The verdict never reads the CUPED figures.
    """

    plain: Difference
    cuped: Difference
    theta: float
    variance_removed: float


def slope_within_arms(treatment: Moments, control: Moments) -> float:
    """Theta: the slope on x that takes most variance out of the difference; 0 where x is constant.

    Deng, Xu, Kohavi, Walker, "Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data" (WSDM 2013), each arm weighted by what it adds to the variance of the difference:
    where slopes differ and one arm is small, a slope over all targets can add variance.
    """
    spread = treatment.x_variance / treatment.n + control.x_variance / control.n
    if spread == 0:
        return 0.0
    return (treatment.covariance / treatment.n + control.covariance / control.n) / spread


def compare(
    treatment: Moments, control: Moments, planned: int, gross_treatment: Moments | None = None
) -> Comparison:
    """Compare the arms in one figure, plain and with CUPED; arguments and errors as in `difference`."""
    plain = difference(treatment, control, planned, gross_treatment)
    theta = slope_within_arms(treatment, control)
    around = (treatment.x_mean * treatment.n + control.x_mean * control.n) / plain.n
    cuped = difference(
        treatment.less_x(theta, around),
        control.less_x(theta, around),
        planned,
        (gross_treatment or treatment).less_x(theta, around),
    )
    kept = (cuped.welch_se / plain.welch_se) ** 2 if plain.welch_se > 0 else 1.0
    return Comparison(plain, cuped, theta, variance_removed=max(0.0, 1 - kept))


@dataclass(frozen=True)
class Lift:
    """All comparisons of a campaign's version, or of the programme, in money per target except `conversion`.

    `capped_…` have each user's revenue cut at the cap that was frozen at opening; `capped_net_value` decides.
    `reward_cost` is the total cost in treatment, in money.
    """

    conversion: Comparison
    revenue: Comparison
    capped_revenue: Comparison
    net_value: Comparison
    capped_net_value: Comparison
    reward_cost: Decimal

    @property
    def incremental_revenue(self) -> float:
        """Revenue that treatment brought over control, in money, uncapped."""
        return self.revenue.plain.incremental

    @property
    def net_incremental(self) -> float:
        """Net value that treatment brought over control, in money, uncapped."""
        return self.net_value.plain.incremental


def lift(treatment: ArmSums, control: ArmSums, margin: Decimal, planned: int) -> Lift | None:
    """Everything that was caused, from the sums of two arms; None where one has fewer than two targets.

    Args:
        treatment: sums of those who were shown the campaign.
        control: sums of those who were held out; for the programme, of the global holdout.
        margin: what is earned of a unit of revenue.
        planned: N* (`planned_targets`).

    Raises:
        ValueError: the sums of an arm do not belong together, or `planned` is below 1.
    """
    if min(treatment.targets, control.targets) < FEWEST:
        return None
    capped_treatment, capped_control = treatment.capped(), control.capped()
    return Lift(
        conversion=compare(treatment.conversion(), control.conversion(), planned),
        revenue=compare(treatment.gross_value(), control.gross_value(), planned),
        capped_revenue=compare(capped_treatment.gross_value(), capped_control.gross_value(), planned),
        net_value=_compare_net_value(treatment, control, margin, planned),
        capped_net_value=_compare_net_value(capped_treatment, capped_control, margin, planned),
        reward_cost=treatment.cost,
    )


def _compare_net_value(treatment: ArmSums, control: ArmSums, margin: Decimal, planned: int) -> Comparison:
    return compare(
        treatment.net_value(margin), control.net_value(margin), planned, treatment.gross_value(margin)
    )
