"""Errors as RFC 9457 problems: their shape, and that none tells of what is inside."""

import re

import httpx
import pytest

from marketing_assets.errors import (
    CampaignError,
    DatabaseError,
    LakeError,
    MarketingError,
    RefusedChangeError,
    RequestError,
    StaleRevisionError,
    UnknownCampaignError,
)
from marketing_assets.sidecar.problems import of_error
from marketing_assets_tests.sidecar.service import bearer

API = "/api/marketing"
ADMIN = bearer("boss", "admin")
INSIDE = re.compile(
    r"Traceback|File \"|\.py\b|/(usr|home|tmp|opt)/|site-packages|psycopg|sqlalchemy|postgres"
    r"|\bselect\b.*\bfrom\b|marketing\.\w+_\w+|%\(",
    re.IGNORECASE | re.DOTALL,
)


@pytest.mark.parametrize(
    ("error", "status", "kind", "detail"),
    [
        (UnknownCampaignError("no x", remedy="r"), 404, "not-found", "no x"),
        (StaleRevisionError("changed", remedy="read it", revision=7), 412, "stale", "changed; read it"),
        (RefusedChangeError("too much", remedy="less"), 422, "invalid", "too much; less"),
        (RequestError("no such day", remedy="another"), 422, "invalid", "no such day; another"),
        (CampaignError("is over", remedy="a new one"), 409, "conflict", "is over; a new one"),
        (DatabaseError("at host x", remedy="r"), 503, "unavailable", "the database is away"),
        (LakeError("/lake", remedy="r"), 500, "internal", "it is in the sidecar's log under this instance"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MarketingError) else "",
)
def test_errors_of_the_project_are_problems(
    error: MarketingError, status: int, kind: str, detail: str
) -> None:
    problem = of_error(error)
    assert (problem.status, problem.kind, problem.detail) == (status, kind, detail)


def test_a_stale_revision_tells_the_present_one_and_503_when_to_come_again() -> None:
    assert of_error(StaleRevisionError("changed", remedy="r", revision=7)).headers == {"ETag": '"7"'}
    assert of_error(DatabaseError("away", remedy="r")).headers == {"Retry-After": "2"}


CALLS = [
    ("GET", "/campaigns", {}, 401),
    ("GET", "/campaigns", {"headers": bearer("ann", "nobody")}, 403),
    ("GET", "/analytics", {"headers": bearer("ann")}, 403),
    ("GET", "/campaigns/none", {"headers": bearer("ann")}, 404),
    ("GET", "/nothing/here", {"headers": bearer("ann")}, 404),
    ("GET", "/campaigns/", {"headers": bearer("ann")}, 404),
    ("POST", "/segments", {"headers": bearer("ann")}, 405),
    ("GET", "/campaigns?limit=x", {"headers": bearer("ann")}, 422),
    ("GET", "/requests/x", {"headers": bearer("ann")}, 422),
    ("PUT", "/consent", {"headers": bearer("ann"), "json": {"opted_out": "maybe"}}, 422),
    (
        "PUT",
        "/consent",
        {"headers": {**bearer("ann"), "Content-Type": "application/json"}, "content": b"{"},
        422,
    ),
    (
        "PUT",
        "/consent",
        {"headers": {**bearer("ann"), "Content-Type": "application/json"}, "content": b'{"a": "\xff\xc0"}'},
        400,
    ),
    ("PATCH", "/campaigns/none", {"headers": ADMIN, "json": {"name": "x"}}, 428),
    ("PATCH", "/campaigns/none", {"headers": {**ADMIN, "If-Match": '"1"'}, "json": {"name": "x"}}, 404),
    ("PUT", "/consent", {"headers": bearer("ann"), "json": {"channels": ["x" * 1_100_000]}}, 413),
]


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"), CALLS, ids=[f"{c[0]} {c[1]} {c[3]}" for c in CALLS]
)
def test_every_error_is_a_problem_that_tells_nothing_of_the_inside(
    method: str, path: str, sent: dict[str, object], status: int, client: httpx.Client
) -> None:
    answer = client.request(method, f"{API}{path}", **sent)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "instance"}
    assert (body["status"], body["instance"]) == (status, f"urn:request:{answer.headers['X-Request-ID']}")
    assert body["type"].startswith("urn:marketing:problem:")
    for error in body.get("errors", []):
        assert set(error) == {"pointer", "detail"}
        assert error["pointer"].startswith(("/body", "/query", "/path", "/header"))
    assert INSIDE.search(answer.text) is None, answer.text


def test_what_a_path_can_be_called_with_is_said(client: httpx.Client) -> None:
    for path, allowed in (
        ("/campaigns", "GET"),
        ("/campaigns/x", "DELETE, GET, PATCH"),
        ("/campaigns/manual", "POST"),
        ("/campaigns/x/view", "POST"),
        ("/consent", "PUT"),
    ):
        answer = client.request("OPTIONS", f"{API}{path}")
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed), path


def test_a_campaign_that_is_not_there_is_named_without_echoing_anything_else(client: httpx.Client) -> None:
    path = f"{API}/campaigns/%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    answer = client.get(path, headers=bearer("ann"))
    assert answer.status_code == 404
    assert "<" not in answer.text
    detail = client.get(f"{API}/campaigns/a%3Cb%00c", headers=ADMIN).json()["detail"]
    assert detail == "there is no campaign 'a?b?c' of yours"
