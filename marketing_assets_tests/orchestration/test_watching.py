"""What watches the nights: an alert for what went wrong, once, and none for what did not."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType

from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.watching import Seen
from marketing_assets.settings import Settings
from marketing_assets_tests.alert_service import AlertService, alert_service
from marketing_assets_tests.orchestration.daemon import Daemon
from marketing_assets_tests.world import DAY, FIRST, World

NIGHT = {"dagster/partition": DAY.isoformat()}
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def service() -> Iterator[AlertService]:
    with alert_service() as made:
        yield made


@pytest.fixture
def watched(world: World, service: AlertService) -> World:
    """A world whose alerts go to the service."""
    return with_alerts(world, service)


def with_alerts(world: World, service: AlertService, instance: dg.DagsterInstance | None = None) -> World:
    given: dict[str, Any] = {"MARKETING_ALERT_URLS": service.url, "MARKETING_UI_URL": "http://ui:3000"}
    read = Settings(_env_file=None, **given)
    values = {"alert_urls": read.alert_urls, "ui_url": read.ui_url}
    world.settings = world.settings.model_copy(update=values)
    if instance is not None:
        world.instance.dispose()
        world.instance = instance
    return world


def failure_of(world: World, run: dg.DagsterRun) -> dg.RunFailureSensorContext:
    records = world.instance.get_records_for_run(run.run_id, of_type=DagsterEventType.RUN_FAILURE).records
    return dg.build_run_status_sensor_context(
        sensor_name="run_failure",
        dagster_event=records[0].event_log_entry.get_dagster_event(),
        dagster_instance=world.instance,
        dagster_run=run,
    ).for_run_failure()


def tell_of_failure(world: World, run: dg.DagsterRun) -> None:
    build_definitions(world.settings).resolve_sensor_def("run_failure")(failure_of(world, run))


def test_a_failed_night_is_told_with_step_error_remedy_and_address(
    watched: World, service: AlertService
) -> None:
    watched.ingest(FIRST, DAY - timedelta(days=1))
    watched.csv.unlink()
    result = watched.night(DAY)
    run = watched.instance.get_run_by_id(result.run_id)
    assert run is not None
    tell_of_failure(watched, run)
    [post] = service.posts
    assert post["title"] == f"nightly_marketing failed for {DAY}"
    assert post["message"].split("\n") == [
        "job: nightly_marketing",
        f"partition: {DAY}",
        "step: ingest",
        f"error: files source: no file matches {watched.csv}",
        "what to do: correct MARKETING_SOURCE_URL: a path, or a glob such as /data/2026/*.parquet",
        f"run: http://ui:3000/runs/{run.run_id}",
    ]


def test_a_run_that_is_tried_again_is_told_only_when_the_last_try_failed(
    watched: World, service: AlertService
) -> None:
    daemon = Daemon(watched)
    run = daemon.launch("nightly_marketing", NIGHT)
    daemon.report_failed(run, "Run worker exited unexpectedly")
    watched.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    tell_of_failure(watched, run)
    assert service.posts == []
    watched.instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
    tell_of_failure(watched, run)
    [post] = service.posts
    assert "error: Run worker exited unexpectedly" in post["message"]


def test_a_service_that_is_down_does_not_break_the_sensor(watched: World, service: AlertService) -> None:
    service.status = 500
    daemon = Daemon(watched)
    run = daemon.launch("nightly_marketing", NIGHT)
    daemon.report_failed(run, "Run worker exited unexpectedly")
    tell_of_failure(watched, run)
    assert len(service.posts) == 1


def check_ran(
    world: World,
    *,
    day: date | None = DAY,
    passed: bool = False,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
    check: str = "volume",
) -> str:
    """Run an asset whose check came to this; the run's id."""

    @dg.asset(name="transactions", check_specs=[dg.AssetCheckSpec(check, asset="transactions")])
    def made() -> Iterator[dg.MaterializeResult[object] | dg.AssetCheckResult]:
        yield dg.MaterializeResult()
        yield dg.AssetCheckResult(
            check_name=check,
            passed=passed,
            severity=severity,
            metadata={"observed": 3, "limit": 20, "how_to_list": "duckdb -c '...'"},
        )

    tags = {} if day is None else {"dagster/partition": day.isoformat()}
    return dg.materialize([made], instance=world.instance, tags=tags).run_id


def look(world: World, cursor: str | None) -> str:
    """One tick of the sensor; the new cursor."""
    tick = Daemon(world).tick("failing_warnings", cursor)
    assert tick.run_requests == []
    assert tick.cursor is not None
    return tick.cursor


def test_a_warning_that_failed_is_told_once_per_check_and_day(watched: World, service: AlertService) -> None:
    cursor = look(watched, None)
    run = check_ran(watched)
    cursor = look(watched, cursor)
    [post] = service.posts
    assert (post["title"], post["type"]) == (f"transactions: the check volume warns for {DAY}", "warning")
    assert post["message"].startswith(
        f"transactions, volume, {DAY}: observed 3, limit 20, how to list duckdb -c '...'\n"
        f"  run: http://ui:3000/runs/{run}\n"
    )
    check_ran(watched)
    cursor = look(watched, look(watched, cursor))
    assert len(service.posts) == 1
    check_ran(watched, day=NEXT)
    check_ran(watched, check="day_not_empty")
    look(watched, cursor)
    assert service.titles[1:] == [f"2 checks warn, the first of them volume of transactions for {NEXT}"]


def test_what_passed_or_is_no_warning_is_not_told(watched: World, service: AlertService) -> None:
    cursor = look(watched, None)
    check_ran(watched, passed=True)
    check_ran(watched, severity=dg.AssetCheckSeverity.ERROR)
    look(watched, cursor)
    assert service.posts == []


def test_a_check_without_a_partition_is_told_once_on_its_day(watched: World, service: AlertService) -> None:
    cursor = look(watched, None)
    check_ran(watched, day=None)
    check_ran(watched, day=None)
    look(watched, cursor)
    [title] = service.titles
    assert title.startswith("transactions: the check volume warns for 20")


def test_warnings_from_before_the_sensor_was_switched_on_are_not_told(
    watched: World, service: AlertService
) -> None:
    check_ran(watched)
    cursor = look(watched, None)
    assert Seen.parse(cursor) == Seen(json.loads(cursor)["event"])
    assert json.loads(cursor)["event"] > 0
    check_ran(watched, day=NEXT)
    look(watched, cursor)
    assert len(service.posts) == 1


def test_a_lost_cursor_begins_anew_and_a_long_one_forgets_the_oldest(
    watched: World, service: AlertService
) -> None:
    check_ran(watched)
    assert json.loads(look(watched, "not a cursor"))["alerted"] == []
    assert service.posts == []
    long = Seen(7, tuple(f"transactions/volume/{number}" for number in range(2000)))
    kept = Seen.parse(long.text())
    assert kept is not None
    assert (len(kept.alerted), kept.alerted[-1]) == (500, "transactions/volume/1999")


@pytest.fixture
def kept() -> Iterator[dg.DagsterInstance]:
    """An instance on disk: the context of a schedule takes no other."""
    with dg.instance_for_test() as made:
        yield made


@pytest.mark.parametrize(("analysis_hour", "looks_at"), [(0, 7), (3, 7), (9, 13), (22, 23)])
def test_the_morning_s_look_comes_when_the_night_must_be_there(
    world: World, analysis_hour: int, looks_at: int
) -> None:
    settings = world.settings.model_copy(update={"analysis_hour": analysis_hour})
    schedule = build_definitions(settings).resolve_schedule_def("yesterday_published")
    assert schedule.cron_schedule == f"0 {looks_at} * * *"


def morning(world: World, day: date) -> str:
    """What the schedule says at 07:00 of the day after `day`."""
    definitions = build_definitions(world.settings)
    schedule = definitions.resolve_schedule_def("yesterday_published")
    assert schedule.cron_schedule == "0 7 * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    at = datetime(day.year, day.month, day.day, 7, tzinfo=UTC) + timedelta(days=1)
    context = dg.build_schedule_context(
        instance=world.instance,
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
    )
    ticked = schedule.evaluate_tick(context)
    assert ticked.run_requests == []
    return str(ticked.skip_message)


def test_a_morning_after_a_published_night_is_quiet(
    decided_world: World, service: AlertService, kept: dg.DagsterInstance
) -> None:
    world = with_alerts(decided_world, service, kept)
    assert morning(world, DAY) == f"the night of {DAY} is published"
    assert service.posts == []


def test_a_morning_without_its_night_alerts(
    decided_world: World, service: AlertService, kept: dg.DagsterInstance
) -> None:
    world = with_alerts(decided_world, service, kept)
    assert morning(world, NEXT) == f"the night of {NEXT} is not published: no row in published_nights"
    [post] = service.posts
    assert post["title"] == f"the night of {NEXT} is not published"
    assert post["message"].split("\n") == [
        f"day: {NEXT}",
        "found: no row in published_nights",
        "what to do: see that the daemon and the schedule nightly_marketing run, then run it in the UI "
        f"(job nightly_marketing, partition {NEXT}) or with: marketing run --day {NEXT}",
    ]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (dg.DagsterRunStatus.STARTED, "see where its run is and what it waits for"),
        (dg.DagsterRunStatus.FAILURE, "read why its run ended, mend that, then run it in the UI"),
    ],
)
def test_a_night_that_hangs_or_failed_is_told_with_its_run(
    decided_world: World,
    service: AlertService,
    kept: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    remedy: str,
) -> None:
    world = with_alerts(decided_world, service, kept)
    run = Daemon(world).launch("nightly_marketing", {"dagster/partition": NEXT.isoformat()}, status)
    said = morning(world, NEXT)
    assert said.endswith(f"no row in published_nights; its newest run is {status.value.lower()}")
    [post] = service.posts
    assert remedy in post["message"]
    assert post["message"].endswith(f"run: http://ui:3000/runs/{run.run_id}")


def test_a_night_that_was_skipped_is_told(
    decided_world: World, service: AlertService, kept: dg.DagsterInstance
) -> None:
    assert decided_world.night(NEXT, at=datetime(2026, 2, 13, tzinfo=UTC)).success
    world = with_alerts(decided_world, service, kept)
    assert f"the night of {NEXT} is not published: skipped: missed" in morning(world, NEXT)
    assert len(service.posts) == 1


def test_a_database_that_is_down_is_told(
    watched: World, service: AlertService, kept: dg.DagsterInstance
) -> None:
    watched = with_alerts(watched, service, kept)
    nowhere = {"database_url": "postgresql://nobody@127.0.0.1:9/marketing"}
    watched.settings = watched.settings.model_copy(update=nowhere)
    assert "PostgreSQL cannot be reached" in morning(watched, DAY)
    assert len(service.posts) == 1


def test_yesterday_is_that_of_the_business_zone(
    decided_world: World, service: AlertService, kept: dg.DagsterInstance
) -> None:
    world = with_alerts(decided_world, service, kept)
    world.settings = world.settings.model_copy(update={"timezone": "Asia/Tokyo"})
    schedule = build_definitions(world.settings).resolve_schedule_def("yesterday_published")
    assert schedule.execution_timezone == "Asia/Tokyo"
    # 07:00 in Tokyo is 22:00 UTC of the day before.
    context = dg.build_schedule_context(
        instance=world.instance,
        scheduled_execution_time=datetime(NEXT.year, NEXT.month, NEXT.day, 22, tzinfo=UTC)
        - timedelta(days=1),
    )
    assert schedule.evaluate_tick(context).skip_message == f"the night of {DAY} is published"
