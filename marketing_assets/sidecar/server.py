"""The server process: uvicorn, with bounds on what a connection may take of it.

A head has to arrive in ten seconds and in 32 KiB, and there are so many connections at most; what is left of
a body when its answer is out, is thrown away for ten seconds. What was taken when the process is asked to
end, is finished first.
"""

import asyncio
import gc
import resource
import signal
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from marketing_assets.settings import Settings
from marketing_assets.sidecar import logs
from marketing_assets.sidecar.app import create_app

HEAD_SECONDS = 10.0
LARGEST_HEAD = 32_768
MOST_CONNECTIONS = 4_096
_FILES = MOST_CONNECTIONS + 512
_KEEP_ALIVE_SECONDS = 30
_FINISH_SECONDS = 20
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 2\r\nconnection: close\r\n\r\n"
)
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """A connection that has to say what it wants, in time and in few words.

    The timer runs while a head is expected, and while the rest of a body is that nobody reads.
    """

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _unanswered = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_BUSY)
            transport.close()
            return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse on, while the head is not too large."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD and not self._ends_soon(data):
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)
        if self._head_bytes and self._timer is None:  # nearly every head comes whole, and needs no timer
            self._start_timer()

    def on_headers_complete(self) -> None:
        """Its head is here."""
        self._stop_timer()
        self._in_head = False
        self._head_bytes = 0
        self._unanswered += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is here."""
        super().on_message_complete()
        self._stop_timer()
        self._in_head = True

    def on_response_complete(self) -> None:
        """It was answered, maybe before all of it was here."""
        self._unanswered -= 1
        super().on_response_complete()
        if not self._in_head and self._timer is None:
            self._start_timer()

    def _ends_soon(self, data: bytes) -> bool:
        """Whether what makes it large is the beginning of a body."""
        end = data.find(b"\r\n\r\n")
        return end >= 0 and self._head_bytes - len(data) + end <= LARGEST_HEAD

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._unanswered > 0:
            self._start_timer()  # the call before is still being answered, and nothing read meanwhile
        elif not self.transport.is_closing():
            self.transport.close()


def serve(settings: Settings, host: str, port: int, sockets: list[socket.socket] | None = None) -> None:
    """Serve until the process is asked to end."""
    logs.configure()
    _allow_many_files()
    config: dict[str, Any] = {
        "http": BoundedProtocol,
        "ws": "none",
        "loop": "uvloop",
        "timeout_keep_alive": _KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": _FINISH_SECONDS,
        "server_header": False,
        "access_log": False,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "log_config": None,
    }
    server = uvicorn.Server(uvicorn.Config(create_app(settings), host=host, port=port, **config))
    # Uvicorn ends in order at these, and then raises them again: to end so is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # What is there now stays: looking for garbage in it would stop the process for 80 ms every second.
    gc.collect()
    gc.freeze()
    server.run(sockets)


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
