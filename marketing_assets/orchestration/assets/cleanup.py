"""The 03:00 job, a step an asset: expiry, archive, retention, old answers, vacuum, Dagster's own storage.

None has partitions. Each step can be killed anywhere and be run again; a step that fails stops none that
does not need it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import day_of
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.checks.results import checks_not_run
from marketing_assets.orchestration.metadata import (
    OWNERS,
    Metadata,
    Results,
    Stopwatch,
    dataset_spec,
    described,
    markdown_table,
    named_failures,
)
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import (
    ARCHIVED_EVENTS,
    ARCHIVED_REWARDS,
    ARCHIVED_TARGETS,
    TRANSACTIONS,
    Dataset,
)

if TYPE_CHECKING:
    from marketing_assets.domain.retention import Kept
    from marketing_assets.storage.archive import Archived

EXPIRED = "expired_campaigns"
RETENTION = "lake_retention"
VACUUMED = "vacuumed_tables"
DAGSTER = "dagster_storage"
ANSWERS = "forgotten_answers"
_ARCHIVES = {
    ARCHIVED_TARGETS: ("Targets", "targeting (cooldown, targets of earlier nights)"),
    ARCHIVED_EVENTS: ("What the app reported", "the measurement, and people"),
    ARCHIVED_REWARDS: ("Rewards", "the measurement, and people"),
}
"""What leaves with a campaign, and who reads it in the lake."""

NAMES = (EXPIRED, *(dataset.name for dataset in _ARCHIVES), RETENTION, ANSWERS, VACUUMED, DAGSTER)
"""The assets of the job, in the order of SEMANTICS."""

_GROUP = "cleanup"
_ANSWERS_KEPT = timedelta(days=7)


def build() -> list[dg.AssetsDefinition]:
    """The six steps."""
    return [_expired(), _archived(), _retention(), _forgotten(), _vacuumed(), _dagster_storage()]


def _expired() -> dg.AssetsDefinition:
    @dg.asset(
        name=EXPIRED,
        group_name=_GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        description=described(
            "Active and paused campaigns whose end has passed become `expired`.",
            grain="one clean-up",
            source="marketing_campaigns in the app's database",
            rule="dates decide what is open, so no night depends on this",
            readers="people, and the archive 30 days later",
        ),
    )
    def expired_campaigns_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.archive import expire

        watch = Stopwatch()
        with named_failures():
            expired = expire(platform.writer, platform.now())
        yield dg.MaterializeResult(
            metadata={
                "expired": len(expired),
                "campaigns": markdown_table(["campaign"], [(each,) for each in expired]),
                "seconds": watch.seconds,
            }
        )

    return expired_campaigns_step


def _archived() -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=ARCHIVED_TARGETS.name,
        specs=[
            dataset_spec(
                dataset,
                group=_GROUP,
                description=f"{what} of campaigns that are long over, moved here from the app's database: "
                "copied, compared, then removed there. One partition of the lake for each last day.",
                rule="from `archive_after_days` of the policy on (30 days) after a campaign's end, once its "
                "results are final and none of its rewards waits for the ledger",
                readers=readers,
                deps=[dg.AssetDep(EXPIRED)],
                partitions=None,
            )
            for dataset, (what, readers) in _ARCHIVES.items()
        ],
        check_specs=[spec for dataset in _ARCHIVES for spec in dataset_check_specs(dataset)],
    )
    def archived_targets_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.archive import archive
        from marketing_assets.storage.repositories import campaigns as campaign_rows

        watch = Stopwatch()
        limits, now = platform.policy.limits, platform.now()
        with named_failures():
            with platform.database.connect() as connection:
                due = campaign_rows.archivable(
                    connection,
                    now - timedelta(days=limits.archive_after_days),
                    now - timedelta(hours=limits.settle_after_hours),
                )
            moved = list(archive(platform.writer, platform.engine, platform.lake, due, platform.zone, now))
            for dataset in _ARCHIVES:
                yield dg.MaterializeResult(
                    asset_key=dataset.name,
                    metadata={**_moved(moved, dataset.name), "seconds": watch.seconds},
                )
                yield from _checked(platform, dataset, moved)

    return archived_targets_step


def _moved(moved: "Sequence[Archived]", dataset: str) -> Metadata:
    """What left: campaigns, and their rows of this dataset."""
    return {
        "archived": sum(len(each.campaigns) for each in moved),
        "rows": sum(each.rows[dataset] for each in moved),
        "bytes": sum(each.bytes[dataset] for each in moved),
        "campaigns": markdown_table(
            ["last day", "campaigns", "rows"],
            [(each.day, ", ".join(each.campaigns), f"{each.rows[dataset]:,}") for each in moved],
        ),
    }


def _checked(
    platform: Platform, dataset: Dataset, moved: "Sequence[Archived]"
) -> Iterator[dg.AssetCheckResult]:
    days = [each.day for each in moved if each.rows[dataset.name]]
    if days:
        yield from check_dataset(platform, dataset, days)
    else:
        yield from checks_not_run(dataset_check_specs(dataset), "nothing was archived")


def _retention() -> dg.AssetsDefinition:
    @dg.asset(
        name=RETENTION,
        group_name=_GROUP,
        kinds={"parquet"},
        owners=OWNERS,
        description=described(
            "Old partitions of the lake go. Dagster goes on showing them as materialised; what went is "
            "listed here.",
            grain="one clean-up",
            source="the lake",
            rule="past MARKETING_RETENTION_DAYS or MARKETING_FEATURE_RETENTION_DAYS, unless the newest "
            "night, an open campaign or a cooldown needs them",
            readers="people",
        ),
    )
    def lake_retention_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.retention import remove_old_partitions

        watch = Stopwatch()
        with named_failures():
            kept = _kept(platform)
            removed = remove_old_partitions(platform.lake, kept)
        yield dg.MaterializeResult(
            metadata={
                "partitions_removed": sum(len(each.days) for each in removed),
                "bytes": sum(each.bytes for each in removed),
                "removed": markdown_table(
                    ["dataset", "partitions", "first", "last", "bytes"],
                    [
                        (each.dataset, len(each.days), each.days[0], each.days[-1], f"{each.bytes:,}")
                        for each in removed
                        if each.days
                    ],
                ),
                "first_kept": markdown_table(
                    ["kind", "first day kept"], [(kind, day) for kind, day in vars(kept).items()]
                ),
                "seconds": watch.seconds,
            }
        )

    return lake_retention_step


def _kept(platform: Platform) -> "Kept":
    from marketing_assets.domain.retention import Standing, first_kept, look_back_days
    from marketing_assets.storage.repositories import campaigns as campaign_rows
    from marketing_assets.storage.repositories import nights

    now = platform.now()
    with platform.database.connect() as connection:
        newest = nights.newest_decided(connection)
        published = campaign_rows.oldest_published(connection, now, platform.zone)
        in_use = campaign_rows.templates_in_use(connection, now)
    ingested = platform.lake.days(TRANSACTIONS)
    return first_kept(
        day_of(now, platform.zone),
        Standing(newest or (ingested[-1] if ingested else None), published),
        data_days=platform.settings.retention_days,
        behaviour_days=platform.settings.feature_retention_days,
        look_back=look_back_days([*platform.policy.campaigns, *in_use]),
        window_days=platform.settings.window_days,
    )


def _forgotten() -> dg.AssetsDefinition:
    @dg.asset(
        name=ANSWERS,
        group_name=_GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        description=described(
            "What was answered long ago goes: exports of users, and answers kept for a call that is sent "
            "again.",
            grain="one clean-up",
            source="exports and idempotency_keys in the app's database",
            rule=f"{_ANSWERS_KEPT.days} days after they were made",
            readers="people",
        ),
    )
    def forgotten_answers_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.repositories import answers

        watch = Stopwatch()
        with named_failures(), platform.database.begin() as connection:
            forgotten = answers.forget(connection, platform.now() - _ANSWERS_KEPT)
        yield dg.MaterializeResult(metadata={**vars(forgotten), "seconds": watch.seconds})

    return forgotten_answers_step


def _vacuumed() -> dg.AssetsDefinition:
    @dg.asset(
        name=VACUUMED,
        deps=[*(dataset.name for dataset in _ARCHIVES), ANSWERS],
        group_name=_GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        description=described(
            "VACUUM (ANALYZE) of the serving tables that have changed.",
            grain="one clean-up",
            source="the app's database",
            rule="each table in turn; nobody waits for it",
            readers="people",
        ),
    )
    def vacuumed_tables_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.vacuum import vacuum_changed

        watch = Stopwatch()
        with named_failures():
            vacuumed = vacuum_changed(platform.database)
        yield dg.MaterializeResult(
            metadata={
                "tables": len(vacuumed.tables),
                "bytes": vacuumed.bytes,
                "vacuumed": ", ".join(vacuumed.tables),
                "seconds": watch.seconds,
            }
        )

    return vacuumed_tables_step


def _dagster_storage() -> dg.AssetsDefinition:
    @dg.asset(
        name=DAGSTER,
        group_name=_GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        description=described(
            "Old events of Dagster's own database go.",
            grain="one clean-up",
            source="Dagster's database",
            rule="step, engine, log and planned events go after 14 days, skipped ticks after a day; "
            "materialisations, check results and runs stay",
            readers="people",
        ),
    )
    def dagster_storage_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.dagster_storage import Purged, purge

        watch = Stopwatch()
        url = _storage_url(context.instance)
        with named_failures():
            purged = Purged(0, 0, 0, complete=True) if url is None else purge(url, datetime.now(UTC))
        if url is None:
            context.log.warning("Dagster's events are not in PostgreSQL: nothing is removed from them.")
        yield dg.MaterializeResult(metadata={**vars(purged), "seconds": watch.seconds})

    return dagster_storage_step


def _storage_url(instance: dg.DagsterInstance) -> str | None:
    """The PostgreSQL that this instance really keeps its events in."""
    from dagster_postgres import PostgresEventLogStorage

    storage = instance.event_log_storage
    return storage.postgres_url if isinstance(storage, PostgresEventLogStorage) else None
