from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from marketing_assets.domain.campaigns import (
    Campaign,
    CampaignDecision,
    canonical_json,
    decide_campaigns,
    own_pattern,
    stood_before,
)
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import ManualCampaign, Offer, Pattern, Policy
from marketing_assets.policy.rules import Rule

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


def eligible(policy: Policy) -> dict[str, int]:
    """Of each template: one in ten of the users with its pattern is not eligible."""
    return {each.template: EVERYBODY.get(each.pattern, 0) * 9 // 10 for each in policy.campaigns}


def decide(
    policy: Policy, existing: list[Campaign], target_day: date = TARGET_DAY, zone: ZoneInfo = ZONE
) -> list[CampaignDecision]:
    return decide_campaigns(existing, EVERYBODY, eligible(policy), policy, target_day, zone)


def decided(policy: Policy, existing: list[Campaign]) -> dict[str, CampaignDecision]:
    decisions = decide(policy, existing)
    return {decision.campaign_id: decision for decision in decisions}


def opened_on(policy: Policy, target_day: date, template: str) -> Campaign:
    decisions = decide(policy, [], target_day)
    campaign = next(d.campaign for d in decisions if d.template == template)
    assert campaign is not None
    return campaign


def test_first_night_opens_one_campaign_for_each_pattern_with_an_audience(policy: Policy) -> None:
    few = {**eligible(policy), "vip-rewards": 19}
    decisions = decide_campaigns([], EVERYBODY, few, policy, TARGET_DAY, ZONE)
    assert [(d.campaign_id, d.outcome) for d in decisions] == [
        ("vip-rewards-2026-11-22", "not_opened"),
        ("milestone-reward-2026-11-22", "opened"),
        ("loyalty-bonus-2026-11-22", "opened"),
        ("welcome-bonus-2026-11-22", "opened"),
        ("re-engagement-2026-11-22", "opened"),
        ("location-promo-2026-11-22", "opened"),
        ("category-focus-2026-11-22", "opened"),
    ]
    assert decisions[0].outcome_reason == "eligible audience 19 of 100 is below the least of 20"
    assert (decisions[0].audience, decisions[0].eligible) == (100, 19)
    assert decisions[-1].outcome_reason == "eligible audience 630 of 700"
    assert (decisions[-1].audience, decisions[-1].eligible) == (700, 630)


def test_an_opened_campaign_runs_its_days_from_the_start_of_the_target_day(policy: Policy) -> None:
    campaign = decided(policy, [])["re-engagement-2026-11-22"].campaign
    assert campaign is not None
    assert campaign.starts_at == datetime(2026, 11, 22, tzinfo=UTC)
    assert campaign.ends_at == datetime(2026, 12, 6, tzinfo=UTC)
    assert (campaign.status, campaign.version, campaign.target_pattern) == ("active", 1, "inactive")


def test_days_are_counted_over_a_clock_change(policy: Policy) -> None:
    decisions = decide(policy, [], date(2026, 10, 20), ZoneInfo("Europe/Paris"))
    campaign = next(d.campaign for d in decisions if d.template == "re-engagement")
    assert campaign is not None
    assert campaign.ends_at - campaign.starts_at == timedelta(days=14, hours=1)


def test_an_open_campaign_is_kept_and_no_second_one_opened(policy: Policy) -> None:
    existing = opened_on(policy, date(2026, 11, 10), "re-engagement")
    decisions = decided(policy, [existing])
    assert decisions["re-engagement-2026-11-10"].outcome == "kept"
    assert "re-engagement-2026-11-22" not in decisions


def test_a_rerun_says_opened_again(policy: Policy) -> None:
    first = decide(policy, [])
    published = [decision.campaign for decision in first if decision.campaign]
    assert decide(policy, published) == first


def test_dates_decide_when_a_campaign_ends_and_its_template_opens_again(policy: Policy) -> None:
    existing = opened_on(policy, TARGET_DAY - timedelta(days=14), "re-engagement")
    decisions = decided(policy, [existing])
    assert decisions[existing.campaign_id].outcome == "ended"
    assert decisions["re-engagement-2026-11-22"].outcome == "opened"


def test_a_paused_campaign_stays_paused_and_suppresses_its_template(policy: Policy) -> None:
    paused = replace(opened_on(policy, date(2026, 11, 10), "re-engagement"), status="paused")
    decisions = decided(policy, [paused])
    assert decisions[paused.campaign_id].outcome == "paused"
    assert decisions["re-engagement-2026-11-22"].outcome_reason == (
        "suppressed: re-engagement-2026-11-10 is paused; until it is resumed"
    )
    until = replace(paused, suppressed_until=datetime(2026, 12, 24, 1, tzinfo=ZoneInfo("Europe/Paris")))
    assert decided(policy, [until])["re-engagement-2026-11-22"].outcome_reason == (
        "suppressed: re-engagement-2026-11-10 is paused; until it is resumed, or until 2026-12-24 00:00 UTC"
    )


def test_a_suppressed_template_says_until_when(policy: Policy) -> None:
    ended = replace(
        opened_on(policy, date(2026, 11, 1), "re-engagement"),
        status="expired",
        suppressed_until=datetime(2026, 12, 1, tzinfo=UTC),
    )
    decision = decided(policy, [ended])["re-engagement-2026-11-22"]
    assert decision.outcome_reason == (
        "suppressed until 2026-12-01 00:00 UTC: a campaign of it was paused or ended by hand"
    )
    over = replace(ended, suppressed_until=datetime(2026, 11, 22, tzinfo=UTC))
    assert decided(policy, [over])["re-engagement-2026-11-22"].outcome == "opened"


def test_of_several_suppressions_the_last_counts(policy: Policy) -> None:
    ended = replace(
        opened_on(policy, date(2026, 11, 1), "re-engagement"),
        status="expired",
        suppressed_until=datetime(2026, 12, 1, tzinfo=UTC),
    )
    earlier = replace(ended, campaign_id="earlier", suppressed_until=datetime(2026, 12, 24, tzinfo=UTC))
    assert decided(policy, [ended, earlier])["re-engagement-2026-11-22"].outcome_reason.startswith(
        "suppressed until 2026-12-24"
    )


def test_a_suppressed_template_is_listed_whatever_its_audience(policy: Policy) -> None:
    ended = replace(
        opened_on(policy, date(2026, 11, 1), "re-engagement"),
        status="expired",
        suppressed_until=datetime(2026, 12, 1, tzinfo=UTC),
    )
    decisions = decide_campaigns([ended], {}, {}, policy, TARGET_DAY, ZONE)
    [found] = [each for each in decisions if each.template == "re-engagement"]
    assert (found.campaign_id, found.outcome) == ("re-engagement-2026-11-22", "not_opened")
    assert found.outcome_reason.startswith("suppressed until")


def renamed(policy: Policy) -> Policy:
    campaigns = tuple(
        t.model_copy(update={"template": "come-back", "renamed_from": "re-engagement"})
        if t.template == "re-engagement"
        else t
        for t in policy.campaigns
    )
    return policy.model_copy(update={"campaigns": campaigns})


def test_a_renamed_template_goes_on_with_the_open_campaign_of_its_old_name(policy: Policy) -> None:
    existing = opened_on(policy, date(2026, 11, 10), "re-engagement")
    decisions = decided(renamed(policy), [existing])
    kept = decisions[existing.campaign_id]
    assert (kept.outcome, kept.template, kept.eligible) == ("kept", "re-engagement", 90)
    assert "come-back-2026-11-22" not in decisions


def test_a_renamed_template_is_suppressed_by_what_its_old_name_paused_or_ended(policy: Policy) -> None:
    existing = opened_on(policy, date(2026, 11, 10), "re-engagement")
    paused = replace(existing, status="paused")
    decisions = decided(renamed(policy), [paused])
    assert decisions[existing.campaign_id].outcome == "paused"
    assert decisions["come-back-2026-11-22"].outcome_reason.startswith("suppressed: re-engagement-2026-11-10")
    ended = replace(existing, status="expired", suppressed_until=datetime(2026, 12, 1, tzinfo=UTC))
    decision = decided(renamed(policy), [ended])["come-back-2026-11-22"]
    assert decision.outcome_reason.startswith("suppressed until 2026-12-01")


def test_a_renamed_template_without_its_old_name_starts_anew(policy: Policy) -> None:
    existing = opened_on(policy, date(2026, 11, 10), "re-engagement")
    forgetful = tuple(t.model_copy(update={"renamed_from": None}) for t in renamed(policy).campaigns)
    decisions = decided(policy.model_copy(update={"campaigns": forgetful}), [existing])
    assert decisions[existing.campaign_id].outcome == "orphaned"
    assert decisions[existing.campaign_id].outcome_reason == (
        "the policy no longer has the template re-engagement: nobody is added"
    )
    assert decisions["come-back-2026-11-22"].outcome == "opened"


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
    assert decisions[existing.campaign_id].outcome_reason == (
        "the policy no longer has the pattern dormant: nobody is added"
    )
    assert "re-engagement-2026-11-22" not in decisions


def test_a_run_opens_no_more_than_its_limit_in_order_of_priority(policy: Policy) -> None:
    limited = policy.model_copy(update={"limits": policy.limits.model_copy(update={"max_new_campaigns": 2})})
    decisions = decide(limited, [])
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


def by_hand(
    starts: date, ends: date, pattern: str = "general", criteria: Rule | None = None, **changes: object
) -> Campaign:
    """A manual campaign called `manual-summer`."""
    terms = ManualCampaign(
        template="manual-summer",
        type="manual",
        pattern=pattern,
        criteria=criteria,
        name="Summer",
        description="Save 10%",
        offer=Offer(type="discount", value=Decimal(10), unit="percentage"),
        days=(ends - starts).days,
        priority=8,
        attribution_days=7,
        reward_for="first_purchase",
        max_reward=Decimal(25),
    )
    campaign = Campaign(
        campaign_id=f"manual-summer-{starts}",
        template="manual-summer",
        origin="manual",
        status="active",
        target_pattern=pattern,
        priority=8,
        starts_at=datetime.combine(starts, datetime.min.time(), UTC),
        ends_at=datetime.combine(ends, datetime.min.time(), UTC),
        version=1,
        holdout_share=Decimal("0.1"),
        settings=canonical_json(terms.model_dump(mode="json")),
        policy_version="p",
        suppressed_until=None,
    )
    return replace(campaign, **changes)  # type: ignore[arg-type]  # named by the caller


def test_a_campaign_by_hand_takes_targets_beside_those_of_the_policy(policy: Policy) -> None:
    manual = by_hand(date(2026, 11, 20), date(2026, 12, 4))
    decisions = decided(policy, [manual])
    assert len(decisions) == 8
    kept = decisions["manual-summer-2026-11-20"]
    assert (kept.outcome, kept.takes_targets, kept.audience, kept.priority) == ("kept", True, 700, 8)
    assert kept.campaign == manual
    assert [each.outcome for each in decisions.values()].count("opened") == 7


@pytest.mark.parametrize(
    ("starts", "ends", "outcome"),
    [
        (date(2026, 11, 22), date(2026, 12, 1), "kept"),
        (date(2026, 11, 23), date(2026, 12, 1), None),
        (date(2026, 11, 1), date(2026, 11, 22), "ended"),
        (date(2026, 11, 1), date(2026, 11, 23), "kept"),
    ],
)
def test_a_campaign_by_hand_is_open_between_its_own_dates(
    policy: Policy, starts: date, ends: date, outcome: str | None
) -> None:
    manual = by_hand(starts, ends)
    found = decided(policy, [manual]).get(manual.campaign_id)
    assert (found.outcome if found else None) == outcome


def test_a_template_never_touches_a_campaign_by_hand_that_is_called_like_it(policy: Policy) -> None:
    manual = by_hand(date(2026, 11, 20), date(2026, 12, 4), template="re-engagement")
    decisions = decided(policy, [manual])
    assert decisions[manual.campaign_id].campaign == manual
    assert decisions["re-engagement-2026-11-22"].outcome == "opened"
    paused = replace(manual, status="paused", suppressed_until=datetime(2027, 1, 1, tzinfo=UTC))
    decisions = decided(policy, [paused])
    assert decisions[manual.campaign_id].outcome == "paused"
    assert decisions["re-engagement-2026-11-22"].outcome == "opened"


def test_a_campaign_by_hand_for_a_pattern_that_the_policy_lost_is_orphaned(policy: Policy) -> None:
    manual = by_hand(date(2026, 11, 20), date(2026, 12, 4), pattern="dormant")
    assert decided(policy, [manual])[manual.campaign_id].outcome == "orphaned"


def test_a_campaign_by_hand_with_criteria_of_its_own_needs_no_pattern_of_the_policy(policy: Policy) -> None:
    rule = Rule.model_validate([{"feature": "spend", "at_least": 100}])
    manual = by_hand(date(2026, 11, 20), date(2026, 12, 4), "manual_summer", rule)
    sizes = {**EVERYBODY, "manual_summer": 40}
    decisions = decide_campaigns([manual], sizes, {"manual-summer": 33}, policy, TARGET_DAY, ZONE)
    found = next(each for each in decisions if each.campaign_id == manual.campaign_id)
    assert (found.outcome, found.target_pattern) == ("kept", "manual_summer")
    assert (found.audience, found.eligible) == (40, 33)
    assert own_pattern(manual) == Pattern(name="manual_summer", label="Summer", rank=1, rule=rule)
    assert own_pattern(by_hand(date(2026, 11, 20), date(2026, 12, 4))) is None
    assert own_pattern(opened_on(policy, TARGET_DAY, "vip-rewards")) is None


def test_a_campaign_ended_by_hand_says_so_and_is_not_opened_again_by_a_rebuild(policy: Policy) -> None:
    begins = datetime(2026, 11, 22, tzinfo=UTC)
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)
    ended = replace(
        opened_on(policy, date(2026, 11, 10), "re-engagement"),
        status="expired",
        ends_at=now,
        ended_by_hand_at=now,
        suppressed_until=datetime(2026, 12, 24, tzinfo=UTC),
    )
    decision = decided(policy, [ended])[ended.campaign_id]
    assert (decision.outcome, decision.outcome_reason) == ("ended", "it was ended by hand")
    never_began = by_hand(
        date(2026, 11, 22), date(2026, 12, 4), status="expired", ended_by_hand_at=begins - timedelta(hours=1)
    )
    assert stood_before([never_began], begins) == [never_began]
    assert never_began.campaign_id not in decided(policy, [never_began])
    later = replace(never_began, ended_by_hand_at=begins + timedelta(days=1))
    assert stood_before([later], begins) == [replace(later, status="active")]


@pytest.mark.parametrize("status", ["paused", "expired"])
def test_a_rerun_of_the_night_that_opened_what_somebody_stopped_since_names_no_id_twice(
    policy: Policy, status: str
) -> None:
    stopped = replace(
        opened_on(policy, TARGET_DAY, "re-engagement"),
        status=status,
        ended_by_hand_at=None if status == "paused" else datetime(2026, 11, 22, 9, tzinfo=UTC),
    )
    decisions = decide(policy, [stopped])
    ids = [each.campaign_id for each in decisions]
    assert len(ids) == len(set(ids)) == 7
    (same,) = [each for each in decisions if each.campaign_id == stopped.campaign_id]
    assert same.outcome == ("paused" if status == "paused" else "not_opened")
