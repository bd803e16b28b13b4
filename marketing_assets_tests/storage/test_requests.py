"""Rows of `requests`: what is open, oldest first, and that what has ended stays as it ended."""

import uuid

from sqlalchemy import Engine, select

from marketing_assets.storage import tables
from marketing_assets.storage.repositories import requests


def row(serving: Engine, request: uuid.UUID) -> dict[str, object]:
    columns = tables.requests.c
    with serving.connect() as connection:
        return dict(
            connection.execute(
                select(
                    columns.status, columns.run_id, columns.payload, columns.result, columns.finished_at
                ).where(columns.request_id == request)
            )
            .one()
            ._mapping
        )


def test_unfinished_requests_come_oldest_first_and_no_more_than_asked_for(serving: Engine) -> None:
    asked = []
    for day in ("2026-02-01", "2026-02-02", "2026-02-03"):
        with serving.begin() as connection:
            asked.append(requests.ask(connection, "analysis", {"day": day}, "app"))
    with serving.begin() as connection:
        requests.note_run(connection, asked[0], "run-1", "running")
        requests.fail(connection, asked[1], "no such day", "ask for another")
        found = requests.unfinished(connection, 10)
        assert [(each.request_id, each.status, each.run_id) for each in found] == [
            (asked[0], "running", "run-1"),
            (asked[2], "queued", None),
        ]
        assert found[1].payload == {"day": "2026-02-03"}
        assert [each.request_id for each in requests.unfinished(connection, 1)] == [asked[0]]


def test_a_request_that_has_ended_stays_as_it_ended(serving: Engine) -> None:
    with serving.begin() as connection:
        request = requests.ask(connection, "analysis", {}, "app")
        requests.note_payload(connection, request, {"day": "2026-02-01"})
        requests.succeed(connection, request, "run-1", {"users": 3})
    ended = row(serving, request)
    assert ended["finished_at"] is not None
    assert {**ended, "finished_at": None} == {
        "status": "succeeded",
        "run_id": "run-1",
        "payload": {"day": "2026-02-01"},
        "result": {"users": 3},
        "finished_at": None,
    }
    with serving.begin() as connection:
        requests.fail(connection, request, "too late", "none", "run-2")
        requests.note_run(connection, request, "run-2", "running")
        requests.note_payload(connection, request, {})
    assert row(serving, request) == ended


def test_a_failure_says_the_reason_and_keeps_the_run_where_none_is_named(serving: Engine) -> None:
    with serving.begin() as connection:
        request = requests.ask(connection, "analysis", {}, "app")
        requests.note_run(connection, request, "run-1", "queued")
        requests.fail(connection, request, "no such day", "ask for another")
    ended = row(serving, request)
    assert (ended["status"], ended["run_id"]) == ("failed", "run-1")
    assert ended["result"] == {"error": "no such day", "remedy": "ask for another"}
