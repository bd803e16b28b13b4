"""Walks a schedule of the code location through time, tick by tick, as Dagster's daemon would."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._utils.schedules import schedule_execution_time_iterator

from marketing_assets.domain.days import end_of, start_of
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.settings import Settings

ODD_ZONES = {
    "America/New_York": "02:00 does not exist in March, 01:00 to 02:00 comes twice in November",
    "Europe/Paris": "02:00 does not exist in March, and comes twice in October",
    "Australia/Lord_Howe": "half an hour: 02:00 does not exist in October, 01:30 comes twice in April",
    "America/Santiago": "midnight does not exist in September, 23:00 comes twice in April",
    "Asia/Beirut": "midnight does not exist in March, 23:00 comes twice in October",
    "America/Havana": "midnight does not exist in March, and comes twice in November",
    "Africa/Casablanca": "the clock goes back for Ramadan and forward after it",
    "Asia/Kathmandu": "a quarter of an hour off, no change",
}
"""Zones in which something happens to the clock in 2026, and what."""


def code_location(home: Path, **values: object) -> dg.Definitions:
    """The code location with these variables, on a home of its own."""
    given: dict[str, object] = {"MARKETING_HOME": home, "MARKETING_SOURCE": "files", **values}
    return build_definitions(Settings(_env_file=None, **given))  # type: ignore[arg-type]


def ticks(schedule: dg.ScheduleDefinition, first: date, last: date) -> Iterator[datetime]:
    """The instants, in UTC, at which the daemon evaluates it, on the days of its zone."""
    zone = ZoneInfo(schedule.execution_timezone or "UTC")
    begin, end = start_of(first, zone), end_of(last, zone)
    for tick in schedule_execution_time_iterator(
        begin.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    ):
        if tick.astimezone(UTC) >= end:
            return
        yield tick.astimezone(UTC)


def request_at(definitions: dg.Definitions, schedule: str, tick: datetime) -> dg.RunRequest:
    """The one run that the schedule asks for at a tick."""
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=tick,
            repository_def=definitions.get_repository_def(),
        )
        [request] = definitions.resolve_schedule_def(schedule).evaluate_tick(context).run_requests or []
        return request


def clock_changes(zone: ZoneInfo, year: int) -> list[date]:
    """The days of the year, by the zone's own calendar, on which its clock is changed."""
    days = [date(year, 1, 1) + timedelta(days=offset) for offset in range(365)]
    return [day for day in days if end_of(day, zone) - start_of(day, zone) != timedelta(days=1)]


def days_of_ticks(definitions: dg.Definitions, schedule: str, first: date, last: date) -> list[date]:
    """The day, in the schedule's zone, of every tick from `first` to `last`; each once, if all is well."""
    found = definitions.resolve_schedule_def(schedule)
    zone = ZoneInfo(found.execution_timezone or "UTC")
    return [tick.astimezone(zone).date() for tick in ticks(found, first, last)]
