"""DuckDB in this process: the default engine. Threads and memory are bounded; what does not fit spills.

Everything DuckDB-specific stands here: how relations are named, how files are written, what its errors
mean. Results are always fetched whole, so that no open result holds the connection.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from sqlglot import exp

from marketing_assets.engine.base import Row, Schema, Value
from marketing_assets.errors import LakeError, MarketingError, SourceError

if TYPE_CHECKING:
    from marketing_assets.engine.base import Engine


class DuckDBEngine:
    """One in-memory database; its temporary files go to `temp_directory` and go away with it."""

    def __init__(self, *, memory_limit: str, threads: int | None, temp_directory: Path) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "temp_directory": str(temp_directory),
            "autoinstall_known_extensions": "false",
        }
        if threads is not None:
            config["threads"] = threads
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("set timezone = 'UTC'")
        # The first parameter of a process makes DuckDB 1.5 import pandas, half a second: here, not in a step.
        self._connection.execute("select $ready", {"ready": True}).fetchall()
        self._kinds: dict[str, str] = {}
        self._foreign: set[str] = set()

    def register_files(self, relation: str, files: Sequence[Path], schema: Schema) -> None:
        """See `Engine.register_files`; no file at all gives a relation without rows.

        Files are in the order of their days: columns that the oldest lacks came later.
        """
        columns = [*schema, ("day", "date")]
        if not files:
            self.register_rows(relation, columns, [])
            return
        options = [exp.EQ(this=exp.column("hive_partitioning"), expression=exp.true())]
        there = {name for name, _ in self.schema_of(files[0])}
        if not there.issuperset(name for name, _ in schema):
            # Columns came later than the oldest file: null there, and everywhere if no file has them.
            options.append(exp.EQ(this=exp.column("union_by_name"), expression=exp.true()))
            there.update(name for name, _ in self.schema_of(files[-1]))
        there.add("day")
        scan = exp.Anonymous(this="read_parquet", expressions=[_paths(files), *options])
        values = (_typed(name, kind, known=name in there) for name, kind in columns)
        self._view(relation, exp.select(*values).from_(scan))

    def schema_of(self, file: Path) -> Schema:
        """See `Engine.schema_of`; only the file's footer is read."""
        scan = exp.Anonymous(
            this="read_parquet",
            expressions=[
                _paths([file]),
                exp.EQ(this=exp.column("hive_partitioning"), expression=exp.false()),
            ],
        )
        described = self._run("describe " + exp.select(exp.Star()).from_(scan).sql("duckdb"))
        return [(str(row[0]), str(row[1]).lower()) for row in described]

    def register_parquet(self, relation: str, files: Sequence[Path]) -> Schema:
        """See `Engine.register_parquet`; the first file's columns count, the others must have them."""
        scan = exp.Anonymous(
            this="read_parquet",
            expressions=[_paths(files), exp.EQ(this=exp.column("hive_partitioning"), expression=exp.false())],
        )
        with _unreadable_source_named():
            self._view(relation, exp.select(exp.Star()).from_(scan))
        self._foreign.add(relation)
        described = self._run("describe " + _quoted(relation))
        return [(str(row[0]), str(row[1])) for row in described]

    def register_csv(
        self, relation: str, files: Sequence[Path], columns: Sequence[str], delimiter: str = ","
    ) -> None:
        """See `Engine.register_csv`; an empty field is null, an empty quoted one an empty text."""
        text = exp.Struct(
            expressions=[
                exp.PropertyEQ(
                    this=exp.to_identifier(name, quoted=True), expression=exp.Literal.string("varchar")
                )
                for name in columns
            ]
        )
        options: dict[str, exp.Expr] = {
            "auto_detect": exp.false(),
            "header": exp.true(),
            "delim": exp.Literal.string(delimiter),
            "quote": exp.Literal.string('"'),
            "escape": exp.Literal.string('"'),
            "nullstr": exp.Literal.string(""),
            "allow_quoted_nulls": exp.false(),
            "columns": text,
        }
        named = [exp.EQ(this=exp.column(name), expression=value) for name, value in options.items()]
        scan = exp.Anonymous(this="read_csv", expressions=[_paths(files), *named])
        with _unreadable_source_named():
            self._view(relation, exp.select(exp.Star()).from_(scan))
        self._foreign.add(relation)

    def register_query(self, relation: str, statement: str | exp.Expr) -> None:
        """See `Engine.register_query`."""
        text = _text(statement)
        foreign = self._reads_foreign(text)
        with _unreadable_source_named() if foreign else nullcontext():
            self._view(relation, text)
        if foreign:
            self._foreign.add(relation)

    def register_rows(self, relation: str, schema: Schema, rows: Sequence[Sequence[Value]]) -> None:
        """See `Engine.register_rows`."""
        self.drop(relation)
        definitions = [
            exp.ColumnDef(this=exp.to_identifier(name), kind=exp.DataType.build(kind, dialect="duckdb"))
            for name, kind in schema
        ]
        self._run(
            exp.Create(
                this=exp.Schema(this=exp.to_table(relation), expressions=definitions), kind="TEMPORARY TABLE"
            )
        )
        self._kinds[relation] = "table"
        if rows:
            place = exp.Tuple(expressions=[exp.Placeholder() for _ in schema])
            insert = exp.insert(exp.Values(expressions=[place]), relation).sql("duckdb")
            places = ", ".join([place.sql("duckdb")] * len(rows))
            text = insert.removesuffix(place.sql("duckdb")) + places
            self._connection.execute(text, [value for row in rows for value in row])

    def create(
        self,
        relation: str,
        statement: str | exp.Expr,
        parameters: Mapping[str, Value] | None = None,
    ) -> None:
        """See `Engine.create`."""
        self.drop(relation)
        self._run("create temporary table " + _quoted(relation) + " as " + _text(statement), parameters)
        self._kinds[relation] = "table"

    def append(
        self,
        relation: str,
        statement: str | exp.Expr,
        parameters: Mapping[str, Value] | None = None,
    ) -> None:
        """See `Engine.append`."""
        self._run("insert into " + _quoted(relation) + " " + _text(statement), parameters)

    def fetch(self, statement: str | exp.Expr, parameters: Mapping[str, Value] | None = None) -> list[Row]:
        """See `Engine.fetch`."""
        rows = self._run(_text(statement), parameters)
        names = [column[0] for column in self._connection.description or []]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def write_parquet(
        self, statement: str | exp.Expr, parameters: Mapping[str, Value] | None, path: Path
    ) -> int:
        """See `Engine.write_parquet`.

        Raises:
            LakeError: the file cannot be written, for example because the disk is full.
        """
        options = " (format parquet, compression zstd, row_group_size 122880)"
        return self._copy(statement, parameters, path, options)

    def write_csv(self, statement: str | exp.Expr, path: Path) -> int:
        """See `Engine.write_csv`; a null is an empty field, an empty text a quoted one.

        On one thread: what is written so is about to be published, and the app keeps a core meanwhile.
        """
        options = " (format csv, header false, nullstr '', force_quote *)"
        threads = self.fetch("select current_setting('threads') as threads")[0]["threads"]
        self._run("set threads = 1")
        try:
            return self._copy(statement, None, path, options)
        finally:
            self._run(f"set threads = {threads}")

    def drop(self, *relations: str) -> None:
        """See `Engine.drop`."""
        for relation in relations:
            self._foreign.discard(relation)
            kind = self._kinds.pop(relation, None)
            if kind is not None:
                self._run("drop " + kind + " if exists " + _quoted(relation))

    def close(self) -> None:
        """See `Engine.close`."""
        self._connection.close()

    def _view(self, relation: str, query: str | exp.Expr) -> None:
        self.drop(relation)
        self._run("create temporary view " + _quoted(relation) + " as " + _text(query))
        self._kinds[relation] = "view"

    def _reads_foreign(self, text: str) -> bool:
        return any(re.search(rf"\b{re.escape(relation)}\b", text) for relation in self._foreign)

    def _copy(
        self,
        statement: str | exp.Expr,
        parameters: Mapping[str, Value] | None,
        path: Path,
        options: str,
    ) -> int:
        target = exp.Literal.string(str(path)).sql("duckdb")
        command = "copy (" + _text(statement) + ") to " + target + options
        try:
            rows = self._run(command, parameters)
        except duckdb.IOException as error:
            raise LakeError(
                f"{path.parent} cannot be written: {_first_line(error)}",
                remedy="free space on that disk or make the directory writable, then run the day again; "
                "what was there before is untouched",
            ) from error
        return int(str(rows[0][0]))

    def _run(
        self, statement: str | exp.Expr, parameters: Mapping[str, Value] | None = None
    ) -> list[tuple[Value, ...]]:
        text = _text(statement)
        foreign = bool(self._foreign) and self._reads_foreign(text)
        with _unreadable_source_named() if foreign else nullcontext(), _out_of_memory_named():
            return self._connection.execute(text, dict(parameters or {})).fetchall()


def _typed(name: str, kind: str, *, known: bool = True) -> exp.Expr:
    value = exp.column(name) if known else exp.null()
    return exp.alias_(exp.cast(value, kind, dialect="duckdb"), name)


def _paths(files: Sequence[Path]) -> exp.Array:
    return exp.Array(expressions=[exp.Literal.string(str(file)) for file in files])


def _quoted(relation: str) -> str:
    return exp.to_identifier(relation, quoted=True).sql("duckdb")


def _text(statement: str | exp.Expr) -> str:
    text = statement if isinstance(statement, str) else statement.sql("duckdb")
    return text.strip().rstrip(";")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@contextmanager
def _out_of_memory_named() -> Iterator[None]:
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        if isinstance(error, duckdb.IOException) and "duckdb_temp_" not in str(error):
            raise
        raise MarketingError(
            f"DuckDB ran out of the memory or disk it may use: {_first_line(error)}",
            remedy="raise MARKETING_MEMORY_LIMIT, lower MARKETING_THREADS, or free disk space for the lake",
        ) from error


@contextmanager
def _unreadable_source_named() -> Iterator[None]:
    try:
        yield
    except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException):
        raise  # the statement is wrong, not the file
    except duckdb.Error as error:
        raise SourceError(
            f"the source's files cannot be read: {_without_data(error)}",
            remedy="repair or remove the file (CSV: UTF-8, one header line, as many fields in each row), "
            "then run the day again; what was ingested before is untouched",
        ) from error


def _without_data(error: duckdb.Error) -> str:
    """What DuckDB says of a file, without the row it quotes: rows may hold personal data."""
    lines = str(error).strip().splitlines()
    explained = [line for line in lines[1:] if line.startswith(_EXPLANATIONS)]
    file = re.search(r"^\s*file = (.+)$", str(error), re.MULTILINE)
    return "; ".join([lines[0], *explained[:1], *([file[1]] if file else [])])


_EXPLANATIONS = (
    "Expected Number of Columns",
    "Value with unterminated quote",
    "Invalid unicode",
    "Maximum line",
)


if TYPE_CHECKING:
    _: type[Engine] = DuckDBEngine
