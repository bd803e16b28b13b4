"""Rewards settled by nights as Dagster runs them: by the day's transactions, before the night decides."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from marketing_assets.storage import settlement
from marketing_assets.storage.datasets import SETTLED_REWARDS
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.end_to_end.test_nightly import NEXT, metadata_of
from marketing_assets_tests.end_to_end.test_targeting import change, log_of
from marketing_assets_tests.world import DAY, World, population, purchases

WELCOME = "welcome-bonus-2026-02-11"
NOON = datetime(2026, 2, 11, 12, tzinfo=UTC)


def claim(world: World, user: str, reserved: str, budget: str = "null") -> None:
    """A user of the welcome-bonus reports the purchase of NEXT, and is promised `reserved` for it."""
    event = UUID(int=1)
    change(
        world,
        "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed, amount,"
        " state, occurred_at, decided_at)"
        f" values ('{user}', '{event}', '{WELCOME}', '{user}-{NEXT}', 40, {reserved}, 'reserved',"
        f" '{NOON}', '{NOON}');"
        f" update marketing.campaign_budgets set budget = {budget}, reserved = {reserved}"
        f" where campaign_id = '{WELCOME}';"
        f" update marketing.campaign_targets set rewards = 1, rewarded = {reserved}, status = 'converted'"
        f" where user_id = '{user}' and campaign_id = '{WELCOME}'",
    )


@pytest.fixture
def shopper(decided_world: World) -> str:
    """A user who is shown the welcome-bonus."""
    [(user,)] = decided_world.rows(
        f"select min(user_id) from marketing.campaign_targets where campaign_id = '{WELCOME}'"
        " and arm = 'treatment' and user_id like 'new%'"
    )
    return str(user)


def reward(world: World) -> tuple[object, ...]:
    [found] = world.rows("select state, amount::float8, reason, settled_on from marketing.rewards")
    return found


def test_a_night_settles_rewards_and_run_again_changes_nothing(decided_world: World, shopper: str) -> None:
    world = decided_world
    claim(world, shopper, "10.00")
    world.write([*population(), *purchases(shopper, [NEXT], amount="8.00")])
    figures = metadata_of(world.night(NEXT))["settled_rewards"]
    shown = ("rows", "confirmed", "released", "spent", "waiting", "reserved")
    assert [figures[name] for name in shown] == [1, 1, 0, 2.0, 0, 0.0]
    assert reward(world) == ("spent", 2.0, None, NEXT)
    before = world.snapshot()
    again = metadata_of(world.night(NEXT))["settled_rewards"]
    assert [again[name] for name in shown] == [1, 1, 0, 2.0, 0, 0.0]
    assert again["digest"] == figures["digest"]
    assert world.snapshot() == before


@pytest.mark.verify
def test_a_purchase_that_the_ledger_lacks_waits(decided_world: World, shopper: str) -> None:
    world = decided_world
    claim(world, shopper, "10.00")
    figures = metadata_of(world.night(NEXT))["settled_rewards"]
    assert [figures[name] for name in ("rows", "spent", "waiting", "reserved")] == [0, 0.0, 1, 10.0]
    assert reward(world) == ("reserved", 10.0, None, None)


@pytest.mark.verify
def test_a_night_that_is_not_decided_settles_nothing(decided_world: World, shopper: str) -> None:
    world = decided_world
    claim(world, shopper, "10.00")
    world.write([*population(), *purchases(shopper, [NEXT], amount="8.00")])
    assert world.night(NEXT, at=datetime(2026, 2, 13, tzinfo=UTC)).success
    assert reward(world) == ("reserved", 10.0, None, None)
    assert Lake(world.settings.lake).days(SETTLED_REWARDS) == [DAY]
    # The next one that is decided does it, also for the night that was missed.
    assert world.night(NEXT + timedelta(days=1)).success
    assert reward(world) == ("spent", 2.0, None, NEXT + timedelta(days=1))


@pytest.mark.verify
@pytest.mark.parametrize(("bought", "outcome"), [(True, {"treatment", "control"}), (False, {"budget"})])
def test_budgets_of_the_same_night_know_what_was_settled(
    decided_world: World, shopper: str, bought: bool, outcome: set[str]
) -> None:
    world = decided_world
    claim(world, shopper, "20.00", budget="20.00")
    lines = [*population(), *purchases("newcomer", [NEXT])]
    world.write([*lines, *(purchases(shopper, [NEXT], amount="8.00") if bought else [])])
    assert world.night(NEXT).success
    assert log_of(world, NEXT)[WELCOME, "newcomer"]["outcome"] in outcome


@pytest.mark.verify
def test_a_night_without_rewards_costs_almost_nothing(decided_world: World) -> None:
    nights = [metadata_of(decided_world.night(NEXT))["settled_rewards"] for _ in range(2)]
    assert [night["rows"] for night in nights] == [0, 0]
    assert min(night["seconds"] for night in nights) < 0.3  # one of them is alone on the machine


@pytest.mark.verify
def test_killed_after_the_rewards_were_settled_the_next_run_goes_on(
    decided_world: World, shopper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    claim(world, shopper, "10.00")
    world.write([*population(), *purchases(shopper, [NEXT], amount="8.00")])
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "write_settled", lambda *_: 1 / 0)
        assert not world.night(NEXT).success
    assert reward(world)[0] == "spent"
    assert Lake(world.settings.lake).days(SETTLED_REWARDS) == [DAY]
    assert world.rows("select day from marketing.published_nights") == [(DAY,)]
    figures = metadata_of(world.night(NEXT))["settled_rewards"]
    assert (figures["confirmed"], figures["spent"]) == (1, 2.0)
