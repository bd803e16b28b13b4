"""What an offer pays: one rule for every kind of offer, so that SQL and Python compute the same.

reward(amount) = min(cap, fixed + rate x amount), money, half-up. Whether and when a reward is due is not
decided here.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from marketing_assets.policy.model import CampaignTerms, Offer

_CENT = Decimal("0.01")


@dataclass(frozen=True)
class RewardRule:
    """`fixed` and `cap` are money, `rate` is money per unit of currency of a purchase."""

    fixed: Decimal
    rate: Decimal
    cap: Decimal

    def of(self, amount: Decimal) -> Decimal:
        """The reward of one purchase of `amount`, which is at least 0."""
        return min(self.cap, (self.fixed + self.rate * amount).quantize(_CENT, ROUND_HALF_UP))


def reward_rule(offer: Offer, terms: CampaignTerms, point_value: Decimal) -> RewardRule:
    """The rule of an offer: percent of the amount, a fixed sum, or points at `point_value` each.

    A fixed offer without a cap pays its value at most for one purchase. See SEMANTICS, "Rewards".
    """
    cap = offer.value if terms.max_reward is None else terms.max_reward
    match offer.unit:
        case "fixed":
            return RewardRule(offer.value, Decimal(0), cap)
        case "percentage":
            return RewardRule(Decimal(0), offer.value / 100, cap)
        case "multiplier":
            return RewardRule(Decimal(0), offer.value * point_value, cap)
