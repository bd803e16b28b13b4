"""A source held in memory, and readers of what a source or the lake holds. Text throughout."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from marketing_assets.engine.base import Engine, Row
from marketing_assets.sources.base import SOURCE_COLUMNS, DayCount, Source
from marketing_assets.sources.counting import count_changed, count_rows
from marketing_assets.sources.ingest import IngestedDay, ingest
from marketing_assets.storage.datasets import REJECTED_TRANSACTIONS, TRANSACTIONS, Dataset
from marketing_assets.storage.lake import Lake

SourceRow = tuple[str | None, ...]
ALWAYS = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))


def row(
    transaction_id: str | None,
    occurred_at: str | None,
    amount: str | None = "10.00",
    *,
    user: str | None = "ann",
    merchant: str | None = None,
    location: str | None = None,
    category: str | None = None,
    updated_at: str | None = None,
) -> SourceRow:
    return (transaction_id, user, occurred_at, amount, merchant, location, category, updated_at)


@dataclass
class MemorySource:
    """Gives all its rows at every load, whatever the interval."""

    rows: list[SourceRow] = field(default_factory=list)
    has_update_time: bool = False
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    name: str = "memory"

    def load(self, engine: Engine, relation: str, start_at: datetime, end_at: datetime) -> None:
        engine.register_rows(relation, [(name, "varchar") for name in SOURCE_COLUMNS], self.rows)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def changed_days(
        self, engine: Engine, first: date, last: date, zone: ZoneInfo, since: datetime
    ) -> list[DayCount] | None:
        return count_changed(engine, self, first, last, zone, since)

    def counted_days(self, engine: Engine, first: date, last: date, zone: ZoneInfo) -> list[DayCount]:
        return count_rows(engine, self, first, last, zone)


def ingest_days(
    engine: Engine,
    lake: Lake,
    source: Source,
    *days: date,
    zone: str = "UTC",
    max_rejected: str = "1",
) -> dict[date, IngestedDay]:
    done = ingest(engine, lake, source, days, ZoneInfo(zone), Decimal(max_rejected), lambda _: None)
    return {day.day: day for day in done}


def held(engine: Engine, lake: Lake, dataset: Dataset, days: Sequence[date]) -> list[Row]:
    lake.register(engine, "held", dataset, days)
    texts = ", ".join(f"cast({name} as varchar) as {name}" for name in dataset.column_names)
    return engine.fetch(f"select cast(day as varchar) as day, {texts} from held order by all")


def kept_ids(engine: Engine, lake: Lake, *days: date) -> list[str]:
    return sorted(str(kept["transaction_id"]) for kept in held(engine, lake, TRANSACTIONS, days))


def reasons(engine: Engine, lake: Lake, *days: date) -> dict[str, str]:
    """Reason by transaction id, for rejected rows whose ids differ."""
    rejected = held(engine, lake, REJECTED_TRANSACTIONS, days)
    return {str(one["transaction_id"]): str(one["reason"]) for one in rejected}


def loaded(
    engine: Engine, source: Source, start_at: datetime = ALWAYS[0], end_at: datetime = ALWAYS[1]
) -> list[Row]:
    """What a load gives, as text, by transaction id."""
    source.load(engine, "loaded", start_at, end_at)
    texts = ", ".join(f"cast({name} as varchar) as {name}" for name in SOURCE_COLUMNS)
    return engine.fetch(f"select {texts} from loaded order by all")
