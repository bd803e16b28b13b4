"""Counts a source's rows by business day with the engine, for sources that cannot count by themselves.

The rows are read as ingestion reads them, by the same statement, and none is kept: memory stays bounded.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import cast
from zoneinfo import ZoneInfo

from sqlglot import exp, parse_one

from marketing_assets.domain.days import ONE_DAY, days_between, end_of, start_of
from marketing_assets.engine.base import Engine, Value, sql
from marketing_assets.sources.base import DayCount, Source
from marketing_assets.sources.ingest import DAY_EDGES, day_edges, registered_offsets


def count_changed(
    engine: Engine, source: Source, first: date, last: date, zone: ZoneInfo, since: datetime
) -> list[DayCount] | None:
    """See `Source.changed_days`; None where the loaded rows turn out to have no update time."""
    return _counted(engine, source, days_between(first, last), zone, since)


def count_rows(engine: Engine, source: Source, first: date, last: date, zone: ZoneInfo) -> list[DayCount]:
    """See `Source.counted_days`."""
    return _counted(engine, source, days_between(first, last), zone, None) or []


def _counted(
    engine: Engine,
    source: Source,
    days: Sequence[date],
    zone: ZoneInfo,
    since: datetime | None,
) -> list[DayCount] | None:
    try:
        source.load(engine, "source_rows", start_of(days[0], zone), end_of(days[-1], zone))
        if since is not None and not source.has_update_time:
            return None
        engine.register_rows(
            "ingest_days", DAY_EDGES, [edge for day in days for edge in day_edges(day, zone)]
        )
        parameters: dict[str, Value] = {} if since is None else {"since": since, "now": source.now()}
        come = "true" if since is None else "updated_at <= $now"
        rows = cast(exp.Query, parse_one(sql("ingest_rows"), dialect="duckdb")).subquery("read_rows")
        counted = (
            exp.select(
                "day",
                f"count(*) filter (where {come}) as row_count",
                f"max(updated_at) filter (where {come}) as changed_at",
                f"count(*) filter (where not ({come})) as future",
            )
            .from_(rows)
            .where("day is not null")
            .group_by("day")
            .order_by("day")
        )
        if since is not None:
            counted = counted.where("updated_at >= $since")
        with registered_offsets(engine, source.zone):
            found = engine.fetch(
                counted,
                {
                    "earliest": days[0] - ONE_DAY,
                    "latest": days[-1] + ONE_DAY,
                    "by_update_time": source.has_update_time,
                    "with_undated": False,
                    "pseudonym_inner": None,  # nobody's id is looked at
                    "pseudonym_outer": None,
                    **parameters,
                },
            )
    finally:
        engine.drop("source_rows", "ingest_days")
    return [
        DayCount(
            cast(date, row["day"]),
            cast(int, row["row_count"]),
            cast("datetime | None", row["changed_at"]),
            cast(int, row["future"]),
        )
        for row in found
    ]
