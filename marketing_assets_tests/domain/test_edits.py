"""What people ask of campaigns: what becomes of it, and what is refused."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from marketing_assets.domain.campaigns import Campaign, canonical_json, own_pattern
from marketing_assets.domain.edits import (
    CampaignEdit,
    NewCampaign,
    edited,
    is_new_version,
    manual_campaign,
    slug,
)
from marketing_assets.errors import RefusedChangeError
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import CampaignTemplate, ManualCampaign, frozen_terms

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
POLICY = load_policy(None)
TEN_PERCENT = {"type": "discount", "value": 10, "unit": "percentage"}
FIFTY = {"type": "bonus", "value": 50, "unit": "fixed"}


def asked(**changes: object) -> NewCampaign:
    values = {
        "name": "Summer Sale",
        "description": "Save 10%.",
        "offer": TEN_PERCENT,
        "pattern": "general",
        "ends_at": NOW + timedelta(days=20),
    }
    return NewCampaign.model_validate({**values, **changes})


def made(number: int = 1, **changes: Any) -> Campaign:
    return manual_campaign(asked(**changes), POLICY, NOW, PARIS, number)


def terms(**changes: Any) -> CampaignTemplate:
    return frozen_terms(made(**changes).settings)


def test_a_campaign_by_hand_takes_what_is_not_said_from_the_policy() -> None:
    expected = ManualCampaign(
        template="manual-summer-sale",
        type="manual",
        pattern="general",
        name="Summer Sale",
        description="Save 10%.",
        offer=asked().offer,
        days=20,
        priority=8,
        attribution_days=10,
        budget=None,
        reward_for="first_purchase",
        max_reward=Decimal(25),
        cooldown_days=0,
        holdout_share=Decimal("0.1"),
    )
    assert made() == Campaign(
        campaign_id="manual-summer-sale-2026-11-22",
        template="manual-summer-sale",
        origin="manual",
        status="active",
        target_pattern="general",
        priority=8,
        starts_at=NOW,
        ends_at=NOW + timedelta(days=20),
        version=1,
        holdout_share=Decimal("0.1"),
        settings=canonical_json(expected.model_dump(mode="json")),
        policy_version=POLICY.version,
        suppressed_until=None,
    )


def test_what_is_said_counts() -> None:
    starts_at = datetime(2026, 12, 1, 0, 30, tzinfo=PARIS)
    campaign = made(
        starts_at=starts_at,
        ends_at=starts_at + timedelta(days=60),
        budget="1000.50",
        holdout_share="0.5",
        priority=2,
    )
    frozen = frozen_terms(campaign.settings)
    assert campaign.campaign_id == "manual-summer-sale-2026-12-01"
    assert campaign.starts_at == datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert (campaign.priority, campaign.holdout_share) == (2, Decimal("0.5"))
    assert (frozen.budget, frozen.holdout_share, frozen.priority) == (Decimal("1000.5"), Decimal("0.5"), 2)
    assert (frozen.days, frozen.attribution_days) == (60, 14)


def test_criteria_are_a_pattern_of_its_own() -> None:
    campaign = made(pattern=None, criteria=[{"feature": "spend", "at_least": 100}], number=2)
    assert (campaign.template, campaign.target_pattern) == (
        "manual-summer-sale-2",
        "manual_summer_sale_2_20261122",
    )
    assert campaign.campaign_id == "manual-summer-sale-2-2026-11-22"


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (datetime(2026, 12, 1, tzinfo=PARIS), datetime(2026, 12, 2, tzinfo=PARIS), 1),
        (datetime(2026, 12, 1, tzinfo=PARIS), datetime(2026, 12, 1, 1, tzinfo=PARIS), 1),
        (datetime(2026, 12, 1, tzinfo=PARIS), datetime(2026, 12, 8, 1, tzinfo=PARIS), 8),
        # The clock is put back and put forward in between: the days are those of the calendar.
        (datetime(2027, 10, 30, tzinfo=PARIS), datetime(2027, 11, 2, tzinfo=PARIS), 3),
        (datetime(2027, 3, 27, tzinfo=PARIS), datetime(2027, 3, 30, tzinfo=PARIS), 3),
    ],
)
def test_days_are_counted_by_the_clock_on_the_wall(start: datetime, end: datetime, days: int) -> None:
    assert terms(starts_at=start, ends_at=end).days == days


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"starts_at": NOW - timedelta(seconds=1)}, "starts_at: .* is past"),
        ({"ends_at": NOW}, "ends_at: .* is not after its start and after now"),
        ({"starts_at": NOW + timedelta(days=21)}, "ends_at: .* is not after its start"),
        ({"ends_at": NOW + timedelta(days=367)}, "ends_at: .* more than 366 days after its start"),
        (
            {"pattern": "dormant"},
            r"pattern: no pattern is called 'dormant' \(allowed: high_spender, inactive",
        ),
        ({"budget": "24.99"}, r"budget: 24.99 does not cover what one target may earn \(25\)"),
        ({"offer": FIFTY, "budget": 49}, r"budget: 49 does not cover what one target may earn \(50\)"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedChangeError, match=said):
        made(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": None},
        {"criteria": [{"feature": "spend", "at_least": 100}]},
        {"pattern": None, "criteria": [{"feature": "shoe_size", "at_least": 40}]},
        {"ends_at": "2026-12-01T00:00:00"},
        {"name": "two\nlines"},
        {"name": ""},
        {"holdout_share": "1.01"},
        {"offer": {**TEN_PERCENT, "value": 101}},
        {"type": "vip"},
    ],
)
def test_what_cannot_be_read_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        asked(**changes)


def test_a_fixed_reward_is_covered_by_the_most_that_a_target_may_earn() -> None:
    assert terms(offer=FIFTY).max_reward == 50
    assert terms(offer={**FIFTY, "value": 5}).max_reward == 25
    assert edited(terms(), CampaignEdit.model_validate({"offer": FIFTY})).max_reward == 50


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Summer Sale", "summer-sale"),
        ("  Été à Zürich!  ", "ete-a-zurich"),
        ("'; drop table marketing.marketing_campaigns; --", "drop-table-marketing-marketing-campaigns"),
        ("../../etc/passwd", "etc-passwd"),
        ("global:2026", "global-2026"),
        ("<script>alert(1)</script>", "script-alert-1-script"),
        ("%s %(x)s [name] :name $1", "s-x-s-name-name-1"),
        ("夏のセール", "campaign"),
        ("🛒🛒", "campaign"),
        ("---", "campaign"),
        ("x" * 300, "x" * 40),
        ("a" * 39 + " b", "a" * 39),
    ],
)
def test_names_become_ids(name: str, expected: str) -> None:
    assert slug(name) == expected
    assert made(name=name).campaign_id == f"manual-{expected}-2026-11-22"


@given(st.text())
def test_a_slug_is_always_plain_and_short(name: str) -> None:
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", slug(name))
    assert len(slug(name)) <= 40


def test_an_edit_changes_what_it_names_and_nothing_else() -> None:
    before = terms(budget=100)
    assert edited(before, CampaignEdit()) == before
    after = edited(before, CampaignEdit.model_validate({"name": "Winter", "priority": 3}))
    assert after == before.model_copy(update={"name": "Winter", "priority": 3})
    assert edited(before, CampaignEdit.model_validate({"budget": None})).budget is None
    assert edited(before, CampaignEdit.model_validate({"ends_at": NOW})) == before


def test_an_edited_template_stays_one() -> None:
    before = POLICY.campaigns[0]
    after = edited(before, CampaignEdit.model_validate({"holdout_share": "0.2"}))
    assert after == before.model_copy(update={"holdout_share": Decimal("0.2")})


def test_an_edit_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RefusedChangeError, match="budget: 24 does not cover"):
        edited(terms(), CampaignEdit.model_validate({"budget": 24}))
    with pytest.raises(ValidationError, match="cannot be null"):
        CampaignEdit.model_validate({"name": None})


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"name": "Winter"}, False),
        ({"description": "Soon over."}, False),
        ({"priority": 1}, False),
        ({"budget": 500}, False),
        ({"ends_at": NOW}, False),
        ({"offer": TEN_PERCENT}, False),
        ({"holdout_share": "0.10"}, False),
        ({"offer": {**TEN_PERCENT, "value": 11}}, True),
        ({"offer": {**TEN_PERCENT, "at": "top_location"}}, True),
        ({"holdout_share": "0.2"}, True),
    ],
)
def test_what_is_promised_or_measured_makes_a_new_version(change: dict[str, object], new: bool) -> None:
    before = terms()
    assert is_new_version(before, edited(before, CampaignEdit.model_validate(change))) is new


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attribution_days", 3),
        ("margin", Decimal("0.5")),
        ("max_reward", Decimal(30)),
        ("reward_for", "every_purchase"),
        ("rewards", "automatic"),
        ("amount_is", "net"),
    ],
)
def test_every_frozen_setting_of_the_measurement_makes_a_new_version(name: str, value: object) -> None:
    assert is_new_version(terms(), terms().model_copy(update={name: value}))


def test_criteria_of_two_campaigns_of_one_name_stay_apart() -> None:
    criteria = [{"feature": "spend", "at_least": 50}]
    first, second, numbered = (
        made(number, pattern=None, criteria=criteria, starts_at=NOW + timedelta(days=days))
        for number, days in ((1, 1), (1, 3), (2, 1))
    )
    patterns = {each.target_pattern for each in (first, second, numbered)}
    assert len(patterns) == 3
    assert all(own_pattern(each) is not None for each in (first, second, numbered))
    longest = made(99, name="x" * 200, pattern=None, criteria=criteria)
    assert len(longest.target_pattern) <= 60
