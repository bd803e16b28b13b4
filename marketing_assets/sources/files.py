"""Transactions in Parquet or CSV files, named by a path or a glob. Nothing is copied; DuckDB reads them.

Columns are taken as they are; CSV is text throughout. Files of one source are all Parquet or all CSV.
"""

import csv
import glob
import gzip
import zlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlglot import exp

from marketing_assets.engine.base import Engine, Schema
from marketing_assets.errors import SourceError
from marketing_assets.sources.base import ColumnMapping, DayCount, projection
from marketing_assets.sources.counting import count_changed, count_rows

_KINDS = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".csv.gz": "CSV",
    ".tsv": "TSV",
}
_DELIMITERS = {"CSV": ",", "TSV": "\t"}
_LONGEST_OFFSET = timedelta(days=1)


class FilesSource:
    """The rows of the files that `pattern` matches when they are read."""

    name = "files"

    def __init__(self, pattern: str, mapping: ColumnMapping) -> None:
        if mapping.table is not None or mapping.query is not None:
            raise SourceError(
                "files source: the mapping names a table or query, which only a database has",
                remedy="remove table and query from the file of MARKETING_SOURCE_MAPPING",
            )
        self._pattern = pattern
        self._mapping = mapping
        self._has_update_time = mapping.columns is not None and mapping.columns.updated_at is not None

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
        files, kind = self._matching()
        if kind == "Parquet":
            schema = engine.register_parquet("source_files", files)
            columns = self._columns([name for name, _ in schema], files[0])
            query = exp.select(*projection(columns)).from_("source_files")
            margin = timedelta() if self.zone.key == "UTC" else _LONGEST_OFFSET
            condition = _in_reach(columns, schema, start_at - margin, end_at + margin)
            engine.register_query(relation, query if condition is None else query.where(condition))
            return
        parts: list[exp.Select] = []
        for number, (header, alike) in enumerate(_by_header(files, _DELIMITERS[kind]).items()):
            part = f"source_files_{number}"
            columns = self._columns(header, alike[0])
            engine.register_csv(part, alike, header, _DELIMITERS[kind])
            parts.append(exp.select(*projection(columns)).from_(part))
        engine.register_query(relation, exp.union(*parts, distinct=False) if len(parts) > 1 else parts[0])

    def now(self) -> datetime:
        """See `Source.now`."""
        return datetime.now(UTC)

    def changed_days(
        self, engine: Engine, first: date, last: date, zone: ZoneInfo, since: datetime
    ) -> list[DayCount] | None:
        """See `Source.changed_days`."""
        return count_changed(engine, self, first, last, zone, since)

    def counted_days(self, engine: Engine, first: date, last: date, zone: ZoneInfo) -> list[DayCount]:
        """See `Source.counted_days`."""
        return count_rows(engine, self, first, last, zone)

    def _columns(self, existing: Sequence[str], file: Path) -> dict[str, str | None]:
        columns = self._mapping.resolved(existing, self.name, str(file))
        self._has_update_time = self._has_update_time or columns["updated_at"] is not None
        return columns

    def _matching(self) -> tuple[list[Path], str]:
        files = sorted(Path(name) for name in glob.glob(self._pattern, recursive=True))
        if not files:
            raise SourceError(
                f"files source: no file matches {self._pattern}",
                remedy="correct MARKETING_SOURCE_URL: a path, or a glob such as /data/2026/*.parquet",
            )
        kinds = {_kind(file) for file in files}
        if len(kinds) > 1:
            raise SourceError(
                f"files source: {self._pattern} matches files of different kinds: {', '.join(sorted(kinds))}",
                remedy="name files of one kind in MARKETING_SOURCE_URL, for example by their suffix",
            )
        return files, kinds.pop()


def _kind(file: Path) -> str:
    for suffix, kind in _KINDS.items():
        if file.name.lower().endswith(suffix) and file.is_file():
            return kind
    raise SourceError(
        f"files source: {file} is not a Parquet or CSV file",
        remedy=f"name files that end with one of {', '.join(_KINDS)} in MARKETING_SOURCE_URL",
    )


def _by_header(files: Sequence[Path], delimiter: str) -> dict[tuple[str, ...], list[Path]]:
    headers: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        headers.setdefault(_header(file, delimiter), []).append(file)
    return headers


def _header(file: Path, delimiter: str) -> tuple[str, ...]:
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", errors="replace", newline="") as stream:
            header = tuple(next(csv.reader(stream, delimiter=delimiter, strict=True), ()))
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise SourceError(
            f"files source: {file} cannot be read: {error}",
            remedy="make it a readable UTF-8 CSV file (.gz: whole), or remove it",
        ) from error
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated or not any(header):
        raise SourceError(
            f"files source: the header of {file} "
            + (f"names {', '.join(repeated)} more than once" if repeated else "is missing"),
            remedy="give the file one first line that names each column once",
        )
    return header


def _in_reach(
    columns: dict[str, str | None], schema: Schema, start_at: datetime, end_at: datetime
) -> exp.Condition | None:
    """Where the time column is a time, what lets Parquet skip row groups."""
    column = columns["occurred_at"] or ""
    kind = dict(schema)[column]
    if not kind.startswith(("TIMESTAMP", "DATE")):
        return None
    time = exp.cast(exp.column(column, quoted=True), "timestamp")
    within = exp.and_(time >= _timestamp(start_at), time <= _timestamp(end_at))  # nanoseconds may round up
    unreadable = exp.or_(time < _timestamp(datetime(1, 1, 3)), time > _timestamp(datetime(9999, 12, 29)))
    return exp.or_(exp.Is(this=time, expression=exp.null()), within, unreadable)


def _timestamp(instant: datetime) -> exp.Cast:
    naive = instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant
    return exp.cast(exp.Literal.string(naive.isoformat(sep=" ")), "timestamp")
