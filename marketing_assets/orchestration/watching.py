"""What watches the nights and alerts: failed runs, warnings of checks, a yesterday that is not published.

Nothing here starts a run. What alerts say is composed in `alerts.py`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import day_of
from marketing_assets.errors import MarketingError
from marketing_assets.orchestration.alerts import (
    Alerts,
    FailedWarning,
    night_not_published,
    partition_of,
    run_failed,
    warnings_failed,
)
from marketing_assets.orchestration.failures import failure_of_run
from marketing_assets.orchestration.jobs import NIGHTLY
from marketing_assets.orchestration.platform import Platform, prepare_once
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

YESTERDAY_PUBLISHED = "yesterday_published"

_EARLIEST_HOUR, _LATEST_HOUR = 7, 23
_WILL_RETRY_TAG = "dagster/will_retry"
_EVENTS_AT_ONCE = 1000
_READ_AGAIN = 200
"""Events may appear out of order, a little: so many ids before the last one seen are read again."""
_REMEMBERED = 500


def build_run_failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `run_failure`: an alert for each run that failed and is not started again by itself."""
    alerts = Alerts(settings)

    @dg.run_failure_sensor(
        name="run_failure",
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts the services of MARKETING_ALERT_URLS when a run failed: which, in which step, "
        "why, and what to do. A run that is tried again by itself is only logged.",
    )
    def run_failure(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        current = context.instance.get_run_by_id(run.run_id) or run
        failure = failure_of_run(context.instance, run.run_id)
        alert = run_failed(run.job_name, run.tags, failure, alerts.run_address(run.run_id))
        if current.tags.get(_WILL_RETRY_TAG) == "true":
            context.log.warning(f"{alert.title}; it is tried again by itself\n{alert.body}")
        else:
            alerts.send(alert, context.log)

    return run_failure


@dataclass(frozen=True)
class Seen:
    """How far the events of checks were read, and the newest warnings that were alerted about."""

    event: int
    alerted: tuple[str, ...] = ()

    @classmethod
    def parse(cls, cursor: str | None) -> "Seen | None":
        """What a cursor says; None where there is none that can be read."""
        try:
            read = json.loads(cursor or "")
            return cls(int(read["event"]), tuple(str(key) for key in read["alerted"]))
        except (ValueError, TypeError, KeyError):
            return None

    def text(self) -> str:
        """The cursor; of what was alerted about, the newest only, so that it stays small."""
        return json.dumps({"event": self.event, "alerted": self.alerted[-_REMEMBERED:]})


def build_failing_warnings_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `failing_warnings`: one alert for each check of severity WARN and day that fails."""
    alerts = Alerts(settings)

    @dg.sensor(
        name="failing_warnings",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts when a check that only warns failed, once per check and day. The night is "
        "published all the same.",
    )
    def failing_warnings(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        seen = Seen.parse(context.cursor)
        if seen is None:
            newest = _check_events(context.instance, None, limit=1)
            context.update_cursor(Seen(newest[0].storage_id if newest else 0).text())
            return dg.SkipReason("from now on")
        records = _check_events(context.instance, max(0, seen.event - _READ_AGAIN), _EVENTS_AT_ONCE)
        found = {
            each.key: each
            for each in _failed_warnings(context.instance, records, settings)
            if each.key not in seen.alerted
        }
        if found:
            addresses = {each.run_id: alerts.run_address(each.run_id) for each in found.values()}
            alerts.send(warnings_failed(list(found.values()), addresses), context.log)
        last = max([seen.event, *(record.storage_id for record in records)])
        context.update_cursor(Seen(last, (*seen.alerted, *found)).text())
        return dg.SkipReason(f"{len(found)} warnings that are new")

    return failing_warnings


def _check_events(instance: dg.DagsterInstance, after: int | None, limit: int) -> Sequence[dg.EventLogRecord]:
    """Evaluations of checks, oldest first from `after` on; where that is None, newest first."""
    wanted = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=after)
    return instance.event_log_storage.get_event_records(wanted, limit=limit, ascending=after is not None)


def _failed_warnings(
    instance: dg.DagsterInstance, records: Sequence[dg.EventLogRecord], settings: Settings
) -> Iterator[FailedWarning]:
    days: dict[str, str | None] = {}
    for record in records:
        entry = record.event_log_entry
        check = entry.get_dagster_event().asset_check_evaluation_data
        if check.passed or check.severity is not dg.AssetCheckSeverity.WARN:
            continue
        if entry.run_id not in days:
            run = instance.get_run_by_id(entry.run_id)
            days[entry.run_id] = None if run is None else partition_of(run.tags)
        on = day_of(datetime.fromtimestamp(record.timestamp, UTC), settings.zone).isoformat()
        shown = [check.description] if check.description else []
        shown += [
            f"{name.replace('_', ' ')} {check.metadata[name].value}"
            for name in ("observed", "limit", "how_to_list")
            if name in check.metadata
        ]
        yield FailedWarning(
            asset=check.asset_key.to_user_string(),
            check=check.check_name,
            day=check.partition or days[entry.run_id] or on,
            run_id=entry.run_id,
            shown=", ".join(shown) or "see the check in the UI",
        )


def build_yesterday_published(
    settings: Settings, jobs: "Sequence[UnresolvedAssetJobDefinition]"
) -> dg.ScheduleDefinition:
    """The schedule `yesterday_published`: in the morning, an alert where last night is not there.

    It alerts from the schedule's own tick, since a run of its own would wait behind those that hang.
    """
    alerts = Alerts(settings)

    @dg.schedule(
        name=YESTERDAY_PUBLISHED,
        job=next(job for job in jobs if job.name == NIGHTLY),
        cron_schedule=f"0 {_looked_at_hour(settings)} * * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks every morning whether yesterday is published, and alerts where it is not. It "
        "starts nothing.",
    )
    def yesterday_published(context: dg.ScheduleEvaluationContext) -> dg.SkipReason:
        day = day_of(context.scheduled_execution_time, settings.zone) - timedelta(days=1)
        missing = _not_published(settings, day)
        if missing is None:
            return dg.SkipReason(f"the night of {day} is published")
        run = _newest_run(context.instance, day)
        found = missing if run is None else f"{missing}; its newest run is {run.status.value.lower()}"
        address = None if run is None else alerts.run_address(run.run_id)
        alerts.send(night_not_published(day, found, _remedy(day, run), address), context.log)
        return dg.SkipReason(f"the night of {day} is not published: {found}")

    return yesterday_published


def _looked_at_hour(settings: Settings) -> int:
    """In the morning, and not before the night must be published."""
    return min(_LATEST_HOUR, max(_EARLIEST_HOUR, settings.analysis_hour + settings.deadline_hours + 1))


def _not_published(settings: Settings, day: date) -> str | None:
    """What there is instead of the published night of `day`; None where it is published."""
    from sqlalchemy.exc import SQLAlchemyError

    from marketing_assets.storage.repositories import nights

    platform = Platform(settings, f"marketing_assets schedule {YESTERDAY_PUBLISHED}")
    try:
        prepare_once(platform.urls)
        with platform.database.connect() as connection:
            night = nights.night(connection, day)
    except MarketingError as error:
        return error.message
    except SQLAlchemyError as error:
        return f"the database does not answer ({type(error).__name__})"
    finally:
        platform.close()
    if night is None:
        return "no row in published_nights"
    return None if night.status in ("published", "stale") else f"{night.status}: {night.reason}"


def _newest_run(instance: dg.DagsterInstance, day: date) -> dg.DagsterRun | None:
    wanted = dg.RunsFilter(job_name=NIGHTLY, tags={"dagster/partition": day.isoformat()})
    return next(iter(instance.get_runs(wanted, limit=1)), None)


def _remedy(day: date, run: dg.DagsterRun | None) -> str:
    again = f"run it in the UI (job {NIGHTLY}, partition {day}) or with: marketing run --day {day}"
    if run is None:
        return f"see that the daemon and the schedule {NIGHTLY} run, then {again}"
    if not run.is_finished:
        return (
            f"see where its run is and what it waits for (its log names it); if it hangs, end it and {again}"
        )
    return f"read why its run ended, mend that, then {again}"
