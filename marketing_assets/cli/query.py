"""`marketing sql`: statements that read the lake's files, as checks show them. Nothing is ever changed."""

from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import sqlglot
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlglot import exp

from marketing_assets.engine.base import Row, Value
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import QueryError
from marketing_assets.settings import Settings

_WIDEST_TABLE = 8
_REMEDY = "write one or more select statements, with a semicolon between two"


def rows_of(settings: Settings, statements: str, most: int) -> list[list[Row]]:
    """The first `most` + 1 rows of each statement, so that one sees whether there are more.

    Raises:
        QueryError: a statement is not SQL, does something other than read, or fails.
    """
    parsed = _parsed(statements)
    with TemporaryDirectory(prefix="marketing-sql-") as spill:
        engine = DuckDBEngine(
            memory_limit=settings.memory_limit, threads=settings.threads, temp_directory=Path(spill)
        )
        try:
            return [engine.fetch(_at_most(statement, most + 1)) for statement in parsed]
        except duckdb.Error as error:
            said = str(error).strip().splitlines()[0]
            raise QueryError(f"the statement cannot be run: {said}", remedy=_REMEDY) from error
        finally:
            engine.close()


def print_rows(console: Console, rows: list[Row], most: int) -> None:
    """Print rows as a table, rows of many columns one below the other; or that there is none."""
    if not rows:
        console.print("No rows.")
        return
    if len(rows[0]) <= _WIDEST_TABLE:
        table = Table(*rows[0])
        for row in rows[:most]:
            table.add_row(*(_shown(value) for value in row.values()))
        console.print(table)
    else:
        for number, row in enumerate(rows[:most], start=1):
            console.print(f"[bold]row {number}[/bold]")
            for name, value in row.items():
                console.print(f"  {name}: {_shown(value)}", soft_wrap=True)
    if len(rows) > most:
        console.print(f"There are more than {most} rows; --rows shows more.")


def _shown(value: Value) -> str:
    return "" if value is None else escape(str(value))


def _parsed(statements: str) -> list[exp.Expr]:
    try:
        parsed = [each for each in sqlglot.parse(statements, dialect="duckdb") if each is not None]
    except sqlglot.errors.SqlglotError as error:
        said = str(error).splitlines()[0]
        raise QueryError(f"this is not SQL: {said}", remedy=_REMEDY) from error
    if not parsed:
        raise QueryError("there is no statement", remedy=_REMEDY)
    for each in parsed:
        if not isinstance(each, exp.Query | exp.Describe):
            said = each.sql("duckdb")[:80]
            raise QueryError(f"only select statements are run, not: {said}", remedy=_REMEDY)
    return parsed


def _at_most(statement: exp.Expr, rows: int) -> exp.Expr:
    if not isinstance(statement, exp.Query):
        return statement
    return exp.select("*").from_(statement.subquery("found")).limit(rows)
