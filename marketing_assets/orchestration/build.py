"""Puts the code location together from settings: assets, checks, jobs, schedules, the platform."""

import warnings

import dagster as dg

from marketing_assets.orchestration import late_data, missed_nights
from marketing_assets.orchestration.assets import (
    campaign_targets,
    campaigns,
    published_night,
    transactions,
    user_features,
    user_patterns,
)
from marketing_assets.orchestration.jobs import build_jobs
from marketing_assets.orchestration.partitions import daily_partitions
from marketing_assets.orchestration.platform import platform_resource
from marketing_assets.orchestration.schedules import build_schedules
from marketing_assets.settings import Settings


def build_definitions(
    settings: Settings, loggers: dict[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """The whole code location for these settings. Opens no connection."""
    # The night decides one day at a time; ingest and behaviour also take a range. That is meant.
    warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying")
    partitions = daily_partitions(settings)
    jobs = build_jobs()
    return dg.Definitions(
        assets=[
            transactions.build_source(settings),
            transactions.build(settings, partitions),
            user_features.build(settings, partitions),
            user_patterns.build(partitions),
            campaigns.build(partitions),
            campaign_targets.build(partitions),
            published_night.build(partitions),
        ],
        jobs=jobs,
        schedules=build_schedules(settings, jobs),
        sensors=[late_data.build(settings, jobs), missed_nights.build(settings, jobs)],
        resources={"platform": platform_resource(settings)},
        executor=dg.in_process_executor,
        loggers=loggers,
    )
