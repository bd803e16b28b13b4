"""Consent, export and erasure over HTTP: what is written, what is answered, and who gets nothing any more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from marketing_assets.domain.identity import keyed_hash
from marketing_assets_tests.sidecar.service import Service, bearer, running

ERASURE_KEY = b"an erasure key of the tests, thirty-two bytes"
PSEUDONYM_KEY = "a pseudonym key of the tests, thirty-two bytes"
API = "/api/marketing"


@pytest.fixture
def app(sidecar: Service) -> Iterator[httpx.Client]:
    """The app of a user."""
    with sidecar.client("ann") as client:
        yield client


def put(app: httpx.Client, **said: Any) -> httpx.Response:
    return app.put(f"{API}/consent", json=said)


def test_consent_is_what_the_user_said_last(app: httpx.Client, reader: psycopg.Connection) -> None:
    answer = put(app, opted_out=True, channels=["push", "mail"])
    assert answer.status_code == 200
    first = answer.json()
    assert (first["opted_out"], first["channels"]) == (True, ["push", "mail"])
    assert first["opted_out_at"] == first["updated_at"]
    again = put(app, opted_out=True).json()
    assert (again["opted_out_at"], again["channels"]) == (first["opted_out_at"], ["push", "mail"])
    back = put(app, opted_out=False, channels=[]).json()
    assert (back["opted_out"], back["opted_out_at"], back["channels"]) == (False, None, [])
    row = reader.execute("select user_id, opted_out_at, channels, source from marketing.user_consent")
    assert row.fetchall() == [("ann", None, [], "app")]
    audited = reader.execute("select action, before, after from marketing.audit_log order by entry_id")
    nothing = {"opted_out": False, "channels": []}
    out = {"opted_out": True, "channels": ["mail", "push"]}
    assert audited.fetchall() == [("consent.changed", nothing, out), ("consent.changed", out, nothing)]


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({}, "/body/opted_out"),
    ({"opted_out": "true"}, "/body/opted_out"),
    ({"opted_out": 1}, "/body/opted_out"),
    ({"opted_out": True, "user": "bob"}, "/body/user"),
    ({"opted_out": True, "channels": "push"}, "/body/channels"),
    ({"opted_out": True, "channels": ["'; drop table x"]}, "/body/channels/0"),
    ({"opted_out": True, "channels": ["a"] * 21}, "/body/channels"),
]


def test_what_makes_no_sense_changes_nothing(app: httpx.Client, reader: psycopg.Connection) -> None:
    for said, pointer in NONSENSE:
        answer = put(app, **said)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert reader.execute("select from marketing.user_consent").fetchall() == []


def test_an_export_is_a_request_and_asking_again_the_same(
    app: httpx.Client, reader: psycopg.Connection
) -> None:
    answer = app.post(f"{API}/me/export")
    assert answer.status_code == 202
    request_id = answer.json()["request_id"]
    assert answer.json() == {"request_id": request_id, "kind": "export"}
    assert answer.headers["location"] == f"{API}/requests/{request_id}"
    assert app.post(f"{API}/me/export").json()["request_id"] == request_id
    rows = reader.execute(
        "select r.request_id::text, r.kind, r.payload, r.status, s.user_id from marketing.requests r"
        " join marketing.subject_keys s on s.pseudonym = r.requested_by"
    )
    assert rows.fetchall() == [(request_id, "export", {}, "queued", "ann")]


def test_from_the_erasure_on_the_user_is_gone_for_the_app(
    app: httpx.Client, sidecar: Service, reader: psycopg.Connection
) -> None:
    answer = app.delete(f"{API}/me")
    assert answer.status_code == 202
    request_id = answer.json()["request_id"]
    assert answer.json() == {"request_id": request_id, "kind": "erasure"}
    assert answer.headers["location"] == f"{API}/requests/{request_id}"
    for gone in (
        put(app, opted_out=True),
        app.post(f"{API}/me/export"),
        app.get(f"{API}/campaigns"),
        app.get(f"{API}/segments"),
    ):
        assert (gone.status_code, gone.json()["type"]) == (410, "urn:marketing:problem:erased")
    assert app.delete(f"{API}/me").json() == answer.json()
    stones = reader.execute("select user_hash, request_id::text, erased_at from marketing.erased_users")
    assert stones.fetchall() == [(keyed_hash(ERASURE_KEY, "ann"), request_id, None)]
    assert reader.execute("select from marketing.user_consent").fetchall() == []
    with sidecar.client("bob") as other:
        assert put(other, opted_out=True).status_code == 200
    assert "ann" not in sidecar.log.read_text()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/campaigns"),
        ("GET", "/campaigns/a"),
        ("GET", "/segments"),
        ("GET", "/analytics"),
        ("DELETE", "/campaigns/a"),
        ("POST", "/analysis/run-now"),
        ("POST", "/campaigns/a/view"),
        ("POST", "/campaigns/a/conversion"),
        ("POST", "/events"),
        ("PUT", "/consent"),
        ("POST", "/me/export"),
    ],
)
def test_an_erased_user_who_is_an_admin_too_is_gone_as_well(
    client: httpx.Client, method: str, path: str
) -> None:
    headers = bearer(f"staff of {method} {path}", "mobile", "admin")
    assert client.delete(f"{API}/me", headers=headers).status_code == 202
    event = {
        "event_id": "0b6f1a52-7c55-4a43-9d0e-5f6f4a3c1e11",
        "occurred_at": "2026-11-22T18:04:31Z",
        "sent_at": "2026-11-22T18:04:32Z",
    }
    bodies = {
        "/campaigns/a/view": event,
        "/campaigns/a/conversion": {**event, "amount": "1.00"},
        "/events": {"events": [{**event, "campaign_id": "a", "kind": "view"}]},
        "/consent": {"opted_out": True},
    }
    answer = client.request(method, f"{API}{path}", headers=headers, json=bodies.get(path))
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:marketing:problem:erased")


def test_an_erased_user_has_no_empty_list_of_offers_either(client: httpx.Client) -> None:
    headers = bearer("somebody who asks for offers that nobody has")
    assert client.get(f"{API}/campaigns?status=paused", headers=headers).json()["items"] == []
    assert client.delete(f"{API}/me", headers=headers).status_code == 202
    assert client.get(f"{API}/campaigns?status=paused", headers=headers).status_code == 410


def test_these_calls_are_for_users_of_the_app(sidecar: Service) -> None:
    with sidecar.client("boss", "admin") as admin, sidecar.client() as stranger:
        for method, path, body in (
            ("PUT", "/consent", {"opted_out": True}),
            ("POST", "/me/export", None),
            ("DELETE", "/me", None),
        ):
            assert admin.request(method, API + path, json=body).status_code == 403
            assert stranger.request(method, API + path, json=body).status_code == 401


def test_with_a_pseudonym_key_no_real_id_is_stored(
    database_url: str, tmp_path: Path, reader: psycopg.Connection
) -> None:
    keys = {"MARKETING_PSEUDONYM_KEY": PSEUDONYM_KEY}
    stored = keyed_hash(PSEUDONYM_KEY.encode(), "ann")
    with running(database_url, tmp_path / "keyed", keys) as sidecar, sidecar.client("ann") as app:
        put(app, opted_out=True)
        app.post(f"{API}/me/export")
        app.delete(f"{API}/me")
    users = "select user_id from marketing.user_consent union all select user_id from marketing.subject_keys"
    assert reader.execute(users).fetchall() == [(stored,), (stored,)]
    stones = reader.execute("select user_hash from marketing.erased_users").fetchall()
    assert stones == [(keyed_hash(ERASURE_KEY, stored),)]
