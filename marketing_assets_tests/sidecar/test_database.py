"""The database goes and comes back while the app calls: 503 meanwhile, well at once, and nothing lost."""

import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from marketing_assets.settings import Settings
from marketing_assets.storage import database, embedded
from marketing_assets_tests.sidecar.service import Service, bearer, running
from marketing_assets_tests.sidecar.shop import Shop

API = "/api/marketing"
LIST = f"{API}/campaigns"
_AWAY_SECONDS = 20.0
_LONGEST_ANSWER = 6.0

pytestmark = pytest.mark.verify


@dataclass
class Server:
    """A PostgreSQL of the test's own, which can be killed."""

    data: Path
    url: str

    def start(self) -> None:
        embedded.start(self.data)

    def kill(self) -> None:
        """As `kill -9` would: the postmaster, and with it all its sessions. It is gone afterwards."""
        process = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(process, signal.SIGKILL)
        with suppress(ProcessLookupError):
            for _ in range(600):  # until whoever is its parent by now has taken notice
                os.kill(process, 0)
                time.sleep(0.05)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()


@pytest.fixture
def server() -> Iterator[Server]:
    # Not pytest's own directory: the path of a unix socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="marketing-pg-"))
    data = directory / "data"
    url = f"postgresql://postgres@/marketing?host={embedded.start(data)}"
    database.prepare(database.locate(Settings.model_validate({"MARKETING_DATABASE_URL": url})))
    yield Server(data, url)
    embedded.stop(data)
    shutil.rmtree(directory, ignore_errors=True)


def offered(server: Server, user: str) -> str:
    """A campaign with an offer for the user."""
    engine = database.connect(server.url.replace("postgresql://", "postgresql+psycopg://"))
    with psycopg.connect(server.url, autocommit=True) as connection:
        campaign_id = Shop(engine, connection).offer(user)
    engine.dispose()
    return campaign_id


@dataclass
class Reporter:
    """An app that reports views all the time, each until it is acknowledged."""

    service: Service
    campaign_id: str
    acknowledged: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    _ends: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with self.service.client("ann") as client:
            while not self._ends.is_set():
                event_id = str(uuid.uuid4())
                occurred_at = datetime.now(UTC) - timedelta(seconds=1)
                while not self._ends.is_set():
                    body = {
                        "event_id": event_id,
                        "occurred_at": occurred_at.isoformat(),
                        "sent_at": datetime.now(UTC).isoformat(),
                    }
                    answer = client.post(f"{LIST}/{self.campaign_id}/view", json=body)
                    self.statuses.add(answer.status_code)
                    if answer.status_code == httpx.codes.ACCEPTED:
                        self.acknowledged.append(event_id)
                        break
                    time.sleep(0.05)

    def end(self) -> None:
        self._ends.set()


def test_a_database_that_is_away_for_twenty_seconds_loses_nothing(server: Server, tmp_path: Path) -> None:
    campaign_id = offered(server, "ann")
    ann, boss = bearer("ann"), bearer("boss", "admin")
    calls = [
        ("GET", LIST, ann, None),
        ("GET", f"{LIST}/{campaign_id}", ann, None),
        ("GET", f"{API}/segments", ann, None),
        ("PUT", f"{API}/consent", ann, {"opted_out": False}),
        ("GET", LIST, boss, None),
        ("GET", f"{LIST}/{campaign_id}", boss, None),
        ("GET", f"{API}/segments", boss, None),
        ("GET", f"{API}/analytics", boss, None),
        ("GET", f"{API}/requests/{uuid.uuid4()}", boss, None),
        ("POST", f"{API}/analysis/run-now", boss, {}),
    ]
    with running(server.url, tmp_path / "sidecar") as service, service.client() as client:

        def answers() -> list[httpx.Response]:
            return [client.request(method, path, headers=who, json=body) for method, path, who, body in calls]

        well = [200, 200, 200, 200, 200, 200, 200, 200, 404, 202]
        assert [answer.status_code for answer in answers()] == well
        reporter = Reporter(service, campaign_id)
        thread = threading.Thread(target=reporter.run)
        thread.start()
        try:
            time.sleep(1)
            before = len(reporter.acknowledged)
            killed = time.monotonic()
            server.kill()
            while time.monotonic() < killed + _AWAY_SECONDS:
                for answer in answers():
                    assert answer.status_code == 503, answer.text
                    assert answer.elapsed < timedelta(seconds=_LONGEST_ANSWER)
                    assert answer.headers["Retry-After"] == "2"
                    assert answer.json()["type"] == "urn:marketing:problem:unavailable"
                    assert answer.json()["detail"] == "the database is away"
                assert client.get("/healthz").status_code == 200
                assert client.get("/readyz").status_code == 503
                time.sleep(0.2)
            server.start()
            assert [answer.status_code for answer in answers()] == well
            assert client.get("/readyz").status_code == 200
            time.sleep(1)
        finally:
            reporter.end()
            thread.join()
    assert reporter.statuses == {202, 503}
    assert 0 < before < len(reporter.acknowledged)
    kept = {str(row[0]) for row in server.rows("select event_id from marketing.campaign_events")}
    assert set(reporter.acknowledged) <= kept
    assert len(kept - set(reporter.acknowledged)) <= 1  # the one under way when the test ended


def test_a_restart_that_nobody_noticed_costs_no_call(server: Server, tmp_path: Path) -> None:
    campaign_id = offered(server, "ann")
    paths = [
        (LIST, "mobile"),
        (f"{LIST}/{campaign_id}", "mobile"),
        (LIST, "admin"),
        (f"{API}/analytics", "admin"),
    ]
    with running(server.url, tmp_path / "sidecar") as service, service.client() as client:

        def found() -> list[int]:
            return [client.get(path, headers=bearer("ann", role)).status_code for path, role in paths]

        assert found() == [200] * 4
        server.kill()
        server.start()
        assert found() == [200] * 4


def test_it_starts_before_its_database_and_is_ready_when_that_is(server: Server, tmp_path: Path) -> None:
    offered(server, "ann")
    embedded.stop(server.data)
    with running(server.url, tmp_path / "sidecar") as service, service.client("ann") as client:
        for _ in range(3):
            assert client.get("/readyz").status_code == 503
            assert client.get(LIST).status_code == 503
        server.start()
        assert client.get("/readyz").status_code == 200
        assert len(client.get(LIST).json()["items"]) == 1


def test_it_is_not_ready_with_another_schema(server: Server, tmp_path: Path) -> None:
    with running(server.url, tmp_path / "sidecar") as service, service.client() as client:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("update marketing.alembic_version set version_num = '0001'")
        answer = client.get("/readyz")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert answer.json()["detail"].startswith("the database has schema 0001, this version needs ")
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("drop schema marketing cascade")
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (503, "the database has no schema yet")
