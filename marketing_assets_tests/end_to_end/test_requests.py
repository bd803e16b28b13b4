"""A row of `requests` and a real daemon: how soon it is run, what it comes to, and what a kill does to it."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from marketing_assets.storage.repositories import requests
from marketing_assets_tests.alert_service import AlertService, alert_service
from marketing_assets_tests.end_to_end.daemon import DaemonProcess, daemon_on, wait_for
from marketing_assets_tests.end_to_end.shell import NEXT, Shell, shell_on
from marketing_assets_tests.world import DAY, World

QUEUED_WITHIN = 10.0
COMPUTING_WITHIN = 20.0

pytestmark = pytest.mark.verify


@pytest.fixture
def service() -> Iterator[AlertService]:
    with alert_service() as made:
        yield made


@pytest.fixture
def daemon(decided_world: World, postgres_server: str, service: AlertService) -> Iterator[DaemonProcess]:
    """The daemon on the decided world, in the night of `NEXT`."""
    dagster_url = postgres_server.replace("/postgres?", f"/dagster_{uuid.uuid4().hex}?")
    with (
        shell_on(decided_world, dagster_url) as shell,
        daemon_on(shell, {"MARKETING_ALERT_URLS": service.url}) as made,
    ):
        yield made


def ask(shell: Shell, payload: dict[str, Any]) -> uuid.UUID:
    with shell.world.database.begin() as connection:
        return requests.ask(connection, "analysis", payload, "test")


def row(shell: Shell, request: uuid.UUID) -> tuple[str, str | None, Any]:
    [found] = shell.world.rows(
        f"select status, run_id, result from marketing.requests where request_id = '{request}'"
    )
    status, run_id, result = found
    return status, run_id, result


def ended(shell: Shell, request: uuid.UUID) -> tuple[str, str | None, Any]:
    """The row when it has come to its end."""
    wait_for("end", lambda: row(shell, request)[0] in ("succeeded", "failed"), 120)
    return row(shell, request)


def runs(daemon: DaemonProcess, request: uuid.UUID) -> list[tuple[object, ...]]:
    """Runs that were made for the request: id and status."""
    return daemon.rows(
        "select r.run_id, r.status from runs r join run_tags t on t.run_id = r.run_id"
        f" where t.key = 'marketing/request' and t.value = '{request}'"
    )


def computing(daemon: DaemonProcess, request: uuid.UUID) -> list[tuple[object, ...]]:
    return daemon.rows(
        "select 1 from event_logs e join run_tags t on t.run_id = e.run_id"
        f" where t.key = 'marketing/request' and t.value = '{request}'"
        " and e.dagster_event_type = 'STEP_START'"
    )


def test_an_analysis_is_queued_and_computing_in_seconds_and_writes_back_what_it_came_to(
    daemon: DaemonProcess, service: AlertService, record_property: Any
) -> None:
    shell = daemon.shell
    asked = time.monotonic()
    request = ask(shell, {})
    wait_for("run", lambda: runs(daemon, request))
    queued = time.monotonic() - asked
    wait_for("step", lambda: computing(daemon, request))
    started = time.monotonic() - asked
    status, run_id, result = ended(shell, request)
    finished = time.monotonic() - asked
    measured = f"queued {queued:.1f} s, computing {started:.1f} s, written back {finished:.1f} s"
    record_property("measured", measured)
    assert queued < QUEUED_WITHIN, measured
    assert started < COMPUTING_WITHIN, measured
    assert status == "succeeded", daemon.log.read_text()
    assert [(run_id, "SUCCESS")] == runs(daemon, request)
    assert (result["day"], result["night"], result["users"]) == (NEXT.isoformat(), "published", 105)
    assert (result["patterns"]["general"], result["patterns"]["new_shopper"]) == (105, 55)
    # Thirty are new, two of them in the global holdout.
    assert (result["campaigns_opened"], result["users_targeted"]) == (0, 28)
    assert shell.world.rows("select day, status from marketing.published_nights order by day") == [
        (DAY, "published"),
        (NEXT, "published"),
    ]
    assert [title for title in service.titles if "failed" in title] == []

    # Days of the window that are missing are ingested by the same run.
    gone = shell.world.settings.lake / "transactions" / f"day={DAY}" / "part-0.parquet"
    gone.unlink()
    again = ask(shell, {"day": NEXT.isoformat()})
    assert ended(shell, again)[0] == "succeeded"
    assert gone.exists()
    assert len(runs(daemon, again)) == 1

    # What fails is written back, and the people on call are told.
    shell.world.csv.unlink()
    failing = ask(shell, {"day": NEXT.isoformat()})
    status, run_id, result = ended(shell, failing)
    error = f"files source: no file matches {shell.world.csv}"
    assert (status, result["error"]) == ("failed", f"ingest: {error}")
    # A warning of the first night's may be told before it.
    failed = f"nightly_marketing failed for {NEXT}"
    wait_for("alert", lambda: failed in service.titles, 30)
    [post] = [each for each in service.posts if each["title"] == failed]
    assert f"error: {error}" in post["message"]
    assert post["message"].endswith(f"run: http://127.0.0.1:3000/runs/{run_id}")
    log = daemon.log.read_text()
    assert f"ALERT nightly_marketing failed for {NEXT}" in log
    assert "hunter2" not in log


def test_a_daemon_killed_in_mid_tick_loses_no_request_and_doubles_none(daemon: DaemonProcess) -> None:
    shell = daemon.shell
    request = ask(shell, {})
    wait_for("run", lambda: runs(daemon, request))
    daemon.kill()
    daemon.start()
    status, run_id, _ = ended(shell, request)
    assert status == "succeeded", daemon.log.read_text()
    assert runs(daemon, request) == [(run_id, "SUCCESS")]


def test_a_daemon_killed_before_its_tick_loses_no_request(daemon: DaemonProcess) -> None:
    shell = daemon.shell
    daemon.kill()
    both = [ask(shell, {}), ask(shell, {"day": NEXT.isoformat()})]
    daemon.start()
    found = [ended(shell, each) for each in both]
    assert [status for status, _, _ in found] == ["succeeded", "succeeded"]
    assert found[0][1] == found[1][1]
    assert shell.world.rows("select count(*) from marketing.published_nights") == [(2,)]
