"""Nights made to measure: partitions of as many users and targets as wanted, published for real.

What is measured is publishing and serving alone, so the partitions are written straight into a lake of
their own, and published as the product does, into an embedded PostgreSQL of their own.
"""

import shutil
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg

from marketing_assets.domain.campaigns import Campaign
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.policy.load import load_policy
from marketing_assets.storage import database, embedded
from marketing_assets.storage.database import DatabaseUrls
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    SEGMENT_SUMMARY,
    USER_FEATURES,
    USER_PATTERNS,
    Dataset,
)
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.priority import give_way
from marketing_assets.storage.publish import Published, publish_night
from marketing_assets.storage.writer import WriterLock

FIRST = date(2026, 1, 1)
_MEMORY_LIMIT = "1GiB"

_USERS = """
select index, 'u' || lpad(cast(index as varchar), 8, '0') as user_id, md5(cast(index as varchar)) as digits
from range({users}) as numbers(index) order by user_id
"""
_FEATURES = """
select cast('0x' || digits[1:2] as integer) as bucket, user_id, 12 as transactions,
    cast(index % 99999 as decimal(14, 2)) / 100 as spend, 10.5 as average_order, 9 as active_days,
    timestamptz '2025-11-01 08:00:00+00' as first_transaction_at,
    timestamptz '2025-12-30 19:00:00+00' as last_transaction_at, 1 as days_since_last, 3 as locations,
    'store-' || index % 997 as top_location, 0.5 as top_location_share, 4 as categories,
    'category-' || index % 13 as top_category, 0.4 as top_category_share, 60.5 as spend_recent,
    65.5 as spend_prior, 0.1 as spend_trend
from made_users
"""
_PATTERNS = """
select cast('0x' || digits[1:2] as integer) as bucket, user_id, pattern, rank, rank = 2 as is_primary,
    '{}' as reason
from made_users cross join (values ('frequent_shopper', 2), ('general', 7)) as held(pattern, rank)
"""
_SUMMARY = """
select pattern, rank, {users} as users, 0 as primary_users, 1.0 as share, 1.0 as spend, 1.0 as average_order
from (values ('frequent_shopper', 2), ('general', 7)) as held(pattern, rank)
"""
_TARGETS = """
select campaign_id, 1 as campaign_version, user_id,
    case when digits[1:1] = '0' then 'control' else 'treatment' end as arm,
    '{{"spend":"' || index % 99999 || '.50","transactions":12}}' as reason,
    case when number % 2 = 1 then 'store-' || index % 997 end as location,
    cast(null as varchar) as category, 12.5 as spend, 0.25 as expected_cost,
    cast('{assigned_on}' as date) as assigned_on,
    cast('{assigned_on}' as timestamptz) as valid_from,
    cast('{assigned_on}' as timestamptz) + interval 21 days as valid_until
from made_users cross join (values {campaigns}) as named(campaign_id, number)
where index >= {first_user} and index < {last_user}
"""


class MadeNights:
    """An empty lake and an empty database below `directory`, and the one who writes them; a context."""

    def __init__(self, directory: Path, users: int) -> None:
        self._directory = directory
        self._users = users

    def __enter__(self) -> "MadeNights":
        self._remove()
        self._directory.mkdir(parents=True)
        host = quote(embedded.start(self._directory / "postgres"))
        self.url = f"postgresql://postgres@/marketing?host={host}"
        address = self.url.replace("postgresql://", "postgresql+psycopg://")
        database.prepare(DatabaseUrls(address, address))
        self._lock = WriterLock(address, "benchmark")
        self._lock.acquire(0, lambda _: None)
        self._open_engine()
        self._lake = Lake(self._directory / "lake", guard=self._lock.check)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()
        self._lock.release()
        self._remove()

    def give_way(self) -> None:
        """Go on at the priority of a night; the engine's threads too, so it is opened again."""
        self._engine.close()
        give_way()
        self._lock.give_way()
        self._open_engine()

    def write(self, day: date, campaigns: list[Campaign], users: range) -> None:
        """The partitions of a night: all users have segments, those of `users` are new targets of all."""
        named = ", ".join(f"('{each.campaign_id}', {number})" for number, each in enumerate(campaigns))
        self._write(USER_FEATURES, day, _FEATURES)
        self._write(USER_PATTERNS, day, _PATTERNS)
        self._write(SEGMENT_SUMMARY, day, _SUMMARY.format(users=self._users))
        targets = _TARGETS.format(
            assigned_on=day + timedelta(days=1), campaigns=named, first_user=users.start, last_user=users.stop
        )
        self._write(CAMPAIGN_TARGETS, day, targets)

    def publish(self, day: date, opened: list[Campaign]) -> tuple[Published, float]:
        """Publish a night that is written; what it changed, and the seconds it took."""
        start = time.perf_counter()
        published = publish_night(
            self._lock,
            self._engine,
            self._lake,
            day=day,
            opened=opened,
            run_id="benchmark",
            policy_version="benchmark",
            global_share=Decimal("0.05"),
            at=_midnight(day + timedelta(days=1)),
        )
        return published, time.perf_counter() - start

    def settle(self) -> None:
        """Let the tables come to rest, as they are hours after a night."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("vacuum (analyze)")
            connection.execute("checkpoint")

    def _open_engine(self) -> None:
        self._engine = DuckDBEngine(
            memory_limit=_MEMORY_LIMIT, threads=None, temp_directory=self._directory / "spill"
        )
        self._engine.create("made_users", _USERS.format(users=self._users))

    def _write(self, dataset: Dataset, day: date, statement: str) -> None:
        self._engine.create("made_rows", statement)
        self._lake.write(self._engine, dataset, day, "made_rows")
        self._engine.drop("made_rows")

    def _remove(self) -> None:
        embedded.stop(self._directory / "postgres")
        shutil.rmtree(self._directory, ignore_errors=True)


def made_campaign(number: int, day: date) -> Campaign:
    """A campaign that opens on the target day of `day`; `number` tells it from others of that day."""
    policy = load_policy(None)
    template = policy.campaigns[number % len(policy.campaigns)]
    opens = day + timedelta(days=1)
    return Campaign(
        campaign_id=f"made-{number}-{opens}",
        template=template.template,
        origin="policy",
        status="active",
        target_pattern=template.pattern,
        priority=template.priority,
        starts_at=_midnight(opens),
        ends_at=_midnight(opens + timedelta(days=60)),
        version=1,
        holdout_share=template.holdout_share,
        settings=template.model_dump_json(),
        policy_version="benchmark",
        suppressed_until=None,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)
