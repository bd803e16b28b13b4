"""Schedules: what begins by itself at a time of the day: the night, the clean-up, a look in the morning."""

from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.jobs import CLEANUP, NIGHTLY
from marketing_assets.orchestration.watching import build_yesterday_published
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.partitions.partitioned_schedule import (
        UnresolvedPartitionedAssetScheduleDefinition,
    )
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build_schedules(
    settings: Settings, jobs: "list[UnresolvedAssetJobDefinition]"
) -> "list[dg.ScheduleDefinition | UnresolvedPartitionedAssetScheduleDefinition]":
    """`nightly_marketing` for yesterday's partition, `campaign_cleanup`, and the look whether it is there."""
    nightly = next(job for job in jobs if job.name == NIGHTLY)
    cleanup = next(job for job in jobs if job.name == CLEANUP)
    return [
        dg.build_schedule_from_partitioned_job(
            nightly,
            name=NIGHTLY,
            hour_of_day=settings.analysis_hour,
            minute_of_hour=settings.analysis_minute,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={"trigger": "schedule", "source": settings.source},
            description="Every night: the day that has just ended.",
        ),
        dg.ScheduleDefinition(
            name=CLEANUP,
            job=cleanup,
            cron_schedule=f"{settings.cleanup_minute} {settings.cleanup_hour} * * *",
            execution_timezone=settings.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={"trigger": "schedule"},
            description="Every night: campaigns that are over, old partitions, old events.",
        ),
        build_yesterday_published(settings, jobs),
    ]
