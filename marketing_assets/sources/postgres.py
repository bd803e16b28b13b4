"""Transactions in any PostgreSQL table or query, read by one COPY a load, in bounded memory.

This is how the app's own database is connected. Nothing is written there; the password is never shown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlglot import exp

from marketing_assets.domain.days import ONE_DAY, days_between, end_of, start_of
from marketing_assets.engine.base import Engine
from marketing_assets.errors import LakeError, SourceError
from marketing_assets.sources.base import SOURCE_COLUMNS, ColumnMapping, DayCount
from marketing_assets.sources.counting import count_changed, count_rows

_TIME_TYPES = {"date": 1082, "timestamp": 1114, "timestamptz": 1184}
_REFUSALS = ("authentication failed", "no password supplied", "FATAL:  role ")
_LONGEST_OFFSET = timedelta(days=1)
_COUNT_SECONDS = 45  # a sensor has a minute


class PostgresSource:
    """One table or query. Where the time column is date, timestamp or timestamptz the server filters.

    Where it is text, every row is read at every load: only reading tells which rows are of the day.
    """

    name = "postgres"

    def __init__(self, url: str, mapping: ColumnMapping, scratch: Path) -> None:
        self._mapping = mapping
        self._scratch = scratch
        self._has_update_time = mapping.columns is not None and mapping.columns.updated_at is not None
        self._url = url.replace("postgresql+psycopg2://", "postgresql://").replace(
            "postgresql+psycopg://", "postgresql://"
        )
        try:
            parts = conninfo_to_dict(self._url)
        except psycopg.Error:
            raise SourceError(
                "postgres source: MARKETING_SOURCE_URL is not a PostgreSQL URL",
                remedy="write postgresql://user:password@host:5432/database, with special characters of the "
                "password percent-encoded",
            ) from None
        host = parts.get("host") or parts.get("hostaddr") or "the local socket"
        port = f":{parts['port']}" if parts.get("port") else ""
        self._user = str(parts.get("user") or "")
        self._database = str(parts.get("dbname") or self._user)
        self._server = f"{host}{port}"

    @property
    def zone(self) -> ZoneInfo:
        """See `Source.zone`."""
        return self._mapping.zone

    @property
    def has_update_time(self) -> bool:
        """See `Source.has_update_time`."""
        return self._has_update_time

    def load(self, engine: Engine, relation: str, start_at: datetime, end_at: datetime) -> None:
        """See `Source.load`."""
        with self._csv_file() as file:
            with self._connected() as connection, self._named_errors():
                connection.execute("set local statement_timeout = 0")
                connection.execute("set local timezone = 'UTC'")
                connection.execute("set local datestyle = 'ISO'")
                kinds = self._column_kinds(connection)
                columns = self._mapping.resolved(list(kinds), self.name, self._place)
                self._has_update_time = columns["updated_at"] is not None
                statement = self._copy_statement(columns, kinds, start_at, end_at)
                with file.open("wb") as stream, connection.cursor().copy(statement) as copy:
                    for chunk in copy:
                        stream.write(chunk)
            engine.register_csv("source_copy", [file], SOURCE_COLUMNS)
            engine.create(relation, exp.select(*SOURCE_COLUMNS).from_("source_copy"))
            engine.drop("source_copy")

    def now(self) -> datetime:
        """See `Source.now`; the server's clock."""
        with self._connected() as connection, self._named_errors():
            row = connection.execute("select now()").fetchone()
        assert row is not None
        return cast(datetime, row[0]).astimezone(UTC)

    def changed_days(
        self, engine: Engine, first: date, last: date, zone: ZoneInfo, since: datetime
    ) -> list[DayCount] | None:
        """See `Source.changed_days`; counted by the server, cheap where the update time has an index."""
        with self._counting() as (connection, columns, kinds):
            if columns["updated_at"] is None:
                return None
            if _all_times(columns, kinds):
                days = days_between(first, last)
                return self._counted(connection, columns, kinds, days, zone, since)
        return count_changed(engine, self, first, last, zone, since)

    def counted_days(self, engine: Engine, first: date, last: date, zone: ZoneInfo) -> list[DayCount]:
        """See `Source.counted_days`; counted by the server, cheap where the time has an index."""
        with self._counting() as (connection, columns, kinds):
            if _all_times(columns, kinds):
                return self._counted(connection, columns, kinds, days_between(first, last), zone, None)
        return count_rows(engine, self, first, last, zone)

    @contextmanager
    def _counting(self) -> "Iterator[tuple[psycopg.Connection, dict[str, str | None], dict[str, int]]]":
        with self._connected() as connection, self._named_errors():
            connection.execute(f"set local statement_timeout = '{_COUNT_SECONDS}s'")
            connection.execute("set local timezone = 'UTC'")
            kinds = self._column_kinds(connection)
            columns = self._mapping.resolved(list(kinds), self.name, self._place)
            self._has_update_time = columns["updated_at"] is not None
            yield connection, columns, kinds

    def _counted(
        self,
        connection: psycopg.Connection,
        columns: dict[str, str | None],
        kinds: dict[str, int],
        days: list[date],
        zone: ZoneInfo,
        since: datetime | None,
    ) -> list[DayCount]:
        edges = [start_of(day, zone) for day in [*days, days[-1] + ONE_DAY]]
        time, update = columns["occurred_at"] or "", columns["updated_at"]
        wanted = _wanted(columns, kinds, edges[0], edges[-1])
        placed = self._placed(time, kinds[time], edges)
        changed_at: sql.Composable = sql.SQL("null")
        if update is not None:
            changed_at = sql.SQL("case when not {} then {} end").format(
                _unreadable(update), sql.Identifier(update)
            )
            placed = sql.SQL("coalesce({}, {})").format(placed, self._placed(update, kinds[update], edges))
        come: sql.Composable = sql.SQL("true")
        future: sql.Composable = sql.SQL("false")
        if update is not None and since is not None:
            name, kind = sql.Identifier(update), kinds[update]
            since_then = self._literal(_rounded_down(since, kind), kind)
            wanted = sql.SQL("{} and {} >= {}").format(wanted, name, since_then)
            come, future = self._come(name, kind)
        rows = connection.execute(
            sql.SQL(
                "select place, count(*) filter (where come), max(changed_at) filter (where come),"
                " count(*) filter (where future) from"
                " (select {} as place, {} as changed_at, {} as come, {} as future from {} where {}) as placed"
                " where place between 1 and {} group by place order by place"
            ).format(placed, changed_at, come, future, self._relation(), wanted, sql.Literal(len(days)))
        ).fetchall()
        return [
            DayCount(days[place - 1], count, self._instant(newest), future)
            for place, count, newest, future in rows
        ]

    def _placed(self, column: str, kind: int, edges: list[datetime]) -> sql.Composable:
        """The number, from 1 on, of the day that the column's time lies on; null where it is unreadable."""
        name = sql.Identifier(column)
        typed = "timestamptz" if kind == _TIME_TYPES["timestamptz"] else "timestamp"
        bounds = sql.SQL(", ").join(self._literal(edge, kind) for edge in edges)
        return sql.SQL(
            "case when not {} then width_bucket({}::" + typed + ", array[{}]::" + typed + "[]) end"
        ).format(_unreadable(column), name, bounds)

    def _come(self, name: sql.Identifier, kind: int) -> tuple[sql.Composable, sql.Composable]:
        """Whether an update time has passed, and whether it lies ahead; of today as a day, neither."""
        if kind == _TIME_TYPES["timestamptz"]:
            now: sql.Composable = sql.SQL("now()")
        else:
            now = sql.SQL("now() at time zone {}").format(sql.Literal(self.zone.key))
        length = sql.Literal("1 day" if kind == _TIME_TYPES["date"] else "0")
        passed = sql.SQL("{} <= {} - interval {}").format(name, now, length)
        return passed, sql.SQL("{} > {}").format(name, now)

    def _literal(self, instant: datetime, kind: int) -> sql.Literal:
        """An instant as the column has it: a time without an offset is by the clock of the source's zone."""
        if kind == _TIME_TYPES["timestamptz"]:
            return sql.Literal(instant)
        local = instant.astimezone(self.zone).replace(tzinfo=None)
        return sql.Literal(local)

    def _instant(self, changed: date | datetime | None) -> datetime | None:
        """What the column says as an instant; a day without a time means its end."""
        if changed is None:
            return None
        if not isinstance(changed, datetime):
            return end_of(changed, self.zone) - timedelta.resolution
        return (changed if changed.tzinfo else changed.replace(tzinfo=self.zone)).astimezone(UTC)

    @property
    def _place(self) -> str:
        what = "the query of the mapping" if self._mapping.query else f"table {self._table}"
        return f"{what} of database {self._database} at {self._server}"

    @property
    def _table(self) -> str:
        return self._mapping.table or "transactions"

    def _relation(self) -> sql.Composable:
        if self._mapping.query:
            return sql.SQL("({}\n) as source_rows").format(sql.SQL(self._mapping.query.strip().rstrip(";")))
        return sql.SQL("{} as source_rows").format(sql.Identifier(*self._table.split(".")))

    def _column_kinds(self, connection: psycopg.Connection) -> dict[str, int]:
        cursor = connection.execute(sql.SQL("select * from {} limit 0").format(self._relation()))
        return {column.name: column.type_code for column in cursor.description or []}

    def _copy_statement(
        self, columns: dict[str, str | None], kinds: dict[str, int], start_at: datetime, end_at: datetime
    ) -> sql.Composed:
        selected = [
            sql.SQL("cast({} as text) as {}").format(
                sql.SQL("null") if theirs is None else sql.Identifier(theirs), sql.Identifier(ours)
            )
            for ours, theirs in columns.items()
        ]
        return sql.SQL("copy (select {} from {} where {}) to stdout (format csv, header true)").format(
            sql.SQL(", ").join(selected), self._relation(), _wanted(columns, kinds, start_at, end_at)
        )

    @contextmanager
    def _csv_file(self) -> Iterator[Path]:
        try:
            with NamedTemporaryFile(dir=self._scratch, prefix="source-", suffix=".csv") as file:
                yield Path(file.name)
        except OSError as error:
            raise LakeError(
                f"rows of the source cannot be kept in {self._scratch}: {error.strerror or error}",
                remedy="free space on that disk or make the directory writable, then run the day again; "
                "what was ingested before is untouched",
            ) from error

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        try:
            connection = psycopg.connect(
                self._url,
                connect_timeout=10,
                application_name="marketing_assets",
                client_encoding="utf8",
            )
        except psycopg.Error as error:
            raise self._refused(error) from None
        with connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield connection

    def _refused(self, error: psycopg.Error) -> SourceError:
        said = str(error)
        place = f"postgres source: database {self._database} at {self._server}"
        if any(phrase in said for phrase in _REFUSALS):
            return SourceError(
                f"{place} refuses user {self._user or '(none)'}: wrong user or password",
                remedy="correct the user and password in MARKETING_SOURCE_URL",
            )
        if f'database "{self._database}" does not exist' in said:
            return SourceError(
                f"{place} does not exist", remedy="correct the database's name in MARKETING_SOURCE_URL"
            )
        return SourceError(
            f"{place} cannot be reached: {_first_line(error)}",
            remedy="start the database or correct host and port in MARKETING_SOURCE_URL, then run again",
            transient=True,
        )

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            raise SourceError(
                f"postgres source: {self._place} does not exist",
                remedy="name the right table (schema.table) or query in the file of MARKETING_SOURCE_MAPPING",
            ) from None
        except psycopg.errors.InsufficientPrivilege:
            raise SourceError(
                f"postgres source: user {self._user} may not read {self._place}",
                remedy="grant select on it to that user",
            ) from None
        except psycopg.ProgrammingError as error:
            raise SourceError(
                f"postgres source: {self._place} cannot be read: {_said(error)}",
                remedy="correct the table, query or columns in the file of MARKETING_SOURCE_MAPPING",
            ) from None
        except psycopg.errors.QueryCanceled:
            raise SourceError(
                f"postgres source: counting the rows of {self._place} took longer than {_COUNT_SECONDS} s",
                remedy="make an index on its update time and one on its time, or let a replica answer",
            ) from None
        except psycopg.OperationalError as error:
            raise SourceError(
                f"postgres source: the connection was lost while {self._place} was read: {_said(error)}",
                remedy="see that the database runs, then run the day again; "
                "what was ingested before is untouched",
                transient=True,
            ) from None
        except psycopg.Error as error:
            raise SourceError(
                f"postgres source: {self._place} cannot be read: {_said(error)}",
                remedy="see that a plain select of it works, then run the day again",
            ) from None


def _wanted(
    columns: dict[str, str | None], kinds: dict[str, int], start_at: datetime, end_at: datetime
) -> sql.Composable:
    time = columns["occurred_at"] or ""
    if kinds[time] not in _TIME_TYPES.values():
        return sql.SQL("true")
    dated = _between(time, kinds[time], start_at, end_at)
    undated = _unreadable(time)
    update = columns["updated_at"]
    if update is not None and kinds[update] in _TIME_TYPES.values():
        changed = _between(update, kinds[update], start_at, end_at)
        undated = sql.SQL("({} and ({} or {}))").format(undated, changed, _unreadable(update))
    return sql.SQL("({} or {})").format(dated, undated)


def _all_times(columns: dict[str, str | None], kinds: dict[str, int]) -> bool:
    """Whether the server itself knows the times: text it cannot compare."""
    named = (columns["occurred_at"], columns["updated_at"])
    return all(name is None or kinds[name] in _TIME_TYPES.values() for name in named)


def _rounded_down(since: datetime, kind: int) -> datetime:
    """An instant that no change since then lies before, as the column has it."""
    if kind == _TIME_TYPES["timestamptz"]:
        return since
    return since - (_LONGEST_OFFSET if kind == _TIME_TYPES["date"] else timedelta(hours=1))


def _between(column: str, kind: int, start_at: datetime, end_at: datetime) -> sql.Composable:
    """Exact for timestamptz; a time without an offset is compared a day wider, whatever its zone."""
    if kind == _TIME_TYPES["timestamptz"]:
        first, last = sql.Literal(start_at), sql.Literal(end_at)
    else:
        first = sql.Literal((start_at - _LONGEST_OFFSET).astimezone(UTC).replace(tzinfo=None))
        last = sql.Literal((end_at + _LONGEST_OFFSET).astimezone(UTC).replace(tzinfo=None))
    return sql.SQL("({0} >= {1} and {0} < {2})").format(sql.Identifier(column), first, last)


def _unreadable(column: str) -> sql.Composable:
    """Null, infinite, or outside the years 1 to 9999 in some zone."""
    return sql.SQL("({0} is null or {0} < '0001-01-03' or {0} > '9999-12-29')").format(sql.Identifier(column))


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or _first_line(error)


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0]
