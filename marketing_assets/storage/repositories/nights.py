"""Nights: which were decided, skipped or published, and with how many targets."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.storage.tables import published_nights

_DECIDED = ("published", "stale")


@dataclass(frozen=True)
class Night:
    """One row of `published_nights`."""

    day: date
    run_id: str
    policy_version: str
    status: str
    reason: str | None
    targets: int
    published_at: datetime


def night(connection: Connection, day: date) -> Night | None:
    """The night of `day`, or None where nothing is recorded of it."""
    row = connection.execute(select(published_nights).where(published_nights.c.day == day)).one_or_none()
    return None if row is None else Night(**row._mapping)


def newest_decided(connection: Connection, before: date | None = None) -> date | None:
    """The day of the newest night that was decided (earlier than `before`); None where there is none."""
    statement = select(func.max(published_nights.c.day)).where(published_nights.c.status.in_(_DECIDED))
    if before is not None:
        statement = statement.where(published_nights.c.day < before)
    return connection.execute(statement).scalar()


def first_decided(connection: Connection) -> date | None:
    """The day of the first night that was decided; None where there is none."""
    statement = select(func.min(published_nights.c.day)).where(published_nights.c.status.in_(_DECIDED))
    return connection.execute(statement).scalar()


def recorded(connection: Connection) -> dict[date, bool]:
    """The nights that have a row, and whether each was decided."""
    statement = select(published_nights.c.day, published_nights.c.status.in_(_DECIDED).label("decided"))
    return {row.day: row.decided for row in connection.execute(statement)}


def decided_targets(connection: Connection, first: date) -> dict[date, int]:
    """Targets that each decided night from `first` on has published, by day."""
    statement = (
        select(published_nights.c.day, published_nights.c.targets)
        .where(published_nights.c.status.in_(_DECIDED), published_nights.c.day >= first)
        .order_by(published_nights.c.day)
    )
    return {row.day: row.targets for row in connection.execute(statement)}


def record_published(connection: Connection, entry: Night) -> None:
    """Write the night's row, replacing what stood there."""
    statement = insert(published_nights).values(**vars(entry))
    values = {name: statement.excluded[name] for name in vars(entry) if name != "day"}
    connection.execute(statement.on_conflict_do_update(index_elements=["day"], set_=values))


def record_skipped(
    connection: Connection,
    days: Iterable[date],
    *,
    run_id: str,
    policy_version: str,
    reason: str,
    at: datetime,
) -> None:
    """Write that these nights were not decided, and why; nights that have a row keep it."""
    rows = [Night(day, run_id, policy_version, "skipped", reason, targets=0, published_at=at) for day in days]
    if rows:
        statement = insert(published_nights).values([vars(row) for row in rows])
        connection.execute(statement.on_conflict_do_nothing(index_elements=["day"]))


def mark_stale(connection: Connection, first: date, last: date, *, reason: str) -> int:
    """Write of the published nights from `first` to `last` that they were decided from rows of before.

    What they published stands; deciding one again writes that it is published.

    Returns:
        How many were marked.
    """
    nights = published_nights
    statement = (
        update(nights)
        .where(nights.c.day.between(first, last), nights.c.status == "published")
        .values(status="stale", reason=reason)
    )
    return len(connection.execute(statement.returning(nights.c.day)).all())
