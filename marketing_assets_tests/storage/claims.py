"""Rewards and ledgers written by hand: conversions as their receipt leaves them, transactions as ingested."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

from marketing_assets.domain.days import day_of, days_between
from marketing_assets.engine.base import Value
from marketing_assets.policy.load import load_policy
from marketing_assets.storage.datasets import SETTLED_REWARDS, TRANSACTIONS
from marketing_assets.storage.lake import Lake, Written
from marketing_assets.storage.repositories.settlements import Waiting
from marketing_assets.storage.settlement import settle_rewards, write_settled
from marketing_assets_tests.storage.nights import CAMPAIGN, NightMaker, at

Settled = tuple[str, Decimal, str | None, date | None]
"""State, amount, reason and night of a reward."""


@dataclass(frozen=True)
class Bought:
    """One row of the ledger."""

    transaction_id: str
    occurred_at: datetime
    amount: Decimal = Decimal("40.00")
    user: str = "ann"
    location: str | None = "Store 1"
    category: str | None = "Food"


def _row(bought: Bought) -> list[Value]:
    return [
        0,
        bought.user,
        bought.transaction_id,
        bought.occurred_at,
        bought.amount,
        None,
        bought.location,
        bought.category,
        None,
    ]


@dataclass
class Claims:
    """Claims rewards of published targets, fills the ledger, and settles."""

    maker: NightMaker
    reader: psycopg.Connection
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    made: int = 0
    empty: bytes | None = None
    """A partition without rows, once there is one: many days have none."""

    def claim(
        self,
        transaction_id: str,
        occurred_at: datetime,
        reserved: str | Decimal = "10.00",
        user: str = "ann",
        campaign: str = CAMPAIGN,
    ) -> UUID:
        """A conversion as it was received: reward, target and budget say so."""
        self.made += 1
        event = UUID(int=self.made)
        amount = Decimal(reserved)
        self.reader.execute(
            "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed, amount,"
            " state, occurred_at, decided_at) values (%s, %s, %s, %s, 40, %s, 'reserved', %s, %s)",
            [user, event, campaign, transaction_id, amount, occurred_at, occurred_at],
        )
        self.reader.execute(
            "update marketing.campaign_targets set rewards = rewards + 1, rewarded = rewarded + %s,"
            " status = 'converted' where user_id = %s and campaign_id = %s",
            [amount, user, campaign],
        )
        self.reader.execute(
            "update marketing.campaign_budgets set reserved = reserved + %s where campaign_id = %s",
            [amount, campaign],
        )
        return event

    def ledger(self, first: date, last: date, rows: Sequence[Bought] = ()) -> None:
        """Ingest these days, with the rows that lie in them."""
        self.hold(days_between(first, last), rows)

    def hold(self, days: Iterable[date], rows: Sequence[Bought]) -> None:
        for day in days:
            own = [each for each in rows if day_of(each.occurred_at, self.zone) == day]
            path = self.maker.lake.path(TRANSACTIONS, day)
            if own or self.empty is None:
                self.maker.put(TRANSACTIONS, day, [_row(each) for each in own])
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.empty)
            if not own:
                self.empty = path.read_bytes()

    def settle(self, day: date) -> Waiting:
        """Settle the night of `day` at 02:00 of the day after, database and lake."""
        waiting = self.settle_database(day)
        self.write(day)
        return waiting

    def settle_database(self, day: date) -> Waiting:
        return settle_rewards(
            self.maker.lock,
            self.maker.engine,
            self.maker.lake,
            day=day,
            policy=load_policy(None),
            zone=self.zone,
            at=at(day + timedelta(days=1), 2),
        )

    def write(self, day: date) -> Written:
        return write_settled(self.maker.lock, self.maker.engine, self.maker.lake, day)

    def reward(self, event: UUID) -> Settled:
        row = self.reader.execute(
            "select state, amount, reason, settled_on from marketing.rewards where event_id = %s", [event]
        ).fetchone()
        assert row is not None
        return row

    def money(self, campaign: str = CAMPAIGN) -> tuple[Decimal, Decimal]:
        """Reserved and spent of the campaign's budget."""
        row = self.reader.execute(
            "select reserved, spent from marketing.campaign_budgets where campaign_id = %s", [campaign]
        ).fetchone()
        assert row is not None
        return row

    def earned(self, user: str = "ann", campaign: str = CAMPAIGN) -> tuple[int, Decimal]:
        """How many rewards the target has, and their sum."""
        row = self.reader.execute(
            "select rewards, rewarded from marketing.campaign_targets"
            " where user_id = %s and campaign_id = %s",
            [user, campaign],
        ).fetchone()
        assert row is not None
        return row

    def partition(self, day: date) -> list[tuple[object, ...]]:
        """Campaign, user, transaction, claimed, amount, state and reason of the lake's rows of a night."""
        lake = Lake(self.maker.lake.root)
        lake.register(self.maker.engine, "found", SETTLED_REWARDS, [day])
        rows = self.maker.engine.fetch(
            "select campaign_id, user_id, transaction_id, claimed, amount, state, reason from found"
        )
        return [tuple(row.values()) for row in rows]
