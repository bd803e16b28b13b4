"""`campaign_targets` and `targeting_decisions`: who is targeted, in which arm, and why or why not."""

from datetime import date, timedelta
from decimal import Decimal

import dagster as dg

from marketing_assets.domain.days import start_of
from marketing_assets.engine.base import Value, sql
from marketing_assets.orchestration.attempts import attempt, refuse_overtaken
from marketing_assets.orchestration.checks.campaign_targets import check_targets, target_check_specs
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
from marketing_assets.orchestration.targeting import (
    audience_spend,
    budgets_of,
    decide,
    holdout_of,
    register_converted,
    register_opted_out,
    register_qualified,
    register_standing,
)
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
    "qualified_users",
    "own_patterns",
    "opted_out",
    "converted_targets",
    "cooling_users",
    "resting_campaigns",
    "slot_campaigns",
    "night_decisions",
    "night_targets",
    "decision_log",
    "earlier_targets",
    "earlier_decisions",
    "kept_targets",
    "kept_decisions",
    "kept_keys",
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
                rule="campaigns by priority, each for the users with its pattern whom no step refuses "
                "(consent, global holdout, cooldown, slots, budget); the arm is drawn by a hash of campaign "
                "and user",
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
            engine = platform.engine
            decide_targets(platform, day)
            # What stands, as keys: once the partition is written, `kept_targets` may read the new one.
            engine.create("kept_keys", "select campaign_id, user_id from kept_targets")
            engine.register_query("night_targets", sql("campaign_targets"))  # as long as all pairs: not kept
            targets = platform.lake.write(engine, CAMPAIGN_TARGETS, day, "night_targets")
            figures = _figures(platform)
            engine.drop("night_targets")
            version: dict[str, Value] = {"policy_version": platform.policy.version}
            engine.create("decision_log", sql("targeting_decisions"), version)
            engine.drop("night_decisions")  # before the log is sorted: both are as long as the night's pairs
            decisions = platform.lake.write(engine, TARGETING_DECISIONS, day, "decision_log")
            checked = [
                *check_dataset(platform, CAMPAIGN_TARGETS, [day], exempt="kept_keys"),
                *check_dataset(platform, TARGETING_DECISIONS, [day], exempt="kept_keys"),
                *check_targets(platform, day, audience_spend(engine), exempt="kept_keys"),
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
    """Make the relation `night_decisions`, from what is published and what people said until now."""
    from marketing_assets.domain.campaigns import own_pattern
    from marketing_assets.domain.targeting import open_campaigns
    from marketing_assets.storage import standing
    from marketing_assets.storage.repositories import budgets

    engine, lake, target_day = platform.engine, platform.lake, day + timedelta(days=1)
    lake.register(engine, "night_campaigns", CAMPAIGNS, [day])
    lake.register(engine, "user_patterns", USER_PATTERNS, [day])
    lake.register(engine, "user_features", USER_FEATURES, [day])
    decided = standing.night_campaigns(engine)
    taking = [campaign for outcome, campaign in decided if outcome in ("opened", "kept")]
    open_now = [campaign for outcome, campaign in decided if outcome in ("opened", "kept", "orphaned")]
    register_qualified(engine, [own for each in taking if (own := own_pattern(each))])
    with platform.database.connect() as connection:
        register_opted_out(platform, connection)
        register_standing(platform, connection, day, open_now, taking)
        rows = budgets.of_campaigns(connection, [campaign.campaign_id for campaign in taking])
        register_converted(platform, connection, taking)
        holdout = holdout_of(platform, connection, day)
    money = budgets_of(engine, taking, rows, start_of(target_day, platform.zone))
    opened = open_campaigns(taking, money, platform.policy, target_day, platform.zone)
    decide(engine, opened, holdout, platform.policy)


_FUNNEL = {
    "eligible": "audience",
    "no context": "no_context",
    "opted out": "opted_out",
    "global holdout": "global_holdout",
    "cooling off": "cooling_off",
    "too late": "too_late",
    "over limit": "over_limit",
    "over budget": "over_budget",
    "held out": "control",
    "targeted": "treatment",
    "expected cost": "expected_cost",
}
"""What the funnel calls its columns."""


def _figures(platform: Platform) -> Metadata:
    """The funnel of each campaign, and the night's targets; those of an earlier run of the night count.

    Targets of earlier nights have the pattern too but are not decided again, so a line need not add up.
    """
    rows = platform.engine.fetch(sql("targeting_funnel"))
    lines = [(row["campaign_id"], *(_shown(row[name]) for name in _FUNNEL.values())) for row in rows]
    users = platform.engine.fetch("select count(distinct user_id) as users from night_targets")[0]["users"]
    totals = {
        name: sum(int(str(row[name])) for row in rows)
        for name in ("treatment", "control", "opted_out", "global_holdout", "cooling_off", "over_budget")
    }
    cost = sum((Decimal(str(row["expected_cost"])) for row in rows), Decimal(0))
    return {
        **totals,
        "users": int(str(users)),
        "expected_cost": float(round(cost, 2)),
        "funnel": markdown_table(["campaign", *_FUNNEL], lines),
    }


def _shown(value: Value) -> str:
    return f"{value:,.2f}" if isinstance(value, Decimal) else f"{value:,}"
