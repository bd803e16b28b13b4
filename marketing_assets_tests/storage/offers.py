"""Offers by hand: campaigns and targets in the serving tables, and what the app would report of them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from marketing_assets.domain.events import Event, Kind
from marketing_assets.storage.repositories import events
from marketing_assets.storage.repositories.campaigns import insert_opened
from marketing_assets.storage.repositories.events import Outcome
from marketing_assets.storage.tables import metadata as tables_metadata
from marketing_assets_tests.storage.nights import at, campaign

OPENS = date(2026, 2, 11)
RECEIVED = at(OPENS + timedelta(days=1), 9)
"""When events come, unless a test says otherwise: on the second day of the campaigns."""

BEGINS, ENDS = at(OPENS), at(OPENS + timedelta(days=21))
"""When offers live."""

POINT_VALUE = Decimal("0.001")
WELCOME = f"welcome-bonus-{OPENS}"  # 25% of the first purchase, up to 25
VIP = f"vip-rewards-{OPENS}"  # 5% of every purchase, up to 250

_TARGET = (
    "insert into marketing.campaign_targets (campaign_id, campaign_version, user_id, arm, reason, context,"
    " assigned_on, valid_from, valid_until) values (%s, %s, %s, %s, '{}', '{}', %s, %s, %s)"
)


@dataclass(frozen=True)
class SomeUser:
    """A user, as their token names them."""

    user_id: str

    @property
    def user_hash(self) -> str:
        return f"hash of {self.user_id}"


@dataclass
class OneSession:
    """One session of the database, that commits each statement."""

    connection: psycopg.AsyncConnection

    async def row(self, statement: LiteralString, parameters: Mapping[str, object]) -> tuple[Any, ...] | None:
        return await (await self.connection.execute(statement, parameters)).fetchone()


@dataclass
class Offers:
    """Campaigns and targets of one database."""

    serving: Engine
    reader: psycopg.Connection
    url: str

    def clear(self) -> None:
        """Forget everything."""
        # For so few rows quicker than to truncate, which makes a new file for every table and index.
        tables = reversed(tables_metadata.sorted_tables)
        self.reader.execute("; ".join(f"delete from {table}" for table in tables).encode())

    def open(self, name: str = "welcome-bonus", **terms: object) -> str:
        """Open the campaign of a template, with some of its terms changed; its id."""
        made = campaign(name, OPENS)
        settings = json.dumps({**json.loads(made.settings), **terms})
        with self.serving.begin() as connection:
            insert_opened(connection, [type(made)(**{**vars(made), "settings": settings})])
        return made.campaign_id

    def offer(
        self,
        user: str,
        campaign_id: str = WELCOME,
        arm: str = "treatment",
        version: int = 1,
        valid_from: datetime = BEGINS,
    ) -> None:
        """Make the user a target."""
        parameters = [campaign_id, version, user, arm, OPENS, valid_from, ENDS]
        self.reader.execute(_TARGET, parameters)

    def report(self, user: str, event: Event, received_at: datetime = RECEIVED) -> Outcome:
        """Report one view, click or dismissal."""
        told = self.told(user, event, received_at)
        assert told is not None
        return told

    def told(self, user: str, event: Event, received_at: datetime = RECEIVED) -> Outcome | None:
        """The same; None for a user who asked to be erased."""

        async def run() -> Outcome | None:
            async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
                return await events.report(OneSession(connection), SomeUser(user), event, received_at)

        return asyncio.run(run())

    def report_all(
        self, user: str, reported: Sequence[Event], received_at: datetime = RECEIVED
    ) -> list[Outcome]:
        """Report events of any kind as one batch."""
        return self.at_once([(user, reported)], received_at)[0]

    def at_once(
        self, batches: Sequence[tuple[str, Sequence[Event]]], received_at: datetime = RECEIVED
    ) -> list[list[Outcome]]:
        """Report batches, each a user's, at the same time, each on a connection of its own."""

        async def one(
            connection: psycopg.AsyncConnection, user: str, batch: Sequence[Event]
        ) -> list[Outcome]:
            told = await events.report_all(connection, SomeUser(user), batch, received_at, POINT_VALUE)
            return [] if told is None else told

        async def run() -> list[list[Outcome]]:
            connections = [await psycopg.AsyncConnection.connect(self.url, autocommit=True) for _ in batches]
            try:
                reports = zip(connections, batches, strict=True)
                return await asyncio.gather(*(one(each, user, batch) for each, (user, batch) in reports))
            finally:
                for connection in connections:
                    await connection.close()

        return asyncio.run(run())

    def convert(self, user: str, reported: Event, received_at: datetime = RECEIVED) -> tuple[Any, ...]:
        """Report one conversion; the state, amount and reason of its reward."""
        [outcome] = self.report_all(user, [reported], received_at)
        assert outcome.status == "accepted"
        assert outcome.reward is not None
        return outcome.reward.state, outcome.reward.amount, outcome.reward.reason

    def target(self, user: str, campaign_id: str = WELCOME) -> tuple[Any, ...]:
        """Status of a target, when it was viewed, dismissed and converted, and its rewards."""
        return self._one(
            "select status, viewed_at, dismissed_at, converted_at, rewards, rewarded"
            " from marketing.campaign_targets where user_id = %s and campaign_id = %s",
            user,
            campaign_id,
        )

    def rewards(self, user: str) -> tuple[int, Decimal]:
        """How many rewards the user's targets have, and their sum."""
        number, total = self._one(
            "select sum(rewards)::int, sum(rewarded) from marketing.campaign_targets where user_id = %s", user
        )
        return number, total

    def budget(self, campaign_id: str = WELCOME) -> tuple[Decimal, Decimal]:
        """What is reserved and spent of a campaign's budget."""
        reserved, spent = self._one(
            "select reserved, spent from marketing.campaign_budgets where campaign_id = %s", campaign_id
        )
        return reserved, spent

    def kept(self) -> list[tuple[Any, ...]]:
        """Every event that is kept: user, kind and campaign."""
        return self.reader.execute(
            "select user_id, kind, campaign_id from marketing.campaign_events order by user_id, event_id"
        ).fetchall()

    def check_sums(self) -> None:
        """Budgets and targets say what the rewards add up to."""
        assert not self.reader.execute(
            "select b.campaign_id from marketing.campaign_budgets b where (reserved, spent) <>"
            " (select coalesce(sum(amount) filter (where state = 'reserved'), 0),"
            " coalesce(sum(amount) filter (where state = 'spent'), 0)"
            " from marketing.rewards r where r.campaign_id = b.campaign_id)"
        ).fetchall()
        assert not self.reader.execute(
            "select t.user_id from marketing.campaign_targets t where (rewards, rewarded) <>"
            " (select count(*), coalesce(sum(amount), 0) from marketing.rewards r"
            " where r.user_id = t.user_id and r.campaign_id = t.campaign_id"
            " and r.state in ('reserved', 'spent'))"
        ).fetchall()

    def _one(self, statement: str, *parameters: object) -> tuple[Any, ...]:
        [found] = self.reader.execute(statement.encode(), parameters).fetchall()
        return tuple(found)


def event(  # an hour ago, unless told otherwise, by a clock that is right
    number: int = 1,
    kind: Kind = "view",
    campaign_id: str = WELCOME,
    occurred_at: datetime = RECEIVED - timedelta(hours=1),
    sent_at: datetime = RECEIVED,
    **more: Any,
) -> Event:
    return Event(UUID(int=number), campaign_id, kind, occurred_at, sent_at, **more)


def conversion(
    number: int = 1,
    amount: str = "80.00",
    transaction_id: str | None = "t1",
    campaign_id: str = WELCOME,
    **more: Any,
) -> Event:
    return event(
        number, "conversion", campaign_id, amount=Decimal(amount), transaction_id=transaction_id, **more
    )
