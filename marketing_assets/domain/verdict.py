"""What is concluded from a campaign's lift: the verdict and why, and what holds over many campaigns.

Pure decisions over figures of `lift.py` and `sample_ratio.py`. That a losing campaign is paused is done
elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from statistics import NormalDist
from typing import Literal

from marketing_assets.domain.lift import Difference, Interval, Lift, always_valid_factor, fixed_interval
from marketing_assets.domain.moments import FEWEST, ArmSums
from marketing_assets.domain.sample_ratio import SampleRatio
from marketing_assets.policy.model import Limits

POWER = 0.8
FALSE_DISCOVERIES = 0.1
"""The share of wrong ones that `confirmed` may hold, in expectation."""

Outcome = Literal["learning", "winning", "losing", "unclear"]


@dataclass(frozen=True)
class Prospect:
    """What is still to come of a campaign.

    `targets_at_end` are the settled targets, both arms, that it will have had; `expected_conversion` the
    share of targets who convert, above 0, taken where nobody has converted yet.
    """

    control_share: Decimal
    targets_at_end: int
    expected_conversion: Decimal


@dataclass(frozen=True)
class Verdict:
    """The conclusion, and why in words.

    `more_targets` are settled targets, both arms, that are needed beyond those there are: 0 past learning,
    None where no number of them would do. `smallest_effect` is the net value per target, in money, that is
    seen with 80% probability by the campaign's end; None where there is no spread to tell it from.
    """

    outcome: Outcome
    why: str
    more_targets: int | None
    smallest_effect: float | None


def verdict(
    treatment: ArmSums,
    control: ArmSums,
    found: Lift | None,
    limits: Limits,
    prospect: Prospect,
    planned: int,
) -> Verdict:
    """Conclude from one version's sums and their lift, by capped net value and its always-valid interval.

    Args:
        treatment: sums of settled targets in treatment.
        control: those in control.
        found: the `lift` of these sums.
        limits: of the policy, which say what a verdict needs.
        prospect: what is still to come.
        planned: N* of the campaign.
    """
    lacking = _lacking(treatment, control, limits)
    net = found.capped_net_value.plain if found else None
    effect = smallest_effect(net, prospect.targets_at_end, planned) if net else None
    if net is None or lacking:
        more = _more_targets(treatment, control, limits, prospect)
        why = "; ".join(lacking) if more is not None else "one arm stays empty: there is nothing to compare"
        return Verdict("learning", why, more, effect)
    outcome, why = _outcome(net.always_valid)
    return Verdict(outcome, why, 0, effect)


def withheld(ratio: SampleRatio) -> Verdict:
    """The verdict where the arms do not have the sizes that the draw gives: nothing is concluded any more."""
    why = (
        f"lift is withheld: {ratio.n_control:,} of {ratio.n_control + ratio.n_treatment:,} targets are in "
        f"control where the share is {ratio.control_share:g}, which chance does not explain "
        f"(e-value {ratio.e_value:,.4g})"
    )
    return Verdict("unclear", why, None, None)


def smallest_effect(net: Difference, targets: int, planned: int) -> float | None:
    """The difference that `targets` targets of both arms show with 80% probability, in the figure's unit.

    Half of the always-valid interval's width at that number, and 0.84 standard errors more; the spread per
    target is taken to stay what it is. None where there is none.
    """
    if net.guarded_se == 0:
        return None
    n = max(targets, net.n)
    se = net.guarded_se * math.sqrt(net.n / n)
    return se * (always_valid_factor(n, planned) + NormalDist().inv_cdf(POWER))


def _lacking(treatment: ArmSums, control: ArmSums, limits: Limits) -> list[str]:
    lacking = [
        f"{arm} has {sums.targets:,} of {_min_arm(limits):,} settled targets"
        for arm, sums in (("treatment", treatment), ("control", control))
        if sums.targets < _min_arm(limits)
    ]
    converters = treatment.converted + control.converted
    if converters < limits.min_converters:
        lacking.append(f"there are {converters:,} of {limits.min_converters:,} converters")
    return lacking


def _min_arm(limits: Limits) -> int:
    return max(limits.min_arm, FEWEST)


def _more_targets(treatment: ArmSums, control: ArmSums, limits: Limits, prospect: Prospect) -> int | None:
    """Targets until every need is met, at the configured share and the conversion seen so far."""
    share = Fraction(prospect.control_share)
    n, converters = treatment.targets + control.targets, treatment.converted + control.converted
    conversion = Fraction(converters, n) if converters else Fraction(prospect.expected_conversion)
    missing = [
        (_min_arm(limits) - control.targets, share),
        (_min_arm(limits) - treatment.targets, 1 - share),
        (limits.min_converters - converters, conversion),
    ]
    needed = [(count, rate) for count, rate in missing if count > 0]
    if any(rate == 0 for _, rate in needed):
        return None
    return max((math.ceil(count / rate) for count, rate in needed), default=0)


def _outcome(interval: Interval | None) -> tuple[Outcome, str]:
    if interval is None:
        return "unclear", "all targets are alike: there is no spread to measure with"
    shown = (
        f"net value per target over control lies between {_money(interval.low)} and {_money(interval.high)}"
    )
    if interval.low > 0:
        return "winning", shown
    if interval.high < 0:
        return "losing", shown
    return "unclear", f"{shown}: it may be nothing"


def _money(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"


def acting(verdicts: Mapping[int, Verdict]) -> Verdict | None:
    """The verdict that counts for a campaign: of its newest version that is past learning; None without one.

    Args:
        verdicts: by version of the campaign.
    """
    past = [version for version, each in verdicts.items() if each.outcome != "learning"]
    return verdicts[max(past)] if past else None


def confirmed(log_e_values: Mapping[str, float], share: float = FALSE_DISCOVERIES) -> frozenset[str]:
    """The campaigns whose effect stands although many were looked at.

    e-BH of Wang and Ramdas, "False discovery rate control with e-values" (JRSS B, 2022): of all K, the k
    with the largest e-values, for the largest k whose k-th is at least K / (share · k). At most `share` of
    them are without effect, in expectation, however the campaigns depend on each other.

    Args:
        log_e_values: logarithms by campaign, of every campaign looked at; 0 for one without figures.
        share: of wrong ones among the confirmed, in expectation.
    """
    ordered = sorted(log_e_values, key=lambda each: (-log_e_values[each], each))
    passing = [
        k
        for k, campaign in enumerate(ordered, 1)
        if log_e_values[campaign] >= math.log(len(ordered) / (share * k))
    ]
    return frozenset(ordered[: max(passing, default=0)])


@dataclass(frozen=True)
class Pooled:
    """One figure of a template over successive campaigns, in its unit; descriptive, nothing acts on it.

    `se` is the standard error of `d`, `fixed` its 95% interval, which is not valid when looked at repeatedly.
    """

    campaigns: int
    d: float
    se: float
    fixed: Interval


def pooled(differences: Sequence[Difference]) -> Pooled | None:
    """The average of a template's differences, each weighted by 1 / guarded se²; None without any.

    The usual inverse-variance average for one common effect. Campaigns without spread have no weight.
    """
    weights = {index: each.guarded_se**-2 for index, each in enumerate(differences) if each.guarded_se > 0}
    if not weights:
        return None
    total = math.fsum(weights.values())
    d = math.fsum(weight * differences[index].d for index, weight in weights.items()) / total
    se = 1 / math.sqrt(total)
    return Pooled(len(weights), d, se, fixed_interval(d, se))
