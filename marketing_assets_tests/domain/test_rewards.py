from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.rewards import RewardRule, reward_rule
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import CampaignTemplate, Policy

POLICY = load_policy(None)
MONEY = st.decimals(0, 1_000_000, places=2, allow_nan=False, allow_infinity=False)


def template(name: str, policy: Policy = POLICY) -> CampaignTemplate:
    return next(each for each in policy.campaigns if each.template == name)


@pytest.mark.parametrize(
    ("name", "amount", "reward"),
    [
        ("vip-rewards", "100.00", "5.00"),  # 5 percent
        ("vip-rewards", "9999.00", "250"),  # up to the most a target can earn
        ("milestone-reward", "0.01", "50.00"),  # fixed, whatever was bought
        ("loyalty-bonus", "80.00", "0.80"),  # 10 points a unit, a point at 0.001
        ("welcome-bonus", "0.10", "0.03"),  # 0.025, half-up
        ("category-focus", "0.00", "0.00"),
    ],
)
def test_an_offer_pays_as_its_unit_says(name: str, amount: str, reward: str) -> None:
    offered = template(name)
    rule = reward_rule(offered.offer, offered, POLICY.point_value)
    assert rule.of(Decimal(amount)) == Decimal(reward)


def test_a_fixed_offer_without_a_cap_pays_its_value() -> None:
    fixed = template("milestone-reward").model_copy(update={"max_reward": None})
    assert reward_rule(fixed.offer, fixed, POLICY.point_value) == RewardRule(
        fixed=Decimal(50), rate=Decimal(0), cap=Decimal(50)
    )


@given(st.sampled_from([each.template for each in POLICY.campaigns]), MONEY, MONEY)
def test_more_bought_never_pays_less_nor_more_than_the_cap(name: str, one: Decimal, other: Decimal) -> None:
    offered = template(name)
    rule = reward_rule(offered.offer, offered, POLICY.point_value)
    less, more = sorted((one, other))
    assert 0 <= rule.of(less) <= rule.of(more) <= rule.cap
