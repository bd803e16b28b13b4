"""The sidecar in the process of the test, on a port of its own: quicker to start than one in a process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from marketing_assets.settings import Settings
from marketing_assets.sidecar.app import create_app
from marketing_assets_tests.sidecar.service import SECRET, bearer

_START_SECONDS = 30.0


def settings_for(database_url: str, home: Path, **more: Any) -> Settings:
    """The settings of a sidecar on this database."""
    values: dict[str, Any] = {
        "MARKETING_DATABASE_URL": database_url,
        "MARKETING_HOME": home,
        "MARKETING_JWT_SECRET": SECRET,
        "MARKETING_ERASURE_KEY": "an erasure key of the tests, thirty-two bytes",
        "MARKETING_RATE_LIMIT": "1000000/minute",
        **more,
    }
    return Settings(_env_file=None, **values)


class Nearby:
    """The app, and calls of it as somebody."""

    def __init__(self, app: FastAPI, client: httpx.Client) -> None:
        self.app = app
        self.client = client

    def call(self, who: str, method: str, path: str, **given: Any) -> Any:
        """The answer to one call; `who` is a user, with their role where it is not mobile: `ann admin`."""
        user, *roles = who.split()
        headers = {**bearer(user, *roles), **given.pop("headers", {})}
        return self.client.request(method, f"/api/marketing{path}", headers=headers, **given)

    def admin(self, method: str, path: str, **given: Any) -> Any:
        """The answer to a call of the admin Ann."""
        return self.call("ann admin", method, path, **given)


@contextmanager
def nearby(database_url: str, home: Path, **more: Any) -> Iterator[Nearby]:
    """The app on this database, as long as the block runs."""
    app = create_app(settings_for(database_url, home, **more))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield Nearby(app, client)
    finally:
        server.should_exit = True
        thread.join()
