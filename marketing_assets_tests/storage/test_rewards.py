"""Rewards on receipt: what a conversion reserves, what it is refused, and that the money always adds up."""

import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from marketing_assets.domain.events import Event
from marketing_assets.storage.repositories.events import Outcome, Reward
from marketing_assets_tests.storage.offers import RECEIVED, VIP, WELCOME, Offers, conversion

AGO = RECEIVED - timedelta(hours=1)
NOTHING = Decimal(0)


def reserved(amount: str) -> tuple[str, Decimal, None]:
    return "reserved", Decimal(amount), None


def declined(reason: str) -> tuple[str, Decimal, str]:
    return "declined", NOTHING, reason


def answers(outcomes: Sequence[Outcome]) -> list[tuple[Any, ...]]:
    """State, amount and reason of each reward."""
    rewards = [each.reward for each in outcomes]
    return [(each.state, each.amount, each.reason) if each else () for each in rewards]


@pytest.fixture
def ann(offers: Offers) -> Offers:
    """Ann is a target of the welcome bonus and of the VIP rewards."""
    offers.open()
    offers.open("vip-rewards")
    offers.offer("ann")
    offers.offer("ann", VIP)
    return offers


def limit(offers: Offers, budget: str, campaign_id: str = WELCOME) -> None:
    offers.reader.execute(
        "update marketing.campaign_budgets set budget = %s where campaign_id = %s", [budget, campaign_id]
    )


def settle(offers: Offers, number: int, state: str, amount: str = "0") -> None:
    """What the nightly run does with a reserved reward."""
    offers.reader.execute(
        "with settled as (update marketing.rewards r set state = %(state)s, amount = %(amount)s"
        " from marketing.rewards old where old.user_id = r.user_id and old.event_id = r.event_id"
        " and r.event_id = %(event)s"
        " returning r.user_id, r.campaign_id, r.amount, r.state, old.amount as reserved),"
        " paid as (update marketing.campaign_budgets b set reserved = b.reserved - s.reserved,"
        " spent = b.spent + s.amount from settled s where b.campaign_id = s.campaign_id)"
        " update marketing.campaign_targets t"
        " set rewards = t.rewards - (s.state = 'released')::int,"
        " rewarded = t.rewarded - s.reserved + s.amount"
        " from settled s where t.user_id = s.user_id and t.campaign_id = s.campaign_id",
        {"state": state, "amount": amount, "event": conversion(number).event_id},
    )


# What a conversion earns


def test_a_reward_is_written_down_with_its_claim(ann: Offers) -> None:
    assert ann.convert("ann", conversion(amount="80.02")) == reserved("20.01")
    assert ann.reader.execute(
        "select user_id, campaign_id, transaction_id, claimed, amount, state, reason, occurred_at,"
        " decided_at, settled_on from marketing.rewards"
    ).fetchall() == [
        (
            *("ann", WELCOME, "t1", Decimal("80.02"), Decimal("20.01"), "reserved", None),
            *(AGO, RECEIVED, None),
        )
    ]
    assert ann.target("ann") == ("converted", None, None, AGO, 1, Decimal("20.01"))
    assert ann.budget() == (Decimal("20.01"), NOTHING)
    ann.check_sums()


def test_a_first_purchase_is_rewarded_once(ann: Offers) -> None:
    assert ann.convert("ann", conversion(1, "400.00", "t1")) == reserved("25")
    assert ann.convert("ann", conversion(2, "400.00", "t2")) == declined("used_up")
    settle(ann, 1, "spent", "10.00")
    assert ann.convert("ann", conversion(3, "400.00", "t3")) == declined("used_up")
    ann.check_sums()


def test_a_released_reward_frees_the_offer_and_the_purchase(ann: Offers) -> None:
    assert ann.convert("ann", conversion(1, "40.00", "t1")) == reserved("10.00")
    settle(ann, 1, "released")
    assert ann.convert("ann", conversion(2, "80.00", "t1")) == reserved("20.00")
    ann.check_sums()


def test_every_purchase_is_rewarded_up_to_what_was_promised(ann: Offers) -> None:
    buy = [conversion(number, "3000.00", f"t{number}", VIP) for number in range(1, 4)]
    assert [ann.convert("ann", each) for each in buy] == [
        reserved("150.00"),
        reserved("100.00"),
        declined("used_up"),
    ]
    settle(ann, 1, "spent", "120.00")
    assert ann.convert("ann", conversion(4, "3000.00", "t4", VIP)) == reserved("30.00")
    ann.check_sums()


def test_points_are_worth_what_the_policy_says(offers: Offers) -> None:
    loyalty = offers.open("loyalty-bonus")
    offers.offer("ann", loyalty)
    assert offers.convert("ann", conversion(amount="80.00", campaign_id=loyalty)) == reserved("0.80")


def test_a_target_gets_what_its_own_version_promised(ann: Offers) -> None:
    ann.reader.execute(
        "insert into marketing.campaign_versions select campaign_id, 2,"
        """ jsonb_set(settings, '{offer,value}', '"10"') from marketing.campaign_versions"""
        " where campaign_id = %s",
        [WELCOME],
    )
    ann.offer("bob", version=2)
    assert ann.convert("ann", conversion(amount="40.00")) == reserved("10.00")
    assert ann.convert("bob", conversion(amount="40.00")) == reserved("4.00")


# What it is refused


def test_without_its_transaction_a_purchase_earns_nothing(ann: Offers) -> None:
    assert ann.convert("ann", conversion(1, transaction_id=None)) == declined("no_transaction")
    assert ann.target("ann") == ("converted", None, None, AGO, 0, NOTHING)
    assert ann.convert("ann", conversion(2)) == reserved("20.00")
    ann.check_sums()


@pytest.mark.parametrize(
    ("paused_at", "resumed_at", "told"),
    [
        (AGO, None, declined("paused")),
        (AGO, AGO + timedelta(microseconds=1), declined("paused")),
        (AGO - timedelta(hours=2), AGO, reserved("20.00")),
        (AGO + timedelta(microseconds=1), None, reserved("20.00")),  # paused since, but not then
    ],
)
def test_what_was_bought_while_paused_earns_nothing(
    ann: Offers, paused_at: Any, resumed_at: Any, told: tuple[Any, ...]
) -> None:
    ann.reader.execute(
        "insert into marketing.campaign_pauses values (%s, %s, %s)", [WELCOME, paused_at, resumed_at]
    )
    ann.reader.execute("update marketing.marketing_campaigns set status = 'paused'")
    assert ann.convert("ann", conversion()) == told


def test_a_purchase_is_rewarded_once_whatever_campaign_is_named(ann: Offers) -> None:
    assert ann.convert("ann", conversion(1, "80.00", "t1", VIP)) == reserved("4.00")
    assert ann.convert("ann", conversion(2, "80.00", "t1")) == declined("already_rewarded")
    settle(ann, 1, "spent", "4.00")
    assert ann.convert("ann", conversion(3, "80.00", "t1")) == declined("already_rewarded")
    ann.offer("bob")
    assert ann.convert("bob", conversion(1, "80.00", "t1")) == reserved("20.00")
    ann.check_sums()


def test_automatic_rewards_are_not_reserved(offers: Offers) -> None:
    offers.open(rewards="automatic")
    offers.offer("ann")
    assert offers.convert("ann", conversion()) == declined("automatic")
    assert offers.budget() == (NOTHING, NOTHING)


def test_the_budget_is_spent_to_the_cent_and_no_further(ann: Offers) -> None:
    limit(ann, "8.00", VIP)
    buy = [("100.00", "5.00"), ("60.20", None), ("60.00", "3.00"), ("0.20", None), ("0.09", "0.00")]
    for number, (amount, reward) in enumerate(buy):
        told = ann.convert("ann", conversion(number, amount, f"t{number}", VIP))
        assert told == (reserved(reward) if reward else declined("budget"))
    assert ann.budget(VIP) == (Decimal("8.00"), NOTHING)
    ann.check_sums()


# Batches


def test_claims_of_a_batch_are_answered_in_their_order(ann: Offers) -> None:
    reported = [
        conversion(1, "80.00", "a"),
        conversion(2, "80.00", "a", VIP),  # campaigns go by id: this one comes before the one above
        conversion(3, "40.00", "b"),
        conversion(4, "2000.00", "c", VIP),
        conversion(5, "80.00", "d"),
        conversion(4, "2000.00", "c", VIP),
        conversion(6, "9000.00", "e", VIP),
        conversion(7, "80.00", None),
    ]
    told = ann.report_all("ann", reported)
    assert [each.status for each in told] == [*["accepted"] * 5, "duplicate", *["accepted"] * 2]
    assert answers(told) == [
        declined("already_rewarded"),
        reserved("4.00"),
        reserved("10.00"),
        reserved("100.00"),
        declined("used_up"),
        reserved("100.00"),
        reserved("146.00"),
        declined("no_transaction"),
    ]
    assert ann.budget(VIP) == (Decimal(250), NOTHING)
    ann.check_sums()


def test_what_the_budget_does_not_cover_leaves_the_rest_of_a_batch_alone(ann: Offers) -> None:
    limit(ann, "10.00", VIP)
    bought = [("100.00", "a"), ("120.00", "b"), ("120.00", "b"), ("60.00", "c"), ("40.00", "d")]
    reported = [conversion(n, amount, name, VIP) for n, (amount, name) in enumerate(bought)]
    told = ann.report_all("ann", [*reported, conversion(9, "40.00", "b")])
    assert answers(told) == [
        reserved("5.00"),
        declined("budget"),
        declined("budget"),
        reserved("3.00"),
        reserved("2.00"),
        reserved("10.00"),  # what was declined can be claimed elsewhere
    ]
    assert ann.budget(VIP) == (Decimal(10), NOTHING)
    ann.check_sums()


def test_a_conversion_that_comes_again_gets_the_same_answer(ann: Offers) -> None:
    claims = [conversion(1), conversion(2, transaction_id="t2")]
    first = ann.report_all("ann", claims)
    again = ann.report_all("ann", claims)
    assert [each.status for each in again] == ["duplicate"] * 2
    assert answers(again) == answers(first) == [reserved("20.00"), declined("used_up")]
    ann.check_sums()


def test_a_settled_reward_is_told_as_it_was_settled(ann: Offers) -> None:
    ann.report_all("ann", [conversion()])
    settle(ann, 1, "spent", "15.00")
    [told] = ann.report_all("ann", [conversion()])
    assert told.reward == Reward("spent", Decimal("15.00"), None)


def test_a_rejected_conversion_has_no_reward(ann: Offers) -> None:
    ann.offer("bob", arm="control")
    assert ann.report_all("bob", [conversion()]) == [
        Outcome(conversion().event_id, "rejected", "not_a_target", None)
    ]
    assert ann.budget() == (NOTHING, NOTHING)


# At the same time


def test_64_at_once_never_pass_a_budget_for_ten(offers: Offers) -> None:
    offers.open()
    users = [f"u{number}" for number in range(64)]
    for user in users:
        offers.offer(user)
    limit(offers, "205.55")  # ten of 20.55 and five cents
    claims = [(user, [conversion(1, "82.20")]) for user in users]
    told = answers([each for [each] in offers.at_once(claims)])
    assert sorted(told, key=str) == [declined("budget")] * 54 + [reserved("20.55")] * 10
    assert offers.budget() == (Decimal("205.50"), NOTHING)
    assert len(offers.kept()) == 64
    offers.check_sums()


def test_one_purchase_claimed_of_many_campaigns_at_once_is_rewarded_once(ann: Offers) -> None:
    claims = [("ann", [conversion(n, "80.00", "t1", campaign_id=(WELCOME, VIP)[n % 2])]) for n in range(40)]
    told = answers([each for [each] in ann.at_once(claims)])
    assert sum(each[0] == "reserved" for each in told) == 1
    assert sum(each == declined("already_rewarded") for each in told) == 39
    ann.check_sums()


@pytest.mark.parametrize("users", [pytest.param(1, id="of one user"), pytest.param(6, id="of several users")])
def test_batches_in_opposite_orders_never_wait_for_each_other(offers: Offers, users: int) -> None:
    names = ("welcome-bonus", "vip-rewards", "loyalty-bonus", "category-focus", "re-engagement")
    campaigns = [offers.open(name) for name in names]
    for user in range(users):
        for campaign_id in campaigns:
            offers.offer(f"u{user}", campaign_id)
    draw = random.Random(1)
    batches: list[tuple[str, list[Event]]] = []
    for number in range(24):
        user = number % users
        batch = [
            conversion(n, "10.00", f"t{n}", campaigns[n % len(campaigns)])
            for n in range(user * 7, user * 7 + 25)
        ]
        draw.shuffle(batch)
        batches.append((f"u{user}", batch))
    outcomes = offers.at_once(batches)
    assert {each.status for told in outcomes for each in told} == {"accepted", "duplicate"}
    assert len(offers.kept()) == users * 25
    offers.check_sums()


def test_one_event_id_under_two_campaigns_at_once_is_one_event(ann: Offers) -> None:
    pair = [conversion(1, "80.00", "t1"), conversion(2, "80.00", "t2", VIP)]
    other = [conversion(2, "80.00", "t2"), conversion(1, "80.00", "t1", VIP)]
    told = ann.at_once([("ann", pair), ("ann", other)] * 8)
    assert len(ann.kept()) == 2
    assert sorted({each.reason or each.status for batch in told for each in batch}) == [
        "accepted",
        "conflicting_duplicate",
        "duplicate",
    ]
    ann.check_sums()
