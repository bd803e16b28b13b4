"""The share of the global holdout, frozen for a calendar year by its first night."""

from datetime import date
from decimal import Decimal

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.storage.tables import global_holdouts


def frozen_share(connection: Connection, year: int, before: date | None = None) -> Decimal | None:
    """The share of all users in the global holdout of that year; None where no night has frozen it.

    Args:
        connection: to the serving database.
        year: of the target day, in the business time zone.
        before: count only what nights before this one froze, as a night that is decided again must.
    """
    statement = select(global_holdouts.c.share).where(global_holdouts.c.year == year)
    if before is not None:
        statement = statement.where(global_holdouts.c.frozen_on < before)
    return connection.execute(statement).scalar()


def freeze(connection: Connection, night: date, year: int, share: Decimal, policy_version: str) -> None:
    """Write the share of a year that has none, in the caller's transaction; what is frozen stays."""
    values = {"year": year, "share": share, "frozen_on": night, "policy_version": policy_version}
    connection.execute(insert(global_holdouts).values(values).on_conflict_do_nothing())
