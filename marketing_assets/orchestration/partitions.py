"""The partitions: one a business day, from the lake's first day on. Nothing else belongs here."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from marketing_assets.domain.days import day_of
from marketing_assets.settings import Settings
from marketing_assets.storage.lake_record import LakeRecord, read_record


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Business days in `MARKETING_TIMEZONE`; the first is fixed by the lake, once there is one."""
    record = read_record(settings.lake)
    if record is None:
        record = LakeRecord.proposed(settings, day_of(datetime.now(UTC), settings.zone))
    return dg.DailyPartitionsDefinition(start_date=record.start_date.isoformat(), timezone=settings.timezone)


def window_mapping(settings: Settings) -> dg.TimeWindowPartitionMapping:
    """A day needs the days of its window; those before the first partition need not exist."""
    return dg.TimeWindowPartitionMapping(start_offset=1 - settings.window_days, end_offset=0)


Partitions = dg.PartitionsDefinition[Any]
