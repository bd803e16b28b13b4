"""The partitions: one a business day, from the lake's first day on, and how tags name them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from marketing_assets.domain.days import day_of, days_between, stretches
from marketing_assets.settings import Settings
from marketing_assets.storage.lake_record import LakeRecord, read_record

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
_MOST_DAYS = 100_000


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Business days in `MARKETING_TIMEZONE`."""
    return dg.DailyPartitionsDefinition(
        start_date=first_day(settings).isoformat(), timezone=settings.timezone
    )


def first_day(settings: Settings) -> date:
    """The first partition: fixed by the lake, once there is one."""
    record = read_record(settings.lake)
    if record is None:
        record = LakeRecord.proposed(settings, day_of(datetime.now(UTC), settings.zone))
    return record.start_date


def window_mapping(settings: Settings) -> dg.TimeWindowPartitionMapping:
    """A day needs the days of its window; those before the first partition need not exist."""
    return dg.TimeWindowPartitionMapping(start_offset=1 - settings.window_days, end_offset=0)


Partitions = dg.PartitionsDefinition[Any]

ALSO_INGEST_TAG = "marketing/also_ingest"
"""Tag of a run that ingests other days than its partitions, before everything else: `A..B,C..D`."""


def also_ingest(days: Iterable[date]) -> dict[str, str]:
    """The tag that has a run ingest `days` too; none where there are no days."""
    ranges = [f"{first}..{last}" for first, last in stretches(days, _MOST_DAYS)]
    return {ALSO_INGEST_TAG: ",".join(ranges)} if ranges else {}


def days_to_also_ingest(tags: Mapping[str, str]) -> list[date]:
    """The days that `also_ingest` wrote, ascending."""
    ranges = [part.split("..") for part in tags.get(ALSO_INGEST_TAG, "").split(",") if part]
    return [
        day
        for first, last in ranges
        for day in days_between(date.fromisoformat(first), date.fromisoformat(last))
    ]


def range_tags(first: date, last: date) -> dict[str, str]:
    """The tags of one run over the partitions from `first` to `last`."""
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}


def days_of_range(tags: Mapping[str, str]) -> tuple[date, date]:
    """The first and the last day that `range_tags` wrote."""
    return date.fromisoformat(tags[RANGE_START]), date.fromisoformat(tags[RANGE_END])
