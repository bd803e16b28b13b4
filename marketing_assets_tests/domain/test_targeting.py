from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from marketing_assets.domain.campaigns import Campaign
from marketing_assets.domain.targeting import Budget, EndedCampaign, OpenCampaign, open_campaigns, resting
from marketing_assets.policy.load import load_policy

POLICY = load_policy(None)
UTC_ZONE = ZoneInfo("UTC")
TARGET_DAY = date(2026, 11, 22)


def at(day: date, hour: int = 0) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=hour)


def campaign(name: str, opens: date = TARGET_DAY) -> Campaign:
    template = next(each for each in POLICY.campaigns if each.template == name)
    return Campaign(
        campaign_id=f"{name}-{opens}",
        template=name,
        origin="policy",
        status="active",
        target_pattern=template.pattern,
        priority=template.priority,
        starts_at=at(opens),
        ends_at=at(opens + timedelta(days=template.days)),
        version=1,
        holdout_share=template.holdout_share,
        settings=template.model_dump_json(),
        policy_version=POLICY.version,
        suppressed_until=None,
    )


def opened(*campaigns: Campaign, budgets: dict[str, Budget] | None = None) -> list[OpenCampaign]:
    return open_campaigns(campaigns, budgets or {}, POLICY, TARGET_DAY, UTC_ZONE)


def test_campaigns_take_turns_by_priority_and_id_and_a_budget_ends_a_round() -> None:
    second = replace(campaign("vip-rewards"), campaign_id="manual-a", priority=2)
    budgets = {"manual-a": Budget(Decimal(100), Decimal(7))}
    found = opened(
        campaign("category-focus"),
        second,
        campaign("milestone-reward"),
        campaign("vip-rewards"),
        budgets=budgets,
    )
    assert [(each.campaign_id, each.place, each.round) for each in found] == [
        ("vip-rewards-2026-11-22", 1, 1),
        ("manual-a", 2, 1),
        ("milestone-reward-2026-11-22", 3, 2),
        ("category-focus-2026-11-22", 4, 2),
    ]
    assert [(each.budget, each.committed) for each in found][1] == (Decimal(100), Decimal(7))
    assert found[0].budget is None


def test_what_a_target_may_cost_comes_from_offer_share_and_expected_conversion() -> None:
    (found,) = opened(campaign("welcome-bonus"))
    assert (found.reward_rate, found.reward_cap) == (Decimal("0.25"), Decimal(25))
    assert found.reward_fixed == 0
    assert found.cost_share == Decimal("0.9") * Decimal("0.05")
    assert found.control_below == "19999999"


@pytest.mark.parametrize(
    ("opens", "left", "needed"),
    [(TARGET_DAY, 14, 7), (TARGET_DAY - timedelta(days=8), 6, 7)],
)
def test_whoever_joins_has_days_left(opens: date, left: int, needed: int) -> None:
    (found,) = opened(campaign("re-engagement", opens))
    assert (found.days_left, found.days_needed) == (left, needed)


def test_a_campaign_of_three_days_may_be_joined_on_its_first_alone() -> None:
    short = replace(campaign("vip-rewards"), ends_at=at(TARGET_DAY + timedelta(days=3)))
    (first,) = opened(short)
    assert (first.days_left, first.days_needed) == (3, 3)


def test_a_campaign_of_hours_can_be_joined() -> None:
    noon, evening = at(TARGET_DAY, 12), at(TARGET_DAY, 18)
    (found,) = opened(replace(campaign("vip-rewards"), starts_at=noon, ends_at=evening))
    assert (found.days_left, found.days_needed) == (0, 0)
    assert (found.valid_from, found.valid_until) == (noon, evening)


def ended(name: str, template: str, days_before: int) -> EndedCampaign:
    ends_at = at(TARGET_DAY - timedelta(days=days_before))
    return EndedCampaign(name, template, ends_at - timedelta(days=14), ends_at)


def test_targets_rest_less_than_the_cooldown_after_the_end() -> None:
    current = campaign("re-engagement")  # cooldown 30
    earlier = [
        ended("just-over", "re-engagement", 0),
        ended("still", "re-engagement", 29),
        ended("rested", "re-engagement", 30),
        ended("another", "welcome-bonus", 1),
        ended(current.campaign_id, "re-engagement", 0),
    ]
    found = resting(current, earlier, POLICY, TARGET_DAY, UTC_ZONE)
    assert [each.campaign_id for each in found] == ["just-over", "still"]


def test_ended_by_hand_in_the_afternoon_rests_to_the_hour() -> None:
    afternoon = replace(
        ended("by-hand", "re-engagement", 30), ends_at=at(TARGET_DAY - timedelta(days=30), hour=15)
    )
    assert resting(campaign("re-engagement"), [afternoon], POLICY, TARGET_DAY, UTC_ZONE) == [afternoon]


def test_a_template_without_cooldown_never_rests() -> None:
    assert (
        resting(campaign("vip-rewards"), [ended("a", "vip-rewards", 0)], POLICY, TARGET_DAY, UTC_ZONE) == []
    )


def test_a_renamed_template_rests_from_what_it_was_called_before() -> None:
    template = next(each for each in POLICY.campaigns if each.template == "re-engagement")
    renamed = template.model_copy(update={"template": "come-back", "renamed_from": "re-engagement"})
    earlier = [ended("old", "re-engagement", 3)]
    current = replace(campaign("re-engagement"), campaign_id="come-back-2026-11-22", template="come-back")
    frozen = replace(current, settings=renamed.model_dump_json())
    assert resting(frozen, earlier, POLICY, TARGET_DAY, UTC_ZONE) == earlier
    policy = POLICY.model_copy(update={"campaigns": (renamed,)})
    assert resting(current, earlier, policy, TARGET_DAY, UTC_ZONE) == earlier
    assert resting(current, earlier, POLICY, TARGET_DAY, UTC_ZONE) == []


def test_points_beyond_all_measure_fit_the_relation_and_the_cap_decides() -> None:
    template = next(each for each in POLICY.campaigns if each.template == "loyalty-bonus")
    offer = template.offer.model_copy(update={"value": Decimal(100_000_000_000)})
    huge = template.model_copy(update={"offer": offer})
    policy = POLICY.model_copy(update={"point_value": Decimal(1_000_000)})
    current = replace(campaign("loyalty-bonus"), settings=huge.model_dump_json())
    (found,) = open_campaigns([current], {}, policy, TARGET_DAY, UTC_ZONE)
    assert (found.reward_rate, found.reward_cap) == (Decimal(10**9), Decimal(50))
