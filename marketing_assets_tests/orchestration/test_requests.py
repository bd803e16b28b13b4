"""Requests: what starts a run, what joins one, and what a row says from its insertion to its end."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster import DagsterEventType
from dagster_postgres.utils import DagsterPostgresException

from marketing_assets.orchestration.partitions import days_to_also_ingest
from marketing_assets.orchestration.platform import Platform
from marketing_assets.orchestration.request_kinds import Analysis, Kind, Work
from marketing_assets.orchestration.requests import REQUEST_TAG, Dispatcher
from marketing_assets.storage import clock
from marketing_assets.storage.repositories import requests
from marketing_assets_tests.orchestration.daemon import Daemon
from marketing_assets_tests.world import DAY, FIRST, World

TODAY = DAY + timedelta(days=1)
STARTED = DagsterEventType.RUN_START
NIGHT = {"dagster/partition": DAY.isoformat()}


@pytest.fixture
def at_dawn(decided_world: World) -> Iterator[World]:
    """The decided world, on the morning after its night."""
    with clock.simulated(decided_world.database, "test") as simulated:
        simulated.set(datetime(TODAY.year, TODAY.month, TODAY.day, 2, tzinfo=UTC))
        yield decided_world


@pytest.fixture
def daemon(at_dawn: World) -> Daemon:
    return Daemon(at_dawn)


def ask(world: World, payload: Any, kind: str = "analysis") -> uuid.UUID:
    with world.database.begin() as connection:
        return requests.ask(connection, kind, payload, "test")


def row(world: World, request: uuid.UUID) -> tuple[str, str | None, Any, bool]:
    """Status, run, result and whether it has an end."""
    [found] = world.rows(
        f"select status, run_id, result, finished_at is not null from marketing.requests "
        f"where request_id = '{request}'"
    )
    status, run_id, result, finished = found
    return status, run_id, result, finished


def requested(day: date = DAY) -> dict[str, str]:
    return {"day": day.isoformat()}


def test_nothing_is_started_where_nothing_is_asked(daemon: Daemon) -> None:
    tick = daemon.tick("requests")
    assert (tick.run_requests, tick.skip_message) == ([], "0 open requests, nothing to start")


def test_an_analysis_becomes_the_run_of_its_night_under_a_key_of_its_own(daemon: Daemon) -> None:
    request = ask(daemon.world, requested())
    [wanted] = daemon.wanted("requests")
    assert (wanted.job_name, wanted.partition_key) == ("nightly_marketing", DAY.isoformat())
    assert wanted.run_key == f"analysis-{request}"
    assert wanted.tags[REQUEST_TAG] == str(request)
    assert (wanted.tags["trigger"], wanted.tags["source"]) == ("request", "files")
    # A daemon that dies before it launched the run asks for the same again.
    assert [again.run_key for again in daemon.wanted("requests")] == [wanted.run_key]
    assert row(daemon.world, request) == ("queued", None, None, False)


@pytest.mark.parametrize("payload", [{}, {"day": DAY.isoformat()}])
def test_the_row_follows_its_run_to_the_result(daemon: Daemon, payload: dict[str, str]) -> None:
    world = daemon.world
    request = ask(world, payload)
    [wanted] = daemon.wanted("requests")
    assert daemon.execute(wanted).success
    assert daemon.wanted("requests") == []
    [run] = world.instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: str(request)}))
    result = {
        "day": DAY.isoformat(),
        "night": "published",
        "reason": None,
        "users": 105,
        "patterns": {
            "high_spender": 0,
            "inactive": 30,
            "new_shopper": 55,
            "seasonal": 0,
            "frequent_shopper": 50,
            "location_cluster": 105,
            "general": 105,
        },
        "campaigns_opened": 5,
        "users_targeted": 94,  # eleven are in the global holdout
    }
    assert row(world, request) == ("succeeded", run.run_id, result, True)
    assert world.rows("select payload from marketing.requests") == [({"day": DAY.isoformat()},)]


def test_the_row_says_whether_its_run_waits_or_computes(daemon: Daemon) -> None:
    world = daemon.world
    request = ask(world, requested())
    run = daemon.submit(daemon.wanted("requests")[0])
    assert daemon.wanted("requests") == []
    assert row(world, request) == ("queued", run.run_id, None, False)
    daemon.report(run, STARTED)
    assert daemon.wanted("requests") == []
    assert row(world, request) == ("running", run.run_id, None, False)


def test_requests_of_one_day_share_its_run_and_another_day_has_its_own(daemon: Daemon) -> None:
    world = daemon.world
    before = DAY - timedelta(days=1)
    first, second, other = ask(world, requested()), ask(world, {}), ask(world, requested(before))
    wanted = daemon.wanted("requests")
    assert [each.partition_key for each in wanted] == [DAY.isoformat(), before.isoformat()]
    runs = [daemon.submit(each) for each in wanted]
    assert daemon.wanted("requests") == []
    third = ask(world, requested())
    assert daemon.wanted("requests") == []
    joined = {row(world, each)[1] for each in (first, second, third)}
    assert (joined, row(world, other)[1]) == ({runs[0].run_id}, runs[1].run_id)
    daemon.report(runs[0], DagsterEventType.RUN_SUCCESS)
    assert daemon.wanted("requests") == []
    assert [row(world, each)[0] for each in (first, second, third, other)] == [*["succeeded"] * 3, "queued"]


@pytest.mark.verify
def test_requests_that_shared_a_run_have_it_also_where_it_ended_before_the_next_look(
    daemon: Daemon,
) -> None:
    world = daemon.world
    both = [ask(world, requested()), ask(world, requested())]
    [wanted] = daemon.wanted("requests")
    result = daemon.execute(wanted)
    assert daemon.wanted("requests") == []
    assert [row(world, each)[:2] for each in both] == [("succeeded", result.run_id)] * 2
    later = ask(world, requested())
    assert [each.run_key for each in daemon.wanted("requests")] == [f"analysis-{later}"]


def test_a_request_joins_the_run_of_the_schedule(daemon: Daemon) -> None:
    run = daemon.launch("nightly_marketing", {**NIGHT, "trigger": "schedule"})
    request = ask(daemon.world, requested())
    assert daemon.wanted("requests") == []
    assert row(daemon.world, request)[:2] == ("queued", run.run_id)


def test_a_run_in_the_process_of_a_command_is_not_joined(daemon: Daemon) -> None:
    running = dg.DagsterRun(job_name="nightly_marketing", tags=NIGHT, status=dg.DagsterRunStatus.STARTED)
    daemon.world.instance.add_run(running)
    request = ask(daemon.world, requested())
    assert [each.run_key for each in daemon.wanted("requests")] == [f"analysis-{request}"]


def test_a_run_that_was_made_and_never_launched_is_asked_for_again(daemon: Daemon) -> None:
    request = ask(daemon.world, requested())
    [wanted] = daemon.wanted("requests")
    tags = {**wanted.tags, **NIGHT}
    daemon.launch("nightly_marketing", tags, dg.DagsterRunStatus.NOT_STARTED)
    assert [each.run_key for each in daemon.wanted("requests")] == [wanted.run_key]
    assert row(daemon.world, request)[0] == "queued"


def test_the_reason_of_a_failure_is_written_back(daemon: Daemon) -> None:
    world = daemon.world
    request = ask(world, requested())
    [wanted] = daemon.wanted("requests")
    world.csv.unlink()
    result = daemon.execute(wanted)
    assert not result.success
    assert daemon.wanted("requests") == []
    status, run_id, said, finished = row(world, request)
    assert (status, run_id, finished) == ("failed", result.run_id, True)
    assert said == {
        "error": f"ingest: files source: no file matches {world.csv}",
        "remedy": "correct MARKETING_SOURCE_URL: a path, or a glob such as /data/2026/*.parquet",
    }


def test_a_cancelled_run_fails_its_request(daemon: Daemon) -> None:
    request = ask(daemon.world, requested())
    run = daemon.submit(daemon.wanted("requests")[0])
    daemon.report(run, DagsterEventType.RUN_CANCELED)
    assert daemon.wanted("requests") == []
    assert row(daemon.world, request)[:3] == (
        "failed",
        run.run_id,
        {"error": "its run was cancelled", "remedy": "ask again"},
    )


def test_a_request_follows_its_run_to_the_next_try(daemon: Daemon) -> None:
    world = daemon.world
    request = ask(world, requested())
    run = daemon.submit(daemon.wanted("requests")[0])
    daemon.report(run, STARTED)
    daemon.report_failed(run, "the process died")
    world.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert daemon.wanted("requests") == []
    assert row(world, request)[:2] == ("running", run.run_id)
    retry = daemon.launch("nightly_marketing", {**NIGHT, "dagster/parent_run_id": run.run_id})
    world.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    assert daemon.wanted("requests") == []
    assert row(world, request)[:2] == ("running", retry.run_id)
    daemon.report(retry, STARTED)
    daemon.report_failed(retry, "the process died again")
    world.instance.add_run_tags(retry.run_id, {"dagster/will_retry": "false"})
    assert daemon.wanted("requests") == []
    status, run_id, said, _ = row(world, request)
    assert (status, run_id, said["error"]) == ("failed", retry.run_id, "the process died again")


def test_a_run_whose_record_is_gone_is_started_again(daemon: Daemon) -> None:
    request = ask(daemon.world, requested())
    [wanted] = daemon.wanted("requests")
    run = daemon.submit(wanted)
    assert daemon.wanted("requests") == []
    daemon.world.instance.delete_run(run.run_id)
    assert [each.run_key for each in daemon.wanted("requests")] == [wanted.run_key]
    assert row(daemon.world, request)[0] == "queued"


def test_the_night_ingests_the_missing_days_of_its_window_first(daemon: Daemon) -> None:
    world = daemon.world
    gap = [DAY - timedelta(days=5), DAY - timedelta(days=3)]
    before = world.files()
    for day in gap:
        (world.settings.lake / "transactions" / f"day={day}" / "part-0.parquet").unlink()
    both = [ask(world, requested()), ask(world, {})]
    [wanted] = daemon.wanted("requests")
    assert (wanted.job_name, wanted.run_key) == ("nightly_marketing", f"analysis-{both[0]}")
    assert days_to_also_ingest(wanted.tags) == gap
    result = daemon.execute(wanted)
    assert result.success
    assert world.files() == before
    assert daemon.wanted("requests") == []
    assert [row(world, each)[:2] for each in both] == [("succeeded", result.run_id)] * 2


class Faulty(Analysis):
    """Analyses, of which that of one day meets an error that nobody foresaw."""

    def __init__(self, day: date, error: Exception) -> None:
        self._day = day
        self._error = error

    def work(self, payload: Mapping[str, object]) -> Work:
        if payload["day"] == self._day.isoformat():
            raise self._error
        return super().work(payload)


def look(world: World, kind: Kind) -> list[dg.RunRequest]:
    platform = Platform(world.settings, "test")
    try:
        return Dispatcher(platform, world.instance, [kind]).look()[1]
    finally:
        platform.close()


def test_an_error_that_nobody_foresaw_fails_its_row_by_name_and_no_other(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    world = daemon.world
    days = [DAY - timedelta(days=back) for back in (2, 1, 0)]
    first, faulty, last = (ask(world, requested(day)) for day in days)
    wanted = look(world, Faulty(days[1], KeyError("user 4711")))
    assert [each.run_key for each in wanted] == [f"analysis-{first}", f"analysis-{last}"]
    status, run_id, said, finished = row(world, faulty)
    assert (status, run_id, finished) == ("failed", None, True)
    assert said["error"] == "an error that nobody foresaw: KeyError"
    assert [row(world, each)[0] for each in (first, last)] == ["queued", "queued"]
    assert f"request {faulty}: KeyError" in caplog.text
    assert "in work" in caplog.text
    assert "4711" not in caplog.text


def test_a_row_that_the_database_refuses_fails_alone_and_changes_nothing_else(daemon: Daemon) -> None:
    world = daemon.world

    class Refused(Analysis):
        def understand(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, object]:
            return payload if payload.get("day") else {"day": "\0"}

    refused, other = ask(world, {}), ask(world, requested())
    assert [each.run_key for each in look(world, Refused())] == [f"analysis-{other}"]
    assert (row(world, refused)[0], row(world, other)[0]) == ("failed", "queued")
    assert row(world, refused)[2]["error"] == "an error that nobody foresaw: DataError"


@pytest.mark.parametrize(
    "lost", [DagsterPostgresException("no connection"), psycopg.errors.AdminShutdown("terminated")]
)
def test_a_database_that_goes_away_fails_no_row(daemon: Daemon, lost: Exception) -> None:
    request = ask(daemon.world, requested())
    with pytest.raises(type(lost)):
        look(daemon.world, Faulty(DAY, lost))
    assert row(daemon.world, request) == ("queued", None, None, False)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"day": "yesterday"}, "'yesterday' is not a day"),
        ({"day": "20260210"}, "'20260210' is not a day"),
        ({"day": 7}, "'7' is not a day"),
        ({"day": None}, "'None' is not a day"),
        ({"date": "2026-02-10"}, "an analysis has no date"),
        (["2026-02-10"], "its payload is not a JSON object"),
        ({"day": TODAY.isoformat()}, "the business day 2026-02-11 is not over yet in UTC"),
        ({"day": "2025-12-31"}, f"2025-12-31 lies before the lake's first day, {FIRST}"),
    ],
)
def test_a_payload_that_makes_no_sense_fails_the_row(daemon: Daemon, payload: Any, error: str) -> None:
    bad, good = ask(daemon.world, payload), ask(daemon.world, requested())
    assert [each.run_key for each in daemon.wanted("requests")] == [f"analysis-{good}"]
    status, run_id, said, finished = row(daemon.world, bad)
    assert (status, run_id, said["error"], finished) == ("failed", None, error, True)
    asks = 'ask with the payload {"day": "2026-11-21"}, or {} for yesterday'
    assert said["remedy"].startswith(asks if isinstance(payload, dict) else "ask with a payload such as {}")


def test_a_kind_that_nobody_knows_fails_the_row(daemon: Daemon) -> None:
    request = ask(daemon.world, {}, kind="horoscope")
    assert daemon.wanted("requests") == []
    assert row(daemon.world, request)[2] == {
        "error": "nobody knows requests of the kind 'horoscope'",
        "remedy": "ask for one of: analysis, erasure, export, target_campaign",
    }


def test_a_night_that_comes_too_late_is_analysed_and_not_decided(daemon: Daemon) -> None:
    world = daemon.world
    day = DAY - timedelta(days=1)
    request = ask(world, requested(day))
    [wanted] = daemon.wanted("requests")
    assert daemon.execute(wanted).success
    assert daemon.wanted("requests") == []
    result = row(world, request)[2]
    assert (result["night"], result["reason"]) == ("not recorded", None)  # no night was decided before it
    assert (result["users"], result["campaigns_opened"], result["users_targeted"]) == (80, 0, 0)


def test_one_look_starts_no_more_than_ten_runs(daemon: Daemon) -> None:
    for back in range(12):
        ask(daemon.world, requested(DAY - timedelta(days=back)))
    # Days before the first ones have the whole of their window, or the lake's first day, ingested.
    wanted = daemon.wanted("requests")
    assert len(wanted) == 10
    for each in wanted:
        daemon.submit(each)
    assert len(daemon.wanted("requests")) == 2
