"""The DuckDB engine: what goes in comes out, what does not fit spills, what fails says what to do."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import psycopg
import pytest

from marketing_assets.engine.base import Row, Value
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import LakeError, MarketingError

HARD_TEXTS = [
    None,
    "",
    " ",
    '"',
    '""',
    "a,b",
    "line\nbreak",
    "a\r\nb",
    "\r",
    "\\N",
    "\\.",
    "NULL",
    "\t",
    "Zoë 🛒",
]
SCHEMA = [("n", "integer"), ("s", "varchar")]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="256MiB", threads=2, temp_directory=tmp_path / "spill")
    yield made
    made.close()


def all_of(engine: DuckDBEngine, relation: str) -> list[Row]:
    return engine.fetch(f"select * from {relation} order by all")


def test_rows_held_in_memory_keep_their_types(engine: DuckDBEngine) -> None:
    schema = [
        ("i", "integer"),
        ("d", "decimal(14,2)"),
        ("f", "double"),
        ("t", "timestamp with time zone"),
        ("day", "date"),
        ("b", "boolean"),
        ("s", "varchar"),
    ]
    row: list[Value] = [
        1,
        Decimal("0.10"),
        0.1,
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        date(2026, 3, 1),
        True,
        "x",
    ]
    engine.register_rows("rows", schema, [row, [None] * 7])
    names = [name for name, _ in schema]
    found = engine.fetch("select * from rows order by i nulls last")
    assert found == [dict(zip(names, row, strict=True)), dict.fromkeys(names)]
    engine.register_rows("rows", SCHEMA, [])
    assert engine.fetch("select count(*) as n from rows") == [{"n": 0}]
    assert engine.fetch("select * from rows") == []


def test_a_relation_is_created_appended_to_and_forgotten(engine: DuckDBEngine) -> None:
    engine.create("made", "select $n as n, cast($s as varchar) as s;", {"n": 1, "s": "it's"})
    engine.append("made", "select n + $step, s from made", {"step": 1})
    assert all_of(engine, "made") == [{"n": 1, "s": "it's"}, {"n": 2, "s": "it's"}]
    engine.create("made", "select 3 as other")
    assert all_of(engine, "made") == [{"other": 3}]
    engine.drop("made", "never there")
    with pytest.raises(duckdb.CatalogException, match="made does not exist"):
        engine.fetch("select * from made")


def test_a_query_is_computed_whenever_it_is_read(engine: DuckDBEngine) -> None:
    engine.register_rows("rows", SCHEMA, [[1, "a"]])
    engine.register_query("doubled", "select n * 2 as n from rows")
    engine.append("rows", "select 2, 'b'")
    assert all_of(engine, "doubled") == [{"n": 2}, {"n": 4}]


def test_a_name_can_hold_a_table_then_a_view_then_a_table(engine: DuckDBEngine) -> None:
    engine.register_rows("thing", SCHEMA, [[1, "a"]])
    engine.register_query("thing", "select 2 as n")
    assert all_of(engine, "thing") == [{"n": 2}]
    engine.create("thing", "select 3 as n")
    assert all_of(engine, "thing") == [{"n": 3}]


def test_files_are_read_in_the_columns_asked_for_with_their_day(engine: DuckDBEngine, tmp_path: Path) -> None:
    files = [tmp_path / f"day=2026-02-1{number}" / "part-0.parquet" for number in (0, 1)]
    for number, file in enumerate(files):
        file.parent.mkdir()
        statement = "select cast($n as bigint) as n, 'x' as s, 1 as more"
        assert engine.write_parquet(statement, {"n": number}, file) == 1
    engine.register_files("read", files, SCHEMA)
    assert all_of(engine, "read") == [
        {"n": 0, "s": "x", "day": date(2026, 2, 10)},
        {"n": 1, "s": "x", "day": date(2026, 2, 11)},
    ]
    engine.register_files("read", [], SCHEMA)
    assert all_of(engine, "read") == []


def test_a_path_with_quotes_blanks_and_letters_beyond_ascii(engine: DuckDBEngine, tmp_path: Path) -> None:
    file = tmp_path / "it's a lake, ü" / "day=2026-02-10" / "part-0.parquet"
    file.parent.mkdir(parents=True)
    assert engine.write_parquet("select 1 as n, 'x' as s", None, file) == 1
    engine.register_files("read", [file], SCHEMA)
    assert [row["n"] for row in all_of(engine, "read")] == [1]
    assert engine.write_csv("select * from read", file.with_suffix(".csv")) == 1


def test_texts_of_every_kind_arrive_in_postgresql_as_they_are(
    engine: DuckDBEngine, tmp_path: Path, fresh_database: str
) -> None:
    engine.register_rows("rows", SCHEMA, [[n, text] for n, text in enumerate(HARD_TEXTS)])
    file = tmp_path / "rows.csv"
    assert engine.write_csv("select n, s from rows", file) == len(HARD_TEXTS)
    with psycopg.connect(fresh_database) as connection:
        connection.execute("create table arrived (n integer, s text)")
        with connection.cursor().copy("copy arrived from stdin (format csv)") as copy:
            copy.write(file.read_bytes())
        found = connection.execute("select n, s from arrived order by n").fetchall()
    assert found == list(enumerate(HARD_TEXTS))


def test_texts_of_every_kind_come_back_from_postgresqls_csv(
    engine: DuckDBEngine, tmp_path: Path, fresh_database: str
) -> None:
    file = tmp_path / "rows.csv"
    with psycopg.connect(fresh_database) as connection:
        connection.execute("create table sent (n integer, s text)")
        with connection.cursor() as cursor:
            cursor.executemany("insert into sent values (%s, %s)", list(enumerate(HARD_TEXTS)))
            with cursor.copy("copy sent to stdout (format csv, header)") as copy, file.open("wb") as stream:
                for chunk in copy:
                    stream.write(chunk)
    engine.register_csv("arrived", [file], ["n", "s"])
    found = engine.fetch("select cast(n as integer) as n, s from arrived order by 1")
    assert [(row["n"], row["s"]) for row in found] == list(enumerate(HARD_TEXTS))


def test_parquet_and_csv_of_no_rows(engine: DuckDBEngine, tmp_path: Path) -> None:
    assert engine.write_parquet("select 1 as n where false", None, tmp_path / "none.parquet") == 0
    assert engine.write_csv("select 1 as n where false", tmp_path / "none.csv") == 0
    assert (tmp_path / "none.csv").read_bytes() == b""


def test_csv_is_written_on_one_thread_and_what_follows_on_all(tmp_path: Path) -> None:
    engine = DuckDBEngine(memory_limit="256MiB", threads=3, temp_directory=tmp_path)
    threads = "select current_setting('threads') as threads"
    assert engine.write_csv(threads, tmp_path / "threads.csv") == 1
    assert (tmp_path / "threads.csv").read_text() == '"1"\n'
    with pytest.raises(LakeError):
        engine.write_csv(threads, tmp_path / "nowhere" / "threads.csv")
    assert engine.fetch(threads) == [{"threads": 3}]
    engine.close()


def test_instants_are_utc_wherever_the_machine_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=tmp_path)
    found = engine.fetch("select cast(timestamp with time zone '2026-03-01 00:30:00+00' as date) as day")
    engine.close()
    assert found == [{"day": date(2026, 3, 1)}]


SORT = (
    "select i, md5(cast(i as varchar)) as h, md5(cast(i + 1 as varchar)) as g "
    "from range({rows}) t(i) order by h"
)


def test_a_sort_larger_than_the_memory_spills(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    engine = DuckDBEngine(memory_limit="64MiB", threads=1, temp_directory=spill)
    # About 70 MB of rows.
    assert engine.write_parquet(SORT.format(rows=800_000), None, tmp_path / "sorted.parquet") == 800_000
    assert spill.exists()
    first = engine.fetch(f"select h from '{tmp_path / 'sorted.parquet'}' limit 2")
    assert str(first[0]["h"]) < str(first[1]["h"])
    engine.close()
    assert list(spill.glob("*")) == []


def test_running_out_of_memory_names_the_setting(tmp_path: Path) -> None:
    engine = DuckDBEngine(memory_limit="16MiB", threads=1, temp_directory=tmp_path / "spill")
    with pytest.raises(MarketingError, match="ran out of the memory") as refused:
        engine.fetch("select length(string_agg(cast(i as varchar), ',')) as n from range(5000000) t(i)")
    assert "MARKETING_MEMORY_LIMIT" in refused.value.remedy
    assert "\n" not in refused.value.message
    assert engine.fetch("select 1 as n") == [{"n": 1}]
    engine.close()


def test_a_place_that_cannot_be_written_is_one_clear_error(engine: DuckDBEngine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    with pytest.raises(LakeError, match="cannot be written") as refused:
        engine.write_parquet("select 1 as n", None, tmp_path / "file" / "part-0.parquet")
    assert "free space" in refused.value.remedy
    assert "\n" not in refused.value.message


FULL_DISK = """
import resource, signal, sys
from datetime import date
from pathlib import Path
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import MarketingError
from marketing_assets.storage.datasets import SEGMENT_SUMMARY
from marketing_assets.storage.lake import Lake

root, rows, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
engine = DuckDBEngine(memory_limit=sys.argv[4], threads=1, temp_directory=root / "spill")
engine.register_query(
    "rows",
    "select md5(cast(i as varchar)) as pattern, i as rank, 1 as users, 1 as primary_users, "
    f"random() as share, 1 as spend, null as average_order from range({rows}) t(i)",
)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    Lake(root).write(engine, SEGMENT_SUMMARY, date(2026, 2, 10), "rows")
except MarketingError as error:
    print(type(error).__name__, error.message, error.remedy, sep="\\n")
"""


def write_with_limit(root: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", FULL_DISK, str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


def test_a_full_disk_leaves_the_old_partition_and_no_temporary_file(tmp_path: Path) -> None:
    # A limit on the size of files fails a write as a full disk does, in the middle of the file.
    old = tmp_path / "segment_summary" / "day=2026-02-10" / "part-0.parquet"
    old.parent.mkdir(parents=True)
    before = b"the partition of yesterday's run"
    old.write_bytes(before)
    kind, message, remedy = write_with_limit(tmp_path, "100000", "1000000", "256MiB")
    assert kind == "LakeError"
    assert "cannot be written" in message
    assert "free space" in remedy
    assert old.read_bytes() == before
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [old]


def test_a_disk_that_fills_up_while_spilling_is_one_clear_error(tmp_path: Path) -> None:
    kind, message, remedy = write_with_limit(tmp_path, "600000", "1000000", "32MiB")
    assert kind in ("MarketingError", "LakeError")
    assert "disk" in remedy
    assert message
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_column_that_older_files_lack_is_null_in_them(engine: DuckDBEngine, tmp_path: Path) -> None:
    files = []
    for day, statement in (("2026-01-01", "select 1 as n"), ("2026-01-02", "select 2 as n, 'new' as s")):
        files.append(tmp_path / f"day={day}" / "part-0.parquet")
        files[-1].parent.mkdir()
        engine.write_parquet(statement, None, files[-1])
    engine.register_files("mixed", files, SCHEMA)
    assert engine.fetch("select n, s, day from mixed order by n") == [
        {"n": 1, "s": None, "day": date(2026, 1, 1)},
        {"n": 2, "s": "new", "day": date(2026, 1, 2)},
    ]
    engine.register_files("old", files[:1], SCHEMA)
    assert engine.fetch("select n, s from old") == [{"n": 1, "s": None}]
