from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from marketing_assets.domain.campaigns import Campaign, CampaignDecision, decide_campaigns, stood_before
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Policy

ZONE = ZoneInfo("UTC")
TARGET_DAY = date(2026, 11, 22)
EVERYBODY: Mapping[str, int] = {
    "high_spender": 100,
    "inactive": 100,
    "new_shopper": 100,
    "seasonal": 100,
    "frequent_shopper": 100,
    "location_cluster": 100,
    "general": 700,
}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(None)


def decided(
    policy: Policy, existing: list[Campaign], audiences: Mapping[str, int] = EVERYBODY
) -> dict[str, CampaignDecision]:
    decisions = decide_campaigns(existing, audiences, policy, TARGET_DAY, ZONE)
    return {decision.campaign_id: decision for decision in decisions}


def opened_on(policy: Policy, target_day: date, template: str) -> Campaign:
    decisions = decide_campaigns([], EVERYBODY, policy, target_day, ZONE)
    campaign = next(d.campaign for d in decisions if d.template == template)
    assert campaign is not None
    return campaign


def test_first_night_opens_one_campaign_for_each_pattern_with_an_audience(policy: Policy) -> None:
    decisions = decide_campaigns([], {**EVERYBODY, "high_spender": 19}, policy, TARGET_DAY, ZONE)
    assert [(d.campaign_id, d.outcome) for d in decisions] == [
        ("vip-rewards-2026-11-22", "not_opened"),
        ("milestone-reward-2026-11-22", "opened"),
        ("loyalty-bonus-2026-11-22", "opened"),
        ("welcome-bonus-2026-11-22", "opened"),
        ("re-engagement-2026-11-22", "opened"),
        ("location-promo-2026-11-22", "opened"),
        ("category-focus-2026-11-22", "opened"),
    ]
    assert decisions[0].outcome_reason == "audience 19 is below the least of 20"


def test_an_opened_campaign_runs_its_days_from_the_start_of_the_target_day(policy: Policy) -> None:
    campaign = decided(policy, [])["re-engagement-2026-11-22"].campaign
    assert campaign is not None
    assert campaign.starts_at == datetime(2026, 11, 22, tzinfo=UTC)
    assert campaign.ends_at == datetime(2026, 12, 6, tzinfo=UTC)
    assert (campaign.status, campaign.version, campaign.target_pattern) == ("active", 1, "inactive")


def test_days_are_counted_over_a_clock_change(policy: Policy) -> None:
    decisions = decide_campaigns([], EVERYBODY, policy, date(2026, 10, 20), ZoneInfo("Europe/Paris"))
    campaign = next(d.campaign for d in decisions if d.template == "re-engagement")
    assert campaign is not None
    assert campaign.ends_at - campaign.starts_at == timedelta(days=14, hours=1)


def test_an_open_campaign_is_kept_and_no_second_one_opened(policy: Policy) -> None:
    existing = opened_on(policy, date(2026, 11, 10), "re-engagement")
    decisions = decided(policy, [existing])
    assert decisions["re-engagement-2026-11-10"].outcome == "kept"
    assert "re-engagement-2026-11-22" not in decisions


def test_a_rerun_says_opened_again(policy: Policy) -> None:
    first = decide_campaigns([], EVERYBODY, policy, TARGET_DAY, ZONE)
    published = [decision.campaign for decision in first if decision.campaign]
    assert decide_campaigns(published, EVERYBODY, policy, TARGET_DAY, ZONE) == first


def test_dates_decide_when_a_campaign_ends_and_its_template_opens_again(policy: Policy) -> None:
    existing = opened_on(policy, TARGET_DAY - timedelta(days=14), "re-engagement")
    decisions = decided(policy, [existing])
    assert decisions[existing.campaign_id].outcome == "ended"
    assert decisions["re-engagement-2026-11-22"].outcome == "opened"


def test_a_paused_campaign_stays_paused_and_suppresses_its_template(policy: Policy) -> None:
    paused = replace(opened_on(policy, date(2026, 11, 10), "re-engagement"), status="paused")
    decisions = decided(policy, [paused])
    assert decisions[paused.campaign_id].outcome == "paused"
    assert decisions["re-engagement-2026-11-22"].outcome_reason == "suppressed: its campaign is paused"


def test_a_suppressed_template_says_until_when(policy: Policy) -> None:
    ended = replace(
        opened_on(policy, date(2026, 11, 1), "re-engagement"),
        status="expired",
        suppressed_until=datetime(2026, 12, 1, tzinfo=UTC),
    )
    decision = decided(policy, [ended])["re-engagement-2026-11-22"]
    assert decision.outcome_reason == "suppressed until 2026-12-01 00:00 UTC"


def test_a_removed_template_keeps_its_campaign_and_adds_nobody(policy: Policy) -> None:
    existing = opened_on(policy, date(2026, 11, 10), "re-engagement")
    without = policy.model_copy(
        update={"campaigns": tuple(t for t in policy.campaigns if t.template != "re-engagement")}
    )
    decision = decided(without, [existing])[existing.campaign_id]
    assert (decision.outcome, decision.takes_targets) == ("orphaned", False)


def test_a_campaign_that_lost_its_pattern_stays_the_only_one_of_its_template(policy: Policy) -> None:
    existing = replace(opened_on(policy, date(2026, 11, 10), "re-engagement"), target_pattern="dormant")
    decisions = decided(policy, [existing])
    assert decisions[existing.campaign_id].outcome == "orphaned"
    assert "re-engagement-2026-11-22" not in decisions


def test_a_run_opens_no_more_than_its_limit_in_order_of_priority(policy: Policy) -> None:
    limited = policy.model_copy(update={"limits": policy.limits.model_copy(update={"max_new_campaigns": 2})})
    decisions = decide_campaigns([], EVERYBODY, limited, TARGET_DAY, ZONE)
    assert [d.outcome for d in decisions] == ["opened", "opened"] + ["not_opened"] * 5
    assert decisions[2].outcome_reason == "the run has opened its 2 campaigns"


def test_an_id_that_is_over_is_never_opened_again(policy: Policy) -> None:
    over = replace(
        opened_on(policy, TARGET_DAY, "re-engagement"),
        status="expired",
        ends_at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    decision = decided(policy, [over])["re-engagement-2026-11-22"]
    assert (decision.outcome, decision.outcome_reason) == (
        "not_opened",
        "a campaign of this id is over already, and is never opened again",
    )


def test_dates_decide_and_not_whether_the_clean_up_marked_what_is_over(policy: Policy) -> None:
    over = replace(
        opened_on(policy, date(2026, 11, 8), "re-engagement"), ends_at=datetime(2026, 11, 22, tzinfo=UTC)
    )
    before = decided(policy, [over])
    assert decided(policy, [replace(over, status="expired")]) == before
    ended = before["re-engagement-2026-11-08"]
    assert ended.outcome == "ended"
    assert ended.campaign is not None
    assert ended.campaign.status == "expired"
    assert decided(policy, [replace(over, status="paused")])["re-engagement-2026-11-08"] == ended
    assert "re-engagement-2026-11-08" not in decided(policy, [replace(over, status="archived")])


def test_before_a_rebuild_what_has_expired_since_is_open_and_what_was_opened_since_is_not_there(
    policy: Policy,
) -> None:
    begins = datetime(2026, 11, 22, tzinfo=UTC)
    earlier = replace(opened_on(policy, date(2026, 11, 10), "re-engagement"), status="expired")
    over = replace(earlier, campaign_id="over", ends_at=begins)
    archived = replace(earlier, campaign_id="archived", status="archived")
    since = opened_on(policy, TARGET_DAY, "vip-rewards")
    by_hand = replace(since, campaign_id="by-hand", origin="manual")
    assert stood_before([earlier, over, archived, since, by_hand], begins) == [
        replace(earlier, status="active"),
        over,
        archived,
        by_hand,
    ]
