"""Jobs: the night, and the parts of it that take a range of days."""

from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.assets import cleanup, published_night
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    REJECTED_TRANSACTIONS,
    SEGMENT_SUMMARY,
    SETTLED_REWARDS,
    TARGETING_DECISIONS,
    TRANSACTIONS,
    USER_FEATURES,
    USER_PATTERNS,
)

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    AnyJob = UnresolvedAssetJobDefinition | dg.JobDefinition

INGEST = (TRANSACTIONS.name, REJECTED_TRANSACTIONS.name)
BEHAVIOUR = (USER_FEATURES.name, USER_PATTERNS.name, SEGMENT_SUMMARY.name)
DECISIONS = (
    SETTLED_REWARDS.name,
    CAMPAIGNS.name,
    CAMPAIGN_TARGETS.name,
    TARGETING_DECISIONS.name,
    published_night.NAME,
)

NIGHTLY = "nightly_marketing"
INGEST_RANGE = "ingest_range"
BEHAVIOUR_RANGE = "behaviour_range"
CLEANUP = "campaign_cleanup"
EXPORT = "export"
ERASURE = "erasure"


def build_jobs(settings: Settings) -> "list[UnresolvedAssetJobDefinition]":
    """All jobs; each runs in one process, where eight small steps take seconds.

    A run says what triggered it; that of a schedule, sensor or command says so in the place of `ui`.
    """
    tags = {"trigger": "ui", "source": settings.source}
    return [
        dg.define_asset_job(
            NIGHTLY,
            selection=[*INGEST, *BEHAVIOUR, *DECISIONS],
            executor_def=dg.in_process_executor,
            tags=tags,
            description="One night, from the day's transactions to what the app reads.",
        ),
        dg.define_asset_job(
            INGEST_RANGE,
            selection=[*INGEST],
            executor_def=dg.in_process_executor,
            tags=tags,
            description="Transactions of a range of days, in one run.",
        ),
        dg.define_asset_job(
            BEHAVIOUR_RANGE,
            selection=[*INGEST, *BEHAVIOUR],
            executor_def=dg.in_process_executor,
            tags=tags,
            description="Transactions, features and patterns of a range of days, in one run.",
        ),
        dg.define_asset_job(
            CLEANUP,
            selection=[*cleanup.NAMES],
            executor_def=dg.in_process_executor,
            tags=tags,
            description="What is over expires and is archived; old partitions and events go.",
        ),
    ]
