"""Campaigns, targets and segments put into the serving tables by hand, around the present instant."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import Engine

from marketing_assets.domain.identity import keyed_hash
from marketing_assets.storage.repositories.campaigns import insert_opened
from marketing_assets_tests.sidecar.service import ERASURE_KEY
from marketing_assets_tests.storage.nights import campaign


def in_days(days: float) -> datetime:
    """An instant so many days from now, on a whole second."""
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


_campaign = cache(campaign)


class Shop:
    """One database's campaigns; every name that it makes is new."""

    def __init__(self, engine: Engine, connection: psycopg.Connection) -> None:
        self._engine = engine
        self._connection = connection

    def user(self) -> str:
        """A user whom no other test knows."""
        return f"user-{uuid.uuid4().hex[:12]}"

    def open(
        self,
        template: str = "vip-rewards",
        *,
        campaign_id: str | None = None,
        starts: float = -1,
        ends: float = 20,
        **terms: Any,
    ) -> str:
        """A campaign of a template, some of its terms changed, that runs from day to day; its id."""
        made = _campaign(template)
        frozen = {**json.loads(made.settings), **terms}
        made = replace(
            made,
            campaign_id=campaign_id or f"{template}-{uuid.uuid4().hex[:8]}",
            starts_at=in_days(starts),
            ends_at=in_days(ends),
            priority=frozen["priority"],
            holdout_share=Decimal(str(frozen["holdout_share"])),
            settings=json.dumps(frozen),
        )
        with self._engine.begin() as connection:
            assert insert_opened(connection, [made]) == 1
        return made.campaign_id

    def target(
        self,
        user: str,
        campaign_id: str,
        *,
        arm: str = "treatment",
        version: int = 1,
        starts: float = -0.5,
        ends: float = 10,
        context: dict[str, str] | None = None,
        **columns: Any,
    ) -> None:
        """Make the user a target, whose offer lives from day to day."""
        row = {
            "campaign_id": campaign_id,
            "campaign_version": version,
            "user_id": user,
            "arm": arm,
            "reason": Jsonb({}),
            "context": Jsonb(context or {}),
            "assigned_on": datetime.now(UTC).date(),
            "valid_from": in_days(starts),
            "valid_until": in_days(ends),
            **columns,
        }
        self._insert("campaign_targets", row)

    def offer(self, user: str, template: str = "vip-rewards", **terms: Any) -> str:
        """A campaign with this user as its target; its id."""
        campaign_id = self.open(template, **terms)
        self.target(user, campaign_id)
        return campaign_id

    def change(self, table: str, campaign_id: str, **columns: Any) -> None:
        """Give the rows of a campaign other values."""
        values = ", ".join(f"{name} = %s" for name in columns)
        statement = f"update marketing.{table} set {values} where campaign_id = %s"
        self._connection.execute(statement.encode(), [*columns.values(), campaign_id])

    def opt_out(self, user: str) -> None:
        """As the user would."""
        self._insert(
            "user_consent",
            {"user_id": user, "opted_out_at": in_days(-1), "source": "test", "updated_at": in_days(-1)},
        )

    def erase(self, user: str) -> None:
        """As the user would: what is held about them is still there, and shown to nobody."""
        self._insert(
            "erased_users",
            {
                "user_hash": keyed_hash(ERASURE_KEY.encode(), user),
                "key_fingerprint": "0" * 16,
                "request_id": uuid.uuid4(),
                "asked_at": in_days(-1),
            },
        )

    def segment(
        self, user: str, patterns: Sequence[str] = ("general",), average_order: str | None = "10.00"
    ) -> None:
        """The user's patterns as of the newest night."""
        as_of = date(2026, 2, 10)
        self._connection.execute(
            "insert into marketing.live_segments (slot, as_of) values ('a', %s) on conflict do nothing",
            [as_of],
        )
        self._insert(
            "user_segments_a",
            {
                "user_id": user,
                "primary_pattern": patterns[0],
                "patterns": list(patterns),
                "spend": "100.00",
                "transactions": 3,
                "as_of": as_of,
                "average_order": average_order,
            },
        )

    def event(self, user: str, campaign_id: str, kind: str, amount: str | None = None) -> None:
        """An event that the app reported."""
        now = datetime.now(UTC)
        self._insert(
            "campaign_events",
            {
                "user_id": user,
                "event_id": uuid.uuid4(),
                "campaign_id": campaign_id,
                "kind": kind,
                **dict.fromkeys(("occurred_at", "received_at", "claimed_at", "sent_at"), now),
                "amount": amount,
                "body_hash": "0",
            },
        )

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        statement = f"insert into marketing.{table} ({names}) values ({places})"
        self._connection.execute(statement.encode(), list(row.values()))
