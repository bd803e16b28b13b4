"""Rewards settled against the ledger: confirmed, released or waiting, and the money that goes back."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from types import ModuleType
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from marketing_assets.domain.days import day_of, days_between, end_of
from marketing_assets.errors import DatabaseError, WriterLockError
from marketing_assets.storage import settlement
from marketing_assets.storage.datasets import ARCHIVED_REWARDS, SETTLED_REWARDS, TRANSACTIONS
from marketing_assets.storage.repositories import settlements
from marketing_assets.storage.repositories.settlements import Waiting
from marketing_assets_tests.storage.claims import Bought, Claims
from marketing_assets_tests.storage.conftest import Kill
from marketing_assets_tests.storage.nights import CAMPAIGN, D, NightMaker, at, campaign

OPENS = D + timedelta(days=1)
BONUS = "milestone-reward-2026-02-11"
"""50 for the first purchase; the welcome-bonus gives a quarter of it, at most 25."""

NOTHING = Waiting(0, Decimal(0))


def days(number: int) -> timedelta:
    return timedelta(days=number)


@pytest.fixture
def claims(maker: NightMaker, reader: psycopg.Connection) -> Claims:
    """Ann and bob are targets of the welcome-bonus until 2026-03-04, at Store 1; the ledger is empty."""
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign(), campaign("milestone-reward")])
    return Claims(maker, reader)


def test_a_purchase_in_the_ledger_confirms_its_reward(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])
    assert claims.settle(OPENS) == NOTHING
    assert claims.reward(event) == ("spent", Decimal("10.00"), None, OPENS)
    assert claims.money() == (Decimal("0.00"), Decimal("10.00"))
    assert claims.earned() == (1, Decimal("10.00"))
    assert claims.partition(OPENS) == [
        (CAMPAIGN, "ann", "t1", Decimal("40.00"), Decimal("10.00"), "spent", None)
    ]


def test_a_smaller_purchase_pays_its_own_reward_and_the_rest_goes_back(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS, 12), "10.00")
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12), Decimal("30.02"))])
    claims.settle(OPENS)
    assert claims.reward(event) == ("spent", Decimal("7.51"), None, OPENS)  # 7.505, half-up
    assert claims.money() == (Decimal("0.00"), Decimal("7.51"))
    assert claims.earned() == (1, Decimal("7.51"))


def test_a_larger_purchase_pays_no_more_than_was_reserved(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS, 12), "10.00")
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12), Decimal("9999.00"))])
    claims.settle(OPENS)
    assert claims.reward(event) == ("spent", Decimal("10.00"), None, OPENS)


def test_a_reward_waits_seven_days_for_its_purchase_and_is_then_released(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS + days(7))
    for night in days_between(OPENS, OPENS + days(6)):
        assert claims.settle(night) == Waiting(1, Decimal("10.00"))
        assert claims.partition(night) == []
    assert claims.reward(event) == ("reserved", Decimal("10.00"), None, None)
    assert claims.settle(OPENS + days(7)) == NOTHING
    assert claims.reward(event) == ("released", Decimal("0.00"), "not_found", OPENS + days(7))
    assert claims.money() == (Decimal("0.00"), Decimal("0.00"))
    assert claims.earned() == (0, Decimal("0.00"))
    assert claims.partition(OPENS + days(7)) == [
        (CAMPAIGN, "ann", "t1", Decimal("40.00"), Decimal("0.00"), "released", "not_found")
    ]


def test_what_waits_is_counted(claims: Claims, serving: Engine) -> None:
    claims.claim("t1", at(OPENS, 12), "10.00")
    claims.claim("t2", at(OPENS, 12), "2.50", "bob")
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])
    with serving.connect() as connection:
        assert settlements.waiting(connection) == Waiting(2, Decimal("12.50"))
        claims.settle(OPENS)
        assert settlements.waiting(connection) == Waiting(1, Decimal("2.50"))


def test_seven_days_are_over_to_the_instant(claims: Claims) -> None:
    before = claims.claim("t1", at(OPENS + days(1)))
    after = claims.claim("t2", at(OPENS + days(1)) + timedelta(microseconds=1), user="bob")
    claims.ledger(OPENS, OPENS + days(7))
    claims.settle(OPENS + days(7))
    assert (claims.reward(before)[0], claims.reward(after)[0]) == ("released", "reserved")


def test_a_purchase_that_comes_late_into_the_ledger_still_confirms(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS + days(5))
    claims.settle(OPENS + days(4))
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])
    claims.settle(OPENS + days(5))
    assert claims.reward(event) == ("spent", Decimal("10.00"), None, OPENS + days(5))


def test_a_purchase_of_another_day_of_the_offer_confirms_whatever_the_app_says_of_its_time(
    claims: Claims,
) -> None:
    earlier = claims.claim("t1", at(OPENS + days(15), 12))
    later = claims.claim("t2", at(OPENS + days(9), 12), user="bob")
    claims.ledger(
        OPENS,
        OPENS + days(15),
        [Bought("t1", at(OPENS)), Bought("t2", at(OPENS + days(15), 23), user="bob")],
    )
    claims.settle(OPENS + days(15))
    assert (claims.reward(earlier)[0], claims.reward(later)[0]) == ("spent", "spent")


@pytest.mark.parametrize(
    "row",
    [
        Bought("t1", at(OPENS, 12), location="Store 2"),
        Bought("t1", at(OPENS, 12), location=None),
        Bought("t1", at(OPENS, 12), Decimal("-40.00")),
        Bought("t1", at(OPENS, 12), Decimal("0.00")),
        Bought("t1", at(OPENS, 12), user="bob"),
        Bought("T1", at(OPENS, 12)),
        Bought("t1", at(OPENS) - timedelta(microseconds=1)),
        Bought("t1", at(date(2026, 3, 4))),
    ],
    ids=["elsewhere", "nowhere", "refund", "nothing", "another_user", "another_id", "before", "after"],
)
def test_what_is_no_such_purchase_confirms_nothing(claims: Claims, row: Bought) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(D, date(2026, 3, 4), [row])
    claims.settle(date(2026, 3, 4))
    assert claims.reward(event) == ("released", Decimal("0.00"), "not_found", date(2026, 3, 4))


def test_the_first_and_the_last_instant_of_an_offer_belong_to_it(claims: Claims) -> None:
    first = claims.claim("t1", at(OPENS))
    last = claims.claim("t2", at(date(2026, 3, 3), 23), user="bob")
    end = at(date(2026, 3, 4)) - timedelta(microseconds=1)
    claims.ledger(OPENS, date(2026, 3, 3), [Bought("t1", at(OPENS)), Bought("t2", end, user="bob")])
    claims.settle(date(2026, 3, 3))
    assert (claims.reward(first)[0], claims.reward(last)[0]) == ("spent", "spent")


@pytest.mark.parametrize(
    ("user", "state", "again"),
    [("ann", "spent", "released"), ("ann", "released", "spent"), ("bob", "spent", "spent")],
)
def test_a_purchase_that_an_archived_campaign_has_paid_is_not_paid_again(
    claims: Claims, user: str, state: str, again: str
) -> None:
    money = (Decimal("40.00"), Decimal("10.00"))
    row = [user, str(UUID(int=77)), "old-2026-01-01", "t1", *money, state, None, at(D, 12), at(D, 12), D]
    claims.maker.put(ARCHIVED_REWARDS, D, [row])
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS + days(7), [Bought("t1", at(OPENS, 12))])
    claims.settle(OPENS + days(7))
    assert claims.reward(event)[0] == again


def test_an_offer_in_a_category_counts_purchases_of_it(claims: Claims) -> None:
    claims.reader.execute("""update marketing.campaign_targets set context = '{"category": "Food"}'""")
    food = claims.claim("t1", at(OPENS, 12))
    toys = claims.claim("t2", at(OPENS, 12), user="bob")
    claims.ledger(
        OPENS,
        OPENS,
        [
            Bought("t1", at(OPENS, 12), location=None),
            Bought("t2", at(OPENS, 12), user="bob", category="Toys"),
        ],
    )
    claims.settle(OPENS)
    assert (claims.reward(food)[0], claims.reward(toys)[0]) == ("spent", "reserved")


@pytest.mark.parametrize("missing", [OPENS, OPENS + days(3), OPENS + days(7), OPENS + days(9)])
def test_a_day_that_the_ledger_lacks_makes_it_wait(claims: Claims, missing: date) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(D, missing - days(1))
    claims.ledger(missing + days(1), OPENS + days(9))
    assert claims.settle(OPENS + days(9)).rewards == 1
    claims.ledger(missing, missing)
    assert claims.settle(OPENS + days(9)) == NOTHING
    assert claims.reward(event)[0] == "released"


def test_days_that_the_lake_no_longer_keeps_are_not_waited_for(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS + days(5), OPENS + days(9))
    claims.settle(OPENS + days(9))
    assert claims.reward(event)[0] == "released"


def test_a_purchase_is_found_though_another_day_is_missing(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS + days(1), 12))
    claims.ledger(OPENS + days(1), OPENS + days(1), [Bought("t1", at(OPENS + days(1), 12))])
    claims.settle(OPENS + days(3))
    assert claims.reward(event)[0] == "spent"


def test_a_reward_whose_target_is_gone_is_released(claims: Claims) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.reader.execute("delete from marketing.campaign_targets where user_id = 'ann'")
    claims.ledger(OPENS, OPENS + days(7), [Bought("t1", at(OPENS, 12))])
    claims.settle(OPENS + days(7))
    assert claims.reward(event) == ("released", Decimal("0.00"), "not_found", OPENS + days(7))
    assert claims.money() == (Decimal("0.00"), Decimal("0.00"))


def test_a_target_is_settled_by_the_terms_of_its_own_version(claims: Claims) -> None:
    claims.reader.execute(
        "insert into marketing.campaign_versions (campaign_id, version, settings) select campaign_id, 2,"
        """ jsonb_set(settings, '{offer,value}', '"10"') from marketing.campaign_versions"""
    )
    claims.reader.execute("update marketing.campaign_targets set campaign_version = 2 where user_id = 'bob'")
    first = claims.claim("t1", at(OPENS, 12))
    second = claims.claim("t2", at(OPENS, 12), user="bob")
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12)), Bought("t2", at(OPENS, 12), user="bob")])
    claims.settle(OPENS)
    assert (claims.reward(first)[1], claims.reward(second)[1]) == (Decimal("10.00"), Decimal("4.00"))


def test_ids_of_every_kind_are_found(claims: Claims) -> None:
    names = ["", " ", '"', "\\N", "a,b", "Zoë 🛒", "line\nbreak", "null"]
    for name in names:
        claims.claim(name, at(OPENS, 12), "0.01")
    claims.ledger(OPENS, OPENS, [Bought(name, at(OPENS, 12)) for name in names])
    assert claims.settle(OPENS) == NOTHING
    assert sorted(str(row[2]) for row in claims.partition(OPENS)) == sorted(names)
    assert claims.money() == (Decimal("0.00"), Decimal("0.08"))


def test_a_night_run_again_settles_no_more_and_writes_the_same_bytes(claims: Claims) -> None:
    claims.claim("t1", at(OPENS, 12))
    claims.claim("t2", at(OPENS, 12), user="bob")
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])
    claims.settle(OPENS)
    money, earned = claims.money(), claims.earned()
    before = claims.maker.lake.path(SETTLED_REWARDS, OPENS).read_bytes()
    assert claims.settle(OPENS) == Waiting(1, Decimal("10.00"))
    assert claims.maker.lake.path(SETTLED_REWARDS, OPENS).read_bytes() == before
    assert (claims.money(), claims.earned()) == (money, earned)


def test_killed_between_database_and_lake_the_next_run_writes_the_partition(claims: Claims) -> None:
    claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])
    claims.settle_database(OPENS)
    assert claims.maker.lake.days(SETTLED_REWARDS) == []
    claims.settle(OPENS)
    assert [row[5] for row in claims.partition(OPENS)] == ["spent"]
    assert claims.money() == (Decimal("0.00"), Decimal("10.00"))


def after(
    module: ModuleType, function: str, then: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Do something right after a step of settling."""
    original = getattr(module, function)

    def wrapped(*arguments: object) -> object:
        result = original(*arguments)
        then()
        return result

    monkeypatch.setattr(module, function, wrapped)


def test_ended_before_the_commit_nothing_is_settled(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        after(settlements, "settle", stop, patched)
        with pytest.raises(KeyboardInterrupt):
            claims.settle(OPENS)
    assert claims.reward(event)[0] == "reserved"
    assert claims.money() == (Decimal("10.00"), Decimal("0.00"))
    assert list(claims.maker.lake.scratch.iterdir()) == []
    claims.settle(OPENS)
    assert claims.reward(event)[0] == "spent"


def test_a_writer_that_lost_the_lock_settles_nothing(
    claims: Claims, kill: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])
    after(settlement, "_find_purchases", lambda: kill("run under test"), monkeypatch)
    with pytest.raises(WriterLockError, match="the writer lock was lost"):
        claims.settle(OPENS)
    assert claims.reward(event)[0] == "reserved"


def test_a_reward_that_changes_while_it_is_settled_stops_the_whole(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims.claim("t1", at(OPENS, 12))
    other = claims.claim("t2", at(OPENS, 12), user="bob")
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12)), Bought("t2", at(OPENS, 12), user="bob")])
    change = "update marketing.rewards set state = 'released', amount = 0 where user_id = 'ann'"
    with monkeypatch.context() as patched:
        after(settlement, "_find_purchases", lambda: claims.reader.execute(change), patched)
        with pytest.raises(DatabaseError, match="1 of 2 rewards were changed while") as raised:
            claims.settle(OPENS)
    assert raised.value.transient
    assert claims.reward(other)[0] == "reserved"
    claims.settle(OPENS)
    assert claims.reward(other)[0] == "spent"


@contextmanager
def settling(claims: Claims) -> Iterator[None]:
    """A night that settles beside the block, which begins when the night waits for a lock."""
    waits = (
        "select count(*) from pg_stat_activity"
        " where application_name = 'run under test' and wait_event_type = 'Lock'"
    )
    errors: list[Exception] = []

    def settle() -> None:
        try:
            claims.settle(OPENS)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=settle)
    thread.start()
    deadline = time.monotonic() + 30
    while claims.reader.execute(waits).fetchone() == (0,) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thread.is_alive(), errors
    yield
    thread.join()
    assert errors == []


HOLD_ANN = (
    "select from marketing.campaign_targets where user_id = 'ann' and campaign_id = %s for no key update"
)
RESERVE = "update marketing.campaign_budgets set reserved = reserved + 5 where campaign_id = %s"


def test_a_conversion_that_holds_its_target_finishes_before_the_night_settles(
    claims: Claims, database_url: str
) -> None:
    claims.claim("t1", at(OPENS, 12))
    claims.ledger(OPENS, OPENS, [Bought("t1", at(OPENS, 12))])
    with psycopg.connect(database_url) as conversion:
        conversion.execute(HOLD_ANN, [CAMPAIGN])
        with settling(claims):
            conversion.execute("set local statement_timeout = '5s'")
            conversion.execute(RESERVE, [CAMPAIGN])
            conversion.commit()
    assert claims.money() == (Decimal("5.00"), Decimal("10.00"))


def test_a_conversion_that_holds_a_budget_claims_what_the_night_settles_and_neither_waits_for_ever(
    claims: Claims, database_url: str
) -> None:
    """Its claim is of the same purchase: the night must not have touched that reward before the budget."""
    claims.maker.put_targets(D, ["ann", "bob"], BONUS)
    claims.maker.publish(D, run_id="again")
    first = claims.claim("t1", at(OPENS, 12))
    claims.claim("t2", at(OPENS, 12), user="bob", campaign=BONUS)
    bought = [Bought("t1", at(OPENS, 12)), Bought("t2", at(OPENS, 12), user="bob")]
    claims.ledger(OPENS, OPENS, bought)
    with psycopg.connect(database_url) as conversion:
        conversion.execute(HOLD_ANN, [BONUS])
        conversion.execute(RESERVE, [BONUS])
        with settling(claims):
            conversion.execute("set local statement_timeout = '5s'")
            claimed = conversion.execute(
                "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed,"
                " amount, state, occurred_at, decided_at)"
                " values ('ann', gen_random_uuid(), %s, 't1', 40, 5, 'reserved',"
                " now(), now()) on conflict do nothing",
                [BONUS],
            )
            assert claimed.rowcount == 0
            conversion.commit()
    assert claims.reward(first)[0] == "spent"
    assert claims.money(BONUS) == (Decimal("5.00"), Decimal("10.00"))


def test_without_rewards_nothing_of_the_lake_is_read(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(type(claims.maker.lake), "register", read)
        assert claims.settle(OPENS) == NOTHING
    assert claims.partition(OPENS) == []


HORIZON = 10
STORES = ("Store 1", "Store 2", None)
MONEY = st.sampled_from(["-5.00", "0.00", "0.01", "9.99", "33.33", "40.00", "400.00"]).map(Decimal)
HOURS = st.integers(-30, HORIZON * 24).map(lambda hours: at(OPENS) + timedelta(hours=hours))
USERS = st.sampled_from(["ann", "bob"])
IDS = st.sampled_from(["t0", "t1", "t2", "t3"])


@dataclass(frozen=True)
class Claimed:
    user: str
    campaign: str
    transaction_id: str
    occurred_at: datetime
    reserved: Decimal


CLAIMED = st.builds(
    Claimed,
    USERS,
    st.sampled_from([CAMPAIGN, BONUS]),
    IDS,
    HOURS,
    st.integers(1, 2500).map(lambda cents: Decimal(cents) / 100),
)
BOUGHT = st.builds(Bought, IDS, HOURS, MONEY, USERS, st.sampled_from(STORES))


def obvious(
    claim: Claimed, rows: list[Bought], held: set[date], day: date, zone: ZoneInfo
) -> tuple[str, Decimal]:
    """What becomes of a claim in the night of `day`, looked up one row at a time."""
    for row in rows:
        if (
            day_of(row.occurred_at, zone) in held
            and day_of(row.occurred_at, zone) <= day
            and (row.user, row.transaction_id) == (claim.user, claim.transaction_id)
            and row.amount > 0
            and at(OPENS) <= row.occurred_at < at(date(2026, 3, 4))
            and row.location == "Store 1"
        ):
            reward = Decimal(50)
            if claim.campaign == CAMPAIGN:
                quarter = (row.amount / 4).quantize(Decimal("0.01"), ROUND_HALF_UP)
                reward = min(Decimal(25), quarter)
            return "spent", min(claim.reserved, reward)
    over = claim.occurred_at + timedelta(hours=7 * 24) <= end_of(day, zone)
    since = max(day_of(claim.occurred_at, zone), min(held))
    if over and all(each in held for each in days_between(since, day)):
        return "released", Decimal("0.00")
    return "reserved", claim.reserved


@pytest.fixture
def two_offers(claims: Claims) -> Claims:
    claims.maker.put_targets(D, ["ann", "bob"], BONUS)
    claims.maker.publish(D, run_id="again")
    return claims


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    claimed=st.lists(CLAIMED, max_size=6, unique_by=lambda each: (each.user, each.transaction_id)),
    rows=st.lists(BOUGHT, max_size=6, unique_by=lambda each: each.transaction_id),
    nights=st.lists(st.integers(0, HORIZON), min_size=1, max_size=3, unique=True).map(sorted),
    missing=st.sets(st.integers(-2, HORIZON), max_size=3),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Tokyo"]).map(ZoneInfo),
)
def test_rewards_are_settled_as_somebody_would_who_looks_each_up(
    two_offers: Claims,
    claimed: list[Claimed],
    rows: list[Bought],
    nights: list[int],
    missing: set[int],
    zone: ZoneInfo,
) -> None:
    claims = Claims(two_offers.maker, two_offers.reader, zone)
    for statement in (
        "truncate marketing.rewards",
        "update marketing.campaign_targets set rewards = 0, rewarded = 0",
        "update marketing.campaign_budgets set reserved = 0, spent = 0",
    ):
        claims.reader.execute(statement)
    everything = days_between(D - days(2), OPENS + days(HORIZON))
    held = {day for number, day in enumerate(everything, -3) if number not in missing}
    for day in everything:
        claims.maker.lake.path(TRANSACTIONS, day).unlink(missing_ok=True)
    claims.hold(held, rows)
    events = {
        claims.claim(c.transaction_id, c.occurred_at, c.reserved, c.user, c.campaign): c for c in claimed
    }
    found = {event: ("reserved", claim.reserved) for event, claim in events.items()}
    for night in (OPENS + days(number) for number in nights):
        for event, claim in events.items():
            if found[event][0] == "reserved":
                found[event] = obvious(claim, rows, held, night, zone)
        waiting = claims.settle(night)
        assert {event: claims.reward(event)[:2] for event in events} == found
        assert waiting.rewards == sum(state == "reserved" for state, _ in found.values())
    for offer in (CAMPAIGN, BONUS):
        own = [found[event] for event, claim in events.items() if claim.campaign == offer]
        sums = {
            state: sum((money for each, money in own if each == state), Decimal(0))
            for state in ("reserved", "spent")
        }
        assert claims.money(offer) == (sums["reserved"], sums["spent"])
        for user in ("ann", "bob"):
            kept = [
                found[event][1]
                for event, claim in events.items()
                if (claim.campaign, claim.user) == (offer, user) and found[event][0] != "released"
            ]
            assert claims.earned(user, offer) == (len(kept), sum(kept, Decimal(0)))
