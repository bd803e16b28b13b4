"""Alerts: what they say, that they arrive at a real service, and that a failing one breaks nothing."""

import logging
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from marketing_assets.orchestration import alerts as module
from marketing_assets.orchestration.alerts import (
    Alert,
    Alerts,
    FailedWarning,
    night_not_published,
    partition_of,
    run_failed,
    warnings_failed,
)
from marketing_assets.orchestration.failures import RunFailure
from marketing_assets.settings import Settings
from marketing_assets_tests.alert_service import AlertService, alert_service

ALERT = Alert("the night failed", "step: ingest\nerror: no source")
NOBODY = "json://127.0.0.1:9/secret-token"


@pytest.fixture
def service() -> Iterator[AlertService]:
    with alert_service() as made:
        yield made


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.DEBUG)
    return logging.getLogger("test_alerts")


def alerts(*urls: str) -> Alerts:
    given: dict[str, Any] = {"MARKETING_ALERT_URLS": ",".join(urls)}
    return Alerts(Settings(_env_file=None, **given))


def test_an_alert_arrives_whole_and_is_logged(
    service: AlertService, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    assert alerts(service.url).send(ALERT, log) == 1
    [post] = service.posts
    assert (post["title"], post["message"], post["type"]) == (ALERT.title, ALERT.body, "failure")
    assert "ALERT the night failed\nstep: ingest\nerror: no source" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_warning_arrives_as_one(service: AlertService, log: logging.Logger) -> None:
    assert alerts(service.url).send(Alert("a check warns", "for a day", "warning"), log) == 1
    assert service.posts[0]["type"] == "warning"


def test_where_no_service_is_set_the_alert_is_in_the_log_alone(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    assert alerts().send(ALERT, log) == 0
    assert [record.getMessage() for record in caplog.records] == [f"ALERT {ALERT.title}\n{ALERT.body}"]


def test_a_service_that_is_down_is_said_in_the_log_and_the_others_get_the_alert(
    service: AlertService, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    assert alerts(NOBODY, service.url).send(ALERT, log) == 1
    assert service.titles == [ALERT.title]
    assert (
        "The alert 'the night failed' could not be delivered to service 1 of 2 in MARKETING_ALERT_URLS: "
        "JSON refused it or does not answer" in caplog.text
    )
    assert "secret-token" not in caplog.text
    assert "hunter2" not in caplog.text


def test_a_service_that_refuses_is_said_in_the_log(
    service: AlertService, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    service.status = 403
    assert alerts(service.url).send(ALERT, log) == 0
    assert "could not be delivered to service 1 of 1" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_service_that_does_not_answer_is_not_waited_for(
    service: AlertService,
    log: logging.Logger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.3)
    service.seconds = 20
    before = time.monotonic()
    assert alerts(service.url).send(ALERT, log) == 0
    assert time.monotonic() - before < 3
    assert (
        "could not be delivered to service 1 of 1 in MARKETING_ALERT_URLS: no answer in time" in caplog.text
    )


def test_a_failed_run_is_told_with_all_that_one_needs() -> None:
    failure = RunFailure("ingest", "the table purchases does not exist", "name the right table")
    alert = run_failed("nightly_marketing", {"dagster/partition": "2026-02-10"}, failure, "http://ui/runs/1")
    assert alert == Alert(
        "nightly_marketing failed for 2026-02-10",
        "job: nightly_marketing\npartition: 2026-02-10\nstep: ingest\n"
        "error: the table purchases does not exist\nwhat to do: name the right table\nrun: http://ui/runs/1",
    )


def test_an_error_that_may_quote_a_user_stays_in_the_run() -> None:
    failure = RunFailure("ingest", "KeyError: 'user-77'\n", "read it in the run", private=True)
    alert = run_failed("nightly_marketing", {}, failure, "http://ui/runs/1")
    assert "user-77" not in alert.body
    assert "error: KeyError (what it says is in the run)" in alert.body
    assert "partition: none" in alert.body
    assert RunFailure("s", "user-77 broke it", None, private=True).without_data().error == (
        "an error (what it says is in the run)"
    )


def test_a_long_error_is_cut_and_a_range_is_named() -> None:
    tags = {
        "dagster/asset_partition_range_start": "2026-02-01",
        "dagster/asset_partition_range_end": "2026-02-09",
    }
    alert = run_failed("ingest_range", tags, RunFailure(None, "x " * 2000, None), "http://ui/runs/1")
    assert alert.title == "ingest_range failed for 2026-02-01 to 2026-02-09"
    assert len(alert.body) < 1000
    assert "step: none: the run itself failed" in alert.body
    assert partition_of({**tags, "dagster/asset_partition_range_end": "2026-02-01"}) == "2026-02-01"


def test_warnings_of_one_look_are_one_alert() -> None:
    found = [
        FailedWarning("transactions", "volume", f"2026-02-{day:02}", "run", f"observed {day}, limit 20")
        for day in range(1, 13)
    ]
    one = warnings_failed(found[:1], {"run": "http://ui/runs/run"})
    assert one.title == "transactions: the check volume warns for 2026-02-01"
    assert one.level == "warning"
    many = warnings_failed(found, {"run": "http://ui/runs/run"})
    assert many.title == "12 checks warn, the first of them volume of transactions for 2026-02-01"
    assert "transactions, volume, 2026-02-10: observed 10, limit 20\n  run: http://ui/runs/run" in many.body
    assert "2026-02-11" not in many.body
    assert "and 2 more" in many.body


def test_a_night_that_is_not_there_names_what_is_there_instead() -> None:
    alert = night_not_published(date(2026, 2, 10), "skipped: missed", "run it", "http://ui/runs/1")
    assert alert.title == "the night of 2026-02-10 is not published"
    assert alert.body == "day: 2026-02-10\nfound: skipped: missed\nwhat to do: run it\nrun: http://ui/runs/1"
