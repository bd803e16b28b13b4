"""The sidecar's requests per second beside those of an empty FastAPI route, over loopback.

One worker each, the load from wrk (a package of the system), a million users' targets in the tables. The
routes take turns, so that whatever else the machine does meets all of them.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt

from benchmarks.made_nights import MadeNights, made_campaign
from benchmarks.progress import Progress

_SECRET = "a secret for the benchmark alone, of 32 bytes"
_ROUNDS = 5
_SECONDS = 4
_CALLERS = 1_000
_CONNECTIONS = 32
_ROOT = Path(__file__).parents[1]
_STEADY_REQUESTS = 200_000


@dataclass(frozen=True)
class ApiResult:
    """Medians of the rounds: requests a second, their ratios to the empty route of the same round, and waits.

    Waits are milliseconds at 32 connections, `*_tail` is p99 over p50. `grown` is the sidecar's resident
    memory after another 200,000 requests over that before.
    """

    users: int
    targets: int
    empty: float
    campaigns: float
    campaigns_ratio: float
    campaigns_p50: float
    campaigns_p99: float
    campaigns_tail: float
    not_modified: float
    not_modified_ratio: float
    not_modified_tail: float
    view: float
    view_ratio: float
    view_p50: float
    view_p99: float
    view_tail: float
    memory: float
    memory_growth: float
    refused: int
    failed: int


@dataclass(frozen=True)
class _Load:
    rate: float
    p50: float
    p99: float
    refused: int
    failed: int
    requests: int


def measure(directory: Path, *, users: int, progress: Progress) -> ApiResult:
    """Publish a night of `users` with two targets each, and load the sidecar that serves it.

    Raises:
        ModuleNotFoundError: there is no wrk on this machine.
    """
    if shutil.which("wrk") is None:
        raise ModuleNotFoundError("wrk is not installed (apt-get install wrk)")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with MadeNights(directory, users) as made:
        campaigns = [made_campaign(number, yesterday) for number in range(2)]
        progress("a night is published")
        made.write(yesterday, campaigns, range(users))
        made.publish(yesterday, campaigns)
        made.settle()
        with _serving(made.url, directory) as (sidecar, empty, process):
            files = _requests(directory, sidecar, users, campaigns[1].campaign_id)
            return _rounds(users, files, {"empty": empty}, sidecar, process, progress)


def _rounds(
    users: int, files: dict[str, Path], other: dict[str, int], sidecar: int, process: int, progress: Progress
) -> ApiResult:
    found: dict[str, list[_Load]] = {name: [] for name in files}
    for number in range(-1, _ROUNDS):  # the first one warms up
        for name, file in files.items():
            load = _loaded(
                other.get(name, sidecar), file, _SECONDS, f"{number + 1:08x}-{hash(name) & 0xFFFF:04x}"
            )
            if number >= 0:
                found[name].append(load)
        if number >= 0:
            said = ", ".join(f"{name} {loads[-1].rate:,.0f}/s" for name, loads in found.items())
            progress(f"round {number + 1} of {_ROUNDS}: {said}")
    before, after, steady = _memory(files["campaigns"], sidecar, process, progress)
    loads = [load for each in found.values() for load in each] + steady
    rate = {name: statistics.median(load.rate for load in each) for name, each in found.items()}
    ratio = {
        name: statistics.median(
            load.rate / empty.rate for load, empty in zip(each, found["empty"], strict=True)
        )
        for name, each in found.items()
    }
    p50 = {name: statistics.median(load.p50 for load in each) for name, each in found.items()}
    p99 = {name: statistics.median(load.p99 for load in each) for name, each in found.items()}
    tail = {name: statistics.median(load.p99 / load.p50 for load in each) for name, each in found.items()}
    return ApiResult(
        users=users,
        targets=2 * users,
        empty=rate["empty"],
        campaigns=rate["campaigns"],
        campaigns_ratio=ratio["campaigns"],
        campaigns_p50=p50["campaigns"],
        campaigns_p99=p99["campaigns"],
        campaigns_tail=tail["campaigns"],
        not_modified=rate["not_modified"],
        not_modified_ratio=ratio["not_modified"],
        not_modified_tail=tail["not_modified"],
        view=rate["view"],
        view_ratio=ratio["view"],
        view_p50=p50["view"],
        view_p99=p99["view"],
        view_tail=tail["view"],
        memory=after,
        memory_growth=after / before,
        refused=sum(load.refused for load in loads),
        failed=sum(load.failed for load in loads),
    )


def _memory(file: Path, sidecar: int, process: int, progress: Progress) -> tuple[float, float, list[_Load]]:
    """Bytes of the sidecar before and after so many more requests, and the loads."""
    before = _resident(process)
    loads: list[_Load] = []
    while sum(load.requests for load in loads) < _STEADY_REQUESTS:
        loads.append(_loaded(sidecar, file, 2 * _SECONDS, "0000ffff-0000"))
        progress(f"{sum(load.requests for load in loads):,} requests for the memory")
    return before, _resident(process), loads


def _resident(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024.0 * int(line.split()[1])
    return 0.0


def _loaded(port: int, file: Path, seconds: int, run: str) -> _Load:
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}", "-s", str(_ROOT / "benchmarks" / "wrk.lua")]
    environment = {**os.environ, "WRK_REQUESTS": str(file), "WRK_RUN": run}
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], env=environment, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return _Load(
        rate=1e6 * said["requests"] / said["microseconds"],
        p50=said["p50"] / 1000,
        p99=said["p99"] / 1000,
        refused=said["refused"],
        failed=said["failed"],
        requests=said["requests"],
    )


def _requests(directory: Path, port: int, users: int, campaign_id: str) -> dict[str, Path]:
    """A file of requests for each route."""
    path = "/api/marketing/campaigns?status=active&limit=5"
    callers = _callers(users)
    known = [_etag(f"http://127.0.0.1:{port}{path}", token) for token in callers]
    now = datetime.now(UTC).isoformat()
    event = json.dumps({"event_id": "EVENT", "occurred_at": now, "sent_at": now})
    lines = {
        "empty": [("GET", "/", "", "", "")],
        "campaigns": [("GET", path, token, "", "") for token in callers],
        "not_modified": [("GET", path, token, etag, "") for token, etag in zip(callers, known, strict=True)],
        "view": [
            ("POST", f"/api/marketing/campaigns/{campaign_id}/view", token, "", event) for token in callers
        ],
    }
    files = {}
    for name, requests in lines.items():
        files[name] = directory / f"{name}.requests"
        files[name].write_text("".join("\t".join(request) + "\n" for request in requests))
    return files


def _callers(users: int) -> list[str]:
    """Tokens of users of the treatment arm, from all over the table (the digits tell: see `made_nights`)."""
    import hashlib

    indexes = (index for index in range(0, users, max(1, users // (2 * _CALLERS))))
    treated = [index for index in indexes if hashlib.md5(str(index).encode()).hexdigest()[0] != "0"]
    return [_token(f"u{index:08d}") for index in treated[:_CALLERS]]


def _token(user: str) -> str:
    claims = {
        "iss": "marketing-assets",
        "aud": "marketing",
        "sub": user,
        "roles": ["mobile"],
        "exp": int(time.time()) + 86_400,
    }
    return jwt.encode(claims, _SECRET, algorithm="HS256")


def _etag(url: str, token: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        etag: str = answer.headers["ETag"]
    return etag


@contextmanager
def _serving(url: str, directory: Path) -> Iterator[tuple[int, int, int]]:
    """Ports of the sidecar and of the empty app, and the sidecar's process."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MARKETING_")},
        "PYTHONPATH": str(_ROOT),
        "MARKETING_HOME": str(directory / "home"),
        "MARKETING_DATABASE_URL": url,
        "MARKETING_JWT_SECRET": _SECRET,
        "MARKETING_ERASURE_KEY": _SECRET,
        "MARKETING_RATE_LIMIT": "100000000/hour",
    }
    ports = _free_ports(2)
    commands = (
        ["-m", "marketing_assets.sidecar", "--port", str(ports[0])],
        ["-m", "benchmarks.empty_app", "--port", str(ports[1])],
    )
    processes = [
        subprocess.Popen([sys.executable, *command], env=environment, cwd=directory) for command in commands
    ]
    try:
        _wait(f"http://127.0.0.1:{ports[0]}/readyz")
        _wait(f"http://127.0.0.1:{ports[1]}/")
        yield ports[0], ports[1], processes[0].pid
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


def _free_ports(number: int) -> Sequence[int]:
    held = [socket.socket() for _ in range(number)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError(f"{url} does not answer")


def main() -> None:
    """Measure it alone: `python -m benchmarks.api [users]`."""
    from benchmarks.progress import Elapsed

    users = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    result = measure(Path(".benchmarks/api").resolve(), users=users, progress=Elapsed())
    sys.stdout.write(json.dumps(vars(result), indent=1) + "\n")


if __name__ == "__main__":
    main()
