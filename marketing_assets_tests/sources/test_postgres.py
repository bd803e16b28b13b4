"""A real PostgreSQL as source: types, filters, and the one clear error of each thing that can be wrong."""

from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest

from marketing_assets.engine.base import Row
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import SourceError
from marketing_assets.sources.base import ColumnMapping, ColumnNames
from marketing_assets.sources.postgres import PostgresSource
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import ingest_days, kept_ids, loaded, reasons

_DAY = date(2026, 3, 2)
_FROM, _UNTIL = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
_OWN_NAMES = ColumnNames(
    transaction_id="transaction_id", user_id="user_id", occurred_at="occurred_at", amount="amount"
)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    directory = tmp_path / "scratch"
    directory.mkdir()
    return directory


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _ids(rows: list[Row]) -> list[str]:
    return [str(one["transaction_id"]) for one in rows]


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "text"])
def test_rows_of_the_interval_and_rows_without_time(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, scratch: Path, kind: str
) -> None:
    infinite = "'infinity'" if kind != "text" else "'soon'"
    _run(
        fresh_database,
        f"create table transactions (transaction_id int, user_id text, occurred_at {kind}, amount numeric)",
        f"""insert into transactions values (1, 'ann', '2026-03-02', 1.5), (2, 'ann', '2026-03-02', 'NaN'),
            (3, 'ann', '2026-03-03', 1), (4, 'ann', null, 1), (5, 'ann', {infinite}, 1),
            (6, 'ann', '2026-02-01', 1), (7, 'ann', '2026-03-02', 12345678901234567890)""",
    )
    source = PostgresSource(fresh_database, ColumnMapping(), scratch)
    rows = loaded(engine, source, _FROM, _UNTIL)
    assert set(_ids(rows)) >= {"1", "2", "4", "5", "7"}
    assert ("6" in _ids(rows)) == (kind == "text")
    assert list(scratch.iterdir()) == []
    ingest_days(engine, lake, source, _DAY)
    assert kept_ids(engine, lake, _DAY) == ["1"]
    assert reasons(engine, lake, _DAY) == {
        "2": "amount_not_finite",
        "4": "missing_time",
        "5": "unreadable_time",
        "7": "amount_out_of_range",
    }


def test_a_query_with_other_names_zone_and_update_time(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, scratch: Path
) -> None:
    _run(
        fresh_database,
        """create table "Payments"
            ("Id" bigint, who uuid, at timestamp, cents int, "Shop %" text, changed date)""",
        """insert into "Payments" values
            (1, '6f1c2b9e-0000-4000-8000-000000000001', '2026-03-02 00:30', 1999, 'a "quoted", name
on two lines', null),
            (2, '6f1c2b9e-0000-4000-8000-000000000001', '2026-03-02 01:00', 100, '', '2026-03-04'),
            (3, '6f1c2b9e-0000-4000-8000-000000000001', '2026-03-03 00:59:59', -5, null, null),
            (4, '6f1c2b9e-0000-4000-8000-000000000001', null, -5, null, '2026-03-02'),
            (5, '6f1c2b9e-0000-4000-8000-000000000001', null, -5, null, '2026-03-09')""",
    )
    mapping = ColumnMapping(
        query="""select *, cents / 100.0 as euros from "Payments" where "Shop %" is null
            or "Shop %" not like '%x%'; -- the app's""".replace(";", ""),
        columns=ColumnNames(
            transaction_id="Id",
            user_id="who",
            occurred_at="at",
            amount="euros",
            merchant="Shop %",
            updated_at="changed",
        ),
        timezone="Europe/Paris",
    )
    source = PostgresSource(fresh_database.replace("postgresql:", "postgresql+psycopg:"), mapping, scratch)
    assert _ids(loaded(engine, source, _FROM, _UNTIL)) == ["1", "2", "3", "4"]
    ingest_days(engine, lake, source, _DAY)
    assert kept_ids(engine, lake, _DAY) == ["2", "3"]
    assert reasons(engine, lake, _DAY) == {}  # midnight in Paris is the evening before
    ingest_days(engine, lake, source, _DAY, zone="Europe/Paris")
    assert kept_ids(engine, lake, _DAY) == ["1", "2"]
    assert reasons(engine, lake, _DAY) == {"4": "missing_time"}


def test_a_table_of_another_schema_and_hard_texts(
    engine: DuckDBEngine, fresh_database: str, scratch: Path
) -> None:
    _run(
        fresh_database,
        "create schema shop",
        "create table shop.sales (transaction_id text, user_id text, occurred_at text, amount text)",
        """insert into shop.sales values (E'\\\\.', E'a\\r\\n"b",c\\td', repeat('é', 10000), ''),
            ('🛒', null, '\\N', 'x')""",
    )
    mapping = ColumnMapping(table="shop.sales", columns=_OWN_NAMES)
    rows = loaded(engine, PostgresSource(fresh_database, mapping, scratch))
    assert [list(one.values())[:4] for one in rows] == [
        ["\\.", 'a\r\n"b",c\td', "é" * 10_000, ""],
        ["🛒", None, "\\N", "x"],
    ]


def test_nothing_is_written_to_the_source(engine: DuckDBEngine, fresh_database: str, scratch: Path) -> None:
    _run(
        fresh_database,
        "create table log (a int)",
        """create function spy() returns int language sql volatile
            as 'insert into log values (1) returning a'""",
    )
    mapping = ColumnMapping(
        query="select spy() as transaction_id, 1 as user_id, now() as occurred_at, 1 as amount",
        columns=_OWN_NAMES,
    )
    with pytest.raises(SourceError, match="read-only"):
        loaded(engine, PostgresSource(fresh_database, mapping, scratch))


def test_connection_lost_in_the_middle_of_the_copy(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, scratch: Path
) -> None:
    _run(
        fresh_database,
        "create table fuse (lit boolean)",
        "insert into fuse values (false)",
        "create table transactions as select i as transaction_id, 'ann' as user_id, "
        "timestamptz '2026-03-02 10:00:00+00' as occurred_at, 1 as amount from generate_series(1, 20000) i",
    )
    mapping = ColumnMapping(
        query="select *, case when transaction_id = 19000 and (select lit from fuse) "
        "then pg_terminate_backend(pg_backend_pid()) end from transactions",
        columns=_OWN_NAMES,
    )
    source = PostgresSource(fresh_database, mapping, scratch)
    before = ingest_days(engine, lake, source, _DAY)[_DAY]
    assert before.kept == 20_000
    _run(fresh_database, "update fuse set lit = true")
    with pytest.raises(SourceError, match="connection was lost"):
        ingest_days(engine, lake, source, _DAY)
    assert len(kept_ids(engine, lake, _DAY)) == 20_000
    assert list(scratch.iterdir()) == []
    _run(fresh_database, "update fuse set lit = false")
    assert ingest_days(engine, lake, source, _DAY)[_DAY].transactions == before.transactions


def _fails(engine: DuckDBEngine, source: PostgresSource, *says: str) -> None:
    with pytest.raises(SourceError) as caught:
        loaded(engine, source)
    for text in says:
        assert text in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_missing_table(engine: DuckDBEngine, fresh_database: str, scratch: Path) -> None:
    name = fresh_database.split("/")[3].split("?", maxsplit=1)[0]
    for table in ("nope", "no_schema.nope"):
        mapping = ColumnMapping(table=table, columns=_OWN_NAMES)
        source = PostgresSource(fresh_database, mapping, scratch)
        _fails(engine, source, f"table {table} of database {name}", "does not exist")


def test_missing_column(engine: DuckDBEngine, fresh_database: str, scratch: Path) -> None:
    _run(fresh_database, "create table transactions (transaction_id int, person int, occurred_at date)")
    _fails(
        engine,
        PostgresSource(fresh_database, ColumnMapping(), scratch),
        "table transactions of database",
        "has no column 'user_id'",
        "transaction_id, person, occurred_at",
    )


def test_wrong_query(engine: DuckDBEngine, fresh_database: str, scratch: Path) -> None:
    for query, says in (("selec 1", "syntax error"), ("select nope", 'column "nope" does not exist')):
        mapping = ColumnMapping(query=query, columns=_OWN_NAMES)
        _fails(engine, PostgresSource(fresh_database, mapping, scratch), says, "the query of the mapping")


def test_a_table_that_may_not_be_read(engine: DuckDBEngine, fresh_database: str, scratch: Path) -> None:
    role = "reader_" + fresh_database.split("test_")[1][:8]
    _run(fresh_database, f"create role {role} login", "create table transactions (transaction_id int)")
    url = fresh_database.replace("postgres@", f"{role}@")
    try:
        _fails(engine, PostgresSource(url, ColumnMapping(), scratch), f"user {role} may not read")
    finally:
        _run(fresh_database, f"drop role {role}")


def test_refused_connection(engine: DuckDBEngine, scratch: Path) -> None:
    url = "postgresql://ann:hunter2@127.0.0.1:1/shop"
    _fails(
        engine,
        PostgresSource(url, ColumnMapping(), scratch),
        "database shop at 127.0.0.1:1 cannot be reached",
        "refused",
    )


def test_unknown_user_and_unknown_database(engine: DuckDBEngine, fresh_database: str, scratch: Path) -> None:
    stranger = fresh_database.replace("postgres@", "stranger:hunter2@")
    _fails(engine, PostgresSource(stranger, ColumnMapping(), scratch), "refuses user stranger")
    elsewhere = fresh_database.replace("/test_", "/nowhere_")
    _fails(engine, PostgresSource(elsewhere, ColumnMapping(), scratch), "database nowhere_", "does not exist")


def test_wrong_password(
    engine: DuckDBEngine, fresh_database: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise psycopg.OperationalError(
            'connection failed: FATAL:  password authentication failed for user "ann"'
        )

    source = PostgresSource("postgresql://ann:hunter2@db/shop", ColumnMapping(), scratch)
    monkeypatch.setattr(psycopg, "connect", refuse)
    _fails(engine, source, "shop at db refuses user ann: wrong user or password")


def test_an_address_that_is_none(scratch: Path) -> None:
    with pytest.raises(SourceError) as caught:
        PostgresSource("postgresql://ann:hunter2@db/shop?nonsense=1", ColumnMapping(), scratch)
    assert "hunter2" not in str(caught.value)
