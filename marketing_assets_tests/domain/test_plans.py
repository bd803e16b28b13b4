import json
from datetime import date
from decimal import Decimal

from marketing_assets.domain.plans import (
    Change,
    Combination,
    Course,
    NightCost,
    Overlap,
    Plan,
    PlannedCampaign,
    change_of_any,
    changes,
    overlaps,
    plan_as_json,
)

NOBODY: frozenset[str] = frozenset()
FOUND = [
    Combination(frozenset({"vip"}), frozenset({"vip", "focus"}), 5),
    Combination(frozenset({"vip", "focus"}), frozenset({"focus"}), 3),
    Combination(NOBODY, frozenset({"focus"}), 2),
    Combination(frozenset({"hello"}), NOBODY, 7),
]


def test_who_gains_and_who_loses_is_counted_for_each_template() -> None:
    assert changes(["vip", "focus", "hello"], FOUND) == [
        Change("vip", current=8, proposed=5, gain=0, lose=3),
        Change("focus", current=3, proposed=10, gain=7, lose=0),
        Change("hello", current=7, proposed=0, gain=0, lose=7),
    ]


def test_a_user_of_another_template_neither_gains_nor_loses_everything() -> None:
    assert change_of_any(FOUND) == Change("", current=15, proposed=10, gain=2, lose=7)


def test_pairs_of_templates_that_share_users_are_listed() -> None:
    assert overlaps(["vip", "focus", "hello"], FOUND) == [Overlap(("vip", "focus"), current=3, proposed=5)]


def test_a_night_is_refused_above_its_share_of_the_spend() -> None:
    def night(cost: str, spend: str) -> NightCost:
        return NightCost(date(2026, 1, 1), Decimal(cost), Decimal(spend), Decimal("0.05"))

    assert [night("5", "100").refused, night("5.01", "100").refused] == [False, True]
    assert [night("0", "-1").refused, night("0.01", "-1").refused] == [False, True]


def test_a_plan_as_json_keeps_money_exact() -> None:
    campaign = PlannedCampaign("vip-2026-01-02", "vip", "opened", "why", 20, 9, 1, 2, Decimal("1.100000"))
    course = Course("abc", {"high": 20}, {campaign.campaign_id: campaign})
    course.nights.append(NightCost(date(2026, 1, 1), Decimal("1.1"), Decimal(100), Decimal("0.05")))
    plan = Plan(
        date(2026, 1, 1), date(2026, 1, 1), course, course, change_of_any(FOUND), changes(["vip"], FOUND), []
    )
    told = json.loads(json.dumps(plan_as_json(plan)))
    assert told["current"]["campaigns"] == [
        {
            "campaign_id": "vip-2026-01-02",
            "template": "vip",
            "outcome": "opened",
            "outcome_reason": "why",
            "audience": 20,
            "treatment": 9,
            "control": 1,
            "refused": 2,
            "expected_cost": "1.100000",
            "targets": 10,
        }
    ]
    assert told["users"] == {"current": 15, "proposed": 10, "gain": 2, "lose": 7}
    assert told["current"]["nights"][0] == {
        "day": "2026-01-01",
        "expected_cost": "1.1",
        "spend": "100",
        "refused": False,
    }
