"""A real server process of the sidecar on a port of its own, and tokens for it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import jwt

SECRET = "a secret of the tests, thirty-two bytes or more"
ERASURE_KEY = "an erasure key of the tests, thirty-two bytes"
_START_SECONDS = 30.0


def token(user: str, *roles: str, seconds: float = 86_400, **claims: object) -> str:
    """A token as the login service would sign it; `claims` take the place of its own."""
    now = int(time.time())
    said: dict[str, object] = {
        "iss": "marketing-assets",
        "aud": "marketing",
        "sub": user,
        "roles": list(roles),
        "exp": now + int(seconds),
    }
    return jwt.encode({**said, **claims}, SECRET, algorithm="HS256")


def bearer(user: str, *roles: str) -> dict[str, str]:
    """The header that goes with it; the role is mobile where none is given."""
    return {"Authorization": f"Bearer {token(user, *(roles or ('mobile',)))}"}


class Service:
    """A running sidecar."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def client(self, user: str = "", *roles: str, **options: object) -> httpx.Client:
        """A client that calls as this user; without one it has no token."""
        headers = bearer(user, *roles) if user else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)


@contextmanager
def running(database_url: str, home: Path, settings: Mapping[str, str] = {}) -> Iterator[Service]:
    """A sidecar on this database (a URL as libpq knows it), gone with the block."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MARKETING_")},
        "MARKETING_DATABASE_URL": database_url,
        "MARKETING_HOME": str(home),
        "MARKETING_JWT_SECRET": SECRET,
        "MARKETING_ERASURE_KEY": ERASURE_KEY,
        "MARKETING_RATE_LIMIT": "1000000/minute",
        **settings,
    }
    log = home / "sidecar.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "marketing_assets.sidecar", "--port", str(port)],
            env=environment,
            cwd=home,
            stdout=stream,
            stderr=stream,
        )
    service = Service(process, port, log)
    try:
        _wait(service)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(40)


def _wait(service: Service) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with service.client() as client:
        while time.monotonic() < deadline:
            try:
                if client.get("/healthz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            if service.process.poll() is not None:
                break
            time.sleep(0.05)
    raise RuntimeError(f"the sidecar did not start: {service.log.read_text()}")
