"""A small world for tests: a source file, a lake, a real database, and nights run through Dagster."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from sqlalchemy import Engine

from marketing_assets.domain.days import days_between
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.jobs import BEHAVIOUR_RANGE, CLEANUP, INGEST_RANGE, NIGHTLY
from marketing_assets.settings import Settings
from marketing_assets.storage import clock, database

FIRST = date(2026, 1, 1)
"""First day of a world's lake."""

DAY = date(2026, 2, 10)
"""The night that `decided_world` has behind it."""

ERASURE_KEY = "by this an erased user is known, in tests"

HEADER = "transaction_id,user_id,occurred_at,amount,location,category"
# The two slots of segments take turns; what the app reads of them is the view `user_segments`.
UNCHECKED = {"alembic_version", "simulated_clock", "live_segments", "user_segments_a", "user_segments_b"}
VOLATILE = {"created_at", "updated_at", "published_at", "run_id"}


def purchases(
    user: str, days: Sequence[date], amount: str = "10.00", location: str = "Store 1", category: str = "Food"
) -> list[str]:
    """CSV lines: one purchase of a user at noon of each day."""
    return [f"{user}-{day},{user},{day}T12:00:00+00:00,{amount},{location},{category}" for day in days]


def population() -> list[str]:
    """50 frequent shoppers of two stores, 30 inactive, 25 with one purchase, as seen on `DAY`."""
    lines = []
    for number in range(50):
        days = days_between(DAY - timedelta(days=24), DAY)
        lines += purchases(f"frequent{number}", days, location=f"Store {number % 2}")
    for number in range(30):
        lines += purchases(f"inactive{number}", [DAY - timedelta(days=30)], amount="7.00")
    for number in range(25):
        lines += purchases(f"new{number}", [DAY], amount="8.00")
    return lines


class World:
    """Settings with a window of 31 days over a CSV file; `nights` are run in the simulated clock."""

    def __init__(self, root: Path, database_url: str, **overrides: Any) -> None:
        self.root = root
        self.csv = root / "transactions.csv"
        if not self.csv.exists():
            self.write([])
        values: dict[str, Any] = {
            "MARKETING_HOME": root / "home",
            "MARKETING_DATABASE_URL": database_url,
            "MARKETING_SOURCE": "files",
            "MARKETING_SOURCE_URL": str(self.csv),
            "MARKETING_START_DATE": FIRST,
            "MARKETING_WINDOW_DAYS": 31,
            "MARKETING_MEMORY_LIMIT": "256MiB",
            "MARKETING_THREADS": 1,
            "MARKETING_ERASURE_KEY": ERASURE_KEY,
        }
        self.settings = Settings(_env_file=None, **{**values, **overrides})
        self.urls = database.locate(self.settings)
        database.prepare(database.DatabaseUrls(self.urls.product, self.urls.product))
        self.database: Engine = database.connect(self.urls.product)
        self.instance = dg.DagsterInstance.ephemeral()

    def close(self) -> None:
        self.database.dispose()
        self.instance.dispose()

    def write(self, lines: Sequence[str]) -> None:
        self.csv.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")

    def run(self, job: str, day: date, last: date | None = None) -> dg.ExecuteInProcessResult:
        """Run a job for a day or a range; the result may have failed."""
        definitions = build_definitions(self.settings)
        tags = {}
        if last is not None:
            tags = {
                "dagster/asset_partition_range_start": day.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            }
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=day.isoformat() if last is None else None,
            tags=tags,
            raise_on_error=False,
        )

    def clean_up(self) -> dg.ExecuteInProcessResult:
        """Run the clean-up; the result may have failed."""
        job = build_definitions(self.settings).resolve_job_def(CLEANUP)
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def ingest(self, first: date, last: date) -> None:
        assert self.run(INGEST_RANGE, first, last).success

    def behaviour(self, first: date, last: date) -> None:
        assert self.run(BEHAVIOUR_RANGE, first, last).success

    def night(self, day: date, at: datetime | None = None) -> dg.ExecuteInProcessResult:
        """Run the night of `day` at 02:00 of the day after, or at another simulated instant."""
        instant = at or datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC).replace(hour=2)
        with clock.simulated(self.database, "test") as simulated:
            simulated.set(instant)
            return self.run(NIGHTLY, day)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the serving database."""
        url = re.sub(r"\+psycopg", "", self.urls.product)
        with psycopg.connect(url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def snapshot(self) -> dict[str, Any]:
        """Everything that must be the same after a rerun: each table's rows, each file's digest."""
        return {**self.tables(), **self.files()}

    def tables(self) -> dict[str, Any]:
        """Rows of every serving table, without run ids and instants of writing."""
        names = self.rows("select table_name from information_schema.tables where table_schema = 'marketing'")
        return {name: self._table(name) for (name,) in sorted(names) if name not in UNCHECKED}

    def files(self) -> dict[str, str]:
        """Digest of every partition of the lake."""
        lake = self.settings.lake
        return {
            str(file.relative_to(lake)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(lake.rglob("*.parquet"))
            if ".scratch" not in file.parts
        }

    def _table(self, name: str) -> list[str]:
        columns = self.rows(
            "select column_name from information_schema.columns where table_schema = 'marketing' "
            f"and table_name = '{name}' order by column_name"
        )
        kept = ", ".join(column for (column,) in columns if column not in VOLATILE)
        return sorted(str(row) for row in self.rows(f"select {kept} from marketing.{name}"))
