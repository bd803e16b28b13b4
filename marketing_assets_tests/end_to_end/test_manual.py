"""What people do to campaigns, and what the nights after it make of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from marketing_assets.domain.edits import CampaignEdit, NewCampaign
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Offer, Rule
from marketing_assets.storage.repositories import campaign_edits
from marketing_assets.storage.repositories.campaign_edits import Editor, Rest
from marketing_assets_tests.end_to_end.test_nightly import GLOBAL_HOLDOUT, NEXT
from marketing_assets_tests.end_to_end.test_targeting import lake_rows, log_of, prepared, targets_of
from marketing_assets_tests.world import World

NOW = datetime(2026, 2, 11, 10, tzinfo=UTC)
ANN = Editor("ann", NOW)
POLICY = load_policy(None)
TEN_PERCENT = Offer(type="discount", value=Decimal(10), unit="percentage")


def new_campaign(world: World, **given: object) -> str:
    values: dict[str, object] = {
        "name": "Spring Sale",
        "description": "Ten percent, this week only.",
        "offer": TEN_PERCENT,
        "pattern": "inactive",
        "ends_at": NOW + timedelta(days=20),
        "holdout_share": Decimal("0.5"),
        **given,
    }
    asked = NewCampaign.model_validate(values)
    with world.database.begin() as connection:
        made = campaign_edits.create_manual(connection, asked, POLICY, world.settings.zone, ANN)
    return made.campaign_id


def test_a_campaign_by_hand_gets_targets_in_both_arms_and_no_template_touches_it(
    decided_world: World,
) -> None:
    world = decided_world
    name = new_campaign(world, priority=1, pattern="general")
    assert name == "manual-spring-sale-2026-02-11"
    change_slots = world.settings.model_copy(update={"policy": five_slots(world)})
    world.settings = change_slots
    assert world.night(NEXT).success
    arms = world.rows(
        f"select arm, count(*) from marketing.campaign_targets where campaign_id = '{name}' group by 1"
        " order by 1"
    )
    assert [arm for arm, _ in arms] == ["control", "treatment"]
    left = {f"inactive{number}" for number in range(30)}  # their one purchase is out of the window by now
    assert not targets_of(world, name) & (GLOBAL_HOLDOUT | left)
    assert sum(users for _, users in arms) == len(targets_of(world, name)) == 75 - len(GLOBAL_HOLDOUT - left)
    before = world.rows(f"select * from marketing.marketing_campaigns where campaign_id = '{name}'")
    assert world.night(NEXT + timedelta(days=1)).success
    assert world.rows(f"select * from marketing.marketing_campaigns where campaign_id = '{name}'") == before
    shown = world.rows(
        "select distinct valid_from, valid_until from marketing.campaign_targets"
        f" where campaign_id = '{name}'"
    )
    assert shown == [(datetime(2026, 2, 12, tzinfo=UTC), NOW + timedelta(days=20))]


def five_slots(world: World) -> object:
    from marketing_assets_tests.end_to_end.test_targeting import write_policy

    write_policy(world, slots=("max_active_campaigns: 3", "max_active_campaigns: 5"))
    return world.settings.policy


@pytest.mark.verify
def test_criteria_of_its_own_are_for_whoever_meets_them(decided_world: World) -> None:
    world = decided_world
    rule = Rule.model_validate(
        [{"feature": "top_location", "equals": "Store 1"}, {"feature": "transactions", "at_least": 20}]
    )
    five_slots(world)
    name = new_campaign(world, pattern=None, criteria=rule, holdout_share=Decimal(0))
    prepared(world)
    result = world.night(NEXT)
    assert result.success
    expected = {f"frequent{number}" for number in range(1, 50, 2)} - GLOBAL_HOLDOUT
    assert targets_of(world, name) == expected
    assert (
        log_of(world, NEXT)[name, "frequent1"]["reason"] == '{"top_location": "Store 1", "transactions": 25}'
    )
    (checked,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "reasons_true"]
    assert checked.passed


@pytest.mark.verify
def test_a_campaign_that_starts_later_takes_targets_from_its_first_day_on(decided_world: World) -> None:
    world = decided_world
    five_slots(world)
    name = new_campaign(world, starts_at=NOW + timedelta(days=2), pattern="new_shopper")
    assert world.night(NEXT).success
    assert targets_of(world, name) == set()
    assert world.night(NEXT + timedelta(days=1)).success
    assert len(targets_of(world, name)) == 25
    assert world.rows(
        f"select distinct valid_from from marketing.campaign_targets where campaign_id = '{name}'"
    ) == [(NOW + timedelta(days=2),)]


@pytest.mark.verify
@pytest.mark.parametrize("change", ["pause", "end_now"])
def test_a_campaign_paused_or_ended_adds_nobody_and_its_template_opens_no_other(
    decided_world: World, change: str
) -> None:
    world = decided_world
    name = "welcome-bonus-2026-02-11"
    before = targets_of(world, name)
    rest = Rest(POLICY.limits.suppression_days, world.settings.zone)
    with world.database.begin() as connection:
        getattr(campaign_edits, change)(connection, name, 1, rest, ANN)
    prepared(world, "newcomer")
    assert world.night(NEXT).success
    assert targets_of(world, name) == before
    assert not any(user == "newcomer" and "welcome" in campaign for campaign, user in log_of(world, NEXT))
    statement = "select outcome, outcome_reason from {} where template = 'welcome-bonus'"
    found = dict(lake_rows(world, "campaigns", statement))
    assert found["not_opened"].startswith("suppressed")
    if change == "pause":
        assert "paused" in found
        # Its slots are free meanwhile: whoever it held takes another campaign.
        assert any(user.startswith("new") for user in targets_of(world, "category-focus-2026-02-11"))
        with world.database.begin() as connection:
            campaign_edits.resume(connection, name, 2, ANN)
        following = NEXT + timedelta(days=1)
        assert world.night(following).success
        assert "newcomer" in targets_of(world, name)


@pytest.mark.verify
def test_an_edited_offer_is_for_new_targets_and_old_ones_keep_their_promise(decided_world: World) -> None:
    world = decided_world
    name = "welcome-bonus-2026-02-11"
    ends = datetime(2026, 3, 10, tzinfo=UTC)
    with world.database.begin() as connection:
        edit = CampaignEdit(offer=TEN_PERCENT, ends_at=ends)
        assert campaign_edits.edit(connection, name, 1, edit, ANN).version == 2
    prepared(world, "newcomer")
    assert world.night(NEXT).success
    rows = world.rows(
        "select user_id = 'newcomer', campaign_version, valid_until from marketing.campaign_targets"
        f" where campaign_id = '{name}' group by 1, 2, 3 order by 1"
    )
    assert rows == [(False, 1, datetime(2026, 3, 4, tzinfo=UTC)), (True, 2, ends)]
    assert world.rows(
        f"select offer_value from marketing.marketing_campaigns where campaign_id = '{name}'"
    ) == [(Decimal(10),)]
    kept = world.snapshot()
    assert world.night(NEXT).success
    assert world.snapshot() == kept
