"""Looks for texts in everything that a system keeps: files, Parquet read as rows, every table."""

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
import psycopg
from psycopg import sql

_TABLES = (
    "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')"
    " order by 1, 2"
)
_IN_TABLE = (
    "select distinct w.word from {} t, unnest(%s::text[], %s::text[]) w(word, hex)"
    " where strpos(t::text, w.word) > 0 or strpos(t::text, w.hex) > 0"
)
_IN_PARQUET = (
    "select distinct w.word from read_parquet($file) t, (select unnest($words) as word) w"
    " where contains(cast(t as varchar), w.word)"
)


def in_files(roots: Sequence[Path], texts: Sequence[str]) -> list[str]:
    """Files below the roots whose path, bytes or (of Parquet) rows hold one of the texts."""
    with duckdb.connect() as engine:
        return [
            f"{file}: {text}"
            for root in roots
            for file in sorted(root.rglob("*"))
            if file.is_file()
            for text in sorted(_in_file(engine, file, texts))
        ]


def in_database(url: str, texts: Sequence[str]) -> list[str]:
    """Tables of any schema with a row that holds one of the texts, as it is or (in bytes) in hex."""
    found = []
    with psycopg.connect(re.sub(r"\+psycopg2?", "", url)) as connection:
        for schema, name in connection.execute(_TABLES).fetchall():
            statement = sql.SQL(_IN_TABLE).format(sql.Identifier(schema, name))
            rows = connection.execute(statement, [list(texts), [each.encode().hex() for each in texts]])
            found += [f"{schema}.{name}: {text}" for (text,) in rows.fetchall()]
    return found


def _in_file(engine: duckdb.DuckDBPyConnection, file: Path, texts: Sequence[str]) -> set[str]:
    content = file.read_bytes()
    found = {text for text in texts if text.encode() in content or text in str(file)}
    if file.suffix == ".parquet":
        rows = engine.execute(_IN_PARQUET, {"file": str(file), "words": list(texts)}).fetchall()
        found.update(text for (text,) in rows)
    return found
