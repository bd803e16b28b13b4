"""Whether the arms have the sizes that the draw was to give them: if not, no comparison can be believed.

Pure tests of counts. Which rows are counted (all of the draw, the analysed ones, the global group), and that
a mismatch once seen stays, is the caller's part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from marketing_assets.domain.lift import exp_bounded

MISMATCH = 1000.0
"""The e-value from which on lift is withheld: a fair draw ever gets there once in a thousand campaigns."""
_CONCENTRATION = 1000
"""k: how near to the configured share the alternatives are that the test looks out for."""


@dataclass(frozen=True)
class SampleRatio:
    """The test of one pair of arms. `p_value` is that of the chi-square, shown and never acted on.

    `log_e_value` is infinite where a user is in an arm that the draw cannot give.
    """

    n_treatment: int
    n_control: int
    control_share: float
    log_e_value: float
    p_value: float

    @property
    def e_value(self) -> float:
        """Evidence against the configured share; the largest double where it is larger."""
        return exp_bounded(self.log_e_value)

    @property
    def is_mismatch(self) -> bool:
        """Whether lift is withheld, from this night on."""
        return self.e_value >= MISMATCH


def sample_ratio(n_treatment: int, n_control: int, control_share: Decimal) -> SampleRatio:
    """Test the arms' sizes against the configured share of control; may be repeated every night.

    Sequential multinomial test of Lindon and Malek, "Anytime-valid inference for multinomial count data"
    (NeurIPS 2022), for two arms: a beta mixture around the share, against the share itself.

    Raises:
        ValueError: the share is not in [0, 1], or a count is negative.
    """
    share = float(control_share)
    if not 0 <= share <= 1 or min(n_treatment, n_control) < 0:
        raise ValueError(f"no sample ratio of {n_treatment} and {n_control} against {control_share}")
    return SampleRatio(
        n_treatment=n_treatment,
        n_control=n_control,
        control_share=share,
        log_e_value=_log_e_value(n_treatment, n_control, share),
        p_value=chi_square([n_treatment, n_control], [1 - share, share])[1],
    )


def _log_e_value(n_treatment: int, n_control: int, share: float) -> float:
    from scipy.special import betaln

    if share in (0, 1):
        kept = n_control == 0 if share == 0 else n_treatment == 0
        return 0.0 if kept else math.inf
    a, b = _CONCENTRATION * share, _CONCENTRATION * (1 - share)
    mixture = float(betaln(a + n_control, b + n_treatment) - betaln(a, b))
    return mixture - n_control * math.log(share) - n_treatment * math.log1p(-share)


def chi_square(counts: Sequence[int], shares: Sequence[float]) -> tuple[float, float]:
    """Pearson's statistic of counts against the shares they should have, and its p; valid for one look.

    Args:
        counts: users of each arm.
        shares: the share of each arm, in the same order; they add up to 1.

    Returns:
        Statistic and p; (0, 1) without users, (infinity, 0) with users in an arm whose share is 0.
    """
    from scipy.special import chdtrc

    total = sum(counts)
    expected = [share * total for share in shares]
    if any(count and not share for count, share in zip(counts, shares, strict=True)):
        return math.inf, 0.0
    likely = [(count, mean) for count, mean in zip(counts, expected, strict=True) if mean]
    if len(likely) < 2:  # noqa: PLR2004 - nothing is left to chance
        return 0.0, 1.0
    statistic = math.fsum((count - mean) ** 2 / mean for count, mean in likely)
    return statistic, float(chdtrc(len(likely) - 1, statistic))
