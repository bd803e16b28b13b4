"""What admins do to campaigns: create, change, end, once for each key, and what is refused."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from marketing_assets.storage import clock
from marketing_assets.storage.repositories import audit, subjects
from marketing_assets_tests.sidecar.nearby import Nearby

NOW = datetime(2026, 2, 11, 10, tzinfo=UTC)
SALE = "manual-spring-sale-2026-02-11"
MANUAL = "/campaigns/manual"
BODY: dict[str, Any] = {
    "name": "Spring sale",
    "description": "{offer} off, this week only.",
    "offer": {"type": "discount", "value": "15", "unit": "percentage"},
    "pattern": "inactive",
    "ends_at": "2026-03-01T00:00:00Z",
    "budget": "5000.00",
    "holdout_share": "0.25",
    "priority": 3,
}


@pytest.fixture(autouse=True)
def at_ten(serving: Engine) -> Iterator[None]:
    with clock.simulated(serving, "test") as simulated:
        simulated.set(NOW)
        yield


def create(app: Nearby, **changes: Any) -> Any:
    return app.admin("POST", MANUAL, json={**BODY, **changes})


def without(*names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**BODY, **changes}.items() if name not in names}


def change(app: Nearby, body: Any, if_match: str | None = '"1"', campaign: str = SALE) -> Any:
    headers = {} if if_match is None else {"If-Match": if_match}
    return app.admin("PATCH", f"/campaigns/{campaign}", json=body, headers=headers)


def pointers(answer: Any) -> list[str]:
    return [each["pointer"] for each in answer.json()["errors"]]


def rows(reader: psycopg.Connection, statement: str) -> list[tuple[Any, ...]]:
    return reader.execute(statement.encode()).fetchall()


def test_a_campaign_by_hand_is_created_and_found(app: Nearby, serving: Engine) -> None:
    made = create(app)
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/marketing/campaigns/{SALE}"
    assert made.headers["etag"] == '"1"'
    assert made.json() == {
        "campaign_id": SALE,
        "status": "active",
        "version": 1,
        "revision": 1,
        "request_id": None,
    }
    found = app.admin("GET", f"/campaigns/{SALE}").json()
    assert {name: found[name] for name in ("name", "description", "pattern", "priority", "origin")} == {
        "name": "Spring sale",
        "description": "{offer} off, this week only.",
        "pattern": "inactive",
        "priority": 3,
        "origin": "manual",
    }
    assert found["offer"] == {"type": "discount", "value": "15", "unit": "percentage", "at": None}
    assert found["budget"] == {"budget": "5000.00", "reserved": "0.00", "spent": "0.00"}
    assert (found["holdout_share"], found["max_reward"]) == ("0.25", "25")
    assert (found["starts_at"], found["ends_at"]) == (
        "2026-02-11T10:00:00+00:00",
        "2026-03-01T00:00:00+00:00",
    )
    with serving.begin() as connection:
        author = subjects.pseudonym(connection, "ann")
        [entry] = audit.entries(connection)
    assert found["created_by"] == f"admin:{author}"
    assert (entry.actor, entry.action, entry.at) == (f"admin:{author}", "campaign.created", NOW)


def test_of_two_with_the_same_name_the_second_has_a_number(app: Nearby) -> None:
    assert [create(app).json()["campaign_id"] for _ in range(2)] == [SALE, "manual-spring-sale-2-2026-02-11"]


def test_criteria_are_those_of_the_policy(app: Nearby) -> None:
    criteria = [
        {"feature": "top_location", "equals": "Store 1"},
        {"any_of": [{"feature": "spend", "at_least": "99.50"}, {"feature": "transactions", "above": 5}]},
    ]
    made = app.admin("POST", MANUAL, json=without("pattern", criteria=criteria))
    assert made.status_code == 201
    found = app.admin("GET", f"/campaigns/{SALE}").json()
    assert found["criteria"] == {
        "rule": [
            {"feature": "top_location", "equals": "Store 1"},
            {"any_of": [{"feature": "spend", "at_least": "99.5"}, {"feature": "transactions", "above": "5"}]},
        ]
    }


def test_without_a_budget_it_is_unlimited(app: Nearby) -> None:
    body = without("budget", "holdout_share", "priority")
    names = [
        app.admin("POST", MANUAL, json=each).json()["campaign_id"]
        for each in (body, {**body, "budget": None})
    ]
    for name in names:
        found = app.admin("GET", f"/campaigns/{name}").json()
        assert (found["budget"]["budget"], found["holdout_share"], found["priority"]) == (None, "0.1", 8)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (without(colour="red"), ["/body/colour"]),
        (without("name", "ends_at"), ["/body/name", "/body/ends_at"]),
        (without(offer={"type": "discount", "value": "15", "unit": "percentage", "x": 1}), ["/body/offer/x"]),
        (without(offer={"type": "gift", "value": "15", "unit": "fixed"}), ["/body/offer/type"]),
        (without(offer={"type": "discount", "value": 15, "unit": "fixed"}), ["/body/offer/value"]),
        (without(offer={"type": "discount", "value": "101", "unit": "percentage"}), ["/body/offer/value"]),
        (without(offer={"type": "discount", "value": "5", "unit": "multiplier"}), ["/body/offer/unit"]),
        (without("pattern"), ["/body"]),
        (without(criteria=[{"feature": "spend", "at_least": 5}]), ["/body"]),
        (
            without("pattern", criteria=[{"feature": "shoe_size", "at_least": 5}]),
            ["/body/criteria/0/feature"],
        ),
        (without("pattern", criteria=[{"feature": "spend", "at_least": 0.5}]), ["/body/criteria/0/at_least"]),
        (without(pattern="nobody"), ["/body/pattern"]),
        (without(pattern=None), ["/body/pattern"]),
        (without(ends_at="2026-02-11T09:00:00Z"), ["/body/ends_at"]),
        (without(starts_at="2026-02-11T09:00:00Z"), ["/body/starts_at"]),
        (without(ends_at="2028-01-01T00:00:00Z"), ["/body/ends_at"]),
        (without(ends_at="tomorrow"), ["/body/ends_at"]),
        (without(ends_at="2026-03-01T00:00:00"), ["/body/ends_at"]),
        (without(ends_at="9999-12-31T23:59:59-14:00"), ["/body/ends_at"]),
        (without(ends_at=1772323200), ["/body/ends_at"]),
        (without(budget="24.99"), ["/body/budget"]),
        (without(budget="-1"), ["/body/budget"]),
        (without(budget="1e3"), ["/body/budget"]),
        (without(holdout_share="1.5"), ["/body/holdout_share"]),
        (without(priority=0), ["/body/priority"]),
        (without(name="a\0b"), ["/body/name"]),
        (without(description="{secret}"), ["/body/description"]),
        (without(target_now="yes"), ["/body/target_now"]),
        ([], ["/body"]),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(
    app: Nearby, reader: psycopg.Connection, body: Any, at: list[str]
) -> None:
    answer = app.admin("POST", MANUAL, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:marketing:problem:invalid"
    assert pointers(answer) == at
    assert rows(reader, "select count(*) from marketing.marketing_campaigns") == [(0,)]


def test_half_a_character_is_refused(app: Nearby) -> None:
    body = json.dumps(without(name="\ud800")).encode()
    answer = app.admin("POST", MANUAL, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, pointers(answer)) == (422, ["/body/name"])


def test_nobody_but_an_admin_changes_campaigns(app: Nearby, reader: psycopg.Connection) -> None:
    create(app)
    for method, path in (("POST", MANUAL), ("PATCH", f"/campaigns/{SALE}"), ("DELETE", f"/campaigns/{SALE}")):
        assert app.call("bob", method, path, json=BODY).status_code == 403
    assert rows(reader, "select status, revision from marketing.marketing_campaigns") == [("active", 1)]


def test_an_admin_who_was_erased_leaves_no_trace_again(
    app: Nearby, reader: psycopg.Connection, serving: Engine
) -> None:
    mark = app.app.state.context.tokens._caller({"sub": "ann", "roles": ["admin"], "exp": 0}).user_hash
    reader.execute(
        "insert into marketing.erased_users (user_hash, key_fingerprint, request_id, asked_at)"
        " values (%s, 'x', gen_random_uuid(), now())",
        [mark],
    )
    assert create(app).status_code == 410
    assert rows(reader, "select count(*) from marketing.subject_keys") == [(0,)]


def test_an_edit_counts_for_the_revision_that_was_seen(app: Nearby) -> None:
    create(app)
    etag = app.admin("GET", f"/campaigns/{SALE}").headers["etag"]  # of the whole answer, led by the revision
    edit = {"name": "Spring  sale!", "offer": {"type": "cashback", "value": "5", "unit": "percentage"}}
    changed = change(app, edit, etag)
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json() == {"campaign_id": SALE, "status": "active", "version": 2, "revision": 2}
    found = app.admin("GET", f"/campaigns/{SALE}").json()
    assert (found["name"], found["offer"]["type"], found["version"]) == ("Spring  sale!", "cashback", 2)
    assert (found["description"], found["budget"]["budget"]) == (BODY["description"], "5000.00")
    again = change(app, {"ends_at": "2026-03-05T00:00:00Z", "budget": None}, '"2"').json()
    assert (again["version"], again["revision"]) == (2, 3)
    found = app.admin("GET", f"/campaigns/{SALE}").json()
    assert (found["ends_at"], found["budget"]["budget"]) == ("2026-03-05T00:00:00+00:00", None)


def test_one_that_was_changed_meanwhile_stays_as_it_is(app: Nearby) -> None:
    create(app)
    assert change(app, {"name": "First"}).status_code == 200
    stale = change(app, {"name": "Second"})
    assert (stale.status_code, stale.headers["etag"]) == (412, '"2"')
    assert stale.json()["type"] == "urn:marketing:problem:stale"
    for odd in ("*", 'W/"2"', '"two"', '"2", "1"', '"99999999999"'):
        assert change(app, {"name": "Third"}, odd).status_code == 412, odd
        assert change(app, {"name": "Third"}, odd, "nobody").status_code == 404, odd
    none = change(app, {"name": "Third"}, "2")
    assert (none.status_code, pointers(none)) == (422, ["/header/If-Match"])
    missing = change(app, {"name": "Fourth"}, None)
    assert (missing.status_code, missing.json()["type"]) == (
        428,
        "urn:marketing:problem:precondition-required",
    )
    assert app.admin("GET", f"/campaigns/{SALE}").json()["name"] == "First"


@pytest.mark.parametrize(
    ("body", "status", "at"),
    [
        ({}, 422, ["/body"]),
        ({"colour": "red"}, 422, ["/body/colour"]),
        ({"priority": 1}, 422, ["/body/priority"]),
        ({"name": None}, 422, ["/body/name"]),
        ({"status": "expired"}, 422, ["/body/status"]),
        ({"ends_at": "2026-02-11T09:00:00Z"}, 422, ["/body/ends_at"]),
        ({"budget": "1.00"}, 422, ["/body/budget"]),
        ({"description": "{location}"}, 422, ["/body/description"]),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(app: Nearby, body: Any, status: int, at: list[str]) -> None:
    create(app)
    answer = change(app, body)
    assert (answer.status_code, pointers(answer)) == (status, at), answer.text
    assert app.admin("GET", f"/campaigns/{SALE}").json()["revision"] == 1


def test_less_than_what_is_spent_already_is_no_budget(app: Nearby, reader: psycopg.Connection) -> None:
    create(app)
    reader.execute("update marketing.campaign_budgets set spent = 40, reserved = 20.50")
    answer = change(app, {"budget": "60.49", "name": "No"})
    assert (answer.status_code, pointers(answer)) == (422, ["/body/budget"])
    assert change(app, {"budget": "60.50"}).status_code == 200
    assert rows(reader, "select budget from marketing.campaign_budgets") == [(Decimal("60.50"),)]


def test_it_is_paused_and_resumed_with_other_changes_in_one_go(
    app: Nearby, reader: psycopg.Connection
) -> None:
    create(app)
    paused = change(app, {"status": "paused", "name": "Resting"}).json()
    assert (paused["status"], paused["revision"]) == ("paused", 3)
    assert change(app, {"status": "paused"}, '"3"').json()["revision"] == 3  # as it is: nothing is changed
    resumed = change(app, {"status": "active"}, '"3"').json()
    assert (resumed["status"], resumed["revision"]) == ("active", 4)
    [(paused_at, resumed_at)] = rows(reader, "select paused_at, resumed_at from marketing.campaign_pauses")
    assert (paused_at, resumed_at) == (NOW, NOW)
    actions = [row[0] for row in rows(reader, "select action from marketing.audit_log order by entry_id")]
    assert actions == ["campaign.created", "campaign.edited", "campaign.paused", "campaign.resumed"]


def test_it_is_ended_now_and_never_opens_again(app: Nearby, reader: psycopg.Connection) -> None:
    create(app)
    reader.execute("update marketing.simulated_clock set instant = %s", [NOW + timedelta(hours=2)])
    stale = app.admin("DELETE", f"/campaigns/{SALE}", headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    ended = app.admin("DELETE", f"/campaigns/{SALE}")
    assert (ended.status_code, ended.headers["etag"]) == (200, '"2"')
    assert ended.json() == {"campaign_id": SALE, "status": "expired", "version": 1, "revision": 2}
    found = app.admin("GET", f"/campaigns/{SALE}").json()
    assert (found["status"], found["ends_at"]) == ("expired", "2026-02-11T12:00:00+00:00")
    for again in (app.admin("DELETE", f"/campaigns/{SALE}"), change(app, {"name": "More"}, '"2"')):
        assert (again.status_code, again.json()["type"]) == (409, "urn:marketing:problem:conflict")
        assert again.json()["detail"].startswith(f"{SALE} is over; ")


@pytest.mark.parametrize("campaign", ["nobody", "%00", "'; drop table marketing_campaigns --", "x" * 150])
def test_what_is_not_there_is_not_found(app: Nearby, campaign: str) -> None:
    assert change(app, {"name": "More"}, campaign=campaign).status_code == 404
    assert app.admin("DELETE", f"/campaigns/{campaign}").status_code == 404


def send(app: Nearby, key: str, body: Any, who: str = "ann admin") -> Any:
    return app.call(who, "POST", MANUAL, json=body, headers={"Idempotency-Key": key})


def test_a_path_that_takes_other_calls_says_which(app: Nearby) -> None:
    assert app.admin("PUT", f"/campaigns/{SALE}", json={}).headers["allow"] == "DELETE, GET, PATCH"
    assert app.admin("PUT", "/analysis/run-now", json={}).headers["allow"] == "POST"


def test_a_call_sent_again_with_its_key_is_done_once(app: Nearby, reader: psycopg.Connection) -> None:
    first, again = send(app, "k1", BODY), send(app, "k1", BODY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert [each.headers["location"] for each in (first, again)] == [f"/api/marketing/campaigns/{SALE}"] * 2
    assert again.headers["etag"] == '"1"'
    other = send(app, "k1", {**BODY, "priority": 4})
    assert (other.status_code, other.json()["type"]) == (422, "urn:marketing:problem:idempotency-key-reused")
    elsewhere = app.admin("POST", "/analysis/run-now", headers={"Idempotency-Key": "k1"})
    assert elsewhere.status_code == 422
    assert rows(reader, "select count(*) from marketing.marketing_campaigns") == [(1,)]
    # Another key, and the same key of somebody else, are other calls.
    assert send(app, "k2", BODY).json()["campaign_id"] != SALE
    assert send(app, "k1", BODY, "bob admin").json()["campaign_id"] != SALE
    assert rows(reader, "select count(*) from marketing.marketing_campaigns") == [(3,)]
    assert not any("ann" in str(row) for row in rows(reader, "select * from marketing.idempotency_keys"))


def test_a_call_that_was_refused_leaves_its_key_free(app: Nearby, reader: psycopg.Connection) -> None:
    assert send(app, "k", {**BODY, "pattern": "nobody"}).status_code == 422
    assert rows(reader, "select count(*) from marketing.idempotency_keys") == [(0,)]
    assert send(app, "k", BODY).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused(app: Nearby, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = app.admin("POST", MANUAL, json=BODY, headers=headers)
    assert answer.status_code == 422
    assert pointers(answer) == ["/header/Idempotency-Key"]


def test_of_many_at_once_with_one_key_one_wins_and_all_get_its_answer(
    app: Nearby, reader: psycopg.Connection
) -> None:
    together = threading.Barrier(8)

    def sent(_: int) -> Any:
        together.wait()
        return send(app, "k", BODY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(sent, range(8)))
    assert {each.status_code for each in answers} == {201}
    assert {each.text for each in answers} == {answers[0].text}
    assert rows(reader, "select campaign_id from marketing.marketing_campaigns") == [(SALE,)]


def test_targets_at_once_are_a_request_of_the_author(app: Nearby, reader: psycopg.Connection) -> None:
    made = send(app, "k", {**BODY, "target_now": True}).json()
    [(request, kind, payload, status)] = rows(
        reader, "select request_id, kind, payload, status from marketing.requests"
    )
    assert (made["request_id"], kind, payload, status) == (
        str(request),
        "target_campaign",
        {"campaign_id": SALE},
        "queued",
    )
    assert send(app, "k", {**BODY, "target_now": True}).json() == made
    assert rows(reader, "select count(*) from marketing.requests") == [(1,)]
    assert app.admin("GET", f"/requests/{request}").json()["kind"] == "target_campaign"
    assert app.call("bob admin", "GET", f"/requests/{request}").status_code == 404
    refused = create(app, target_now=True, starts_at="2026-02-12T00:00:00Z")
    assert (refused.status_code, pointers(refused)) == (422, ["/body/target_now"])
    assert rows(reader, "select count(*) from marketing.requests") == [(1,)]
