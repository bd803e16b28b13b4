"""A service that alerts are posted to: a real HTTP server on this machine that keeps what it gets."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class AlertService:
    """Its address as `MARKETING_ALERT_URLS` takes it, and the posts it got; `status` is what it answers."""

    port: int
    status: int = 200
    seconds: float = 0.0
    posts: list[dict[str, Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """With a secret in it, which must never be shown."""
        return f"json://marketing:hunter2@127.0.0.1:{self.port}/hook"

    @property
    def titles(self) -> list[str]:
        return [post["title"] for post in self.posts]


@contextmanager
def alert_service() -> Iterator[AlertService]:
    """The service, up while the block runs."""
    made = AlertService(port=0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if made.seconds:
                made.released.wait(made.seconds)
            made.posts.append(json.loads(body))
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            made.released.set()
            server.shutdown()
            thread.join()
