"""Schedules: what begins by itself at a time of the day: the night, the clean-up, a look in the morning."""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import ONE_DAY, day_of, window
from marketing_assets.orchestration.jobs import CLEANUP, NIGHTLY
from marketing_assets.orchestration.partitions import also_ingest, first_day
from marketing_assets.orchestration.watching import build_yesterday_published
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NIGHTLY_PRIORITY = {"dagster/priority": "10"}
"""Before everything else in the queue: the app waits for the night, nobody waits for a backfill."""


def build_schedules(
    settings: Settings, jobs: "list[UnresolvedAssetJobDefinition]"
) -> list[dg.ScheduleDefinition]:
    """`nightly_marketing` for yesterday's partition, `campaign_cleanup`, and the look whether it is there."""
    nightly = next(job for job in jobs if job.name == NIGHTLY)
    cleanup = next(job for job in jobs if job.name == CLEANUP)
    morning = build_yesterday_published(settings, jobs)
    return [_nightly(settings, nightly), _cleanup(settings, cleanup), morning]


def _cleanup(settings: Settings, job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=CLEANUP,
        job=job,
        cron_schedule=f"{settings.cleanup_minute} {settings.cleanup_hour} * * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        tags={"trigger": "schedule"},
        description="Every night: campaigns that are over, old partitions, old events.",
    )


def _nightly(settings: Settings, job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    @dg.schedule(
        name=NIGHTLY,
        job=job,
        cron_schedule=f"{settings.analysis_minute} {settings.analysis_hour} * * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night: the day that has just ended, and the days of its window that were never "
        "ingested.",
    )
    def nightly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        # By the tick's own time: a tick that comes late, after a restart, is still that night's.
        day = day_of(context.scheduled_execution_time, settings.zone) - ONE_DAY
        return night_request(settings, day, run_key=day.isoformat(), trigger="schedule")

    return nightly_schedule


def night_request(
    settings: Settings, day: date, *, run_key: str, trigger: str, late: "list[date] | None" = None
) -> dg.RunRequest | dg.SkipReason:
    """A run of the night of `day`, which ingests what its window lacks, and the `late` days again."""
    from marketing_assets.storage.datasets import TRANSACTIONS
    from marketing_assets.storage.lake import Lake

    first = first_day(settings)
    if day < first:
        return dg.SkipReason(f"{day} lies before the lake's first day, {first}: there is no such night.")
    earlier = window(day, settings.window_days, first)[:-1]
    missing = Lake(settings.lake).missing(TRANSACTIONS, earlier)
    return dg.RunRequest(
        run_key=run_key,
        job_name=NIGHTLY,
        partition_key=day.isoformat(),
        tags={
            "trigger": trigger,
            "source": settings.source,
            **NIGHTLY_PRIORITY,
            **also_ingest({*missing, *(late or [])}),
        },
    )
