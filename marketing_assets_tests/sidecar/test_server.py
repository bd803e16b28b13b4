"""The server process under whatever a network can send it: slowly, too much, garbage, or a signal to end."""

import asyncio
import json
import random
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from marketing_assets_tests.sidecar.service import Service, bearer, running
from marketing_assets_tests.sidecar.shop import Shop

API = "/api/marketing"
LIST = f"{API}/campaigns"
ANN = bearer("ann")["Authorization"]
HEAD = f"GET {LIST} HTTP/1.1\r\nHost: sidecar\r\nAuthorization: {ANN}\r\n"
BODY = HEAD.replace(f"GET {LIST}", f"PUT {API}/consent") + "Content-Type: application/json\r\n"
_HEAD_SECONDS, _BODY_SECONDS = 10, 15
_LATE = 6.0
"""Seconds that a busy machine may be late with cutting a connection."""

pytestmark = pytest.mark.verify


async def dribbled(port: int, first: str, rest: str, pause: float = 1.0) -> tuple[float, bytes]:
    """Send `first` at once and `rest` byte by byte; seconds until the server ended it, and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic()

    async def send() -> None:
        writer.write(first.encode())
        for byte in rest:
            await asyncio.sleep(pause)
            writer.write(byte.encode())
            await writer.drain()

    sending = asyncio.create_task(send())
    said = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS + _LATE + 30):
            while part := await reader.read(65_536):
                said += part
    except ConnectionError:
        pass
    seconds = time.monotonic() - started
    sending.cancel()
    with suppress(asyncio.CancelledError, ConnectionError):
        await sending
    writer.close()
    return seconds, said


def test_who_dawdles_is_cut_in_every_way_there_is(service: Service) -> None:
    slow = "x" * 100

    async def all_of_them() -> list[tuple[float, bytes]]:
        port = service.port
        return await asyncio.gather(
            dribbled(port, "", ""),
            dribbled(port, "GET /heal", ""),
            dribbled(port, "", HEAD),
            dribbled(port, "", "\r\n" * 50),
            dribbled(port, f"{HEAD}\r\n", "\r\n" * 50),
            dribbled(port, f"{HEAD}\r\n", HEAD),
            dribbled(port, f"{HEAD}Content-Length: 1000\r\n\r\n", slow),
            dribbled(port, f"{BODY}Content-Length: 100\r\n\r\n", slow[:50]),
            dribbled(port, f"{BODY}Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n" * 50, 0.5),
        )

    found = asyncio.run(all_of_them())
    *heads, body, chunks = found
    for seconds, said in heads:
        assert _HEAD_SECONDS - 0.5 <= seconds <= _HEAD_SECONDS + _LATE + 2, (seconds, said)
    assert [said[:12] for _, said in heads] == [b""] * 4 + [b"HTTP/1.1 200"] * 3
    for seconds, said in (body, chunks):
        assert _BODY_SECONDS - 0.5 <= seconds <= _BODY_SECONDS + _LATE
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"urn:marketing:problem:timeout" in said


def test_a_thousand_slow_connections_keep_nobody_waiting(service: Service, shop: Shop) -> None:
    user = shop.user()
    shop.offer(user)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))

    async def flood() -> tuple[list[float], list[tuple[float, bytes]]]:
        bodies = f"{BODY}Content-Length: 100\r\n\r\n"
        slow = [
            asyncio.create_task(dribbled(service.port, *((bodies, "x" * 90) if number % 2 else ("", HEAD))))
            for number in range(1000)
        ]
        await asyncio.sleep(2)
        quick = []
        async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=30) as client:
            for _ in range(150):
                started = time.monotonic()
                answer = await client.get(LIST, headers=bearer(user))
                quick.append(time.monotonic() - started)
                assert len(answer.json()["items"]) == 1
        assert sum(not each.done() for each in slow) == 1000
        return quick, await asyncio.gather(*slow)

    quick, slow = asyncio.run(flood())
    assert sorted(quick)[75] < 0.25
    assert max(quick) < 3
    for number, (seconds, said) in enumerate(slow):
        limit = _BODY_SECONDS if number % 2 else _HEAD_SECONDS
        assert seconds <= limit + _LATE + 4
        assert said[:12] == (b"HTTP/1.1 408" if number % 2 else b"")


def memory(service: Service) -> int:
    """Bytes of the process that are in memory."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_bodies_of_ten_megabytes_are_refused_and_never_kept(service: Service) -> None:
    large = json.dumps({"opted_out": True, "channels": ["x" * 10_000_000]}).encode()

    async def chunked() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    async def all_of_them() -> list[int]:
        headers = {"Authorization": ANN, "Content-Type": "application/json"}
        async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as client:
            first = await client.put(f"{API}/consent", content=large, headers=headers)
            assert first.json()["detail"] == "a body has at most 1,048,576 bytes"
            again = await client.get(LIST, headers=headers)
            assert again.status_code == 200
            calls = [
                *(client.put(f"{API}/consent", content=large, headers=headers) for _ in range(8)),
                *(client.put(f"{API}/consent", content=chunked(), headers=headers) for _ in range(8)),
                *(client.post(f"{API}/events", content=large, headers=headers) for _ in range(8)),
                *(client.request("GET", LIST, content=large, headers=headers) for _ in range(8)),
                *(client.post(LIST, content=large, headers=headers) for _ in range(4)),
                *(client.put(f"{API}/consent", content=large) for _ in range(4)),
                *(client.post("/none", content=large) for _ in range(4)),
            ]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    with service.client("ann") as client:
        client.get(LIST)
    before = memory(service)
    assert asyncio.run(all_of_them()) == [413] * 24 + [200] * 8 + [405] * 4 + [401] * 4 + [404] * 4
    assert asyncio.run(all_of_them())[0] == 413
    assert memory(service) - before < 40_000_000


def test_a_head_of_a_megabyte_is_refused(service: Service) -> None:
    for head in (
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 170_000 + b"\r\n",
        b"a" * 1_000_000,
    ):
        said = exchanged(service, head)
        assert said[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    with service.client("ann") as client:
        assert client.get(LIST, headers={"X-Large": "a" * 30_000}).status_code == 200
        assert client.get(LIST, headers={"X-Large": "a" * 40_000}).status_code == 431


def exchanged(service: Service, sent: bytes) -> bytes:
    """What the server says to these bytes before it ends the connection, or waits for more."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=3) as connection:
        said = b""
        try:
            connection.sendall(sent)
            while part := connection.recv(65_536):
                said += part
        except (TimeoutError, ConnectionError):
            pass
        return said


CHUNKED = b"POST /api/marketing/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
GARBAGE = [
    b"\0" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 200,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/1.1 HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\n\r\n",
    b"get /healthz HTTP/1.1\r\n\r\n",
    b"GET \xff\xfe HTTP/1.1\r\n\r\n",
    b"GET /\xc3\xbc\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //[/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[::1/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://other.example HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT other.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%zz%00%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\0\0\0",
    CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    CHUNKED + b"\r\nzz\r\n\r\n",
    CHUNKED + b"\r\n-1\r\nx\r\n",
    CHUNKED + b"\r\nffffffffffffffffff\r\nx\r\n",
    *(random.Random(number).randbytes(300) for number in range(20)),
]


def test_garbage_is_answered_or_cut_and_harms_nobody(service: Service) -> None:
    for sent in GARBAGE:
        said = exchanged(service, sent)
        assert said[:10] in (b"", b"HTTP/1.1 4", b"HTTP/1.1 2"), (sent[:60], said[:60])
        assert b"Traceback" not in said
        if b"Content-Length: 4\r\n\r\n0" in sent:
            assert said.count(b"HTTP/1.1") == 1, "one request was taken for two"
    with service.client("ann") as client:
        assert client.get(LIST).status_code == 200
    assert '"place"' not in service.log.read_text(encoding="utf-8")


def test_calls_that_are_sent_in_one_go_are_answered_in_turn(service: Service) -> None:
    paths = [LIST, f"{API}/segments", f"{LIST}/none", "/healthz", "/none"] * 40
    sent = "".join(
        f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {ANN}\r\nX-Request-ID: n-{number}\r\n\r\n"
        for number, path in enumerate(paths)
    )
    said = exchanged(
        service, sent.encode() + b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    assert said.count(b"HTTP/1.1 ") == len(paths) + 1
    ids = [line[14:] for line in said.decode().lower().splitlines() if line.startswith("x-request-id: n-")]
    assert ids == [f"n-{number}" for number in range(len(paths))]


# Strings

EVIL = [
    "'; drop table marketing.campaign_targets; --",
    "\" or ''='",
    "\0",
    "a\0b",
    "\ud800",
    "\u202e\ufeff💥" * 30,
    "%s %(user_id)s {0.__class__} {location} ${jndi:ldap://x}",
    "../../../../etc/passwd",
    "x" * 100_000,
    "1e999",
    "NaN",
    "-1",
    "\r\nX-Injected: yes",
    "",
]


def example(schema: dict[str, Any], whole: dict[str, Any]) -> Any:
    """A value that fits a schema, as far as its examples and types say."""
    if "$ref" in schema:
        return example(whole["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], whole)
    for known in ("const", "default"):
        if schema.get(known) is not None:
            return schema[known]
    for listed in ("examples", "enum"):
        if schema.get(listed):
            return schema[listed][0]
    for choice in ("anyOf", "oneOf"):
        if choice in schema and "properties" not in schema:
            return example(schema[choice][0], whole)
    if "properties" in schema:
        return {name: example(each, whole) for name, each in schema["properties"].items()}
    return {"array": [example(schema.get("items", {}), whole)] if "items" in schema else []}.get(
        schema.get("type", "string"), "text"
    )


def spoiled(value: Any, evil: str) -> Iterator[Any]:
    """The value with each of its texts, keys included, replaced by that one in turn."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield {**{n: v for n, v in value.items() if n != name}, evil: each}
            yield from ({**value, name: other} for other in spoiled(each, evil))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from ([*value[:place], other, *value[place + 1 :]] for other in spoiled(each, evil))
    else:
        yield evil


def test_sql_nul_and_unicode_in_every_text_of_every_call(
    sidecar: Service, reader: psycopg.Connection
) -> None:
    sent = 0
    with sidecar.client("ann", "mobile", "admin") as client:
        whole = client.get("/openapi.json").json()
        tables = reader.execute("select count(*) from pg_tables where schemaname = 'marketing'").fetchone()
        for path, calls in whole["paths"].items():
            for method, call in calls.items():
                if (method, path) == ("delete", f"{API}/me"):
                    continue  # everything would be 410 from there on
                for request in requests(path, method, call, whole):
                    answer = client.send(client.build_request(**request))
                    sent += 1
                    assert answer.status_code < 500, (request, answer.text)
                    assert "x-injected" not in answer.headers
        assert sent > 1500
        assert client.get(LIST).status_code == 200
    assert (
        reader.execute("select count(*) from pg_tables where schemaname = 'marketing'").fetchone() == tables
    )
    assert '"error"' not in sidecar.log.read_text(encoding="utf-8")


def requests(path: str, method: str, call: dict[str, Any], whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The call, each of its texts once replaced by each evil one."""
    named: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
    for each in call.get("parameters", ()):
        named[each["in"]][each["name"]] = example({**each, **each["schema"]}, whole)
    content = call.get("requestBody", {}).get("content", {}).get("application/json")
    body = None if content is None else example(content["schema"], whole)
    for evil in EVIL:
        for place, values in named.items():
            for name in values:
                changed = {**named, place: {**values, name: carried(evil, place)}}
                yield request(path, method, changed, body)
        if body is not None:
            for other in spoiled(body, evil):
                yield request(path, method, named, other)


def carried(evil: str, place: str) -> str | bytes:
    """The text as far as a head can carry it."""
    if place == "header":
        return evil.encode(errors="ignore").replace(b"\0", b"").replace(b"\r\n", b"")[:8000]
    return quote(evil.encode(errors="surrogatepass")[:8000], safe="")


def request(path: str, method: str, named: dict[str, dict[str, Any]], body: Any) -> dict[str, Any]:
    for name, value in named["path"].items():
        path = path.replace(f"{{{name}}}", str(value))
    query = "&".join(f"{name}={value}" for name, value in named["query"].items())
    headers = {"Content-Type": "application/json", **named["header"]}
    made = {"method": method.upper(), "url": f"{path}?{query}" if query else path, "headers": headers}
    return made if body is None else {**made, "content": json.dumps(body)}


# The end


@asynccontextmanager
async def locked(database_url: str) -> AsyncIterator[None]:
    """Nobody reads a target while the block runs."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("lock table marketing.campaign_targets in access exclusive mode")
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_taken_is_answered_before_it_ends(
    number: signal.Signals, database_url: str, tmp_path: Path
) -> None:
    with running(database_url, tmp_path) as service:

        async def flow() -> float:
            async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=30) as client:
                async with locked(database_url):
                    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
                    waiting = [asyncio.create_task(client.get(LIST, headers=bearer("ann"))) for _ in range(5)]
                    await asyncio.sleep(1)
                    service.process.send_signal(number)
                    async with asyncio.timeout(5):
                        assert await reader.read() == b"", "who says nothing is cut off at once"
                    writer.close()
                    with pytest.raises(httpx.ConnectError):
                        await client.get("/healthz")
                    assert service.process.poll() is None
                    assert not [each for each in waiting if each.done()]
                answers = await asyncio.gather(*waiting)
                assert [answer.status_code for answer in answers] == [200] * 5
                assert {answer.headers["Connection"] for answer in answers} == {"close"}
                return time.monotonic()

        answered = asyncio.run(flow())
        assert service.process.wait(10) == 0
        assert time.monotonic() - answered < 5
        assert '"error"' not in service.log.read_text(encoding="utf-8")


def test_with_nothing_to_finish_it_ends_at_once(database_url: str, tmp_path: Path) -> None:
    with running(database_url, tmp_path) as service, service.client("ann") as client:
        assert client.get(LIST).status_code == 200
        started = time.monotonic()
        service.process.terminate()
        assert service.process.wait(10) == 0
        assert time.monotonic() - started < 5
