"""The user features in PostgreSQL: `postgres_features.sql` over a table of the window's rows.

The server is an embedded one of the benchmark's own, set up as one would a small server that has this to
do. Filling the table comes before and is timed apart. Rules: SEMANTICS, User features.
"""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.comparison import ComparisonResult, Product, alternated, differences, opened
from benchmarks.memory import Sample, Sampler
from benchmarks.progress import Progress
from marketing_assets.domain.days import window
from marketing_assets.engine.base import Engine
from marketing_assets.storage import embedded
from marketing_assets.storage.datasets import TRANSACTIONS, USER_FEATURES
from marketing_assets.storage.lake import Lake

_QUERY = Path(__file__).with_suffix(".sql")
_CHUNK = 1 << 20
_SAMPLED_SECONDS = 0.2
"""In this time the sampler looks at least once: also at a server whose statement took a moment only."""

_SERVER = {
    "shared_buffers": "1GB",
    "effective_cache_size": "4GB",
    "work_mem": "256MB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "synchronous_commit": "off",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "2",
    "max_parallel_maintenance_workers": "2",
    "jit": "off",
}
"""A small server for few, large statements, and a table that is made again whenever it is lost."""

_STATEMENT = {"enable_hashagg": "off", "parallel_setup_cost": "0", "parallel_tuple_cost": "0"}
"""The planner would hash the groups, which takes twice the time of reading them in the order of the index."""

_TABLE = """
create table window_transactions (
    occurred_at timestamp with time zone not null,
    cents integer not null,
    day date not null,
    bucket smallint not null,
    user_id text collate "C" not null,
    location text collate "C",
    category text collate "C"
)
"""
_INDEX = """
create index on window_transactions (user_id, location, category)
include (occurred_at, cents, day, bucket)
"""
_EXPORT = """
select occurred_at, cast(amount * 100 as integer) as cents, day, bucket, user_id, location, category
from one_day
"""


def measure(
    lake: Path, day: date, *, window_days: int, directory: Path, progress: Progress
) -> ComparisonResult:
    """Compute the features of the window that ends with `day` in PostgreSQL and in the product, and compare.

    The server, the table and what is exchanged lie in `directory` until the end; with the index they are
    about 160 bytes a row.
    """
    directory.mkdir(parents=True, exist_ok=True)
    expected, features = directory / "product.parquet", directory / "postgres.csv"
    with opened(lake) as engine, _server(directory / "postgres") as connection:
        start = time.perf_counter()
        _fill(connection, engine, Lake(lake), window(day, window_days), directory / "day.csv")
        load_seconds = time.perf_counter() - start
        progress(f"PostgreSQL: filled, indexed and vacuumed in {load_seconds:.1f} s")
        product = Product(engine, lake, day, window_days)
        with Sampler(os.getpid(), directory / "postgres") as sampler:
            product_seconds, seconds = alternated(
                lambda: product.run(progress), lambda: _compute(connection, day, window_days, progress)
            )
            time.sleep(_SAMPLED_SECONDS)
        _copy_out(connection, features)
        rows, users = product.write(expected)
        engine.register_parquet("product", [expected])
        engine.register_csv("postgres", [features], USER_FEATURES.column_names)
        differing = differences(engine, "product", "postgres")
    for file in (expected, features):
        file.unlink()
    return ComparisonResult(
        seconds=seconds,
        load_seconds=load_seconds,
        rows=rows,
        users=users,
        peak_memory=_peak(sampler.samples),
        product_seconds=product_seconds,
        equal=not differing,
        differences=differing,
    )


@contextmanager
def _server(data: Path) -> Iterator[psycopg.Connection]:
    """A connection to a tuned server on `data`, which is gone afterwards."""
    try:
        with _connected(data) as connection:
            for name, value in _SERVER.items():
                setting = sql.SQL("alter system set {} = {}")
                connection.execute(setting.format(sql.Identifier(name), sql.Literal(value)))
        embedded.stop(data)
        with _connected(data) as connection:
            for name, value in _STATEMENT.items():
                connection.execute("select set_config(%s, %s, false)", (name, value))
            yield connection
    finally:
        embedded.stop(data)
        shutil.rmtree(data, ignore_errors=True)


def _connected(data: Path) -> psycopg.Connection:
    host = embedded.start(data)
    # Parameters are put into the text, because `create table as` takes none.
    return psycopg.connect(
        host=host, user="postgres", dbname="postgres", autocommit=True, cursor_factory=psycopg.ClientCursor
    )


def _fill(
    connection: psycopg.Connection, engine: Engine, lake: Lake, days: Sequence[date], file: Path
) -> None:
    """Copy the rows of `days` into the table, a day at a time by way of `file`, then index and vacuum."""
    have = set(lake.days(TRANSACTIONS))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("drop table if exists window_transactions")
        cursor.execute(_TABLE)
        for day in sorted(have.intersection(days)):
            lake.register(engine, "one_day", TRANSACTIONS, [day])
            engine.write_csv(_EXPORT, file)
            copy = "copy window_transactions from stdin (format csv, freeze)"
            with file.open("rb") as rows, cursor.copy(copy) as target:
                while chunk := rows.read(_CHUNK):
                    target.write(chunk)
        cursor.execute(_INDEX)
    file.unlink(missing_ok=True)
    connection.execute("vacuum analyze window_transactions")


def _compute(connection: psycopg.Connection, day: date, window_days: int, progress: Progress) -> float:
    query = sql.SQL(_QUERY.read_text(encoding="utf-8"))
    connection.execute("drop table if exists features")
    start = time.perf_counter()
    connection.execute(
        sql.SQL("create unlogged table features as ") + query, {"day": day, "window_days": window_days}
    )
    seconds = time.perf_counter() - start
    progress(f"PostgreSQL: {seconds:.2f} s")
    return seconds


def _copy_out(connection: psycopg.Connection, file: Path) -> None:
    copy = "copy features to stdout (format csv, header)"
    with connection.cursor() as cursor, cursor.copy(copy) as rows, file.open("wb") as target:
        for row in rows:
            target.write(row)


def _peak(samples: Sequence[Sample]) -> int:
    """The most that the server's processes held at one instant, without the buffers that they share."""
    held: defaultdict[float, int] = defaultdict(int)
    for sample in samples:
        if sample.of_server:
            held[sample.at] += sample.private
    return max(held.values(), default=0)
