"""`transactions` and `rejected_transactions`: a day of the source, each row kept or rejected."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.errors import RejectedShareError
from marketing_assets.orchestration.attempts import attempt
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.checks.transactions import (
    day_not_empty,
    rejected_share,
    transaction_check_specs,
    volume,
)
from marketing_assets.orchestration.metadata import (
    Metadata,
    Results,
    Stopwatch,
    add_metadata,
    dataset_spec,
    described,
    markdown_table,
    partition_days,
    partition_metadata,
)
from marketing_assets.orchestration.partitions import days_to_also_ingest
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import REJECTED_TRANSACTIONS, TRANSACTIONS

if TYPE_CHECKING:
    from marketing_assets.sources.ingest import IngestedDay

SOURCE = "source_transactions"

READ, READ_AT = "read", "read_at"
"""Metadata of each ingested day: rows of the source, and the instant, by its clock, they were read at."""


def build_source(settings: Settings) -> dg.AssetSpec:
    """The source itself, so that the lineage begins where the data does."""
    return dg.AssetSpec(
        SOURCE,
        description=described(
            f"The transactions as the source `{settings.source}` has them. Read, never written.",
            grain="one row of the source",
            source="outside: the files or database that MARKETING_SOURCE names",
            rule="none of ours; columns are named by the file of MARKETING_SOURCE_MAPPING",
            readers="the ingest, a day at a time",
        ),
        group_name="ingest",
        kinds={"postgres" if settings.source == "postgres" else "parquet"},
        owners=["team:data-platform"],
        tags={"pii": ""},
    )


def build(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The step that reads a day, or a range of days in one run."""

    @dg.multi_asset(
        name="ingest",
        specs=_specs(partitions),
        check_specs=[
            *dataset_check_specs(TRANSACTIONS),
            *dataset_check_specs(REJECTED_TRANSACTIONS),
            *transaction_check_specs(),
        ],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def ingest_step(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Results:
        from marketing_assets.sources.ingest import UserIds, ingest
        from marketing_assets.storage.keys import pseudonym_key

        def between_spans(message: str) -> None:
            context.log.info(message)
            platform.writer.pass_on()

        watch = Stopwatch()
        days = partition_days(context)
        others = [day for day in days_to_also_ingest(context.run.tags) if day not in days]
        with attempt(context, platform):
            try:
                ingested = ingest(
                    platform.engine,
                    platform.lake,
                    platform.source,
                    [*others, *days],
                    platform.zone,
                    settings.max_rejected,
                    between_spans,
                    lambda changed: _mark_stale(context, platform, changed, days[-1]),
                    UserIds(pseudonym_key(settings), lambda: _register_erased(platform)),
                )
            except RejectedShareError as error:
                yield rejected_share(platform, [], error)
                raise
            requested = [day for day in ingested if day.requested]
            for each in ingested:
                if each.day in days:
                    _describe(context, each, watch.seconds / len(requested))
                else:
                    _log_other_day(context, each)
            yield dg.MaterializeResult(asset_key=TRANSACTIONS.name)
            yield dg.MaterializeResult(asset_key=REJECTED_TRANSACTIONS.name)
            yield rejected_share(platform, requested, None)
            yield day_not_empty(platform, requested)
            yield volume(platform, days)
            yield from check_dataset(platform, TRANSACTIONS, days)
            yield from check_dataset(platform, REJECTED_TRANSACTIONS, days)

    return ingest_step


def _specs(partitions: dg.PartitionsDefinition) -> list[dg.AssetSpec]:
    source = [dg.AssetDep(SOURCE)]
    return [
        dataset_spec(
            TRANSACTIONS,
            group="ingest",
            description="The day's transactions that everything else is computed from: each id once, "
            "amounts rounded half-up, refunds negative.",
            rule="a row is kept once an id, the newest of conflicting ones; rows without id, time or a sound "
            "amount are rejected, those of erased users are counted and kept nowhere",
            readers="`user_features`, the 90 days that end with the day",
            deps=source,
            partitions=partitions,
        ),
        dataset_spec(
            REJECTED_TRANSACTIONS,
            group="ingest",
            description="Source rows that could not be kept, as they were read, each with its reason.",
            rule="nothing is dropped without a trace; what `transactions` does not keep stands here",
            readers="people, when a day has many",
            deps=source,
            partitions=partitions,
        ),
    ]


def _describe(context: dg.AssetExecutionContext, day: "IngestedDay", seconds: float) -> None:
    reasons = markdown_table(["reason", "rows"], sorted(day.by_reason.items()))
    add_metadata(
        context,
        TRANSACTIONS.name,
        day.day.isoformat(),
        partition_metadata(
            day.transactions,
            users=day.users,
            spend=float(day.spend),
            duplicates=day.duplicates,
            superseded=day.superseded,
            rejected=day.rejected,
            erased=day.erased,
            seconds=round(seconds, 3),
        )
        | _reading(day),
    )
    add_metadata(
        context,
        REJECTED_TRANSACTIONS.name,
        day.day.isoformat(),
        partition_metadata(
            day.rejected_transactions,
            read=day.read,
            rejected=day.rejected,
            undated=day.undated,
            by_reason=reasons,
            seconds=round(seconds, 3),
        ),
    )


def _log_other_day(context: dg.AssetExecutionContext, day: "IngestedDay") -> None:
    why = "the night needs it" if day.requested else "one of its ids turned up on another day"
    for asset, written in (
        (TRANSACTIONS.name, day.transactions),
        (REJECTED_TRANSACTIONS.name, day.rejected_transactions),
    ):
        context.log_event(
            dg.AssetMaterialization(
                asset,
                partition=day.day.isoformat(),
                description=f"Ingested with another day: {why}.",
                metadata={**partition_metadata(written), **_reading(day)},
            )
        )


def _reading(day: "IngestedDay") -> Metadata:
    """What tells whether rows are late: how many there were, and when they were read."""
    return {READ: day.read, READ_AT: dg.MetadataValue.timestamp(day.read_at)}


def _register_erased(platform: Platform) -> bytes | None:
    """Name as `erased_users` the hashes of erased users; the key that they were made with.

    None where nobody was erased.
    """
    from marketing_assets.storage.keys import erasure_key
    from marketing_assets.storage.repositories import erasures

    file = platform.lake.scratch / "erased.csv"
    with platform.database.connect() as connection:
        if not erasures.exist(connection):
            return None
        key = erasure_key(platform.settings)
        erasures.check_key(connection, key)
        erasures.export_hashes(connection, file)
    platform.engine.register_csv("erased_hashes", [file], ["user_hash"])
    platform.engine.create("erased_users", "select user_hash from erased_hashes")
    platform.engine.drop("erased_hashes")
    file.unlink()
    return key


def _mark_stale(context: dg.AssetExecutionContext, platform: Platform, changed: date, newest: date) -> None:
    """The nights whose window holds the changed day, apart from the one that this run measures last.

    Marked before the day is replaced, so that a run killed in between leaves no night that only seems up
    to date.
    """
    from marketing_assets.storage.repositories import nights

    last = changed + timedelta(days=platform.settings.window_days - 1)
    with platform.database.begin() as connection:
        decided = nights.newest_decided(connection)
        if decided is not None and newest >= decided:
            last = min(last, newest - timedelta(days=1))
        marked = nights.mark_stale(
            connection, changed, last, reason=f"transactions of {changed} changed later"
        )
    if marked:
        context.log.info(f"Transactions of {changed} changed: {marked} nights are marked as stale.")
