"""Requests through the API: the analysis that an admin asks for, and who may look up what became of one."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import Engine

from marketing_assets.storage import clock
from marketing_assets.storage.repositories import requests, subjects
from marketing_assets_tests.sidecar.nearby import Nearby

NOW = datetime(2026, 2, 11, 10, tzinfo=UTC)
RUN_NOW = "/analysis/run-now"


@pytest.fixture(autouse=True)
def at_ten(serving: Engine) -> Iterator[None]:
    with clock.simulated(serving, "test") as simulated:
        simulated.set(NOW)
        yield


def rows(reader: psycopg.Connection, statement: str) -> list[tuple[Any, ...]]:
    return reader.execute(statement.encode()).fetchall()


def ended(reader: psycopg.Connection, request: str, status: str, result: Any) -> None:
    reader.execute(
        "update marketing.requests set status = %s, result = %s, finished_at = %s where request_id = %s",
        [status, Jsonb(result), NOW, request],
    )


def ask(serving: Engine, user: str, kind: str) -> str:
    with serving.begin() as connection:
        return str(requests.ask(connection, kind, {}, subjects.pseudonym(connection, user)))


@pytest.mark.parametrize("given", [{}, {"json": {}}, {"json": None}, {"json": {"day": "2026-02-10"}}])
def test_an_analysis_is_asked_for_and_looked_up(app: Nearby, reader: psycopg.Connection, given: Any) -> None:
    asked = app.admin("POST", RUN_NOW, **given)
    assert asked.status_code == 202
    request = asked.json()["request_id"]
    assert asked.json() == {"request_id": request, "kind": "analysis", "status": "queued"}
    assert asked.headers["location"] == f"/api/marketing/requests/{request}"
    [(found, payload, author)] = rows(
        reader, "select request_id, payload, requested_by from marketing.requests"
    )
    assert (str(found), payload) == (request, {"day": "2026-02-10"})
    assert rows(reader, "select pseudonym from marketing.subject_keys where user_id = 'ann'") == [(author,)]
    state = app.admin("GET", f"/requests/{request}")
    assert state.status_code == 200
    assert state.headers["cache-control"] == "private, no-cache"
    assert {name: value for name, value in state.json().items() if name != "requested_at"} == {
        "request_id": request,
        "kind": "analysis",
        "status": "queued",
        "finished_at": None,
        "result": None,
        "reason": None,
        "document": None,
    }
    unchanged = app.admin("GET", f"/requests/{request}", headers={"If-None-Match": state.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_one_that_waits_or_runs_is_returned_and_not_doubled(app: Nearby, reader: psycopg.Connection) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: app.admin("POST", RUN_NOW).json(), range(6)))
    [request] = {each["request_id"] for each in answers}
    reader.execute("update marketing.requests set status = 'running'")
    again = app.admin("POST", RUN_NOW, json={"day": "2026-02-10"}).json()
    assert again == {"request_id": request, "kind": "analysis", "status": "running"}
    # Another day is another night, and another admin can look up none but their own.
    other = app.admin("POST", RUN_NOW, json={"day": "2026-02-09"}).json()["request_id"]
    bobs = app.call("bob admin", "POST", RUN_NOW).json()["request_id"]
    assert len({request, other, bobs}) == 3
    ended(reader, request, "succeeded", {})
    assert app.admin("POST", RUN_NOW).json()["request_id"] not in {request, other, bobs}


def test_with_its_key_it_is_the_same_request_also_after_its_end(
    app: Nearby, reader: psycopg.Connection
) -> None:
    key = {"Idempotency-Key": "k"}
    first = app.admin("POST", RUN_NOW, headers=key)
    ended(reader, first.json()["request_id"], "succeeded", {})
    again = app.admin("POST", RUN_NOW, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert app.admin("POST", RUN_NOW, headers=key, json={"day": "2026-02-09"}).status_code == 422
    assert rows(reader, "select count(*) from marketing.requests") == [(1,)]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            {"day": "2026-02-11"},
            "2026-02-11 is not over yet in UTC; the newest day that is over is 2026-02-10",
        ),
        ({"day": "2026-02-30"}, "'2026-02-30' is not a day"),
        ({"day": "yesterday"}, "String should match pattern"),
        ({"day": 20260210}, "Input should be a valid string"),
        ({"day": None}, "cannot be null; leave it out"),
    ],
)
def test_a_day_that_is_none_or_not_over_is_refused(
    app: Nearby, reader: psycopg.Connection, body: Any, detail: str
) -> None:
    answer = app.admin("POST", RUN_NOW, json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/body/day"
    assert error["detail"].startswith(detail)
    assert rows(reader, "select count(*) from marketing.requests") == [(0,)]


def test_an_unknown_field_is_refused_and_users_run_nothing(app: Nearby) -> None:
    answer = app.admin("POST", RUN_NOW, json={"date": "2026-02-10"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/body/date")
    assert app.call("bob", "POST", RUN_NOW).status_code == 403


def test_the_result_is_shown_where_it_succeeded(app: Nearby, reader: psycopg.Connection) -> None:
    request = app.admin("POST", RUN_NOW).json()["request_id"]
    result = {
        "day": "2026-02-10",
        "night": "published",
        "reason": None,
        "users": 105,
        "patterns": {"general": 105, "inactive": 30},
        "campaigns_opened": 5,
        "users_targeted": 94,
    }
    ended(reader, request, "succeeded", result)
    found = app.admin("GET", f"/requests/{request}").json()
    assert (found["status"], found["result"], found["reason"]) == ("succeeded", result, None)
    assert found["finished_at"] == "2026-02-11T10:00:00Z"


def test_the_reason_is_shown_where_it_failed(
    app: Nearby, reader: psycopg.Connection, serving: Engine
) -> None:
    failure = {"error": "ingest: files source: no file matches /data/*.csv", "remedy": "correct it"}
    request = app.admin("POST", RUN_NOW).json()["request_id"]
    ended(reader, request, "failed", failure)
    found = app.admin("GET", f"/requests/{request}").json()
    assert (found["status"], found["result"]) == ("failed", None)
    assert found["reason"] == "ingest: files source: no file matches /data/*.csv; correct it"
    # A user of the app learns nothing of the inside.
    export = ask(serving, "bob", "export")
    ended(reader, export, "failed", failure)
    assert (
        app.call("bob", "GET", f"/requests/{export}").json()["reason"]
        == "it could not be done; ask again later"
    )


def test_a_request_is_its_authors_alone(app: Nearby, serving: Engine) -> None:
    request = ask(serving, "bob", "export")
    assert app.call("bob", "GET", f"/requests/{request}").status_code == 200
    for other in ("carl", "ann admin"):
        answer = app.call(other, "GET", f"/requests/{request}")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:marketing:problem:not-found")
    assert app.call("bob", "GET", f"/requests/{uuid.uuid4()}").status_code == 404
    assert app.call("bob", "GET", "/requests/5").status_code == 422


def test_an_export_brings_its_document(app: Nearby, reader: psycopg.Connection, serving: Engine) -> None:
    request = ask(serving, "bob", "export")
    document = {"targets": [{"campaign_id": "x"}]}
    reader.execute(
        "insert into marketing.exports (request_id, user_id, document, made_at) values (%s, 'bob', %s, %s)",
        [request, Jsonb(document), NOW],
    )
    ended(reader, request, "succeeded", {"documents": 1})
    found = app.call("bob", "GET", f"/requests/{request}").json()
    assert (found["result"], found["document"]) == ({"documents": 1}, document)


def test_who_was_erased_still_sees_that_request_and_nothing_else(
    app: Nearby, reader: psycopg.Connection, serving: Engine
) -> None:
    export, erasure = ask(serving, "bob", "export"), ask(serving, "bob", "erasure")
    mark = app.app.state.context.tokens._caller({"sub": "bob", "exp": 0}).user_hash
    reader.execute(
        "insert into marketing.erased_users (user_hash, key_fingerprint, request_id, asked_at)"
        " values (%s, 'x', %s, now())",
        [mark, erasure],
    )
    reader.execute("delete from marketing.subject_keys")
    ended(reader, erasure, "succeeded", {"rows": 7})
    found = app.call("bob", "GET", f"/requests/{erasure}")
    assert (found.status_code, found.json()["result"]) == (200, {"rows": 7})
    for other in (export, uuid.uuid4()):
        gone = app.call("bob", "GET", f"/requests/{other}")
        assert (gone.status_code, gone.json()["type"]) == (410, "urn:marketing:problem:erased")
    assert rows(reader, "select count(*) from marketing.subject_keys") == [(0,)]
