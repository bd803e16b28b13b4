"""What conversions earn when they are reported: rewards, or the reasons why there is none.

Pure. Whether the campaign's budget covers a reward is decided where budgets are kept, in one statement with
the reservation; whether the purchase took place, by the night that finds it in the ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal
from uuid import UUID

from marketing_assets.domain.rewards import reward_rule
from marketing_assets.policy.model import CampaignTemplate

Decline = Literal["automatic", "no_transaction", "paused", "already_rewarded", "used_up", "budget"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A conversion that asks for a reward: `amount` as claimed, and what stands against it.

    `is_rewarded`: this user has a reward for that transaction already, of any campaign.
    """

    event_id: UUID
    amount: Decimal
    transaction_id: str | None
    is_paused: bool
    is_rewarded: bool


@dataclass(frozen=True, slots=True)
class Account:
    """What a target was promised and has got of it, while its claims are decided one after the other.

    `terms` are those that its version of the campaign has frozen, `point_value` is what one point costs,
    `rewards` and `rewarded` are number and sum of its rewards, reserved or spent; `transactions` are those
    of this user that were rewarded just now.
    """

    terms: CampaignTemplate
    point_value: Decimal
    rewards: int
    rewarded: Decimal
    transactions: frozenset[str] = frozenset()

    def earned(self, claim: Claim) -> Decimal | Decline:
        """The reward of a claim, money, or why it is declined; the budget apart. See SEMANTICS, "Rewards"."""
        terms = self.terms
        if terms.rewards == "automatic":
            return "automatic"  # granted by the card system, which does not ask the app
        if claim.transaction_id is None:
            return "no_transaction"
        if claim.is_paused:
            return "paused"
        if claim.is_rewarded or claim.transaction_id in self.transactions:
            return "already_rewarded"
        reward = reward_rule(terms.offer, terms, self.point_value).of(claim.amount)
        left = reward if terms.max_reward is None else terms.max_reward - self.rewarded
        if left <= 0 or (terms.reward_for == "first_purchase" and self.rewards > 0):
            return "used_up"
        return min(left, reward)

    def after(self, claim: Claim, answer: Decimal | Decline) -> "Account":
        """The account once a claim is answered."""
        if not isinstance(answer, Decimal) or claim.transaction_id is None:
            return self
        return replace(
            self,
            rewards=self.rewards + 1,
            rewarded=self.rewarded + answer,
            transactions=self.transactions | {claim.transaction_id},
        )


def all_earned(account: Account, claims: Sequence[Claim]) -> tuple[list[Decimal | Decline], Account]:
    """What claims on one target earn where the budget covers them all, and the account afterwards."""
    answers = []
    for claim in claims:
        answers.append(account.earned(claim))
        account = account.after(claim, answers[-1])
    return answers, account
