"""Schedules: the night begins by itself, and the morning looks whether it is there."""

from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.jobs import NIGHTLY
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
    """`nightly_marketing` for yesterday's partition, at the configured time of the zone; what watches it."""
    nightly = next(job for job in jobs if job.name == NIGHTLY)
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
        build_yesterday_published(settings, jobs),
    ]
