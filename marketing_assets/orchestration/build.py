"""Puts the code location together from settings: assets, checks, jobs, schedules, the platform."""

import warnings

import dagster as dg

from marketing_assets.orchestration.assets import (
    campaign_targets,
    campaigns,
    cleanup,
    published_night,
    settled_rewards,
    transactions,
    user_features,
    user_patterns,
)
from marketing_assets.orchestration.jobs import build_jobs
from marketing_assets.orchestration.partitions import daily_partitions
from marketing_assets.orchestration.plan_job import build_plan_job
from marketing_assets.orchestration.platform import platform_resource
from marketing_assets.orchestration.schedules import build_schedules
from marketing_assets.orchestration.sensors import build_sensors
from marketing_assets.orchestration.serving import build_tables
from marketing_assets.orchestration.subject_jobs import build_subject_jobs
from marketing_assets.orchestration.target_job import build_target_job
from marketing_assets.settings import Settings


def build_definitions(
    settings: Settings, loggers: dict[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """The whole code location for these settings. Opens no connection."""
    # The night decides one day at a time; ingest and behaviour also take a range. That is meant.
    warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying")
    partitions = daily_partitions(settings)
    jobs = build_jobs(settings)
    of_requests = [build_target_job(settings), *build_subject_jobs(settings)]
    return dg.Definitions(
        assets=[
            transactions.build_source(settings),
            transactions.build(settings, partitions),
            user_features.build(settings, partitions),
            user_patterns.build(settings, partitions),
            settled_rewards.build(partitions),
            campaigns.build(settings, partitions),
            campaign_targets.build(settings, partitions),
            published_night.build(settings, partitions),
            *build_tables(published_night.NAME),
            *cleanup.build(),
        ],
        jobs=[*jobs, *of_requests, build_plan_job(settings)],
        schedules=build_schedules(settings, jobs),
        sensors=build_sensors(settings, jobs, of_requests),
        resources={"platform": platform_resource(settings)},
        executor=dg.in_process_executor,
        loggers=loggers,
    )
