"""Nights: which were decided, skipped or published, and with how many targets."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.storage.tables import published_nights

_DECIDED = ("published", "stale")
_TARGETED = "targeted"


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

    @property
    def is_decided(self) -> bool:
        """Whether it was decided, and not skipped or only given targets of campaigns by hand so far."""
        return self.status in _DECIDED


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
    """The nights that were decided or skipped, and whether each was decided."""
    decided = published_nights.c.status.in_(_DECIDED).label("decided")
    statement = select(published_nights.c.day, decided).where(published_nights.c.status != _TARGETED)
    return {row.day: row.decided for row in connection.execute(statement)}


def decided_targets(connection: Connection, first: date) -> dict[date, int]:
    """Targets that each night from `first` on has published, by day: those decided, or targeted by hand."""
    published = or_(published_nights.c.status.in_(_DECIDED), published_nights.c.targets > 0)
    statement = (
        select(published_nights.c.day, published_nights.c.targets)
        .where(published, published_nights.c.day >= first)
        .order_by(published_nights.c.day)
    )
    return {row.day: row.targets for row in connection.execute(statement)}


def record_published(connection: Connection, entry: Night) -> None:
    """Write the night's row, replacing what stood there."""
    statement = insert(published_nights).values(**vars(entry))
    values = {name: statement.excluded[name] for name in vars(entry) if name != "day"}
    connection.execute(statement.on_conflict_do_update(index_elements=["day"], set_=values))


def record_targeted(
    connection: Connection, day: date, *, run_id: str, policy_version: str, targets: int, at: datetime
) -> None:
    """Write that the night's partition has `targets` by now, all published; a row keeps all else it says.

    A night that was not decided yet is `targeted` until it is.
    """
    reason = "not decided yet: so far only campaigns by hand have targets of it"
    entry = Night(day, run_id, policy_version, _TARGETED, reason, targets, at)
    statement = insert(published_nights).values(**vars(entry))
    raised = {"targets": statement.excluded.targets}
    connection.execute(statement.on_conflict_do_update(index_elements=["day"], set_=raised))


def record_skipped(
    connection: Connection,
    days: Iterable[date],
    *,
    run_id: str,
    policy_version: str,
    reason: str,
    at: datetime,
) -> None:
    """Write that these nights were not decided, and why.

    Nights that have a row keep it; one that campaigns by hand have targets of keeps these.
    """
    rows = [Night(day, run_id, policy_version, "skipped", reason, targets=0, published_at=at) for day in days]
    if rows:
        statement = insert(published_nights).values([vars(row) for row in rows])
        names = ("run_id", "policy_version", "status", "reason", "published_at")
        skipped = {name: statement.excluded[name] for name in names}
        targeted = published_nights.c.status == _TARGETED
        connection.execute(
            statement.on_conflict_do_update(index_elements=["day"], set_=skipped, where=targeted)
        )


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
