"""`marketing up`: Dagster and the app's API come up together, and the death of one is named and ends all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from marketing_assets_tests.world import HEADER

_START_SECONDS = 90.0

pytestmark = pytest.mark.verify


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def settings(database_url: str, home: Path) -> dict[str, str]:
    """The environment of the command: what a small production would have."""
    (home / "transactions.csv").write_text(HEADER + "\n", encoding="utf-8")
    name = database_url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MARKETING_", "DAGSTER"))}
    return kept | {
        "MARKETING_HOME": str(home / "home"),
        "MARKETING_DATABASE_URL": database_url,
        "MARKETING_DAGSTER_DATABASE_URL": database_url.replace(f"/{name}?", f"/{name}_dagster?"),
        "MARKETING_SOURCE": "files",
        "MARKETING_SOURCE_URL": str(home / "transactions.csv"),
        "MARKETING_JWT_SECRET": "a secret of the tests, thirty-two bytes or more",
        "MARKETING_ERASURE_KEY": "an erasure key of the tests, thirty-two bytes",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def command(environment: Mapping[str, str], home: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The command in the background; it has ended when the block does."""
    program = [str(Path(sys.executable).with_name("marketing")), *words]
    with (home / "up.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(program, env=environment, cwd=home, stdout=log, stderr=log, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(40)


def wait_for(url: str, process: "subprocess.Popen[str]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False, timeout=10).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer: {log.read_text()}")


def children(process: "subprocess.Popen[str]") -> dict[str, int]:
    """Processes that it started, by their first words."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (place / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:
            continue
        if parent == process.pid:
            found[words.split(" -m ", 1)[-1].split()[0]] = int(place.name)
    return found


def test_the_api_comes_up_with_the_rest_and_its_death_is_named(fresh_database: str, tmp_path: Path) -> None:
    ui, api = free_ports()
    environment = settings(fresh_database, tmp_path)
    log = tmp_path / "up.log"
    with command(environment, tmp_path, "up", "--port", str(ui), "--api-port", str(api)) as process:
        wait_for(f"http://127.0.0.1:{api}/readyz", process, log)
        wait_for(f"http://127.0.0.1:{ui}/server_info", process, log)
        said = subprocess.run(
            [str(Path(sys.executable).with_name("marketing")), "token", "--user", "ann"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        headers = {"Authorization": f"Bearer {said.stdout.strip()}"}
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.get(f"http://127.0.0.1:{api}/api/marketing/campaigns", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"items": [], "next_cursor": None})
        started = children(process)
        assert set(started) == {"dagster_webserver", "dagster._daemon", "marketing_assets.sidecar"}
        os.kill(started["marketing_assets.sidecar"], signal.SIGKILL)
        assert process.wait(40) == 1
    written = log.read_text(encoding="utf-8")
    assert f"http://127.0.0.1:{ui}" in written
    assert f"http://127.0.0.1:{api}/api/marketing" in written
    assert "the sidecar ended by itself with code -9" in written
    assert f"marketing up --api-port {api + 1}" in written
    for place in started.values():
        assert not Path(f"/proc/{place}/cmdline").exists() or not Path(f"/proc/{place}/cmdline").read_bytes()


def test_a_taken_port_is_named(fresh_database: str, tmp_path: Path) -> None:
    ui, api = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", api))
        taken.listen()
        words = ("up", "--port", str(ui), "--api-port", str(api))
        with command(settings(fresh_database, tmp_path), tmp_path, *words) as process:
            assert process.wait(_START_SECONDS) == 1
    written = (tmp_path / "up.log").read_text(encoding="utf-8")
    assert "the sidecar ended by itself with code " in written
    assert "address already in use" in written


def test_it_ends_in_order_when_it_is_asked_to(fresh_database: str, tmp_path: Path) -> None:
    ui, api = free_ports()
    log = tmp_path / "up.log"
    words = ("up", "--port", str(ui), "--api-port", str(api))
    with command(settings(fresh_database, tmp_path), tmp_path, *words) as process:
        wait_for(f"http://127.0.0.1:{api}/healthz", process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert "Stopped." in log.read_text(encoding="utf-8")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{api}/healthz", trust_env=False)
