"""What every call has in common: headers, request ids, bounds of bodies, CORS; and what is written of it."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import pytest
from fastapi import Body, FastAPI, Request
from prometheus_client.parser import text_string_to_metric_families

from marketing_assets.settings import Settings
from marketing_assets.sidecar import edge, logs, problems
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.edge import LARGEST_BODY, Edge
from marketing_assets_tests.sidecar.nearby import nearby
from marketing_assets_tests.sidecar.service import ERASURE_KEY, SECRET, Service, bearer, token
from marketing_assets_tests.sidecar.shop import Shop

API = "/api/marketing"
LIST = f"{API}/campaigns"
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "strict-transport-security": "max-age=31536000",
}


def test_every_answer_has_the_headers_that_keep_browsers_safe(client: httpx.Client) -> None:
    ann = bearer("ann")
    answers = [
        client.get(LIST, headers=ann),
        client.get(LIST),
        client.get(f"{API}/none", headers=ann),
        client.post(LIST, headers=ann),
        client.get("/none"),
        *(client.get(path) for path in ("/healthz", "/readyz", "/metrics", "/openapi.json")),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 404, 405, 404, 200, 200, 200, 200]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
        assert "server" not in answer.headers
        is_private = answer.headers.get("cache-control") == "private, no-cache"
        assert is_private == answer.request.url.path.startswith(API)


def test_the_framework_shows_no_pages_of_its_own(client: httpx.Client) -> None:
    assert [client.get(path).status_code for path in ("/docs", "/redoc", "/docs/oauth2-redirect")] == [
        404
    ] * 3


def test_a_request_keeps_the_id_that_it_came_with(client: httpx.Client) -> None:
    for sent in ("a", "a1.B_2-c", "x" * 64):
        answer = client.get(LIST, headers={"X-Request-ID": sent})
        assert answer.headers["X-Request-ID"] == sent
        assert answer.json()["instance"] == f"urn:request:{sent}"


@pytest.mark.parametrize("sent", [b"", b"x" * 65, b"a b", b"a/b", b"{}", b'a"', "ü".encode()])
def test_an_id_that_is_none_is_replaced(sent: bytes, client: httpx.Client) -> None:
    found = {client.get(LIST, headers=[(b"X-Request-ID", sent)]).headers["X-Request-ID"] for _ in range(2)}
    assert len(found) == 2
    assert all(re.fullmatch("[0-9a-f]{17,40}", each) for each in found)


# Bodies


@pytest.fixture(scope="module")
def echo() -> FastAPI:
    """An app behind the edge whose only call says how long the value of its body was."""
    settings = {
        "MARKETING_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "MARKETING_JWT_SECRET": SECRET,
        "MARKETING_ERASURE_KEY": ERASURE_KEY,
    }
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False})
    problems.install(app)
    app.add_middleware(Edge, context=Context(Settings.model_validate(settings)))

    @app.post(f"{API}/length")
    async def length(value: Annotated[str, Body(embed=True)]) -> int:
        return len(value)

    @app.post(f"{API}/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.post(f"{API}/fault")
    async def fault(value: Annotated[str, Body(embed=True)]) -> int:
        raise RuntimeError(f"select secret from marketing.users where name = '{value}'")

    return app


def post(app: FastAPI, path: str, content: Any) -> httpx.Response:
    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
            headers = {**bearer("ann"), "Content-Type": "application/json"}
            return await client.post(f"{API}{path}", content=content, headers=headers)

    return asyncio.run(sent())


def body(size: int) -> bytes:
    """A body of exactly that size."""
    frame = len(json.dumps({"value": ""}))
    return json.dumps({"value": "x" * (size - frame)}).encode()


def test_a_body_may_be_as_large_as_the_bound_and_no_byte_larger(echo: FastAPI) -> None:
    assert post(echo, "/length", body(LARGEST_BODY)).json() == LARGEST_BODY - 13
    for path in ("/length", "/raw"):
        refused = post(echo, path, body(LARGEST_BODY + 1))
        assert (refused.status_code, refused.json()["detail"]) == (413, "a body has at most 1,048,576 bytes")


def test_a_body_without_a_length_is_counted_as_it_comes(echo: FastAPI) -> None:
    async def endless() -> Any:
        while True:
            taken.append(1)
            yield b"x" * 65_536

    for path in ("/length", "/raw"):
        taken: list[int] = []
        assert post(echo, path, endless()).status_code == 413
        assert len(taken) <= 18


@pytest.mark.parametrize("path", ["/length", "/raw"])
def test_a_body_that_does_not_come_is_not_waited_for(
    path: str, echo: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "_BODY_SECONDS", 0.3)

    async def slow() -> Any:
        yield b'{"value": "'
        for _ in range(50):
            await asyncio.sleep(0.05)
            yield b"x"

    answer = post(echo, path, slow())
    assert (answer.status_code, answer.headers["Connection"]) == (408, "close")
    assert answer.json()["type"] == "urn:marketing:problem:timeout"


def test_an_error_that_nobody_foresaw_tells_its_id_and_is_in_the_log(
    echo: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=logs.NAME)
    answer = post(echo, "/fault", b'{"value": "ann"}')
    assert (answer.status_code, answer.json()["detail"]) == (
        500,
        "it is in the sidecar's log under this instance",
    )
    assert "secret" not in answer.text
    [failed, answered] = [json.loads(logs.JsonLines().format(record)) for record in caplog.records]
    assert (failed["error"], failed["level"], failed["message"]) == ("RuntimeError", "error", "a call failed")
    assert re.fullmatch(r"fault:\d+", failed["place"][-1])
    assert (
        failed["request_id"]
        == answered["request_id"]
        == answer.json()["instance"].removeprefix("urn:request:")
    )
    assert (answered["status"], answered["route"], answered["role"]) == (500, f"{API}/fault", "mobile")
    assert "ann" not in json.dumps([failed, answered])
    assert "secret" not in json.dumps([failed, answered])


# CORS


@pytest.fixture(scope="module")
def cors(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A sidecar that a web page may call."""
    origins = "https://app.example.org,https://admin.example.org"
    home = tmp_path_factory.mktemp("cors")
    with nearby(shared_database, home, MARKETING_CORS_ORIGINS=origins) as made:
        yield made.client


PREFLIGHT = {
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization,if-match",
}


def test_without_origins_no_page_may_call(client: httpx.Client) -> None:
    origin = {"Origin": "https://app.example.org"}
    answers = [
        client.get(LIST, headers={**bearer("ann"), **origin}),
        client.options(LIST, headers={**origin, **PREFLIGHT}),
    ]
    assert [answer.status_code for answer in answers] == [200, 405]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_listed_page_may_call_and_read_what_it_needs(cors: httpx.Client) -> None:
    for origin in ("https://app.example.org", "https://admin.example.org"):
        asked = cors.options(f"{LIST}/x", headers={"Origin": origin, **PREFLIGHT})
        assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (200, origin)
        assert {"PATCH", "DELETE"} <= set(asked.headers["Access-Control-Allow-Methods"].split(", "))
        for headers in (bearer("ann"), {}):  # who is refused has to be able to read why
            got = cors.get(LIST, headers={**headers, "Origin": origin})
            assert got.headers["Access-Control-Allow-Origin"] == origin
            assert {"ETag", "Retry-After", "X-Request-ID"} <= set(
                got.headers["Access-Control-Expose-Headers"].split(", ")
            )
            assert "Access-Control-Allow-Credentials" not in got.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.org.evil.example", "null"])
def test_another_page_may_not(origin: str, cors: httpx.Client) -> None:
    asked = cors.options(LIST, headers={"Origin": origin, **PREFLIGHT})
    got = cors.get(LIST, headers={**bearer("ann"), "Origin": origin})
    assert asked.status_code == 400
    assert [answer.headers.get("Access-Control-Allow-Origin") for answer in (asked, got)] == [None, None]


# The log and the metrics


def test_nothing_personal_is_ever_written_down(sidecar: Service) -> None:
    """Every call of the OpenAPI, well and badly, with a name, a token and texts that are then looked for."""
    user, mark = "agatha-the-user", "mark-of-the-test"
    sent = token(user, "mobile", "admin")
    headers = {
        "Authorization": f"Bearer {sent}",
        "Idempotency-Key": mark,
        "User-Agent": mark,
        "If-Match": f'"{mark}"',
    }
    with sidecar.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path, calls in paths.items():
            place = re.sub(r"\{\w+\}", mark, path)
            for method in calls:
                for body in ({}, {"name": mark, "event_id": mark}, [mark], mark):
                    client.request(method, f"{place}?q={mark}&limit={mark}", headers=headers, json=body)
                client.request(method, place, headers={**headers, "Authorization": f"Bearer {sent}{mark}"})
        client.get(f"/{mark}/{user}", headers=headers)
        counted = client.get("/metrics").text
    for garbage in (f"{mark}\r\n\r\n", f"GET /{mark} HTTP/9.9\r\n{mark}\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", sidecar.port), timeout=10) as raw:
            raw.sendall(garbage.encode())
            assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
    written = sidecar.log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written.splitlines()]
    answered = [line for line in lines if line["message"] == "answered"]
    assert len(answered) > 2 * len(paths)
    for line in answered:
        assert set(line) == {
            *("at", "level", "logger", "message"),
            *("request_id", "method", "route", "status", "milliseconds", "role"),
        }
        assert line["role"] in ("admin+mobile", "none")
        assert line["status"] < 500, line
    assert {line["route"] for line in answered} <= {*paths, "none"}
    for personal in (user, mark, sent, sent.split(".")[1], "127.0.0.1", "agatha"):
        assert personal not in written
        assert personal not in counted


def test_calls_are_counted_by_route_and_status(shared_database: str, tmp_path: Path) -> None:
    with nearby(shared_database, tmp_path) as made:
        client = made.client
        client.headers.update(bearer("ann"))
        for path in (
            "/campaigns",
            "/campaigns",
            "/campaigns/a",
            "/campaigns/b",
            "/campaigns/manual",
            "/x",
            "/y",
        ):
            client.get(f"{API}{path}")
        client.post(f"{API}/segments")
        answer = client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    calls = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families["marketing_sidecar_requests"].samples
        if sample.name.endswith("_total")
    }
    assert calls == {
        ("GET", LIST, "200"): 2,
        ("GET", f"{LIST}/{{campaign_id}}", "404"): 3,
        ("GET", "none", "404"): 2,
        ("POST", f"{API}/segments", "405"): 1,
    }
    seconds = {
        sample.labels["route"]: sample.value
        for sample in families["marketing_sidecar_request_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert seconds[LIST] == 2
    assert "marketing_sidecar_events" in families


def test_a_user_is_never_a_label(client: httpx.Client, shop: Shop) -> None:
    user = shop.user()
    campaign_id = shop.offer(user)
    client.get(f"{LIST}/{campaign_id}", headers=bearer(user))
    counted = client.get("/metrics").text
    assert user not in counted
    assert campaign_id not in counted


def test_it_is_ready_with_the_schema_that_it_works_with(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz").json()
    assert (ready["status"], set(ready)) == ("ready", {"status", "schema_revision"})


def test_it_is_not_ready_with_another_erasure_key_than_erased_users_are_known_by(
    sidecar: Service, reader: psycopg.Connection
) -> None:
    with sidecar.client("ann") as client:
        assert client.delete("/api/marketing/me").status_code == 202
        assert client.get("/readyz").status_code == 200
        reader.execute("update marketing.erased_users set key_fingerprint = 'another'")
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (
        503,
        "MARKETING_ERASURE_KEY is not the key that erased users are known by; set it to that one again",
    )
