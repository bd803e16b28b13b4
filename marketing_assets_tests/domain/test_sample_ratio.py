"""Sample ratio: the published check vectors, an e-value that never tires, and arms that cannot be."""

import math
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.sample_ratio import MISMATCH, chi_square, sample_ratio

COUNTS = st.integers(0, 2_000)
SHARES = st.decimals("0.01", "0.99", places=2)


@pytest.mark.parametrize(
    ("control", "treatment", "share", "e_value", "is_mismatch"),
    [
        (400, 600, "0.5", 15915.71, True),
        (1000, 9000, "0.1", 0.301280, False),
        (850, 9150, "0.1", 45408.2, True),
    ],
)
def test_check_vectors(control: int, treatment: int, share: str, e_value: float, is_mismatch: bool) -> None:
    found = sample_ratio(treatment, control, Decimal(share))
    assert found.e_value == pytest.approx(e_value, rel=2e-6)
    assert found.is_mismatch == is_mismatch


def test_chi_square_check_vectors() -> None:
    statistic, p = chi_square([600, 400], [0.5, 0.5])
    assert statistic == pytest.approx(40)
    assert p == pytest.approx(2.54e-10, rel=1e-3)
    statistic, p = chi_square([21_306, 21_307, 21_387], [1 / 3, 1 / 3, 1 / 3])
    assert statistic == pytest.approx(0.20253, abs=5e-6)
    assert p == pytest.approx(0.90369, abs=5e-6)
    assert sample_ratio(600, 400, Decimal("0.5")).p_value == pytest.approx(2.54e-10, rel=1e-3)


@given(COUNTS, COUNTS, SHARES)
def test_the_e_value_is_a_fair_game(treatment: int, control: int, share: Decimal) -> None:
    """Under the configured share the next user leaves it unchanged in expectation: that makes looks free."""
    now = sample_ratio(treatment, control, share).log_e_value
    after_control = math.exp(sample_ratio(treatment, control + 1, share).log_e_value - now)
    after_treatment = math.exp(sample_ratio(treatment + 1, control, share).log_e_value - now)
    expected = float(share) * after_control + float(1 - share) * after_treatment
    assert expected == pytest.approx(1, abs=1e-7)


def test_nobody_yet_is_no_evidence() -> None:
    found = sample_ratio(0, 0, Decimal("0.1"))
    assert (found.e_value, found.p_value, found.is_mismatch) == (1.0, 1.0, False)


@pytest.mark.parametrize(
    ("treatment", "control", "share", "is_mismatch"),
    [(50, 0, "0", False), (0, 50, "1", False), (50, 1, "0", True), (1, 50, "1", True)],
)
def test_shares_that_leave_nothing_to_chance(
    treatment: int, control: int, share: str, is_mismatch: bool
) -> None:
    found = sample_ratio(treatment, control, Decimal(share))
    assert found.is_mismatch == is_mismatch
    assert found.e_value == (sys.float_info.max if is_mismatch else 1.0)
    assert found.p_value == (0.0 if is_mismatch else 1.0)


def test_a_large_mismatch_stays_a_number() -> None:
    found = sample_ratio(10_000_000, 0, Decimal("0.1"))
    assert found.log_e_value > 1000
    assert found.e_value == sys.float_info.max >= MISMATCH


@pytest.mark.parametrize(("treatment", "share"), [(1, "-0.1"), (1, "1.1"), (-1, "0.5")])
def test_what_cannot_be_counted_is_refused(treatment: int, share: str) -> None:
    with pytest.raises(ValueError, match="no sample ratio"):
        sample_ratio(treatment, 1, Decimal(share))
