"""Schedules across the clock changes of a year: each business day exactly once, wherever the clock jumps."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from marketing_assets.domain.days import days_between, end_of
from marketing_assets.orchestration.partitions import days_to_also_ingest
from marketing_assets.orchestration.schedules import night_request
from marketing_assets.settings import Settings
from marketing_assets_tests.orchestration.ticks import (
    ODD_ZONES,
    clock_changes,
    code_location,
    days_of_ticks,
    request_at,
    ticks,
)
from marketing_assets_tests.world import World

NEW_YEAR, SILVESTER = date(2026, 1, 1), date(2026, 12, 31)
YEAR = days_between(NEW_YEAR, SILVESTER)
TIMES = [(0, 0), (0, 30), (1, 30), (2, 0), (2, 30), (3, 0), (23, 0), (23, 59)]


ZONES = [
    pytest.param(zone, marks=[] if zone in ("Europe/Paris", "America/Santiago") else pytest.mark.verify)
    for zone in ODD_ZONES
]
"""All of them are walked by make verify, two by every make test."""

SCHEDULES = {
    "nightly_marketing": ("MARKETING_ANALYSIS_HOUR", "MARKETING_ANALYSIS_MINUTE"),
    "campaign_cleanup": ("CAMPAIGN_CLEANUP_HOUR", "CAMPAIGN_CLEANUP_MINUTE"),
}
"""Every daily schedule whose time can be set, and the variables that say when it is due."""

FIXED = {"yesterday_published"}
"""Those that are due at a time that nobody sets."""


def test_no_daily_schedule_is_left_out_here(tmp_path: Path) -> None:
    made = code_location(tmp_path).get_repository_def().schedule_defs
    daily = {schedule.name for schedule in made if str(schedule.cron_schedule).endswith(" * * *")}
    assert daily == set(SCHEDULES) | FIXED


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_ticks_once_on_every_day_of_a_year(tmp_path: Path, schedule: str, zone: str) -> None:
    hour_variable, minute_variable = SCHEDULES[schedule]
    for hour, minute in TIMES:
        values = {"MARKETING_TIMEZONE": zone, hour_variable: hour, minute_variable: minute}
        made = code_location(tmp_path, **values)
        found = made.resolve_schedule_def(schedule)
        assert found.execution_timezone == zone
        assert found.default_status is dg.DefaultScheduleStatus.RUNNING
        assert days_of_ticks(made, schedule, NEW_YEAR, SILVESTER) == YEAR, (hour, minute)


@pytest.mark.parametrize("zone", ZONES)
def test_the_night_of_each_day_runs_once_when_the_day_is_over(tmp_path: Path, zone: str) -> None:
    where = ZoneInfo(zone)
    changes = clock_changes(where, 2026)
    assert bool(changes) == (zone != "Asia/Kathmandu")
    for hour, minute in TIMES:
        made = code_location(
            tmp_path,
            MARKETING_TIMEZONE=zone,
            MARKETING_ANALYSIS_HOUR=hour,
            MARKETING_ANALYSIS_MINUTE=minute,
            MARKETING_START_DATE=date(2025, 12, 1),
        )
        partitions = made.resolve_asset_graph().get(dg.AssetKey("transactions")).partitions_def
        assert partitions is not None
        for change in changes or [date(2026, 6, 15)]:
            first, last = change - timedelta(days=2), change + timedelta(days=2)
            processed = []
            for tick in ticks(made.resolve_schedule_def("nightly_marketing"), first, last):
                request = request_at(made, "nightly_marketing", tick)
                day = date.fromisoformat(str(request.partition_key))
                assert end_of(day, where) <= tick < end_of(day + timedelta(days=1), where)
                assert partitions.get_partition_keys(tick)[-1] == request.partition_key
                assert request.run_key == request.partition_key
                processed.append(day)
            assert processed == days_between(first - timedelta(days=1), last - timedelta(days=1))


def test_a_tick_that_comes_late_is_still_its_own_night_s(tmp_path: Path) -> None:
    made = code_location(tmp_path, MARKETING_START_DATE=NEW_YEAR)
    request = request_at(made, "nightly_marketing", datetime(2026, 2, 11, 2, tzinfo=UTC))
    assert request.partition_key == "2026-02-10"
    assert (request.job_name, request.tags["dagster/priority"]) == ("nightly_marketing", "10")


def test_a_night_before_the_lake_s_first_day_is_skipped_with_the_reason(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        MARKETING_HOME=tmp_path,
        MARKETING_START_DATE=NEW_YEAR,
    )
    asked = night_request(settings, date(2025, 12, 31), run_key="k", trigger="schedule")
    assert isinstance(asked, dg.SkipReason)
    assert asked.skip_message == (
        "2025-12-31 lies before the lake's first day, 2026-01-01: there is no such night."
    )


def test_the_first_night_of_a_new_installation_ingests_its_window(world: World) -> None:
    asked = night_request(world.settings, date(2026, 2, 10), run_key="k", trigger="schedule")
    assert isinstance(asked, dg.RunRequest)
    assert days_to_also_ingest(asked.tags) == days_between(date(2026, 1, 11), date(2026, 2, 9))
    assert asked.tags["marketing/also_ingest"] == "2026-01-11..2026-02-09"
