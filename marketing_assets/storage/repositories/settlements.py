"""Rewards between their promise and the ledger's word: read to be settled, then settled all at once.

What a conversion is promised on receipt is no part of this.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Connection, text

from marketing_assets.domain.campaigns import canonical_json
from marketing_assets.errors import DatabaseError
from marketing_assets.policy.model import CampaignTemplate, frozen_terms
from marketing_assets.storage.copying import copy_file, copy_query

_RESERVED = (
    "select r.user_id, r.event_id, r.campaign_id, t.campaign_version, r.transaction_id, r.amount,"
    " r.occurred_at, r.occurred_at + make_interval(hours => 24 * %s) as waits_until, t.valid_from,"
    " t.valid_until, t.context ->> 'location' as location, t.context ->> 'category' as category"
    " from marketing.rewards r"
    " left join marketing.campaign_targets t on t.user_id = r.user_id and t.campaign_id = r.campaign_id"
    " where r.state = 'reserved'"
)
_WAITING = text(
    "select count(*) as rewards, coalesce(sum(amount), 0.00) as reserved from marketing.rewards"
    " where state = 'reserved'"
)
_TERMS = text(
    "select v.campaign_id, v.version, v.settings from marketing.campaign_versions v"
    " where (v.campaign_id, v.version) in (select t.campaign_id, t.campaign_version"
    " from marketing.rewards r join marketing.campaign_targets t"
    " on t.user_id = r.user_id and t.campaign_id = r.campaign_id where r.state = 'reserved')"
)
_SETTLED = (
    "select campaign_id, user_id, event_id, transaction_id, claimed, amount, state, reason, occurred_at"
    " from marketing.rewards where settled_on = %s"
)

_STAGE = text(
    "create temporary table staged_settlements ("
    ' user_id text collate "C", event_id uuid, campaign_id text, reserved numeric(14, 2),'
    " spent numeric(14, 2), state text, reason text, primary key (user_id, event_id)"
    ") on commit drop"
)
# Conversions that arrive meanwhile lock in the same order: targets by user and campaign, then budgets by
# campaign, byte by byte, and only then touch rewards.
_LOCK_TARGETS = text(
    "select from marketing.campaign_targets t where (t.user_id, t.campaign_id) in"
    " (select user_id, campaign_id from staged_settlements)"
    ' order by t.user_id, t.campaign_id collate "C" for no key update'
)
_LOCK_BUDGETS = text(
    "select from marketing.campaign_budgets b where b.campaign_id in"
    ' (select campaign_id from staged_settlements) order by b.campaign_id collate "C" for no key update'
)
_REWARDS = text(
    "update marketing.rewards r set state = s.state, amount = s.spent, reason = s.reason,"
    " decided_at = :at, settled_on = :day"
    " from staged_settlements s where r.user_id = s.user_id and r.event_id = s.event_id"
    " and r.state = 'reserved' and r.amount = s.reserved"
)
_TARGETS = text(
    "update marketing.campaign_targets t"
    " set rewards = t.rewards - s.released, rewarded = t.rewarded - s.returned"
    " from (select user_id, campaign_id, count(*) filter (where state = 'released') as released,"
    " sum(reserved - spent) as returned from staged_settlements group by user_id, campaign_id) s"
    " where t.user_id = s.user_id and t.campaign_id = s.campaign_id and (s.released > 0 or s.returned > 0)"
)
_BUDGETS = text(
    "update marketing.campaign_budgets b set reserved = b.reserved - s.reserved, spent = b.spent + s.spent"
    " from (select campaign_id, sum(reserved) as reserved, sum(spent) as spent"
    " from staged_settlements group by campaign_id) s"
    " where b.campaign_id = s.campaign_id"
)


@dataclass(frozen=True)
class Waiting:
    """Rewards that wait for the ledger, and their money."""

    rewards: int
    reserved: Decimal


@dataclass(frozen=True)
class Version:
    """What one version of a campaign has frozen."""

    campaign_id: str
    version: int
    terms: CampaignTemplate


def export_reserved(connection: Connection, release_days: int, file: Path) -> None:
    """Write the rewards that wait for the ledger, with what their target was promised, to a CSV file."""
    copy_query(connection, _RESERVED, [release_days], file)


def waiting(connection: Connection) -> Waiting:
    """The rewards that wait now."""
    return Waiting(**connection.execute(_WAITING).one()._mapping)


def versions_of_reserved(connection: Connection) -> list[Version]:
    """The versions of campaigns that these rewards were promised by."""
    return [
        Version(row.campaign_id, row.version, frozen_terms(canonical_json(row.settings)))
        for row in connection.execute(_TERMS)
    ]


def settle(connection: Connection, file: Path, rewards: int, day: date, at: datetime) -> None:
    """Settle, in the caller's transaction, the rewards that a file of the lake's engine lists.

    What is not spent goes back to the budget of its campaign, and to what its user can still earn.

    Raises:
        DatabaseError: one of the `rewards` of the file was changed since it was read.
    """
    connection.execute(_STAGE)
    copy_file(connection, "staged_settlements", file)
    connection.execute(text("analyze staged_settlements"))
    connection.execute(_LOCK_TARGETS)
    connection.execute(_LOCK_BUDGETS)
    settled = connection.execute(_REWARDS, {"at": at, "day": day}).rowcount
    if settled != rewards:
        raise DatabaseError(
            f"{rewards - settled} of {rewards} rewards were changed while the night of {day} settled them",
            remedy="run the day again; nothing was settled",
            transient=True,
        )
    connection.execute(_TARGETS)
    connection.execute(_BUDGETS)


def export_settled(connection: Connection, day: date, file: Path) -> None:
    """Write the rewards that the night of `day` has settled, in whichever run, to a CSV file."""
    copy_query(connection, _SETTLED, [day], file)
