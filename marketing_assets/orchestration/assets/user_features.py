"""`user_features`: how each user behaved in the window that ends with the day."""

from datetime import date
from itertools import pairwise

import dagster as dg

from marketing_assets.engine.base import Value, sql
from marketing_assets.orchestration.attempts import attempt
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.checks.user_features import USERS, users_like_the_day_before
from marketing_assets.orchestration.freshness import published_every_night
from marketing_assets.orchestration.metadata import (
    Results,
    Stopwatch,
    add_metadata,
    column_lineage,
    dataset_spec,
    partition_days,
    partition_metadata,
)
from marketing_assets.orchestration.partitions import window_mapping
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import TRANSACTIONS, USER_FEATURES

_ROWS_AT_ONCE = 20_000_000
_BUCKETS = 256


def build(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The step that computes a day, or a range of days in one run."""
    spec = dataset_spec(
        USER_FEATURES,
        group="behaviour",
        description=f"Every active user's behaviour over the {settings.window_days} days that end with the "
        "day.",
        rule="purchases are counted, refunds lower the spend; the top location and category are those of "
        "most purchases, then of more spend, then by name",
        readers="`user_patterns`, `campaign_targets` and, through `published_night`, the app",
        freshness=published_every_night(settings),
        deps=[dg.AssetDep(TRANSACTIONS.name, partition_mapping=window_mapping(settings))],
        partitions=partitions,
    )

    @dg.multi_asset(
        name=USER_FEATURES.name,
        specs=[spec],
        check_specs=[*dataset_check_specs(USER_FEATURES), USERS],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def user_features_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        days = partition_days(context)
        with attempt(context, platform):
            for day in days:
                watch = Stopwatch()
                compute_features(platform, day)
                written = platform.lake.write(platform.engine, USER_FEATURES, day, "computed_features")
                figures = platform.engine.fetch(
                    "select cast(coalesce(sum(spend), 0) as double) as spend, "
                    "coalesce(sum(transactions), 0) as transactions from computed_features"
                )[0]
                measured = partition_metadata(written, users=written.rows, seconds=watch.seconds, **figures)
                add_metadata(context, USER_FEATURES.name, day.isoformat(), measured)
                if day != days[-1]:
                    platform.writer.pass_on()
            platform.engine.drop("computed_features", "window_transactions")
            lineage = {"dagster/column_lineage": column_lineage(USER_FEATURES)}
            yield dg.MaterializeResult(asset_key=USER_FEATURES.name, metadata=lineage)
            yield from check_dataset(platform, USER_FEATURES, days)
            yield users_like_the_day_before(platform, days)

    return user_features_step


def compute_features(platform: Platform, day: date) -> None:
    """Make the relation `computed_features` for `day`, a range of user buckets at a time.

    As many ranges as keep about twenty million rows in each, so that memory stays bounded at any size.
    """
    engine, settings = platform.engine, platform.settings
    platform.lake.register(engine, "window_transactions", TRANSACTIONS, platform.window(day))
    rows = int(str(engine.fetch("select count(*) as rows from window_transactions")[0]["rows"]))
    ranges = min(_BUCKETS, 1 + rows // _ROWS_AT_ONCE)
    edges = [_BUCKETS * index // ranges for index in range(ranges + 1)]
    for first, after in pairwise(edges):
        parameters: dict[str, Value] = {
            "day": day,
            "window_days": settings.window_days,
            "bucket_from": first,
            "bucket_to": after - 1,
        }
        add = engine.create if first == 0 else engine.append
        add("computed_features", sql("user_features"), parameters)
    if settings.max_users is not None:
        _keep_most_recent(platform, settings.max_users)


def _keep_most_recent(platform: Platform, max_users: int) -> None:
    from sqlglot import exp

    engine = platform.engine
    names = USER_FEATURES.column_names
    engine.create("all_user_features", exp.select(*names).from_("computed_features"))
    engine.create("most_recent_users", sql("most_recent_users"), {"max_users": max_users})
    kept = (
        exp.select(*names)
        .from_("all_user_features")
        .where("user_id in (select user_id from most_recent_users)")
    )
    engine.create("computed_features", kept)
    engine.drop("all_user_features", "most_recent_users")
