"""The event calls, on a real server: what is answered to what the app reports, and what is kept of it."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from marketing_assets.domain.identity import keyed_hash
from marketing_assets_tests.sidecar.service import ERASURE_KEY, Service, bearer, running
from marketing_assets_tests.storage.offers import BEGINS, RECEIVED, VIP, WELCOME, Offers

AGO = RECEIVED - timedelta(hours=1)
API = "/api/marketing"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service(offers_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(offers_database, tmp_path_factory.mktemp("sidecar")) as made:
        yield made


@pytest.fixture
def ann(offers: Offers) -> Offers:
    """It is `RECEIVED`; ann is a target of both campaigns, bob in the control group of one."""
    offers.reader.execute(
        "insert into marketing.simulated_clock (instant, set_by) values (%s, 'a test')", [RECEIVED]
    )
    offers.open()
    offers.open("vip-rewards")
    offers.offer("ann")
    offers.offer("ann", VIP)
    offers.offer("bob", arm="control")
    return offers


@pytest.fixture
def app(ann: Offers, service: Service) -> Iterator[httpx.Client]:
    """Ann's app."""
    with service.client("ann") as client:
        yield client


def said(number: int = 1, **changes: object) -> dict[str, Any]:
    return {
        "event_id": str(UUID(int=number)),
        "occurred_at": AGO.isoformat(),
        "sent_at": RECEIVED.isoformat(),
        **changes,
    }


def bought(number: int = 1, **changes: object) -> dict[str, Any]:
    return said(number, **{"amount": "80.00", "transaction_id": "t1", **changes})


def call(kind: str, campaign_id: str = WELCOME) -> str:
    return f"{API}/campaigns/{campaign_id}/{kind}"


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem, which is one in every respect."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    return answer.status_code, body["type"].removeprefix("urn:marketing:problem:")


# One by one


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("view", ("viewed", AGO, None, None)),
        ("click", ("eligible", None, None, None)),
        ("dismiss", ("eligible", None, AGO, None)),
    ],
)
def test_an_event_is_taken_once(app: httpx.Client, ann: Offers, kind: str, target: tuple[Any, ...]) -> None:
    answers = [
        app.post(call(kind), json=said(sent_at=sent)) for sent in (said()["sent_at"], BEGINS.isoformat())
    ]
    assert [(each.status_code, each.json()) for each in answers] == [
        (202, {"status": "accepted"}),
        (202, {"status": "duplicate"}),
    ]
    assert ann.kept() == [("ann", kind, WELCOME)]
    assert ann.target("ann")[:4] == target


def test_a_dismissed_offer_leaves_the_list(app: httpx.Client) -> None:
    def listed() -> list[str]:
        return [each["campaign_id"] for each in app.get(f"{API}/campaigns").json()["items"]]

    assert listed() == [VIP, WELCOME]
    assert app.post(call("dismiss", VIP), json=said()).status_code == 202
    assert listed() == [WELCOME]


def test_a_conversion_is_told_its_reward(app: httpx.Client, ann: Offers) -> None:
    reward = {"state": "reserved", "amount": "20.00", "currency": "USD", "reason": None}
    items = [{"sku": "a", "pieces": 2, "price": 1.5, "gift": True, "note": None}]
    first = app.post(call("conversion"), json=bought(items=items))
    assert (first.status_code, first.json()) == (202, {"status": "accepted", "reward": reward})
    again = app.post(call("conversion"), json=bought(items=items, sent_at=BEGINS.isoformat()))
    assert (again.status_code, again.json()) == (202, {"status": "duplicate", "reward": reward})
    assert ann.budget() == (Decimal("20.00"), Decimal(0))
    assert ann.reader.execute("select items from marketing.campaign_events").fetchall() == [(items,)]
    ann.check_sums()


@pytest.mark.parametrize(
    ("amount", "claimed"),
    [("80", "80.00"), (80, "80.00"), (80.005, "80.01"), ("0.01", "0.01"), (1_000_000, "1000000.00")],
)
def test_an_amount_is_a_string_or_a_number(
    app: httpx.Client, ann: Offers, amount: object, claimed: str
) -> None:
    assert app.post(call("conversion"), json=bought(amount=amount)).status_code == 202
    assert ann.reader.execute("select claimed::text from marketing.rewards").fetchall() == [(claimed,)]


def test_a_conversion_that_earns_nothing_is_told_why(app: httpx.Client) -> None:
    answer = app.post(call("conversion"), json={**said(), "amount": "80.00"})
    assert answer.status_code == 202
    assert answer.json()["reward"] == {
        "state": "declined",
        "amount": "0.00",
        "currency": "USD",
        "reason": "no_transaction",
    }


def test_what_is_not_the_callers_is_not_found(app: httpx.Client, service: Service, ann: Offers) -> None:
    not_theirs = (404, "not-a-target")
    with service.client("bob") as bob:
        assert problem(bob.post(call("view"), json=said())) == not_theirs
        assert problem(bob.post(call("conversion"), json=bought())) == not_theirs
    for name in ("no-such-campaign", "%00", "a%00b", "';--", "%F0%9F%9B%92", "%ff"):
        assert problem(app.post(call("view", name), json=said())) == not_theirs
    assert ann.kept() == []


def test_what_comes_too_late_or_too_early_is_a_conflict(app: httpx.Client, ann: Offers) -> None:
    early = (BEGINS - timedelta(seconds=1)).isoformat()
    for kind, body in (("view", said), ("conversion", bought)):
        assert problem(app.post(call(kind), json=body(occurred_at=early))) == (409, "outside-window")
    ann.reader.execute("update marketing.marketing_campaigns set status = 'archived'")
    assert problem(app.post(call("view"), json=said())) == (410, "archived")


def test_another_event_under_the_same_id_is_a_conflict(app: httpx.Client) -> None:
    assert app.post(call("view"), json=said()).status_code == 202
    for kind, body in (("click", said()), ("conversion", bought())):
        assert problem(app.post(call(kind), json=body)) == (409, "conflicting-duplicate")


def test_who_may_report(service: Service, ann: Offers) -> None:
    for kind in ("view", "click", "dismiss", "conversion"):
        with service.client("ann", "admin") as admin:
            assert problem(admin.post(call(kind), json=bought() if kind == "conversion" else said())) == (
                403,
                "forbidden",
            )
        with service.client() as nobody:
            assert problem(nobody.post(call(kind), json=said())) == (401, "unauthorized")
    with service.client("ann", "admin", "mobile") as both:
        assert both.post(call("view"), json=said()).status_code == 202


def test_a_user_who_asked_to_be_erased_reports_nothing(service: Service, ann: Offers) -> None:
    ann.reader.execute(
        "insert into marketing.erased_users (user_hash, key_fingerprint, request_id, asked_at)"
        " values (%s, '', gen_random_uuid(), now())",
        [keyed_hash(ERASURE_KEY.encode(), "ann")],
    )
    with service.client("ann") as client:
        assert problem(client.post(call("view"), json=said())) == (410, "erased")
        assert problem(client.post(call("conversion"), json=bought())) == (410, "erased")
        assert problem(client.post(f"{API}/events", json={"events": [{}]})) == (410, "erased")
    assert ann.kept() == []


def test_a_clock_that_is_wrong_is_corrected(app: httpx.Client, ann: Offers) -> None:
    ann.reader.execute("delete from marketing.simulated_clock")
    now = datetime.now(UTC)
    ann.reader.execute(
        "update marketing.campaign_targets set valid_from = %s, valid_until = %s",
        [now - timedelta(days=1), now + timedelta(days=1)],
    )
    wrong = now + timedelta(days=3000)
    body = said(occurred_at=(wrong - timedelta(hours=3)).isoformat(), sent_at=wrong.isoformat())
    assert app.post(call("view"), json=body).status_code == 202
    status, viewed_at = ann.target("ann")[:2]
    assert status == "viewed"
    assert timedelta(0) <= viewed_at - (now - timedelta(hours=3)) < timedelta(seconds=30)


# What makes no sense


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"event_id": "1"}, "/body/event_id"),
        ({"event_id": 1}, "/body/event_id"),
        ({"event_id": "00000000000000000000000000000001"}, "/body/event_id"),
        ({"occurred_at": "2026-02-12"}, "/body/occurred_at"),
        ({"occurred_at": "2026-02-12T08:00:00"}, "/body/occurred_at"),
        ({"occurred_at": "2026-02-30T08:00:00Z"}, "/body/occurred_at"),
        ({"occurred_at": 1770883200}, "/body/occurred_at"),
        ({"sent_at": None}, "/body/sent_at"),
        ({"user_id": "bob"}, "/body/user_id"),
        ({"amount": "0"}, "/body/amount"),
        ({"amount": "-5"}, "/body/amount"),
        ({"amount": 0.001}, "/body/amount"),
        ({"amount": "1000000.01"}, "/body/amount"),
        ({"amount": "1e3"}, "/body/amount"),
        ({"amount": "12.345"}, "/body/amount"),
        ({"amount": True}, "/body/amount"),
        ({"amount": None}, "/body/amount"),
        ({"transaction_id": ""}, "/body/transaction_id"),
        ({"transaction_id": "x" * 201}, "/body/transaction_id"),
        ({"transaction_id": "a\0b"}, "/body/transaction_id"),
        ({"transaction_id": 7}, "/body/transaction_id"),
        ({"items": {}}, "/body/items"),
        ({"items": [{}] * 101}, "/body/items"),
        ({"items": [{str(n): n for n in range(21)}]}, "/body/items/0"),
        ({"items": [{"a": {"b": 1}}]}, "/body/items/0/a/bool"),
        ({"items": [{"a": "\0"}]}, "/body/items/0/a/bool"),
        ({"items": [{"a\0": 1}]}, "/body/items/0/a\0/[key]"),
    ],
)
def test_what_makes_no_sense_is_refused(
    app: httpx.Client, ann: Offers, change: dict[str, Any], pointer: str
) -> None:
    answer = app.post(call("conversion"), json=bought(**change))
    assert problem(answer) == (422, "invalid")
    assert pointer in [each["pointer"] for each in answer.json()["errors"]]
    assert ann.kept() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"\\ud800": 1}',
        json.dumps(bought()).replace('"t1"', '"\\ud800"').encode(),
        json.dumps(bought()).replace('"80.00"', "NaN").encode(),
        json.dumps(bought()).replace('"80.00"', "1e999").encode(),
        json.dumps(bought(items=[{"a": 1}])).replace('"a": 1', '"a": NaN').encode(),
        json.dumps(bought(items=[{"a": 1}])).replace('"a": 1', '"a": 1' + "0" * 400).encode(),
        json.dumps(bought(items=[{"a": 1}])).replace('"a"', '"\\udfff"').encode(),
    ],
)
def test_a_body_that_is_none_is_refused(app: httpx.Client, ann: Offers, body: bytes) -> None:
    answer = app.post(call("conversion"), content=body, headers=JSON)
    assert problem(answer) == (422, "invalid")
    assert problem(app.post(f"{API}/events", content=body, headers=JSON))
    assert ann.kept() == []


# Many at once


def test_each_event_of_a_batch_is_judged_on_its_own(app: httpx.Client, ann: Offers) -> None:
    events = [
        said(1, campaign_id=WELCOME, kind="view"),
        bought(2, campaign_id=VIP, kind="conversion"),
        bought(3, campaign_id=WELCOME, kind="conversion"),
        said(1, campaign_id=WELCOME, kind="view"),
        said(1, campaign_id=WELCOME, kind="click"),
        said(4, campaign_id="of-somebody-else", kind="view"),
        said(5, campaign_id=WELCOME, kind="view", amount="1"),
        bought(6, campaign_id=WELCOME, kind="conversion", amount="0"),
        said(7, campaign_id=WELCOME, kind="view", occurred_at="yesterday"),
        said(8, campaign_id=WELCOME, kind="view", occurred_at=BEGINS.replace(year=2025).isoformat()),
        {"event_id": "9", "kind": "sneeze", "\ud800": 1},
        "a text",
        None,
        said(10, campaign_id="a\0", kind="view"),
        said(11, campaign_id=VIP, kind="dismiss"),
    ]
    answer = app.post(f"{API}/events", content=json.dumps({"events": events}), headers=JSON)
    assert answer.status_code == 200
    results = answer.json()["results"]
    reward = {"currency": "USD", "reason": None, "state": "reserved"}
    assert [(each["status"], each["reason"], each["reward"]) for each in results] == [
        ("accepted", None, None),
        ("accepted", None, {**reward, "amount": "4.00"}),
        (
            "accepted",
            None,
            {"currency": "USD", "reason": "already_rewarded", "state": "declined", "amount": "0.00"},
        ),
        ("duplicate", None, None),
        ("rejected", "conflicting_duplicate", None),
        ("rejected", "not_a_target", None),
        *[("rejected", "invalid", None)] * 3,
        ("rejected", "outside_window", None),
        *[("rejected", "invalid", None)] * 4,
        ("accepted", None, None),
    ]
    assert [each["event_id"] for each in results] == [
        *(str(UUID(int=number)) for number in (1, 2, 3, 1, 1, 4, 5, 6, 7, 8)),
        *(None, None, None),
        *(str(UUID(int=number)) for number in (10, 11)),
    ]
    assert [each["detail"] for each in results if each["reason"] == "invalid"] == [
        "/amount: Extra inputs are not permitted",
        "/amount: Input should be an amount from 0.01 to 1000000, as a decimal string or a number",
        "/occurred_at: Input should be an instant such as 2026-11-22T18:04:31Z",
        ": Input tag 'sneeze' found using 'kind' does not match any of the expected tags: 'view', 'click',"
        " 'dismiss', 'conversion'",
        *[": Input should be a valid dictionary or object to extract fields from"] * 2,
        "/campaign_id: String should match pattern '^[^\\x00]+$'",
    ]
    assert len(ann.kept()) == 4
    ann.check_sums()


@pytest.mark.parametrize("body", [{}, {"events": []}, {"events": [{}] * 501}, {"events": {}}, []])
def test_a_batch_is_a_list_of_one_to_five_hundred(app: httpx.Client, body: object) -> None:
    assert problem(app.post(f"{API}/events", json=body)) == (422, "invalid")


def test_five_hundred_views_and_conversions(app: httpx.Client, ann: Offers) -> None:
    events = [said(number, campaign_id=WELCOME, kind="view") for number in range(250)]
    events += [
        bought(number, campaign_id=VIP, kind="conversion", transaction_id=f"t{number}", amount="20.00")
        for number in range(250, 500)
    ]
    results = app.post(f"{API}/events", json={"events": events}).json()["results"]
    assert {each["status"] for each in results} == {"accepted"}
    assert ann.rewards("ann") == (250, Decimal("250.00"))
    ann.check_sums()


@pytest.mark.parametrize("text", ["'; drop table marketing.rewards; --", '" or 1=1 %s :x $1 \\', "Zoë 🛒 {}"])
def test_a_hostile_text_is_a_text(service: Service, ann: Offers, text: str) -> None:
    ann.offer(text)
    with service.client(text) as client:
        body = bought(transaction_id=text, items=[{text: text}])
        assert client.post(call("conversion"), json=body).status_code == 202
        batch = {"events": [said(2, campaign_id=text, kind="view"), said(3, campaign_id=WELCOME, kind=text)]}
        results = client.post(f"{API}/events", json=batch).json()["results"]
    assert [each["reason"] for each in results] == ["not_a_target", "invalid"]
    assert ann.kept() == [(text, "conversion", WELCOME)]


# At the same time


def at_once(number: int, report: Callable[[int], httpx.Response]) -> list[Any]:
    """The bodies of as many answers at once, all 202."""
    with ThreadPoolExecutor(number) as threads:
        answers = list(threads.map(report, range(number)))
    assert {each.status_code for each in answers} == {202}
    return [each.json() for each in answers]


def test_64_who_convert_at_once_never_pass_a_budget_for_ten(service: Service, ann: Offers) -> None:
    for number in range(64):
        ann.offer(f"u{number}")
    ann.reader.execute("update marketing.campaign_budgets set budget = 205.55")

    with service.client() as client:
        told = at_once(
            64,
            lambda number: client.post(
                call("conversion"), json=bought(amount="82.20"), headers=bearer(f"u{number}")
            ),
        )
    rewards = [each["reward"]["reason"] or each["reward"]["amount"] for each in told]
    assert sorted(rewards) == ["20.55"] * 10 + ["budget"] * 54
    assert ann.budget() == (Decimal("205.50"), Decimal(0))
    ann.check_sums()


def test_one_event_from_fifty_at_once_counts_once(app: httpx.Client, ann: Offers) -> None:
    told = at_once(50, lambda _: app.post(call("conversion"), json=bought()))
    assert sorted(each["status"] for each in told) == ["accepted"] + ["duplicate"] * 49
    assert all(each["reward"]["amount"] == "20.00" for each in told)
    assert ann.rewards("ann") == (1, Decimal("20.00"))
    ann.check_sums()
