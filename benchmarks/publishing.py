"""How long a night of new targets takes to publish, and how far tables grow beyond their rows in a month."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from benchmarks.made_nights import FIRST, MadeNights, made_campaign
from benchmarks.progress import Progress

NIGHTS = 30
_BLOAT_USERS = 100_000
_TABLES = ("campaign_targets", "user_segments_a", "user_segments_b", "segment_summary", "published_nights")
# What the app does in a day, before the next night: a tenth of the targets are seen, some twice.
_USE = (
    "update marketing.campaign_targets set status = 'viewed', viewed_at = now()"
    " where (hashtext(user_id) & 2147483647) % 10 = {}",
    "update marketing.campaign_targets set status = 'converted', converted_at = now()"
    " where (hashtext(user_id) & 2147483647) % 50 = {}",
)


@dataclass(frozen=True)
class PublishingResult:
    """One night whose targets are all new, then `NIGHTS` nights of a smaller population.

    `bloat` is the size of the table that has grown the most, with its indexes, over that of a fresh copy
    of its rows. Segments are kept in two slots, of which only one is read: each is compared with itself.
    """

    users: int
    targets: int
    seconds: float
    targets_a_second: float
    nights: int
    bloat_users: int
    bloat: float


def measure(directory: Path, *, users: int, targets: int, progress: Progress) -> PublishingResult:
    """Publish `targets` new targets (a multiple of `users`), then a month of nights with an app that updates.

    Raises:
        MarketingError: a night could not be published.
    """
    campaigns = [made_campaign(number, FIRST) for number in range(targets // users)]
    with MadeNights(directory, users) as made:
        progress(f"a first night of {users:,} users")
        made.write(FIRST, campaigns, range(users))
        published, seconds = made.publish(FIRST, campaigns)
    held = min(users, _BLOAT_USERS)
    bloat = _month(directory, held, progress)
    return PublishingResult(
        users, published.new_targets, seconds, published.new_targets / seconds, NIGHTS, held, bloat
    )


def _month(directory: Path, users: int, progress: Progress) -> float:
    """Each night replaces all segments and adds a thirtieth of the users as targets of three campaigns."""
    campaigns = [made_campaign(number, FIRST) for number in range(3)]
    share = users // NIGHTS
    with MadeNights(directory, users) as made:
        progress(f"{NIGHTS} nights of {users:,} users, used by an app in between")
        for number in range(NIGHTS):
            day = FIRST + timedelta(days=number)
            made.write(day, campaigns, range(share * number, share * (number + 1)))
            made.publish(day, campaigns if number == 0 else [])
            with psycopg.connect(made.url) as app:
                for statement in _USE:
                    app.execute(statement.format(number % 10).encode())
        with psycopg.connect(made.url) as connection:
            return max(_bloat(connection, table) for table in _TABLES)


def _bloat(connection: psycopg.Connection, table: str) -> float:
    name = f"marketing.{table}"
    measured = sql.Identifier("marketing", table)
    connection.execute(sql.SQL("create table fresh (like {} including all)").format(measured))
    options = _value(
        connection, "select array_to_string(reloptions, ', ') from pg_class where oid = %s::regclass", name
    )
    if options:
        connection.execute(sql.SQL("alter table fresh set ({})").format(sql.SQL(options)))
    connection.execute(sql.SQL("insert into fresh select * from {}").format(measured))
    grown, fresh = (_value(connection, "select pg_total_relation_size(%s)", each) for each in (name, "fresh"))
    connection.execute("drop table fresh")
    return float(grown / fresh)


def _value(connection: psycopg.Connection, statement: LiteralString, parameter: str) -> Any:
    row = connection.execute(statement, [parameter]).fetchone()
    assert row is not None
    return row[0]
