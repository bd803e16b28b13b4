"""Events that the app reports, and the rewards that they reserve: for the sidecar, on psycopg's own sessions.

One statement takes any number of one user's events, and a smaller one a view, which costs one round trip and
is durable when it is answered. Whoever changes these rows locks in the order targets, events, budgets,
rewards, each by user and campaign, byte by byte, and holds the budgets, which all users share, no longer than
it must: then no two can wait for each other.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, Literal, LiteralString, Protocol
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from marketing_assets.domain.claims import Account, Claim, Decline, all_earned
from marketing_assets.domain.events import Event, Rejection, body_hash, corrected
from marketing_assets.policy.model import frozen_terms
from marketing_assets.storage.clock import IS_SIMULATED_SQL, NOW_SQL

RewardState = Literal["reserved", "spent", "released", "declined"]

_USER_LOCK = 0x6D61726B
"""Class of the advisory locks that let one user's claims come one after the other."""


@dataclass(frozen=True, slots=True)
class Reward:
    """What a conversion earned: money where it is reserved or spent, else 0 and the reason."""

    state: RewardState
    amount: Decimal
    reason: str | None


class User(Protocol):
    """Whose events they are; `user_hash` is the mark that an erasure leaves."""

    @property
    def user_id(self) -> str:
        """Of the serving tables."""

    @property
    def user_hash(self) -> str:
        """Of `erased_users`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one reported event. A conversion that was taken, now or earlier, has a reward."""

    event_id: UUID
    status: Literal["accepted", "duplicate", "rejected"]
    reason: Rejection | None = None
    reward: Reward | None = None


_TAKE: Final[LiteralString] = (
    "with moment as materialized (select " + IS_SIMULATED_SQL + " as is_simulated,"  # noqa: S608 - constants
    " case when " + IS_SIMULATED_SQL + " then " + NOW_SQL + " else %(received_at)s end as received_at),"
    """
reported as (
    select
        e.*, m.received_at,
        case when m.is_simulated then e.claimed_at else e.corrected_at end as occurred_at
    from moment m, json_to_recordset(%(events)s::json) as e(
        place integer, event_id uuid, campaign_id text, kind text, claimed_at timestamptz,
        sent_at timestamptz, corrected_at timestamptz, amount numeric, items jsonb, transaction_id text,
        body_hash text
    )
),
target as (
    select t.user_id, t.campaign_id, t.valid_from, least(t.valid_until, c.ended_by_hand_at) as valid_until
    from marketing.campaign_targets t
    join marketing.marketing_campaigns c on c.campaign_id = t.campaign_id
    where t.user_id = %(user_id)s::text and t.campaign_id = any(%(campaign_ids)s::text[])
        and t.arm = 'treatment' and c.status <> 'archived'
        and not exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s::text)
    order by t.campaign_id collate "C"
    for no key update of t
),
taken as (
    insert into marketing.campaign_events (
        user_id, event_id, campaign_id, kind, occurred_at, received_at, claimed_at, sent_at, amount, items,
        transaction_id, body_hash
    )
    select
        t.user_id, e.event_id, e.campaign_id, e.kind, e.occurred_at, e.received_at, e.claimed_at, e.sent_at,
        e.amount, e.items, e.transaction_id, e.body_hash
    from reported e
    join target t on t.campaign_id = e.campaign_id
    where t.valid_from <= e.occurred_at and e.occurred_at < t.valid_until
    order by e.place
    on conflict (user_id, event_id) do nothing
    returning user_id, campaign_id, event_id, kind, occurred_at, body_hash
),
news as (
    select
        user_id, campaign_id,
        min(occurred_at) filter (where kind = 'view') as viewed_at,
        min(occurred_at) filter (where kind = 'dismiss') as dismissed_at,
        min(occurred_at) filter (where kind = 'conversion') as converted_at
    from taken
    group by user_id, campaign_id
),
moved as (
    update marketing.campaign_targets t set
        viewed_at = least(t.viewed_at, n.viewed_at),
        dismissed_at = least(t.dismissed_at, n.dismissed_at),
        converted_at = least(t.converted_at, n.converted_at),
        status = case
            when t.status = 'converted' or n.converted_at is not null then 'converted'
            when t.status = 'viewed' or n.viewed_at is not null then 'viewed'
            else t.status
        end
    from news n
    where t.user_id = n.user_id and t.campaign_id = n.campaign_id and (
        n.viewed_at < coalesce(t.viewed_at, 'infinity')
        or n.dismissed_at < coalesce(t.dismissed_at, 'infinity')
        or n.converted_at < coalesce(t.converted_at, 'infinity')
    )
)
select coalesce((select json_object_agg(event_id, body_hash) from taken), '{}')
where not exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s::text)
"""
)
"""Takes the events that are of a living target: of this user, in treatment, at the instant they happened.

The target's row is held first, so that whoever erases, archives or rebuilds it leaves no event behind. A
simulated clock takes the app's word for when things happened. Answers JSON, the hash of the body by id of
each that was taken; no row: the user asked to be erased.
"""

_TAKE_ONE: Final[LiteralString] = (
    "with moment as materialized (select"  # noqa: S608 - constants of this package
    " case when " + IS_SIMULATED_SQL + " then " + NOW_SQL + " else %(received_at)s::timestamptz end"
    " as received_at,"
    " case when " + IS_SIMULATED_SQL + " then %(claimed_at)s::timestamptz else"
    " %(corrected_at)s::timestamptz end as occurred_at),"
    """
target as (
    select t.user_id, t.campaign_id, m.occurred_at, m.received_at
    from moment m
    cross join marketing.campaign_targets t
    join marketing.marketing_campaigns c on c.campaign_id = t.campaign_id
    where t.user_id = %(user_id)s::text and t.campaign_id = %(campaign_id)s::text
        and t.arm = 'treatment' and c.status <> 'archived'
        and t.valid_from <= m.occurred_at and m.occurred_at < least(t.valid_until, c.ended_by_hand_at)
        and not exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s::text)
    for no key update of t
),
taken as (
    insert into marketing.campaign_events (
        user_id, event_id, campaign_id, kind, occurred_at, received_at, claimed_at, sent_at, body_hash
    )
    select
        user_id, %(event_id)s::uuid, campaign_id, %(kind)s::text, occurred_at, received_at,
        %(claimed_at)s::timestamptz, %(sent_at)s::timestamptz, %(body_hash)s::text
    from target
    on conflict (user_id, event_id) do nothing
    returning user_id, campaign_id, kind, occurred_at
),
moved as (
    update marketing.campaign_targets t set
        viewed_at = case when n.kind = 'view' then least(t.viewed_at, n.occurred_at) else t.viewed_at end,
        dismissed_at = case
            when n.kind = 'dismiss' then least(t.dismissed_at, n.occurred_at) else t.dismissed_at
        end,
        status = case when n.kind = 'view' and t.status = 'eligible' then 'viewed' else t.status end
    from taken n
    where t.user_id = n.user_id and t.campaign_id = n.campaign_id and (
        (n.kind = 'view' and n.occurred_at < coalesce(t.viewed_at, 'infinity'))
        or (n.kind = 'dismiss' and n.occurred_at < coalesce(t.dismissed_at, 'infinity'))
    )
)
select exists (select from taken)
where not exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s::text)
"""
)
"""Takes one view, click or dismissal as `_TAKE` would, at half its price, for the call that is made most.

Answers whether it was taken; no row: the user asked to be erased.
"""

_EXPLAIN: Final = """
select
    known.body_hash, r.state, r.amount, r.reason, coalesce(c.status = 'archived', false) as is_archived,
    exists (
        select from marketing.campaign_targets t
        where t.user_id = %(user_id)s::text and t.campaign_id = e.campaign_id and t.arm = 'treatment'
    ) as is_target
from unnest(%(event_ids)s::uuid[], %(campaign_ids)s::text[])
    with ordinality as e(event_id, campaign_id, place)
left join marketing.campaign_events known
    on known.user_id = %(user_id)s::text and known.event_id = e.event_id
left join marketing.rewards r on r.user_id = %(user_id)s::text and r.event_id = e.event_id
left join marketing.marketing_campaigns c on c.campaign_id = e.campaign_id
order by e.place
"""

_HOLD_USER: Final = "select pg_advisory_xact_lock(%s, hashtext(%s))"

_CLAIMS: Final = """
select
    e.event_id, e.campaign_id, e.amount, e.transaction_id, t.rewards, t.rewarded,
    v.settings::text as settings,
    exists (
        select from marketing.campaign_pauses p
        where p.campaign_id = e.campaign_id and p.paused_at <= e.occurred_at
            and e.occurred_at < coalesce(p.resumed_at, 'infinity')
    ) as is_paused,
    exists (
        select from marketing.rewards r
        where r.user_id = e.user_id and r.transaction_id = e.transaction_id
            and r.state in ('reserved', 'spent')
    ) as is_rewarded
from unnest(%(event_ids)s::uuid[]) with ordinality as asked(event_id, place)
join marketing.campaign_events e on e.user_id = %(user_id)s::text and e.event_id = asked.event_id
join marketing.campaign_targets t on t.user_id = e.user_id and t.campaign_id = e.campaign_id
join marketing.campaign_versions v on v.campaign_id = t.campaign_id and v.version = t.campaign_version
order by e.campaign_id collate "C", asked.place
"""

_RESERVE: Final = """
update marketing.campaign_budgets set reserved = reserved + %(amount)s
where campaign_id = %(campaign_id)s and (budget is null or reserved + spent + %(amount)s <= budget)
"""

_RECORD: Final = """
with answered as (
    insert into marketing.rewards (
        user_id, event_id, campaign_id, transaction_id, claimed, amount, state, reason, occurred_at,
        decided_at
    )
    select
        e.user_id, e.event_id, e.campaign_id, e.transaction_id, e.amount, a.amount, a.state, a.reason,
        e.occurred_at, e.received_at
    from json_to_recordset(%(answers)s::json) as a(event_id uuid, amount numeric, state text, reason text)
    join marketing.campaign_events e on e.user_id = %(user_id)s::text and e.event_id = a.event_id
    returning user_id, campaign_id, amount, state
),
reserved as (
    select user_id, campaign_id, count(*) as rewards, sum(amount) as amount
    from answered
    where state = 'reserved'
    group by user_id, campaign_id
)
update marketing.campaign_targets t set rewards = t.rewards + r.rewards, rewarded = t.rewarded + r.amount
from reserved r
where t.user_id = r.user_id and t.campaign_id = r.campaign_id
"""


class OneStatement(Protocol):
    """Runs a statement on a session of its own, twice where the connection breaks; gives the first row."""

    async def row(self, statement: LiteralString, parameters: Mapping[str, object]) -> Sequence[Any] | None:
        """The first row; None where there is none."""


async def report(database: OneStatement, user: User, event: Event, received_at: datetime) -> Outcome | None:
    """Take a view, a click or a dismissal, durable on return; None where the user asked to be erased."""
    row = await database.row(_TAKE_ONE, _taking_one(user, event, received_at))
    if row is None:
        return None
    if row[0]:
        return Outcome(event.event_id, "accepted")
    standing = await database.row(_EXPLAIN, _explaining(user, [event]))
    assert standing is not None
    return _explained(event, _Standing(*standing))


async def report_all(
    connection: AsyncConnection[Any],
    user: User,
    events: Sequence[Event],
    received_at: datetime,
    point_value: Decimal,
) -> list[Outcome] | None:
    """Take events of any kind in one transaction, and reserve what they earn; each is judged on its own.

    Claims on one campaign's budget go together, campaigns by id. Durable on return.

    Args:
        connection: outside a transaction.
        user: whose events they are.
        events: in the order in which they happened.
        received_at: when they came, by the system's clock.
        point_value: what one point costs, in currency.

    Returns:
        One outcome an event, in their order; None where the user asked to be erased.
    """
    async with connection.transaction():
        await connection.execute(_HOLD_USER, [_USER_LOCK, user.user_id])
        cursor = await connection.execute(_TAKE, _taking(user, events, received_at))
        row = await cursor.fetchone()
        if row is None:
            return None
        accepted = _firsts(events, row[0])
        claims = [events[place].event_id for place in accepted if events[place].kind == "conversion"]
        rewards = await _reward(connection, user, claims, point_value)
        others = [place for place in range(len(events)) if place not in accepted]
        explained = await _explain(connection, user, [events[place] for place in others])
    told = dict(zip(others, explained, strict=True))
    for place in accepted:
        event_id = events[place].event_id
        told[place] = Outcome(event_id, "accepted", reward=rewards.get(event_id))
    return [told[place] for place in range(len(events))]


def _firsts(events: Sequence[Event], taken: Mapping[str, str]) -> list[int]:
    """Where those events stand in the list that were written; one that is repeated stands there once."""
    firsts: dict[UUID, int] = {}
    for place, event in enumerate(events):
        if taken.get(str(event.event_id)) == body_hash(event):
            firsts.setdefault(event.event_id, place)
    return list(firsts.values())


def _taking_one(user: User, event: Event, received_at: datetime) -> dict[str, object]:
    return {
        "user_id": user.user_id,
        "user_hash": user.user_hash,
        "event_id": event.event_id,
        "campaign_id": event.campaign_id,
        "kind": event.kind,
        "claimed_at": event.occurred_at,
        "sent_at": event.sent_at,
        "received_at": received_at,
        "corrected_at": corrected(event, received_at),
        "body_hash": body_hash(event),
    }


def _taking(user: User, events: Sequence[Event], received_at: datetime) -> dict[str, object]:
    return {
        "user_id": user.user_id,
        "user_hash": user.user_hash,
        "campaign_ids": list({event.campaign_id for event in events}),
        "received_at": received_at,
        "events": json.dumps([_row(place, event, received_at) for place, event in enumerate(events)]),
    }


def _row(place: int, event: Event, received_at: datetime) -> dict[str, object]:
    return {
        "place": place,
        "event_id": str(event.event_id),
        "campaign_id": event.campaign_id,
        "kind": event.kind,
        "claimed_at": event.occurred_at.isoformat(),
        "sent_at": event.sent_at.isoformat(),
        "corrected_at": corrected(event, received_at).isoformat(),
        "amount": None if event.amount is None else str(event.amount),
        "items": event.items,
        "transaction_id": event.transaction_id,
        "body_hash": body_hash(event),
    }


def _explaining(user: User, events: Sequence[Event]) -> dict[str, object]:
    return {
        "user_id": user.user_id,
        "event_ids": [event.event_id for event in events],
        "campaign_ids": [event.campaign_id for event in events],
    }


async def _explain(connection: AsyncConnection[Any], user: User, events: Sequence[Event]) -> list[Outcome]:
    """Why events were not taken: they are known already, or of nothing that this user has."""
    if not events:
        return []
    async with connection.cursor(row_factory=class_row(_Standing)) as cursor:
        await cursor.execute(_EXPLAIN, _explaining(user, events))
        standings = await cursor.fetchall()
    return [_explained(event, standing) for event, standing in zip(events, standings, strict=True)]


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is known of an event that was not taken; of one that is kept the hash of its body."""

    body_hash: str | None
    state: RewardState | None
    amount: Decimal | None
    reason: str | None
    is_archived: bool
    is_target: bool

    @property
    def reward(self) -> Reward | None:
        """The answer to its claim."""
        if self.state is None or self.amount is None:
            return None
        return Reward(self.state, self.amount, self.reason)


def _explained(event: Event, standing: _Standing) -> Outcome:
    if standing.body_hash == body_hash(event):
        return Outcome(event.event_id, "duplicate", reward=standing.reward)
    if standing.body_hash is not None:
        return Outcome(event.event_id, "rejected", "conflicting_duplicate")
    if standing.is_archived:
        return Outcome(event.event_id, "rejected", "archived")
    return Outcome(event.event_id, "rejected", "outside_window" if standing.is_target else "not_a_target")


@dataclass(frozen=True, slots=True)
class _Claimed(Claim):
    """A claim with the target whose promise it claims."""

    campaign_id: str
    settings: str
    rewards: int
    rewarded: Decimal


async def _reward(
    connection: AsyncConnection[Any], user: User, event_ids: Sequence[UUID], point_value: Decimal
) -> dict[UUID, Reward]:
    """Answer the claims of conversions that were taken, and write the answers down."""
    if not event_ids:
        return {}
    async with connection.cursor(row_factory=class_row(_Claimed)) as cursor:
        await cursor.execute(_CLAIMS, {"user_id": user.user_id, "event_ids": list(event_ids)})
        claims = await cursor.fetchall()
    rewards: dict[UUID, Reward] = {}
    transactions: frozenset[str] = frozenset()
    for campaign_id, group in groupby(claims, key=lambda each: each.campaign_id):
        of_campaign = list(group)
        target, terms = of_campaign[0], frozen_terms(of_campaign[0].settings)
        account = Account(terms, point_value, target.rewards, target.rewarded, transactions)
        answers, account = await _answers(connection, campaign_id, account, of_campaign)
        transactions = account.transactions
        rewards |= {
            claim.event_id: _reward_of(each) for claim, each in zip(of_campaign, answers, strict=True)
        }
    rows = [
        {"event_id": str(event_id), "amount": str(each.amount), "state": each.state, "reason": each.reason}
        for event_id, each in rewards.items()
    ]
    await connection.execute(_RECORD, {"user_id": user.user_id, "answers": json.dumps(rows)})
    return rewards


async def _answers(
    connection: AsyncConnection[Any], campaign_id: str, account: Account, claims: Sequence[Claim]
) -> tuple[list[Decimal | Decline], Account]:
    """What claims on one campaign get: at once where its budget covers them all, else one after the other."""

    async def covers(amounts: Iterable[Decimal | Decline]) -> bool:
        total = sum((each for each in amounts if isinstance(each, Decimal)), Decimal(0))
        cursor = await connection.execute(_RESERVE, {"campaign_id": campaign_id, "amount": total})
        return cursor.rowcount > 0

    hoped, afterwards = all_earned(account, claims)
    if not any(isinstance(each, Decimal) for each in hoped) or await covers(hoped):
        return hoped, afterwards
    answers: list[Decimal | Decline] = []
    for claim in claims:
        answer = account.earned(claim)
        if isinstance(answer, Decimal) and not await covers([answer]):
            answer = "budget"
        answers.append(answer)
        account = account.after(claim, answer)
    return answers, account


def _reward_of(answer: Decimal | Decline) -> Reward:
    if isinstance(answer, Decimal):
        return Reward("reserved", answer, None)
    return Reward("declined", Decimal(0), answer)
