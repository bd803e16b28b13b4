"""Counting a source's rows by business day: as ingestion reads them, in the engine and in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import SourceError
from marketing_assets.sources import postgres
from marketing_assets.sources.base import ColumnMapping, DayCount, Source
from marketing_assets.sources.complete_journey import CompleteJourneySource
from marketing_assets.sources.files import FilesSource
from marketing_assets.sources.postgres import PostgresSource
from marketing_assets.sources.simulated import SimulatedSource
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import MemorySource, ingest_days, row

PARIS = ZoneInfo("Europe/Paris")
MONDAY = date(2026, 3, 2)
TUESDAY, WEDNESDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


ROWS = [
    ("1", "2026-03-01 23:30:00", "2026-03-01 23:31:00"),  # Monday in Paris
    ("1", "2026-03-01 23:30:00", "2026-03-01 23:31:00"),  # the same again: read, and a duplicate
    ("2", "2026-03-02 10:00:00", "2026-03-04 09:00:00"),
    ("3", "2026-03-02 23:00:00", None),  # Tuesday in Paris
    ("4", None, "2026-03-03 12:00:00"),  # by its update time
    ("5", "2026-03-04 23:00:00", "2026-03-05 00:00:00"),  # Thursday in Paris: not asked for
]
COUNTED = [
    DayCount(MONDAY, 3, at("2026-03-04T09:00")),
    DayCount(TUESDAY, 2, at("2026-03-03T12:00")),
]
CHANGED = [
    DayCount(MONDAY, 1, at("2026-03-04T09:00")),
    DayCount(TUESDAY, 1, at("2026-03-03T12:00")),
]


def memory(rows: list[tuple[str, str | None, str | None]]) -> MemorySource:
    given = [
        row(name, occurred and f"{occurred}+00", updated_at=updated and f"{updated}+00")
        for name, occurred, updated in rows
    ]
    return MemorySource(given, has_update_time=True)


def database(
    url: str,
    scratch: Path,
    kind: str,
    zone: str = "UTC",
    rows: Sequence[tuple[str, str | None, str | None]] = ROWS,
) -> PostgresSource:
    """The rows in a table whose times are of this kind, without an offset by the clock of the zone."""
    _run(url, f"create table transactions (transaction_id text, user_id text, occurred_at {kind}, amount int,"
         f" updated_at {kind})")  # fmt: skip
    with psycopg.connect(url, autocommit=True) as connection:
        for name, occurred, updated in rows:
            times = [at(text) if text else None for text in (occurred, updated)]
            if kind != "timestamptz":
                times = [time and time.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for time in times]
            connection.execute("insert into transactions values (%s, 'ann', %s, 1, %s)", (name, *times))
    return PostgresSource(url, ColumnMapping(timezone=zone), scratch)


def check(engine: DuckDBEngine, source: Source, lake: Lake) -> None:
    assert source.counted_days(engine, MONDAY, WEDNESDAY, PARIS) == COUNTED
    assert source.changed_days(engine, MONDAY, WEDNESDAY, PARIS, at("2026-03-03T12:00")) == CHANGED
    assert source.changed_days(engine, MONDAY, WEDNESDAY, PARIS, at("2026-03-05T12:00")) == []
    ingested = ingest_days(engine, lake, source, MONDAY, TUESDAY, WEDNESDAY, zone="Europe/Paris")
    assert [ingested[day].read for day in (MONDAY, TUESDAY, WEDNESDAY)] == [3, 2, 0]


def test_rows_are_counted_by_the_engine_as_they_are_read(engine: DuckDBEngine, lake: Lake) -> None:
    check(engine, memory(ROWS), lake)


@pytest.mark.parametrize(
    ("kind", "zone"),
    [("timestamptz", "UTC"), ("timestamp", "UTC"), ("timestamp", "Asia/Kathmandu"), ("text", "UTC")],
)
def test_rows_are_counted_by_postgres_as_they_are_read(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, kind: str, zone: str
) -> None:
    check(engine, database(fresh_database, lake.scratch, kind, zone), lake)


def test_postgres_sends_one_row_a_day(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = database(fresh_database, lake.scratch, "timestamptz")

    def refuse(*_: object) -> None:
        raise AssertionError("rows were loaded")

    monkeypatch.setattr(PostgresSource, "load", refuse)
    assert source.counted_days(engine, MONDAY, WEDNESDAY, PARIS) == COUNTED
    assert source.changed_days(engine, MONDAY, WEDNESDAY, PARIS, at("2026-03-03T12:00")) == CHANGED


def test_postgres_finds_what_changed_by_the_index_on_the_update_time(
    engine: DuckDBEngine, lake: Lake, fresh_database: str
) -> None:
    _run(
        fresh_database,
        "create table transactions as select i as transaction_id, 'ann' as user_id, 1 as amount,"
        " timestamptz '2026-03-02 00:00+00' + i * interval '1 second' as occurred_at,"
        " timestamptz '2026-03-02 00:01+00' + i * interval '1 second' as updated_at"
        " from generate_series(0, 86399) i",
        "create index on transactions (updated_at)",
        "analyze transactions",
    )
    source = PostgresSource(fresh_database, ColumnMapping(), lake.scratch)
    changed = source.changed_days(engine, MONDAY, MONDAY, ZoneInfo("UTC"), at("2026-03-02T23:51"))
    assert changed == [DayCount(MONDAY, 600, at("2026-03-03T00:00:59"))]
    _run(fresh_database, "select pg_stat_force_next_flush()")
    with psycopg.connect(fresh_database) as connection:
        scans = connection.execute(
            "select idx_scan > 0, idx_tup_read < 2000 from pg_stat_user_indexes"
            " where relname = 'transactions'"
        ).fetchone()
    assert scans == (True, True)


def test_a_change_known_by_its_day_only_may_be_as_late_as_the_end_of_it(
    engine: DuckDBEngine, lake: Lake, fresh_database: str
) -> None:
    _run(
        fresh_database,
        "create table transactions (transaction_id int, user_id text, occurred_at date, amount int,"
        " updated_at date)",
        "insert into transactions values (1, 'ann', '2026-03-02', 1, '2026-03-04')",
    )
    source = PostgresSource(fresh_database, ColumnMapping(), lake.scratch)
    changed = source.changed_days(engine, MONDAY, MONDAY, ZoneInfo("UTC"), at("2026-03-04T10:00"))
    assert changed == [DayCount(MONDAY, 1, at("2026-03-04T23:59:59.999999"))]


def test_a_day_that_is_not_over_has_not_changed_yet_by_its_day_only(
    engine: DuckDBEngine, lake: Lake, fresh_database: str
) -> None:
    _run(
        fresh_database,
        "create table transactions (transaction_id int, user_id text, occurred_at date, amount int,"
        " updated_at date)",
        "insert into transactions select days, 'ann', '2026-03-02', 1,"
        " (now() at time zone 'UTC')::date + days from generate_series(-1, 1) days",
    )
    source = PostgresSource(fresh_database, ColumnMapping(), lake.scratch)
    [found] = source.changed_days(engine, MONDAY, MONDAY, ZoneInfo("UTC"), at("2026-03-04T10:00")) or []
    assert (found.rows, found.future) == (1, 1)


@pytest.mark.parametrize("kind", ["memory", "timestamptz", "timestamp", "text"])
def test_rows_whose_update_time_lies_in_the_future_are_counted_apart(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, kind: str
) -> None:
    rows = [*ROWS, *((name, "2026-03-02 11:00:00", "2999-01-01 00:00:00") for name in ("6", "7"))]
    source: Source = memory(rows)
    if kind != "memory":
        source = database(fresh_database, lake.scratch, kind, rows=rows)
    changed = source.changed_days(engine, MONDAY, WEDNESDAY, PARIS, at("2026-03-03T12:00"))
    assert changed == [replace(CHANGED[0], future=2), CHANGED[1]]
    counted = source.counted_days(engine, MONDAY, WEDNESDAY, PARIS)
    assert [(each.rows, each.future) for each in counted] == [(5, 0), (2, 0)]


def test_a_count_that_takes_too_long_says_which_index_is_wanted(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_COUNT_SECONDS", 1)
    mapping = ColumnMapping(
        query="select 1 as transaction_id, 'ann' as user_id, 1 as amount,"
        " timestamptz '2026-03-02' as occurred_at from pg_sleep(5)"
    )
    source = PostgresSource(fresh_database, mapping, lake.scratch)
    with pytest.raises(SourceError, match="took longer than 1 s") as caught:
        source.counted_days(engine, MONDAY, MONDAY, PARIS)
    assert "make an index on its update time" in caught.value.remedy


def test_without_an_update_time_nothing_is_known_to_have_changed(
    engine: DuckDBEngine, lake: Lake, fresh_database: str, tmp_path: Path
) -> None:
    _run(fresh_database, "create table transactions (transaction_id int, user_id text, occurred_at date,"
         " amount int)")  # fmt: skip
    file = tmp_path / "rows.csv"
    file.write_text("transaction_id,user_id,occurred_at,amount\n1,ann,2026-03-02,1\n", encoding="utf-8")
    sources: list[Source] = [
        PostgresSource(fresh_database, ColumnMapping(), lake.scratch),
        FilesSource(str(file), ColumnMapping()),
        CompleteJourneySource(shift_days=None),
    ]
    for source in sources:
        assert source.changed_days(engine, MONDAY, MONDAY, PARIS, at("2026-03-01T00:00")) is None


def test_files_are_counted_in_place(engine: DuckDBEngine, lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"{name},ann,{occurred or ''},1,{updated or ''}" for name, occurred, updated in ROWS]
    header = "transaction_id,user_id,occurred_at,amount,updated_at"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    check(engine, FilesSource(str(file), ColumnMapping()), lake)


def test_real_purchases_are_counted_as_they_are_read(engine: DuckDBEngine, lake: Lake) -> None:
    source = CompleteJourneySource(shift_days=None)
    days = [date(2017, 12, day) for day in (29, 30, 31)]
    ingested = ingest_days(engine, lake, source, *days)
    assert source.counted_days(engine, days[0], days[-1], ZoneInfo("UTC")) == [
        DayCount(day, ingested[day].read, None) for day in days
    ]


def test_simulated_rows_that_arrive_late_are_found_by_their_update_time(
    engine: DuckDBEngine, lake: Lake
) -> None:
    clock = [at("2026-03-04T02:00")]
    source = SimulatedSource(users=500, seed=1, lake=lake, now=lambda: clock[0])
    before = ingest_days(engine, lake, source, MONDAY, TUESDAY)
    clock[0] = at("2026-03-07T02:00")
    changed = source.changed_days(engine, date(2025, 12, 1), TUESDAY, ZoneInfo("UTC"), at("2026-03-04T02:00"))
    after = ingest_days(engine, lake, source, MONDAY, TUESDAY)
    late = {day: after[day].read - before[day].read for day in (MONDAY, TUESDAY)}
    assert sum(late.values()) > 0
    found = {each.day: each.rows for each in changed or [] if each.day in late}
    assert found == {day: rows for day, rows in late.items() if rows}
    assert before[MONDAY].read_at == at("2026-03-04T02:00")
