"""Which offers a user is shown, in which order and in which words: over HTTP, on values."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from marketing_assets_tests.sidecar.service import bearer
from marketing_assets_tests.sidecar.shop import Shop, in_days

LIST = "/api/marketing/campaigns"


def shown(client: httpx.Client, user: str) -> list[dict[str, Any]]:
    answer = client.get(LIST, headers=bearer(user))
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def ids(client: httpx.Client, user: str) -> list[str]:
    return [item["campaign_id"] for item in shown(client, user)]


def one(client: httpx.Client, user: str, campaign_id: str) -> httpx.Response:
    return client.get(f"{LIST}/{campaign_id}", headers=bearer(user))


def test_an_offer_is_shown_with_everything_that_it_promises(client: httpx.Client, shop: Shop) -> None:
    user, (starts, ends) = shop.user(), (in_days(-0.5), in_days(10))
    campaign_id = shop.open("location-promo")
    shop.target(user, campaign_id, context={"location": "Store 12"}, valid_from=starts, valid_until=ends)
    [item] = shown(client, user)
    for name, instant in (("valid_from", starts), ("valid_until", ends)):
        assert datetime.fromisoformat(item.pop(name)).astimezone(UTC) == instant
    assert item == {
        "campaign_id": campaign_id,
        "name": "Your Local Favourite",
        "description": "Save 15% on your next purchase at Store 12.",
        "type": "location",
        "offer": {"type": "discount", "value": "15", "unit": "percentage"},
        "max_reward": "25",
        "currency": "USD",
        "location": "Store 12",
        "category": None,
        "status": "eligible",
        "viewed_at": None,
        "priority": 6,
    }
    alone = one(client, user, campaign_id)
    assert (alone.status_code, alone.json()) == (200, shown(client, user)[0])


@pytest.mark.parametrize(
    ("columns", "is_shown"),
    [
        ({"status": "active"}, True),
        ({"status": "paused"}, False),
        ({"status": "expired"}, False),
        ({"status": "archived"}, False),
        ({"status": "draft"}, False),
        ({"starts_at": in_days(1)}, False),
        ({"ends_at": in_days(-0.01)}, False),
        ({"ends_at": in_days(1)}, True),
    ],
)
def test_a_campaign_shows_offers_while_it_is_open(
    columns: dict[str, Any], is_shown: bool, client: httpx.Client, shop: Shop
) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    shop.change("marketing_campaigns", campaign_id, **columns)
    assert ids(client, user) == ([campaign_id] if is_shown else [])
    assert one(client, user, campaign_id).status_code == (200 if is_shown else 404)


@pytest.mark.parametrize(
    ("target", "is_shown"),
    [
        ({}, True),
        ({"starts": 0.01}, False),
        ({"ends": -0.01}, False),
        ({"ends": 0.01}, True),
        ({"arm": "control"}, False),
        ({"status": "viewed", "viewed_at": in_days(-0.1)}, True),
    ],
)
def test_an_offer_is_shown_while_it_lives(
    target: dict[str, Any], is_shown: bool, client: httpx.Client, shop: Shop
) -> None:
    user, campaign_id = shop.user(), shop.open()
    shop.target(user, campaign_id, **target)
    assert ids(client, user) == ([campaign_id] if is_shown else [])
    assert one(client, user, campaign_id).status_code == (200 if is_shown else 404)


def test_another_users_offer_is_nobodys(client: httpx.Client, shop: Shop) -> None:
    campaign_id, other = shop.offer(shop.user()), shop.user()
    assert ids(client, other) == []
    answer = one(client, other, campaign_id)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:marketing:problem:not-found")
    assert answer.json()["detail"] == one(client, other, "x").json()["detail"].replace(
        "'x'", f"'{campaign_id}'"
    )


def test_who_opted_out_is_shown_nothing_from_the_next_read_on(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    etag = client.get(LIST, headers=bearer(user)).headers["ETag"]
    shop.opt_out(user)
    again = client.get(LIST, headers={**bearer(user), "If-None-Match": etag})
    assert (again.status_code, again.json()["items"]) == (200, [])
    assert one(client, user, campaign_id).status_code == 404


def test_who_asked_to_be_erased_gets_410_everywhere(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    shop.erase(user)
    for path in (LIST, f"{LIST}/{campaign_id}", "/api/marketing/segments"):
        answer = client.get(path, headers=bearer(user))
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:marketing:problem:erased"), path


def test_a_dismissed_offer_leaves_the_list_and_can_still_be_looked_at(
    client: httpx.Client, shop: Shop
) -> None:
    user, campaign_id = shop.user(), shop.open()
    shop.target(user, campaign_id, dismissed_at=in_days(-0.1))
    assert ids(client, user) == []
    assert one(client, user, campaign_id).json()["campaign_id"] == campaign_id


@pytest.mark.parametrize(
    ("terms", "rewards", "rewarded", "is_shown"),
    [
        ({"reward_for": "first_purchase", "max_reward": 250}, 0, "0", True),
        ({"reward_for": "first_purchase", "max_reward": 250}, 1, "3.00", False),
        ({"reward_for": "every_purchase", "max_reward": 250}, 1, "3.00", True),
        ({"reward_for": "every_purchase", "max_reward": 250}, 9, "249.99", True),
        ({"reward_for": "every_purchase", "max_reward": 250}, 9, "250.00", False),
    ],
)
def test_a_used_up_offer_leaves_the_list(
    terms: dict[str, Any], rewards: int, rewarded: str, is_shown: bool, client: httpx.Client, shop: Shop
) -> None:
    user, campaign_id = shop.user(), shop.open(**terms)
    shop.target(user, campaign_id, rewards=rewards, rewarded=Decimal(rewarded))
    assert ids(client, user) == ([campaign_id] if is_shown else [])
    assert one(client, user, campaign_id).status_code == 200


# 5 % of the average order, 40, are 2; without a known average order nothing is needed.
@pytest.mark.parametrize(
    ("budget", "reserved", "spent", "average", "is_shown"),
    [
        ("1000.00", "500.00", "498.00", "40.00", True),
        ("1000.00", "500.00", "498.01", "40.00", False),
        ("1000.00", "0.00", "999.99", None, True),
        (None, "0.00", "99999.00", "40.00", True),
    ],
)
def test_an_offer_leaves_the_list_when_its_budget_no_longer_covers_an_average_order(
    budget: str | None,
    reserved: str,
    spent: str,
    average: str | None,
    is_shown: bool,
    client: httpx.Client,
    shop: Shop,
) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    shop.segment(user, average_order=average)
    shop.change("campaign_budgets", campaign_id, budget=budget, reserved=reserved, spent=spent)
    assert ids(client, user) == ([campaign_id] if is_shown else [])


def test_braces_in_a_place_are_shown_as_they_are(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.open(
        "location-promo", name="{location} {offer}", description="{max_reward} {location}"
    )
    place = "{offer} & {currency} {0.__class__} 'Gate\"'"
    shop.target(user, campaign_id, context={"location": place})
    [item] = shown(client, user)
    assert item["name"] == f"{place} 15%"
    assert item["description"] == f"25 USD {place}"
    assert item["location"] == place


def test_a_category_is_filled_in(client: httpx.Client, shop: Shop) -> None:
    user, campaign_id = shop.user(), shop.open("category-focus")
    shop.target(user, campaign_id, context={"category": "Käse, 奶酪"})
    [item] = shown(client, user)
    assert item["description"] == "Save 10% on your next purchase in Käse, 奶酪."
    assert (item["category"], item["location"]) == ("Käse, 奶酪", None)


def test_offers_stand_by_priority_and_then_by_id(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    made = [(shop.offer(user, priority=priority), priority) for priority in (7, 1, 3, 1, 7, 3)]
    expected = [name for name, _ in sorted(made, key=lambda each: (each[1], each[0]))]
    assert ids(client, user) == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_over_ties_show_each_offer_once(limit: int, client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    for priority in (2, 2, 2, 1, 1, 3, 2):
        shop.offer(user, priority=priority)
    everything, seen, cursor = ids(client, user), [], None
    assert len(everything) == 7
    for _ in range(8):
        query = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
        page = client.get(LIST, params=query, headers=bearer(user)).json()
        assert len(page["items"]) <= limit
        seen += [item["campaign_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == everything


def test_a_cursor_outlives_the_offer_that_it_names(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    for _ in range(3):
        shop.offer(user)
    first, second, third = ids(client, user)
    cursor = client.get(LIST, params={"limit": "2"}, headers=bearer(user)).json()["next_cursor"]
    shop.change("marketing_campaigns", second, status="paused")
    rest = client.get(LIST, params={"cursor": cursor}, headers=bearer(user)).json()
    assert [item["campaign_id"] for item in rest["items"]] == [third]
    assert ids(client, user) == [first, third]


def test_of_a_user_only_active_campaigns_are_offers(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    for status in ("draft", "paused", "expired", "archived"):
        answer = client.get(LIST, params={"status": status}, headers=bearer(user))
        assert (answer.status_code, answer.json()) == (200, {"items": [], "next_cursor": None})
    active = client.get(LIST, params={"status": "active"}, headers=bearer(user)).json()
    assert [item["campaign_id"] for item in active["items"]] == [campaign_id]


def edit(client: httpx.Client, campaign_id: str, **change: Any) -> None:
    path = f"{LIST}/{campaign_id}"
    etag = client.get(path, headers=bearer("ann", "admin")).headers["ETag"]
    answer = client.patch(path, headers={**bearer("ann", "admin"), "If-Match": etag}, json=change)
    assert answer.status_code == 200, answer.text


def test_an_edited_text_shows_at_the_next_read(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    etag = client.get(LIST, headers=bearer(user)).headers["ETag"]
    edit(client, campaign_id, name="Better", description="{offer} for you")
    again = client.get(LIST, headers={**bearer(user), "If-None-Match": etag})
    [item] = again.json()["items"]
    assert (again.status_code, item["name"], item["description"]) == (200, "Better", "5% for you")


def test_an_edited_offer_keeps_the_promise_of_old_targets(client: httpx.Client, shop: Shop) -> None:
    old, new = shop.user(), shop.user()
    campaign_id = shop.offer(old)
    edit(client, campaign_id, offer={"type": "cashback", "value": "9", "unit": "percentage"})
    shop.target(new, campaign_id, version=2)
    [promised], [offered] = shown(client, old), shown(client, new)
    assert promised["offer"] == {"type": "cashback", "value": "5", "unit": "percentage"}
    assert offered["offer"] == {"type": "cashback", "value": "9", "unit": "percentage"}
    assert "Get 5% cashback" in promised["description"]
    assert "Get 9% cashback" in offered["description"]


def test_a_paused_campaign_comes_back_when_it_is_resumed(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    edit(client, campaign_id, status="paused")
    assert ids(client, user) == []
    edit(client, campaign_id, status="active")
    assert ids(client, user) == [campaign_id]
