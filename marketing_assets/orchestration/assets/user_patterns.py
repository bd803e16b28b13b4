"""`user_patterns` and `segment_summary`: which patterns hold for whom, and how large each segment is."""

from datetime import date

import dagster as dg

from marketing_assets.engine.base import sql
from marketing_assets.orchestration.attempts import attempt
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.checks.user_patterns import SHARES, shares_like_the_day_before
from marketing_assets.orchestration.freshness import published_every_night
from marketing_assets.orchestration.metadata import (
    Results,
    Stopwatch,
    add_metadata,
    column_lineage,
    dataset_spec,
    markdown_table,
    partition_days,
    partition_metadata,
)
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import SEGMENT_SUMMARY, USER_FEATURES, USER_PATTERNS


def build(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The step that computes a day, or a range of days in one run."""
    freshness = published_every_night(settings)
    features = [dg.AssetDep(USER_FEATURES.name)]

    @dg.multi_asset(
        name=USER_PATTERNS.name,
        specs=[
            dataset_spec(
                USER_PATTERNS,
                group="behaviour",
                description="The policy's patterns that hold for each user, with the values that made them "
                "true.",
                rule="a pattern holds where its rule in the policy does; the primary is that of best rank",
                readers="`campaigns`, `campaign_targets` and, through `published_night`, the app",
                freshness=freshness,
                deps=features,
                partitions=partitions,
            ),
            dataset_spec(
                SEGMENT_SUMMARY,
                group="behaviour",
                description="Size and spend of each segment (all users with a pattern).",
                rule="counts and sums of `user_patterns` and `user_features`",
                readers="`campaigns` for its audiences, people and, through `published_night`, the app",
                freshness=freshness,
                deps=features,
                partitions=partitions,
            ),
        ],
        check_specs=[*dataset_check_specs(USER_PATTERNS), *dataset_check_specs(SEGMENT_SUMMARY), SHARES],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def user_patterns_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        days = partition_days(context)
        with attempt(context, platform):
            for day in days:
                _compute_day(context, platform, day)
                if day != days[-1]:
                    platform.writer.pass_on()
            for dataset in (USER_PATTERNS, SEGMENT_SUMMARY):
                lineage = {"dagster/column_lineage": column_lineage(dataset)}
                yield dg.MaterializeResult(asset_key=dataset.name, metadata=lineage)
            yield from check_dataset(platform, USER_PATTERNS, days)
            yield from check_dataset(platform, SEGMENT_SUMMARY, days)
            yield shares_like_the_day_before(platform, days)

    return user_patterns_step


def _compute_day(context: dg.AssetExecutionContext, platform: Platform, day: date) -> None:
    from marketing_assets.domain.patterns import pattern_matches

    watch = Stopwatch()
    engine, lake, patterns = platform.engine, platform.lake, platform.policy.patterns
    lake.register(engine, "user_features", USER_FEATURES, [day])
    engine.create("pattern_matches", pattern_matches(patterns))
    engine.create("user_patterns", sql("user_patterns"))
    written = lake.write(engine, USER_PATTERNS, day, "user_patterns")
    engine.register_rows(
        "policy_patterns",
        [("pattern", "varchar"), ("rank", "integer")],
        [(pattern.name, pattern.rank) for pattern in patterns],
    )
    engine.create("segment_summary", sql("segment_summary"))
    summary = lake.write(engine, SEGMENT_SUMMARY, day, "segment_summary")
    rows = engine.fetch(
        "select pattern, users, share, primary_users, spend from segment_summary order by rank"
    )
    users = engine.fetch("select count(*) as users from user_features")[0]["users"]
    engine.drop("pattern_matches", "user_patterns", "policy_patterns", "segment_summary", "user_features")
    segments = markdown_table(
        ["pattern", "users", "share", "primary", "spend"],
        [
            (
                r["pattern"],
                f"{r['users']:,}",
                f"{r['share']:.1%}",
                f"{r['primary_users']:,}",
                f"{r['spend']:,}",
            )
            for r in rows
        ],
    )
    version = platform.policy.version
    measured = partition_metadata(
        written, users=users, seconds=watch.seconds, policy_version=version, segments=segments
    )
    sizes = {f"users/{row['pattern']}": row["users"] for row in rows}
    add_metadata(context, USER_PATTERNS.name, day.isoformat(), measured)
    summed = partition_metadata(summary, users=users, seconds=watch.seconds, segments=segments, **sizes)
    add_metadata(context, SEGMENT_SUMMARY.name, day.isoformat(), summed)
