"""Claims: what each earns as the target's promise says, and what stands against it."""

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.claims import Account, Claim, all_earned
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import CampaignTemplate

POLICY = load_policy(None)
TERMS = {each.template: each for each in POLICY.campaigns}
FREE = {"is_paused": False, "is_rewarded": False}
ONCE, EVERY = TERMS["welcome-bonus"], TERMS["vip-rewards"]  # 25% up to 25; 5% up to 250


def account(terms: CampaignTemplate, rewards: int = 0, rewarded: str = "0", **terms_too: Any) -> Account:
    return Account(terms.model_copy(update=terms_too), POLICY.point_value, rewards, Decimal(rewarded))


def claim(amount: str, transaction_id: str | None = "t1", **standing: bool) -> Claim:
    return Claim(UUID(int=0), Decimal(amount), transaction_id, **{**FREE, **standing})


@pytest.mark.parametrize(
    ("of", "asked", "earned"),
    [
        (account(ONCE), claim("80.00"), Decimal("20.00")),
        (account(ONCE), claim("200.00"), Decimal(25)),
        (account(ONCE, 1, "20.00"), claim("80.00"), "used_up"),
        (account(ONCE, 1, "0.00"), claim("80.00"), "used_up"),  # a reward of nothing is the first one too
        (account(EVERY, 3, "100.00"), claim("80.00"), Decimal("4.00")),
        (account(EVERY, 3, "249.00"), claim("80.00"), Decimal("1.00")),
        (account(EVERY, 3, "250.00"), claim("80.00"), "used_up"),
        (account(TERMS["milestone-reward"]), claim("0.01"), Decimal(50)),
        (account(TERMS["milestone-reward"], max_reward=None), claim("0.01"), Decimal(50)),
        (
            account(TERMS["milestone-reward"], 9, "450", max_reward=None, reward_for="every_purchase"),
            claim("0.01"),
            Decimal(50),
        ),
        (account(TERMS["loyalty-bonus"]), claim("80.00"), Decimal("0.80")),
        (account(ONCE), claim("80.00", None), "no_transaction"),
        (account(ONCE), claim("80.00", is_paused=True), "paused"),
        (account(ONCE), claim("80.00", is_rewarded=True), "already_rewarded"),
        (account(ONCE, rewards=1, rewarded="20"), claim("80.00", is_rewarded=True), "already_rewarded"),
    ],
)
def test_what_a_claim_earns(of: Account, asked: Claim, earned: Decimal | str) -> None:
    assert of.earned(asked) == earned


def test_automatic_rewards_are_never_reserved() -> None:
    automatic = replace(account(ONCE), terms=ONCE.model_copy(update={"rewards": "automatic"}))
    assert automatic.earned(claim("80.00")) == "automatic"
    assert automatic.earned(claim("80.00", None)) == "automatic"


def test_claims_are_answered_one_after_the_other() -> None:
    claims = [claim("2000.00", "a"), claim("80.00", "a"), claim("4000.00", "b"), claim("9.00", "c")]
    answers, after = all_earned(account(EVERY), claims)
    assert answers == [Decimal(100), "already_rewarded", Decimal(150), "used_up"]
    assert (after.rewards, after.rewarded, after.transactions) == (2, Decimal(250), frozenset("ab"))


def test_a_claim_that_is_declined_uses_nothing_up() -> None:
    claims = [claim("80.00", None), claim("80.00", "a", is_paused=True), claim("40.00", "a")]
    assert all_earned(account(ONCE), claims)[0] == ["no_transaction", "paused", Decimal("10.00")]


AMOUNTS = st.decimals("0.01", 1_000_000, places=2)
TRANSACTIONS = st.one_of(st.none(), st.sampled_from("abcdef"))
CLAIMS = st.builds(Claim, st.builds(uuid4), AMOUNTS, TRANSACTIONS, st.booleans(), st.booleans())


@given(st.sampled_from(POLICY.campaigns), st.lists(CLAIMS, max_size=12))
def test_no_target_gets_more_than_it_was_promised(terms: CampaignTemplate, claims: list[Claim]) -> None:
    answers, after = all_earned(account(terms), claims)
    granted = [each for each in answers if isinstance(each, Decimal)]
    assert sum(granted) == after.rewarded <= (terms.max_reward or 0)
    assert all(each >= 0 for each in granted)
    assert len(granted) == after.rewards == len(after.transactions)
    assert terms.reward_for == "every_purchase" or len(granted) <= 1
