"""The protocol of an engine: named relations in, SQL, named relations or one Parquet file out.

A statement is DuckDB-dialect SQL with named parameters (`$day`) that reads relations by name, never a
path. Which engine runs it, and where, is none of the caller's business. No engine lives here.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sqlglot import exp

Value = str | int | float | bool | Decimal | date | datetime | None
Row = dict[str, Value]
Schema = Sequence[tuple[str, str]]
"""Column names and SQL types, in order."""


class Engine(Protocol):
    """Runs statements over relations; small results come back as rows, large ones never do."""

    def register_files(self, relation: str, files: Sequence[Path], schema: Schema) -> None:
        """Name the rows of the lake's Parquet `files`: the columns of `schema`, then `day` from the path.

        A column that older files do not have is null in them.
        """

    def schema_of(self, file: Path) -> Schema:
        """Columns and SQL types that one of the lake's Parquet files itself names, in lower case."""

    def register_rows(self, relation: str, schema: Schema, rows: Sequence[Sequence[Value]]) -> None:
        """Name a few rows held in memory."""

    def register_parquet(self, relation: str, files: Sequence[Path]) -> Schema:
        """Name the rows of foreign Parquet `files`, read when used; returns their columns and types.

        Raises:
            SourceError: a file cannot be read (also raised by a later statement that reads `relation`).
        """

    def register_csv(
        self, relation: str, files: Sequence[Path], columns: Sequence[str], delimiter: str = ","
    ) -> None:
        """Name the rows of foreign CSV `files` that all begin with the header `columns`, read when used.

        Every column is text. A statement that reads `relation` raises `SourceError` where a file is
        unreadable or a row has more or fewer fields than the header.
        """

    def register_query(self, relation: str, statement: "str | exp.Expr") -> None:
        """Name the rows of `statement`, computed whenever they are read."""

    def create(
        self, relation: str, statement: "str | exp.Expr", parameters: Mapping[str, Value] | None = None
    ) -> None:
        """Compute `statement` once and name its rows; replaces a relation of that name."""

    def append(
        self, relation: str, statement: "str | exp.Expr", parameters: Mapping[str, Value] | None = None
    ) -> None:
        """Add the rows of `statement`, column by column in order, to a created relation."""

    def fetch(self, statement: "str | exp.Expr", parameters: Mapping[str, Value] | None = None) -> list[Row]:
        """The few rows of `statement`, as dictionaries by column name."""

    def write_parquet(
        self, statement: "str | exp.Expr", parameters: Mapping[str, Value] | None, path: Path
    ) -> int:
        """Write the rows of `statement`, in its order, as one Parquet file; returns how many."""

    def write_csv(self, statement: "str | exp.Expr", path: Path) -> int:
        """Write the rows of `statement` as CSV that PostgreSQL's COPY reads; returns how many."""

    def drop(self, *relations: str) -> None:
        """Forget relations and free what they held; unknown names are ignored."""

    def close(self) -> None:
        """Free everything; the engine is not used afterwards."""


def sql(name: str) -> str:
    """Text of `marketing_assets/sql/<name>.sql`."""
    return (resources.files("marketing_assets") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
