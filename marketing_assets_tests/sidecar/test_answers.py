"""ETags and 304: an answer that the caller has already is not sent again."""

import httpx
import pytest
from fastapi import Request

from marketing_assets.sidecar.answers import answer
from marketing_assets_tests.sidecar.service import bearer
from marketing_assets_tests.sidecar.shop import Shop

API = "/api/marketing"


def request(known: str | None) -> Request:
    headers = [] if known is None else [(b"if-none-match", known.encode())]
    return Request({"type": "http", "headers": headers})


ETAG = answer(request(None), {"a": 1}).headers["ETag"]


def test_the_etag_is_strong_and_of_the_content_alone() -> None:
    assert ETAG.startswith('"')
    assert ETAG.endswith('"')
    assert answer(request(None), '{"a":1}').headers["ETag"] == ETAG
    assert answer(request(None), {"a": 2}).headers["ETag"] != ETAG
    assert answer(request(None), {"a": 1}, "7-").headers["ETag"] == f'"7-{ETAG[1:]}'
    assert answer(request(None), {"ü": "奶酪"}).body == '{"ü":"奶酪"}'.encode()


@pytest.mark.parametrize(
    "known",
    [ETAG, f"W/{ETAG}", "*", " * ", f'"x", {ETAG}', f'W/"x",W/{ETAG} , "y"', f"{ETAG},"],
)
def test_who_has_it_gets_304_without_a_body(known: str) -> None:
    found = answer(request(known), {"a": 1})
    assert (found.status_code, found.body, found.headers["ETag"]) == (304, b"", ETAG)


@pytest.mark.parametrize(
    "known",
    ["", '"x"', ETAG[1:-1], f"w/{ETAG}", f"{ETAG[:-1]}", f'"{ETAG}"', "W/*", ",", '"x",' * 2000 + ETAG],
)
def test_who_has_something_else_gets_it(known: str) -> None:
    found = answer(request(known), {"a": 1})
    assert (found.status_code, found.body) == (200, b'{"a":1}')


def test_every_read_has_an_etag_and_answers_304(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    shop.segment(user)
    reads = [
        (user, "mobile", f"{API}/campaigns"),
        (user, "mobile", f"{API}/campaigns/{campaign_id}"),
        (user, "mobile", f"{API}/segments"),
        ("boss", "admin", f"{API}/campaigns?limit=1"),
        ("boss", "admin", f"{API}/campaigns/{campaign_id}"),
        ("boss", "admin", f"{API}/segments"),
        ("boss", "admin", f"{API}/analytics?from=2020-01-01&to=2020-01-02"),
    ]
    for who, role, path in reads:
        first = client.get(path, headers=bearer(who, role))
        assert first.status_code == 200, first.text
        assert first.headers["Cache-Control"] == "private, no-cache"
        again = client.get(
            path, headers={**bearer(who, role), "If-None-Match": f'"other", W/{first.headers["ETag"]}'}
        )
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == "private, no-cache"
        assert {"x-request-id", "ratelimit"} <= set(again.headers)


def test_the_etag_of_a_campaign_begins_with_its_revision(client: httpx.Client, shop: Shop) -> None:
    path = f"{API}/campaigns/{shop.open()}"
    admin = bearer("boss", "admin")
    first = client.get(path, headers=admin).headers["ETag"]
    assert first.startswith('"1-')
    changed = client.patch(path, headers={**admin, "If-Match": first}, json={"name": "Other"})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    again = client.get(path, headers={**admin, "If-None-Match": first})
    assert again.status_code == 200
    assert again.headers["ETag"].startswith('"2-')
