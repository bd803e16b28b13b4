"""What every request passes first and every answer last: id, token, limit, headers, log and metrics.

One ASGI layer in place of a stack of them: this runs for every call of every user.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from typing import Any

from marketing_assets.sidecar import logs
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.openapi import PREFIX
from marketing_assets.sidecar.problems import Problem, response
from marketing_assets.sidecar.security import Caller

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 1_048_576
"""Bytes of a body at most: 500 events with their items."""

_BODY_SECONDS = 15.0
_SLOW_SECONDS = 1.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=31536000"),
]
_PRIVATE = (b"cache-control", b"private, no-cache")
_PROCESS = secrets.token_hex(8)
_NUMBERS = count(1)
_LOG = logging.getLogger(logs.NAME)


def _next_id() -> str:
    """An id that no other request has, in this process or another."""
    return f"{_PROCESS}{next(_NUMBERS):x}"


class Edge:
    """The outermost layer around the app."""

    def __init__(self, app: App, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request, or an event of the server's life."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self._app, self._context, scope, receive, send).run()


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: App, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        self._app, self._context, self._scope = app, context, scope
        self._receive, self._send = receive, send
        self._started = time.perf_counter()
        self._deadline = 0.0
        self._bytes = 0
        self._status = 0
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        self._id = given.decode() if _REQUEST_ID.fullmatch(given) else _next_id()
        self._authorization = headers.get(b"authorization")
        self._extra = [*_HEADERS, (b"x-request-id", self._id.encode())]
        scope["request_id"] = self._id

    async def run(self) -> None:
        try:
            if self._scope["path"].startswith(PREFIX) and self._scope["method"] != "OPTIONS":
                self._extra.append(_PRIVATE)
                await self._enter()
            await self._app(self._scope, self._received, self._sent)
        except Problem as problem:
            await response(problem, self._id)(self._scope, self._received, self._sent)
        except Exception:
            _LOG.exception("a call failed", extra={"request_id": self._id, "route": self._route()})
            if self._status == 0:
                unforeseen = Problem(500, "it is in the sidecar's log under this instance")
                await response(unforeseen, self._id)(self._scope, self._received, self._sent)
        finally:
            self._written_down()

    async def _enter(self) -> None:
        """Who calls, and how often.

        Raises:
            Problem: 401, or 429.
        """
        client = self._scope.get("client")
        name = f"address {client[0]}" if client else "nobody"
        try:
            if self._authorization is None:
                raise Problem(
                    401,
                    "send a header Authorization: Bearer <token>",
                    headers={"WWW-Authenticate": 'Bearer realm="marketing"'},
                )
            caller = await self._context.tokens.caller(self._authorization.decode("latin-1"))
        except Problem:
            await self._count(name)
            raise
        self._scope["caller"] = caller
        await self._count(caller.user_hash)

    async def _count(self, name: str) -> None:
        limiter = self._context.limiter
        used = await limiter.count(name)
        self._extra += [
            (b"ratelimit-policy", limiter.policy.encode()),
            (b"ratelimit", b'"caller";r=%d;t=%d' % (used.left, used.resets_in)),
        ]
        if not used.allowed:
            raise Problem(
                429,
                f"at most {limiter.calls} calls in {limiter.seconds} s",
                headers={"Retry-After": str(used.resets_in)},
            )

    async def _received(self) -> Message:
        """The next part of the body, all of which has to be here in time and within the bound."""
        if self._deadline == 0.0:
            self._deadline = asyncio.get_running_loop().time() + _BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                408, f"the body did not arrive in {_BODY_SECONDS:.0f} s", headers={"Connection": "close"}
            ) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > LARGEST_BODY:
            raise Problem(413, f"a body has at most {LARGEST_BODY:,} bytes")
        return message

    async def _sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message["headers"], *self._extra]
        await self._send(message)

    def _written_down(self) -> None:
        seconds = time.perf_counter() - self._started
        route, method = self._route(), self._scope["method"]
        self._context.metrics.answered(method, route, self._status, seconds)
        if self._status >= 400 or seconds > _SLOW_SECONDS:  # noqa: PLR2004 - where errors begin
            caller: Caller | None = self._scope.get("caller")
            _LOG.info(
                "answered",
                extra={
                    "request_id": self._id,
                    "method": method,
                    "route": route,
                    "status": self._status,
                    "milliseconds": round(seconds * 1000, 1),
                    "role": "none" if caller is None else "+".join(sorted(caller.roles)),
                },
            )

    def _route(self) -> str:
        """The route as it is written, with names in the place of values."""
        route = self._scope.get("route")
        return "none" if route is None else str(getattr(route, "path", "none"))
