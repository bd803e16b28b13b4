"""`published_night`: the night's partitions become what the app reads, in one transaction."""

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.attempts import attempt, refuse_overtaken
from marketing_assets.orchestration.freshness import published_every_night
from marketing_assets.orchestration.metadata import OWNERS, Results, Stopwatch, described
from marketing_assets.orchestration.platform import Platform
from marketing_assets.orchestration.serving import log_published
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    SEGMENT_SUMMARY,
    TARGETING_DECISIONS,
    USER_FEATURES,
    USER_PATTERNS,
)

if TYPE_CHECKING:
    from marketing_assets.domain.campaigns import Campaign

NAME = "published_night"


def build(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The step that publishes one night."""
    upstream = (
        USER_FEATURES,
        USER_PATTERNS,
        SEGMENT_SUMMARY,
        CAMPAIGNS,
        CAMPAIGN_TARGETS,
        TARGETING_DECISIONS,
    )

    @dg.asset(
        name=NAME,
        deps=[dataset.name for dataset in upstream],
        partitions_def=partitions,
        group_name="publishing",
        kinds={"postgres"},
        owners=OWNERS,
        tags={"pii": ""},
        freshness_policy=published_every_night(settings),
        description=described(
            "Campaigns, targets, segments and their summary in PostgreSQL, as the app reads them. The whole "
            "night appears in one transaction, whose last row is in `published_nights`; until then the app "
            "reads the night before.",
            grain="one night",
            source=", ".join(f"`{dataset.name}`" for dataset in upstream),
            rule="nothing is published before every blocking check has passed; what was published is kept",
            readers="the app, through the tables of the schema `marketing` below it",
        ),
    )
    def published_night_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.publish import publish_night

        watch = Stopwatch()
        day = date.fromisoformat(context.partition_key)
        with attempt(context, platform):
            refuse_overtaken(platform, day)
            published = publish_night(
                platform.writer,
                platform.engine,
                platform.lake,
                day=day,
                opened=_opened(platform, day),
                run_id=context.run.run_id,
                policy_version=platform.policy.version,
                global_share=platform.policy.limits.global_holdout_share,
                at=platform.now(),
                rebuild=platform.rebuild,
            )
            log_published(context, day, published)
            yield dg.MaterializeResult(
                metadata={
                    "dagster/partition_row_count": published.targets,
                    "rows": published.targets,
                    "users": published.segments,
                    **asdict(published),
                    "policy_version": platform.policy.version,
                    "seconds": watch.seconds,
                }
            )

    return published_night_step


def _opened(platform: Platform, day: date) -> "list[Campaign]":
    from marketing_assets.storage import standing

    platform.lake.register(platform.engine, "night_campaigns", CAMPAIGNS, [day])
    decided = standing.night_campaigns(platform.engine)
    return [campaign for outcome, campaign in decided if outcome == "opened"]
