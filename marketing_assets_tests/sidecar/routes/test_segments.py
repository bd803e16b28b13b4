"""Segments: a user's own patterns, and for admins the sizes of all."""

from datetime import date
from decimal import Decimal

import httpx
import psycopg

from marketing_assets_tests.sidecar.nearby import Nearby
from marketing_assets_tests.sidecar.service import bearer
from marketing_assets_tests.sidecar.shop import Shop

SEGMENTS = "/api/marketing/segments"


def test_a_user_sees_their_own_patterns_the_primary_first(client: httpx.Client, shop: Shop) -> None:
    user, other = shop.user(), shop.user()
    shop.segment(user, ["high_spender", "frequent_shopper", "unheard_of", "general"])
    shop.segment(other, ["inactive"])
    answer = client.get(SEGMENTS, headers=bearer(user))
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "items": [
                {"pattern": name, "label": label, "is_primary": is_primary, "as_of": "2026-02-10"}
                for name, label, is_primary in (
                    ("high_spender", "High Spender", True),
                    ("frequent_shopper", "Frequent Shopper", False),
                    ("unheard_of", "unheard_of", False),
                    ("general", "Member", False),
                )
            ]
        },
    )


def test_a_user_without_purchases_has_no_patterns(client: httpx.Client, shop: Shop) -> None:
    assert client.get(SEGMENTS, headers=bearer(shop.user())).json() == {"items": []}


def test_an_admin_sees_the_segments_of_the_newest_night(app: Nearby, reader: psycopg.Connection) -> None:
    assert app.admin("GET", "/segments").json() == {"items": []}
    rows = [
        (date(2026, 2, 9), "general", 99, 1.0, "1.00", "1.00"),
        (date(2026, 2, 10), "general", 10, 1.0, "1234567890123.45", "9.99"),
        (date(2026, 2, 10), "high_spender", 2, 0.2, "1000.00", None),
        (date(2026, 2, 10), "old_name", 2, 0.2, "0.00", "0.50"),
    ]
    for row in rows:
        reader.execute("insert into marketing.segment_summary values (%s, %s, %s, %s, %s, %s)", row)
    items = app.admin("GET", "/segments").json()["items"]
    assert [(item["pattern"], item["label"], item["users"], item["share"]) for item in items] == [
        ("general", "Member", 10, 1.0),
        ("high_spender", "High Spender", 2, 0.2),
        ("old_name", "old_name", 2, 0.2),
    ]
    assert {item["day"] for item in items} == {"2026-02-10"}
    assert items[0]["spend"] == "1234567890123.45"
    assert [item["average_order"] for item in items] == ["9.99", None, "0.50"]
    assert Decimal(items[2]["spend"]) == 0
