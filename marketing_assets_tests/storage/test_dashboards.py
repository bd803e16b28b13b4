"""What the people of marketing see: all campaigns page by page, and figures that were worked out by hand."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import Engine

from marketing_assets.storage.repositories import dashboards
from marketing_assets_tests.sidecar.shop import Shop, in_days

ZONE = ZoneInfo("UTC")


@pytest.fixture
def shop(serving: Engine, reader: psycopg.Connection) -> Shop:
    return Shop(serving, reader)


def instant(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 2, day, hour, tzinfo=UTC)


def opened(
    shop: Shop, campaign_id: str, first: int, last: int, template: str = "vip-rewards", **terms: Any
) -> str:
    """A campaign that is open from one day of February 2026 to another."""
    shop.open(template, campaign_id=campaign_id, **terms)
    shop.change("marketing_campaigns", campaign_id, starts_at=instant(first), ends_at=instant(last))
    return campaign_id


def converted(
    shop: Shop, user: str, campaign_id: str, hours: int, *amounts: str, rewarded: str = "0"
) -> None:
    """A target who saw the offer, clicked twice and bought."""
    shop.target(
        user,
        campaign_id,
        status="converted",
        valid_from=instant(2),
        valid_until=instant(20),
        viewed_at=instant(2, 1),
        converted_at=instant(2, hours),
        rewards=len(amounts),
        rewarded=Decimal(rewarded),
    )
    for _ in range(2):
        shop.event(user, campaign_id, "click")
    for amount in amounts:
        shop.event(user, campaign_id, "conversion", amount)


def figures(of: dict[str, Any]) -> dict[str, Any]:
    """The funnel of an answer, without what it belongs to."""
    own = ("campaign_id", "type", "status", "starts_at", "ends_at", "campaigns")
    return {name: value for name, value in of.items() if name not in own}


NOTHING = {
    **dict.fromkeys(("targeted", "control", "viewed", "clicked", "dismissed", "converted"), 0),
    **dict.fromkeys(
        (
            "click_through",
            "conversion_rate",
            "average_order",
            "own_average_order",
            "seconds_to_conversion",
        )
    ),
    **dict.fromkeys(("revenue", "cost", "net"), "0.00"),
    "lift": {"value": None, "reason": "not measured yet"},
}


@pytest.fixture
def told(shop: Shop, serving: Engine) -> dict[str, Any]:
    """Analytics of two campaigns of a type with targets and one of another without; a fourth is outside."""
    vip, second = opened(shop, "vip-a", 1, 28), opened(shop, "vip-b", 5, 10)
    opened(shop, "welcome-a", 9, 12, "welcome-bonus")
    outside = opened(shop, "vip-z", 11, 20)
    converted(shop, "u1", vip, 2, "100.00", "50.50", rewarded="7.53")
    converted(shop, "u2", vip, 6, "10.00", rewarded="0.50")
    converted(shop, "u3", second, 10, "39.50", rewarded="1.98")
    shop.segment("u1", average_order="20.00")
    shop.segment("u2", average_order="30.01")
    shop.target("u4", vip, status="viewed", viewed_at=instant(3))
    shop.event("u4", vip, "click")
    shop.target("u5", vip, status="viewed", viewed_at=instant(3), dismissed_at=instant(4))
    shop.target("u6", vip)
    shop.target("u7", vip)
    shop.target("u8", vip, arm="control")
    shop.target("u9", outside)
    return json.loads(dashboards.analytics(serving, date(2026, 2, 2), date(2026, 2, 9), ZONE))  # type: ignore[no-any-return]


def test_a_campaigns_funnel_is_counted_by_hand(told: dict[str, Any]) -> None:
    assert [each["campaign_id"] for each in told["campaigns"]] == ["welcome-a", "vip-b", "vip-a"]
    empty, second, vip = told["campaigns"]
    assert figures(vip) == {
        "targeted": 6,
        "control": 1,
        "viewed": 4,
        "clicked": 3,
        "dismissed": 1,
        "converted": 2,
        "click_through": 0.75,
        "conversion_rate": 33.3333,
        "revenue": "160.50",
        "average_order": "53.50",
        "own_average_order": "25.01",
        "seconds_to_conversion": 4 * 3600,
        "cost": "8.03",
        "net": "152.47",
        "lift": {"value": None, "reason": "not measured yet"},
    }
    assert figures(second) == {
        **NOTHING,
        **{"targeted": 1, "viewed": 1, "clicked": 1, "converted": 1},
        **{
            "click_through": 1,
            "conversion_rate": 100,
            "average_order": "39.50",
            "seconds_to_conversion": 36_000,
        },
        **{"revenue": "39.50", "cost": "1.98", "net": "37.52"},
    }
    assert figures(empty) == NOTHING
    assert (empty["type"], empty["status"], empty["starts_at"]) == (
        "welcome",
        "active",
        "2026-02-09T00:00:00+00:00",
    )


def test_types_and_everything_together_add_up(told: dict[str, Any]) -> None:
    vip, welcome = told["by_type"]
    assert (vip["type"], vip["campaigns"], welcome["type"], welcome["campaigns"]) == ("vip", 2, "welcome", 1)
    assert figures(welcome) == NOTHING
    together = {
        "targeted": 7,
        "control": 1,
        "viewed": 5,
        "clicked": 4,
        "dismissed": 1,
        "converted": 3,
        "click_through": 0.8,
        "conversion_rate": 42.8571,
        "revenue": "200.00",
        "average_order": "50.00",
        "own_average_order": "25.01",
        "seconds_to_conversion": 6 * 3600,
        "cost": "10.01",
        "net": "189.99",
        "lift": {"value": None, "reason": "not measured yet"},
    }
    assert figures(vip) == together
    assert figures(told["overall"]) == together
    assert (told["from"], told["to"]) == ("2026-02-02", "2026-02-09")


def test_open_and_over_campaigns_and_nights_of_the_range(
    shop: Shop, serving: Engine, reader: psycopg.Connection
) -> None:
    shop.open(campaign_id="running", starts=-3)
    shop.open(campaign_id="paused", starts=-3)
    shop.change("marketing_campaigns", "paused", status="paused")
    shop.open(campaign_id="over", starts=-3, ends=-0.1)
    shop.open(campaign_id="expired", starts=-3)
    shop.change("marketing_campaigns", "expired", status="expired", suppressed_until=in_days(30))
    today = dashboards.today(serving, ZONE)
    for back, status in ((1, "published"), (2, "skipped"), (3, "stale"), (40, "published")):
        reader.execute(
            "insert into marketing.published_nights values (%s::date - %s, 'run', 'p', %s, null, 0, now())",
            [today, back, status],
        )
    first = date.fromordinal(today.toordinal() - 9)
    told = json.loads(dashboards.analytics(serving, first, today, ZONE))
    assert (told["active"], told["expired"]) == (2, 2)
    assert (told["nights"], told["campaigns_per_night"]) == (2, 2)
    assert [(each["campaign_id"], each["until"] is None) for each in told["suppressed"]] == [
        ("expired", False),
        ("paused", True),
    ]


def test_a_range_without_anything_is_all_noughts(serving: Engine) -> None:
    told = json.loads(dashboards.analytics(serving, date(2020, 1, 1), date(2020, 1, 31), ZONE))
    assert told == {
        "from": "2020-01-01",
        "to": "2020-01-31",
        "overall": NOTHING,
        "by_type": [],
        "campaigns": [],
        "active": 0,
        "expired": 0,
        "nights": 0,
        "campaigns_per_night": None,
        "suppressed": [],
    }


def pages(serving: Engine, limit: int, status: str | None = None) -> list[list[str]]:
    """Ids of every page of the list."""
    found, after = [], None
    while True:
        page = json.loads(dashboards.campaigns(serving, status, after, limit))
        found.append([item["campaign_id"] for item in page["items"]])
        if page["next_cursor"] is None:
            return found
        place, _, name = page["next_cursor"].partition("~")
        after = (int(place), name)


def test_many_campaigns_are_listed_page_by_page_the_one_that_starts_last_first(
    shop: Shop, serving: Engine
) -> None:
    """Ten start together each day, so that pages end in the middle of a day."""
    names = [opened(shop, f"c{number:03}", 1 + number // 10, 28) for number in range(120)]
    shop.change("marketing_campaigns", "c005", status="paused", starts_at=instant(1).replace(microsecond=7))
    shop.change("marketing_campaigns", "c119", status="expired")
    expected = sorted(names, reverse=True)
    expected.remove("c005")
    expected.insert(expected.index("c009"), "c005")  # seven microseconds later than its nine neighbours
    for limit in (1, 7, 10, 100, 119, 120, 121):
        found = pages(serving, limit)
        assert [name for page in found for name in page] == expected
        assert {len(page) for page in found[:-1]} <= {limit}
        assert 0 < len(found[-1]) <= limit
    assert pages(serving, 50, "paused") == [["c005"]]
    assert pages(serving, 50, "archived") == [[]]
    assert [len(page) for page in pages(serving, 100, "active")] == [100, 18]


def test_a_campaign_is_shown_with_its_terms_budget_and_figures(shop: Shop, serving: Engine) -> None:
    opened(shop, "vip-a", 1, 28, budget=1000, holdout_share="0.25")
    shop.change("campaign_budgets", "vip-a", reserved=Decimal("10.5"), spent=Decimal(2))
    converted(shop, "u1", "vip-a", 2, "100.00", rewarded="5.00")
    found = dashboards.campaign(serving, "vip-a")
    assert found is not None
    shown = json.loads(found.body)
    assert found.revision == shown["revision"] == 1
    assert shown["offer"] == {"type": "cashback", "value": "5", "unit": "percentage", "at": None}
    assert shown["budget"] == {"budget": "1000.00", "reserved": "10.50", "spent": "2.00"}
    assert (shown["max_reward"], shown["pattern"], shown["holdout_share"]) == ("250", "high_spender", "0.25")
    assert (shown["metrics"]["converted"], shown["metrics"]["net"]) == (1, "95.00")
    assert dashboards.campaign(serving, "vip-b") is None
    assert json.loads(dashboards.campaigns(serving, None, None, 1))["items"] == [
        {name: value for name, value in shown.items() if name != "metrics"}
    ]
