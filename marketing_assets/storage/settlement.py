"""Rewards are confirmed by the ledger or released: read from PostgreSQL, looked up in the lake, written back.

PostgreSQL is settled first, whole or not at all; the partition of the night is then made of what stands there
with its day, so that a run killed in between leaves the rest to the next one.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlglot import exp

from marketing_assets.domain.days import day_of, days_between, end_of, start_of
from marketing_assets.domain.rewards import reward_rule
from marketing_assets.domain.targeting import HIGHEST_RATE
from marketing_assets.engine.base import Engine, Row, Schema, Value, sql
from marketing_assets.policy.model import Policy
from marketing_assets.storage.datasets import ARCHIVED_REWARDS, SETTLED_REWARDS, TRANSACTIONS
from marketing_assets.storage.lake import Lake, Written
from marketing_assets.storage.repositories import settlements
from marketing_assets.storage.repositories.settlements import Version, Waiting
from marketing_assets.storage.writer import WriterLock

_INSTANT = "timestamp with time zone"
_MONEY = "decimal(14,2)"
_RESERVED = (
    ("user_id", "varchar"),
    ("event_id", "varchar"),
    ("campaign_id", "varchar"),
    ("campaign_version", "integer"),
    ("transaction_id", "varchar"),
    ("amount", _MONEY),
    ("occurred_at", _INSTANT),
    ("waits_until", _INSTANT),
    ("valid_from", _INSTANT),
    ("valid_until", _INSTANT),
    ("location", "varchar"),
    ("category", "varchar"),
)
_TERMS = (
    ("campaign_id", "varchar"),
    ("campaign_version", "integer"),
    ("reward_fixed", _MONEY),
    ("reward_rate", "decimal(18,8)"),
    ("reward_cap", _MONEY),
)
_SPAN = (
    "select min(valid_from) as first, max(valid_until) as last, min(occurred_at) as claimed"
    " from reserved_rewards"
)
_RELATIONS = (
    "reserved_rewards",
    "reward_terms",
    "ledger",
    "archived_rewards",
    "reward_purchases",
    "reward_settlements",
)
_SMALLEST = timedelta(microseconds=1)


def settle_rewards(
    lock: WriterLock, engine: Engine, lake: Lake, *, day: date, policy: Policy, zone: ZoneInfo, at: datetime
) -> Waiting:
    """Settle in PostgreSQL what the ledger of the days until `day` decides; what waits stays as it is.

    Args:
        lock: the writer lock; its session carries the transaction.
        engine: reads the lake.
        lake: where the transactions are.
        day: the night.
        policy: how long a reward waits, and what a point is worth.
        zone: the zone of business days.
        at: the instant it is, from the one clock.

    Raises:
        WriterLockError: the lock was lost; nothing was settled.
        DatabaseError: a reward was changed meanwhile; nothing was settled.
    """
    file = lake.scratch / f"rewards-{day}.csv"
    try:
        versions = _register_reserved(lock, engine, file, policy.limits.reward_release_days)
        [span] = engine.fetch(_SPAN)
        if span["claimed"] is None:
            return Waiting(0, Decimal(0))
        engine.register_rows("reward_terms", _TERMS, [_terms(each, policy) for each in versions])
        _find_purchases(engine, lake, span, day, zone)
        engine.create(
            "reward_settlements",
            sql("reward_settlements"),
            {"night_ends": end_of(day, zone), "complete_since": _complete_since(lake, span, day, zone)},
        )
        rewards = engine.write_csv("select * from reward_settlements", file)
        if rewards:
            lock.check()
            with lock.session.begin():
                settlements.settle(lock.session, file, rewards, day, at)
                lock.check_in_transaction()
        return _waiting(engine)
    finally:
        engine.drop(*_RELATIONS)
        file.unlink(missing_ok=True)


def write_settled(lock: WriterLock, engine: Engine, lake: Lake, day: date) -> Written:
    """Write the partition of the night: what it has settled, in this run or an earlier one."""
    file = lake.scratch / f"settled-{day}.csv"
    try:
        with lock.session.begin():
            settlements.export_settled(lock.session, day, file)
        schema = [(column.name, column.type) for column in SETTLED_REWARDS.columns]
        _create_from(engine, "settled_rewards", file, schema)
        return lake.write(engine, SETTLED_REWARDS, day, "settled_rewards")
    finally:
        engine.drop("settled_rewards")
        file.unlink(missing_ok=True)


def _register_reserved(lock: WriterLock, engine: Engine, file: Path, release_days: int) -> list[Version]:
    """Name as `reserved_rewards` what waits, and return the versions that promised it."""
    with lock.session.begin():
        settlements.export_reserved(lock.session, release_days, file)
        versions = settlements.versions_of_reserved(lock.session)
    _create_from(engine, "reserved_rewards", file, _RESERVED)
    return versions


def _create_from(engine: Engine, relation: str, file: Path, schema: Schema) -> None:
    """Name the rows of a CSV file of PostgreSQL's, typed."""
    engine.register_csv(f"{relation}_csv", [file], [name for name, _ in schema])
    typed = [exp.alias_(exp.cast(exp.column(name), kind, dialect="duckdb"), name) for name, kind in schema]
    engine.create(relation, exp.select(*typed).from_(f"{relation}_csv"))
    engine.drop(f"{relation}_csv")


def _terms(version: Version, policy: Policy) -> Sequence[Value]:
    rule = reward_rule(version.terms.offer, version.terms, policy.point_value)
    return [version.campaign_id, version.version, rule.fixed, min(rule.rate, HIGHEST_RATE), rule.cap]


def _find_purchases(engine: Engine, lake: Lake, span: Row, day: date, zone: ZoneInfo) -> None:
    """Name the purchases of rewards as `reward_purchases`; reads the days on which their offers lived."""
    first, last = span["first"], span["last"]
    lived: list[date] = []
    if isinstance(first, datetime) and isinstance(last, datetime):  # else no reward has a target any more
        lived = days_between(day_of(first, zone), min(day, day_of(last - _SMALLEST, zone)))
    held = set(lake.days(TRANSACTIONS))
    lake.register(engine, "ledger", TRANSACTIONS, [each for each in lived if each in held])
    lake.register(engine, "archived_rewards", ARCHIVED_REWARDS, lake.days(ARCHIVED_REWARDS))
    engine.create("reward_purchases", sql("reward_purchases"))


def _complete_since(lake: Lake, span: Row, day: date, zone: ZoneInfo) -> datetime:
    """The instant from which on, until the end of `day`, the lake has the transactions of every day.

    Looked for from the first claim on; what is older than all that the lake holds is not waited for.
    """
    claimed = span["claimed"]
    assert isinstance(claimed, datetime)
    held = lake.days(TRANSACTIONS)
    days = days_between(max(day_of(claimed, zone), min(held, default=date.min)), day)
    missing = lake.missing(TRANSACTIONS, days)
    return end_of(missing[-1], zone) if missing else start_of(min(day, day_of(claimed, zone)), zone)


def _waiting(engine: Engine) -> Waiting:
    [row] = engine.fetch(
        "select count(*) as rewards, coalesce(sum(r.amount), 0) as reserved from reserved_rewards r"
        " where not exists (select 1 from reward_settlements s"
        " where s.user_id = r.user_id and s.event_id = r.event_id)"
    )
    return Waiting(int(str(row["rewards"])), Decimal(str(row["reserved"])))
