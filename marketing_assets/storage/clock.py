"""The one clock: the system's, or an instant that `demo` and `--rebuild` have put in its place.

A simulated instant is kept by the session that set it and counts while that session lives, so that
a killed demo can never leave tonight's run in the past.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import ColumnClause, Connection, Engine, delete, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.errors import DatabaseError
from marketing_assets.storage.tables import simulated_clock

_BACKEND_START: ColumnClause[datetime] = literal_column(
    "(select a.backend_start from pg_stat_activity a where a.pid = simulated_clock.backend_pid)"
)

NOW_SQL = (
    "coalesce((select s.instant from marketing.simulated_clock s where s.backend_pid is null"
    " or s.backend_start = (select a.backend_start from pg_stat_get_activity(s.backend_pid) a)), now())"
)
"""The same instant inside of a statement: that of `now`, for calls that make one round trip."""

IS_SIMULATED_SQL = (
    "exists (select from marketing.simulated_clock s where s.backend_pid is null"
    " or s.backend_start = (select a.backend_start from pg_stat_get_activity(s.backend_pid) a))"
)
"""Whether it is not the system's."""


def now(connection: Connection) -> datetime:
    """The instant it is for every part of the system, aware, UTC."""
    clock = simulated_clock
    alive = or_(clock.c.backend_pid.is_(None), clock.c.backend_start == _BACKEND_START)
    instant = connection.execute(select(clock.c.instant).where(alive)).scalar()
    return instant.astimezone(UTC) if instant is not None else datetime.now(UTC)


class SimulatedClock:
    """Sets the clock; made by `simulated`, which also puts the system's clock back."""

    def __init__(self, connection: Connection, set_by: str) -> None:
        self._connection = connection
        self._set_by = set_by

    def set(self, instant: datetime) -> None:
        """From now on it is `instant`, everywhere, until the next call or the end of this session."""
        started: ColumnClause[datetime] = literal_column(
            "(select backend_start from pg_stat_activity where pid = pg_backend_pid())"
        )
        values = {
            "instant": instant,
            "set_by": self._set_by,
            "backend_pid": func.pg_backend_pid(),
            "backend_start": started,
        }
        statement = insert(simulated_clock).values(only_row=1, **values)
        self._connection.execute(statement.on_conflict_do_update(index_elements=["only_row"], set_=values))
        self._connection.commit()


@contextmanager
def simulated(engine: Engine, set_by: str) -> Iterator[SimulatedClock]:
    """A clock that can be set while the block runs; the system's clock counts again afterwards.

    Raises:
        DatabaseError: another session is simulating time in this database.
    """
    with engine.connect() as connection:
        alive = select(simulated_clock.c.set_by).where(simulated_clock.c.backend_start == _BACKEND_START)
        holder = connection.execute(alive).scalar()
        if holder is not None:
            raise DatabaseError(
                f"the clock of this database is already simulated by {holder}",
                remedy="wait until it has finished, or stop it",
            )
        try:
            yield SimulatedClock(connection, set_by)
        finally:
            connection.rollback()
            connection.execute(delete(simulated_clock))
            connection.commit()
