"""Nights written by hand: partitions of a lake, as the steps before publishing would have left them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from marketing_assets.domain.campaigns import Campaign
from marketing_assets.engine.base import Value
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.policy.load import load_policy
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    SEGMENT_SUMMARY,
    TARGETING_DECISIONS,
    USER_FEATURES,
    USER_PATTERNS,
    Dataset,
)
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.publish import Published, publish_night
from marketing_assets.storage.writer import WriterLock

D = date(2026, 2, 10)
CAMPAIGN = "welcome-bonus-2026-02-11"


def at(day: date, hour: int = 0) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=hour)


def campaign(name: str = "welcome-bonus", opens: date = date(2026, 2, 11)) -> Campaign:
    policy = load_policy(None)
    template = next(each for each in policy.campaigns if each.template == name)
    return Campaign(
        campaign_id=f"{name}-{opens}",
        template=name,
        origin="policy",
        status="active",
        target_pattern=template.pattern,
        priority=template.priority,
        starts_at=at(opens),
        ends_at=at(opens + timedelta(days=template.days)),
        version=1,
        holdout_share=template.holdout_share,
        settings=template.model_dump_json(),
        policy_version=policy.version,
        suppressed_until=None,
    )


@dataclass
class NightMaker:
    """Writes nights of one lake, and publishes them under one lock."""

    lake: Lake
    engine: DuckDBEngine
    lock: WriterLock
    location: str | None = "Store 1"
    patterns: Sequence[tuple[str, int]] = field(default=(("new_shopper", 3), ("general", 7)))

    def put(self, dataset: Dataset, day: date, rows: Sequence[Sequence[Value]]) -> None:
        """Write a partition of these rows, whatever they say."""
        self.engine.register_rows("by_hand", [(c.name, c.type) for c in dataset.columns], rows)
        self.lake.write(self.engine, dataset, day, "by_hand")
        self.engine.drop("by_hand")

    def write(self, day: date, users: Sequence[str], campaign_id: str = CAMPAIGN) -> None:
        """A night: each user has both patterns and becomes a target of the campaign."""
        first = at(day, 12)
        money = Decimal("10.00")
        self.put(
            USER_FEATURES,
            day,
            [
                [
                    0,
                    user,
                    1,
                    money,
                    money,
                    1,
                    first,
                    first,
                    0,
                    1,
                    self.location,
                    1.0,
                    1,
                    "Food",
                    1.0,
                    money,
                    Decimal("0.00"),
                    None,
                ]
                for user in users
            ],
        )
        self.put(
            USER_PATTERNS,
            day,
            [
                [0, user, name, rank, name == "new_shopper", "{}"]
                for user in users
                for name, rank in self.patterns
            ],
        )
        self.put(
            SEGMENT_SUMMARY,
            day,
            [[name, rank, len(users), 0, 1.0, money * len(users), money] for name, rank in self.patterns],
        )
        self.put_targets(day, users, campaign_id)

    def put_targets(self, day: date, users: Sequence[str], campaign_id: str = CAMPAIGN) -> None:
        opens = day + timedelta(days=1)
        self.put(
            CAMPAIGN_TARGETS,
            day,
            [
                [
                    campaign_id,
                    1,
                    user,
                    "treatment",
                    '{"transactions":1}',
                    self.location,
                    None,
                    Decimal("10.00"),
                    Decimal("0.25"),
                    opens,
                    at(opens),
                    at(date(2026, 3, 4)),
                ]
                for user in users
            ],
        )
        self.put(
            TARGETING_DECISIONS,
            day,
            [[campaign_id, user, "treatment", "{}", "{}", "0123abcd", "p"] for user in users]
            + [[campaign_id, f"refused-{day}", "limit", "{}", "{}", None, "p"]],
        )

    def publish(self, day: date, opened: Sequence[Campaign] = (), run_id: str = "run") -> Published:
        return publish_night(
            self.lock,
            self.engine,
            self.lake,
            day=day,
            opened=opened,
            run_id=run_id,
            policy_version="p",
            global_share=Decimal("0.05"),
            at=at(day + timedelta(days=1), 2),
        )


def night_maker(root: Path, url: str, wait: Callable[[str], None] = lambda _: None) -> NightMaker:
    lock = WriterLock(url, "run under test")
    lock.acquire(0, wait)
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=root / "spill")
    return NightMaker(Lake(root / "lake", guard=lock.check), engine, lock)
