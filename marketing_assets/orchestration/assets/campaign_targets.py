"""`campaign_targets` and `targeting_decisions`: who is targeted, in which arm, and why or why not."""

from datetime import date, timedelta

import dagster as dg

from marketing_assets.engine.base import sql
from marketing_assets.orchestration.attempts import attempt, refuse_overtaken
from marketing_assets.orchestration.checks.campaign_targets import (
    arms_as_configured,
    reasons_true,
    target_check_specs,
)
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.freshness import published_every_night
from marketing_assets.orchestration.metadata import (
    Metadata,
    Results,
    Stopwatch,
    column_lineage,
    dataset_spec,
    markdown_table,
    partition_metadata,
)
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    TARGETING_DECISIONS,
    USER_FEATURES,
    USER_PATTERNS,
)

_RELATIONS = (
    "night_campaigns",
    "open_campaigns",
    "user_patterns",
    "user_features",
    "night_decisions",
    "night_targets",
    "decision_log",
    "earlier_targets",
    "earlier_decisions",
    "kept_targets",
    "kept_decisions",
    "standing_targets",
)


def build(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The step that decides the targets of one night."""
    deps = [dg.AssetDep(CAMPAIGNS.name), dg.AssetDep(USER_PATTERNS.name), dg.AssetDep(USER_FEATURES.name)]

    @dg.multi_asset(
        name=CAMPAIGN_TARGETS.name,
        specs=[
            dataset_spec(
                CAMPAIGN_TARGETS,
                group="targeting",
                description="New targets of the night in both arms: treatment is shown the offer, control "
                "is only measured.",
                rule="campaigns by priority, each for the users with its pattern who have a slot left; the "
                "arm is drawn by a hash of campaign and user",
                readers="`published_night`, later nights and the measurement",
                freshness=published_every_night(settings),
                deps=deps,
                partitions=partitions,
            ),
            dataset_spec(
                TARGETING_DECISIONS,
                group="targeting",
                description="Why each user with the pattern of an open campaign was or was not targeted.",
                rule="the first step of targeting that applies; a refusal is logged when it differs from the "
                "pair's last one",
                readers="people who ask why, and later nights",
                deps=deps,
                partitions=partitions,
            ),
        ],
        check_specs=[
            *dataset_check_specs(CAMPAIGN_TARGETS),
            *dataset_check_specs(TARGETING_DECISIONS),
            *target_check_specs(),
        ],
    )
    def campaign_targets_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        watch = Stopwatch()
        day = date.fromisoformat(context.partition_key)
        with attempt(context, platform):
            refuse_overtaken(platform, day)
            decide_targets(platform, day)
            targets = platform.lake.write(platform.engine, CAMPAIGN_TARGETS, day, "night_targets")
            decisions = platform.lake.write(platform.engine, TARGETING_DECISIONS, day, "decision_log")
            figures = _figures(platform)
            checked = [
                *check_dataset(platform, CAMPAIGN_TARGETS, [day], exempt="kept_targets"),
                *check_dataset(platform, TARGETING_DECISIONS, [day], exempt="kept_targets"),
                reasons_true(platform, day, exempt="kept_targets"),
                arms_as_configured(platform, day),
            ]
            platform.engine.drop(*_RELATIONS)
            yield dg.MaterializeResult(
                asset_key=CAMPAIGN_TARGETS.name,
                metadata={
                    **partition_metadata(targets),
                    **figures,
                    "seconds": watch.seconds,
                    "dagster/column_lineage": column_lineage(CAMPAIGN_TARGETS),
                },
            )
            yield dg.MaterializeResult(
                asset_key=TARGETING_DECISIONS.name,
                metadata={
                    **partition_metadata(decisions, policy_version=platform.policy.version),
                    "seconds": watch.seconds,
                    "dagster/column_lineage": column_lineage(TARGETING_DECISIONS),
                },
            )
            yield from checked

    return campaign_targets_step


def decide_targets(platform: Platform, day: date) -> None:
    """Make the relations `night_decisions`, `night_targets` and `decision_log` of the night."""
    from marketing_assets.storage import standing

    engine, lake = platform.engine, platform.lake
    lake.register(engine, "night_campaigns", CAMPAIGNS, [day])
    lake.register(engine, "user_patterns", USER_PATTERNS, [day])
    lake.register(engine, "user_features", USER_FEATURES, [day])
    standing.register_open_campaigns(engine, day, platform.zone)
    with platform.database.connect() as connection:
        standing.register_standing(connection, engine, lake, day, platform.zone, rebuild=platform.rebuild)
    engine.create(
        "night_decisions",
        sql("targeting"),
        {"max_active_campaigns": platform.policy.limits.max_active_campaigns},
    )
    engine.create("night_targets", sql("campaign_targets"), {"assigned_on": day + timedelta(days=1)})
    engine.create("decision_log", sql("targeting_decisions"), {"policy_version": platform.policy.version})


def _figures(platform: Platform) -> Metadata:
    """The funnel of each campaign, and the night's targets; those of an earlier run of the night count.

    Eligible are the users with the pattern, suppressed those that a limit refused; targets of earlier nights
    are neither, so that the line need not add up.
    """
    rows = platform.engine.fetch(sql("targeting_funnel"))
    shown = {
        "eligible": "audience",
        "suppressed": "refused_limit",
        "held out": "control",
        "targeted": "treatment",
    }
    lines = [(row["campaign_id"], *(f"{row[name]:,}" for name in shown.values())) for row in rows]
    users = platform.engine.fetch("select count(distinct user_id) as users from night_targets")[0]["users"]
    arms = {arm: sum(int(str(row[arm])) for row in rows) for arm in ("treatment", "control")}
    return {**arms, "users": int(str(users)), "funnel": markdown_table(["campaign", *shown], lines)}
