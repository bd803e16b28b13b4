"""Which page a query asks for, and what is said of one that makes no sense."""

import httpx
import pytest
from fastapi.exceptions import RequestValidationError

from marketing_assets.sidecar.pages import page, parameters
from marketing_assets_tests.sidecar.service import bearer

LIST = "/api/marketing/campaigns"


@pytest.mark.parametrize(
    ("query", "status", "limit", "after"),
    [
        (b"", None, 20, None),
        (b"status=active&limit=5", "active", 5, None),
        (b"limit=1&limit=100", None, 100, None),
        (b"cursor=7~category-focus-2026-11-22", None, 20, (7, "category-focus-2026-11-22")),
        (b"cursor=0~", None, 20, (0, "")),
        (b"status=active&limit=5&cursor=", "active", 5, None),
        (b"cursor=" + b"9" * 17 + b"%7Ex", None, 20, (99_999_999_999_999_999, "x")),
        (b"other=1&limit=3&=&&%%%", None, 3, None),
        (b"x=" + b"y" * 1000 + b"&limit=4", None, 4, None),
    ],
)
def test_a_query_asks_for_a_page(
    query: bytes, status: str | None, limit: int, after: tuple[int, str] | None
) -> None:
    asked = page(query)
    assert (asked.status, asked.limit, asked.after) == (status, limit, after)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (b"limit=0", "limit"),
        (b"limit=101", "limit"),
        (b"limit=", "limit"),
        (b"limit=five", "limit"),
        (b"limit=1.5", "limit"),
        (b"limit=" + b"9" * 5000, "limit"),
        (b"status=", "status"),
        (b"status=ACTIVE", "status"),
        (b"status=active'%20or%201=1", "status"),
        (b"cursor=7", "cursor"),
        (b"cursor=~x", "cursor"),
        (b"cursor=-1~x", "cursor"),
        (b"cursor=" + b"9" * 18 + b"~x", "cursor"),
        (b"cursor=7~x%0A", "cursor"),
        (b"cursor=7~%00", "cursor"),
        (b"cursor=7~x'--", "cursor"),
        (b"cursor=%D9%A7~x", "cursor"),
        (b"cursor=7~" + b"x" * 201, "cursor"),
        (b"cursor=\xff\xfe", "cursor"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_where_it_does_not(query: bytes, name: str) -> None:
    for _ in range(2):
        with pytest.raises(RequestValidationError) as refused:
            page(query)
        [error] = refused.value.errors()
        assert error["loc"] == ("query", name)


@pytest.mark.parametrize("role", ["mobile", "admin"])
def test_the_caller_is_told_what_is_wrong(role: str, client: httpx.Client) -> None:
    answer = client.get(f"{LIST}?limit=0&status=open&cursor=x", headers=bearer("ann", role))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:marketing:problem:invalid")
    assert [each["pointer"] for each in answer.json()["errors"]] == [
        "/query/status",
        "/query/limit",
        "/query/cursor",
    ]


def test_the_parameters_are_documented_as_they_are_read() -> None:
    described = {each["name"]: each for each in parameters()["parameters"]}
    assert described["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert described["status"]["schema"]["enum"] == ["draft", "active", "paused", "expired", "archived"]
    assert described["cursor"]["schema"]["type"] == "string"
    assert {each["required"] for each in described.values()} == {False}
