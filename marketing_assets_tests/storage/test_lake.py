"""The lake: a partition appears whole or not at all, and the same rows give the same bytes."""

import platform
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from sqlglot import exp

from marketing_assets.engine.base import Value
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import LakeError, MissingPartitionError, WriterLockError
from marketing_assets.storage.datasets import SEGMENT_SUMMARY, USER_PATTERNS
from marketing_assets.storage.lake import Lake

D = date(2026, 2, 10)
SCHEMA = [(column.name, column.type) for column in SEGMENT_SUMMARY.columns]


def summary(pattern: str, rank: int) -> list[Value]:
    return [pattern, rank, 10, 5, 0.5, Decimal("100.00"), None]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="256MiB", threads=4, temp_directory=tmp_path / "spill")
    yield made
    made.close()


@pytest.fixture
def lake(tmp_path: Path, engine: DuckDBEngine) -> Lake:
    """A lake whose partition of `D` has one row, `old`."""
    made = Lake(tmp_path / "lake")
    engine.register_rows("rows", SCHEMA, [summary("old", 1)])
    made.write(engine, SEGMENT_SUMMARY, D, "rows")
    engine.register_rows("rows", SCHEMA, [summary("second", 2), summary("first", 1)])
    return made


def patterns_of(engine: DuckDBEngine, lake: Lake, day: date = D) -> list[Value]:
    lake.register(engine, "read", SEGMENT_SUMMARY, [day])
    return [row["pattern"] for row in engine.fetch("select pattern from read order by rank")]


def files(lake: Lake) -> list[str]:
    return sorted(str(file.relative_to(lake.root)) for file in lake.root.rglob("*") if file.is_file())


def test_a_partition_is_replaced_and_read_with_its_day(engine: DuckDBEngine, lake: Lake) -> None:
    written = lake.write(engine, SEGMENT_SUMMARY, D, "rows")
    file = lake.path(SEGMENT_SUMMARY, D)
    assert file == lake.root / "segment_summary" / "day=2026-02-10" / "part-0.parquet"
    assert (written.rows, written.bytes, len(written.digest)) == (2, file.stat().st_size, 64)
    lake.register(engine, "read", SEGMENT_SUMMARY, [D])
    assert engine.fetch("select day, pattern, rank, average_order from read") == [
        {"day": D, "pattern": "first", "rank": 1, "average_order": None},
        {"day": D, "pattern": "second", "rank": 2, "average_order": None},
    ]
    assert files(lake) == ["segment_summary/day=2026-02-10/part-0.parquet"]


def test_where_chooses_rows(engine: DuckDBEngine, lake: Lake) -> None:
    only_first = exp.column("rank").eq(1)
    assert lake.write(engine, SEGMENT_SUMMARY, D, "rows", only_first).rows == 1
    assert patterns_of(engine, lake) == ["first"]


def test_a_step_that_fails_leaves_the_old_partition_and_no_temporary_file(
    engine: DuckDBEngine, lake: Lake
) -> None:
    before = lake.path(SEGMENT_SUMMARY, D).read_bytes()
    engine.register_query("broken", "select * replace (cast(error('halfway') as integer) as rank) from rows")
    with pytest.raises(duckdb.InvalidInputException, match="halfway"):
        lake.write(engine, SEGMENT_SUMMARY, D, "broken")
    assert lake.path(SEGMENT_SUMMARY, D).read_bytes() == before
    assert files(lake) == ["segment_summary/day=2026-02-10/part-0.parquet"]


def test_a_guard_that_refuses_leaves_the_old_partition_and_no_temporary_file(
    engine: DuckDBEngine, lake: Lake
) -> None:
    seen = []

    def refuse() -> None:
        seen.extend(files(lake))
        raise WriterLockError("lost", remedy="again")

    before = lake.path(SEGMENT_SUMMARY, D).read_bytes()
    with pytest.raises(WriterLockError, match="lost"):
        Lake(lake.root, guard=refuse).write(engine, SEGMENT_SUMMARY, D, "rows")
    assert lake.path(SEGMENT_SUMMARY, D).read_bytes() == before
    assert files(lake) == ["segment_summary/day=2026-02-10/part-0.parquet"]
    assert any(name.startswith(".scratch/") for name in seen)


def test_a_new_partition_is_invisible_until_the_guard_has_agreed(engine: DuckDBEngine, lake: Lake) -> None:
    days_seen = []
    guarded = Lake(lake.root, guard=lambda: days_seen.append(lake.days(SEGMENT_SUMMARY)))
    guarded.write(engine, SEGMENT_SUMMARY, date(2026, 2, 11), "rows")
    assert days_seen == [[D]]
    assert lake.days(SEGMENT_SUMMARY) == [D, date(2026, 2, 11)]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    # 50,000 rows are more than one vector of every thread, and their order is drawn anew each time.
    digests = set()
    for threads in (1, 2, 8):
        engine = DuckDBEngine(memory_limit="512MiB", threads=threads, temp_directory=tmp_path / "spill")
        users = list(range(25_000))
        random.Random(threads).shuffle(users)
        engine.create("shuffled", "select unnest($places) as place, unnest($users) as n", shuffled(users))
        engine.create(
            "rows",
            "select n % 256 as bucket, 'user' || n as user_id, pattern, rank, rank = 1 as is_primary, "
            "'{\"n\":' || n || '}' as reason "
            "from shuffled, (values ('general', 7), ('inactive', 1)) as p(pattern, rank) order by place",
        )
        written = Lake(tmp_path / "lake").write(engine, USER_PATTERNS, D, "rows")
        assert written.rows == 50_000
        digests.add(written.digest)
        engine.close()
    assert len(digests) == 1


def shuffled(users: list[int]) -> dict[str, Value]:
    parameters: dict[str, object] = {"places": list(range(len(users))), "users": users}
    return parameters  # type: ignore[return-value]


def test_days_lists_what_has_a_partition(engine: DuckDBEngine, lake: Lake) -> None:
    assert lake.days(USER_PATTERNS) == []
    for day in (date(2026, 2, 12), date(2026, 2, 9)):
        lake.write(engine, SEGMENT_SUMMARY, day, "rows")
    (lake.root / "segment_summary" / "day=2026-02-11").mkdir()
    assert lake.days(SEGMENT_SUMMARY) == [date(2026, 2, 9), D, date(2026, 2, 12)]


def test_missing_is_what_has_no_partition(lake: Lake) -> None:
    days = [date(2026, 2, 9), D, date(2026, 2, 11)]
    assert lake.missing(SEGMENT_SUMMARY, days) == [date(2026, 2, 9), date(2026, 2, 11)]
    assert lake.missing(USER_PATTERNS, [D]) == [D]


def test_missing_partitions_are_named_with_the_command_that_makes_them(
    engine: DuckDBEngine, lake: Lake
) -> None:
    with pytest.raises(MissingPartitionError) as missing:
        lake.register(engine, "read", SEGMENT_SUMMARY, [date(2026, 2, 9), D, date(2026, 2, 11)])
    assert missing.value.message == (
        f"segment_summary has no partition for 2026-02-09, 2026-02-11 in {lake.root}"
    )
    assert "marketing backfill --from 2026-02-09 --to 2026-02-11" in missing.value.remedy
    with pytest.raises(MissingPartitionError, match="2026-03-01, 2026-03-02, 2026-03-03 and 2 more days"):
        lake.register(engine, "read", SEGMENT_SUMMARY, [date(2026, 3, day) for day in range(1, 6)])


def test_no_days_give_a_relation_without_rows(engine: DuckDBEngine, lake: Lake) -> None:
    lake.register(engine, "read", SEGMENT_SUMMARY, [])
    assert engine.fetch("select pattern, day from read") == []


# Tests run as root, whom no permission stops: a file where a directory must be stands for a read-only place.


def test_a_lake_that_cannot_be_made_is_one_clear_error(tmp_path: Path, engine: DuckDBEngine) -> None:
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    engine.register_rows("rows", SCHEMA, [summary("first", 1)])
    with pytest.raises(LakeError) as refused:
        Lake(tmp_path / "file" / "lake").write(engine, SEGMENT_SUMMARY, D, "rows")
    assert "cannot be written" in refused.value.message
    assert str(tmp_path / "file" / "lake") in refused.value.message
    assert "MARKETING_LAKE" in refused.value.remedy


def test_a_partition_whose_directory_cannot_be_made_leaves_no_temporary_file(
    tmp_path: Path, engine: DuckDBEngine
) -> None:
    lake = Lake(tmp_path / "lake")
    lake.root.mkdir()
    (lake.root / "segment_summary").write_text("not a directory", encoding="utf-8")
    engine.register_rows("rows", SCHEMA, [summary("first", 1)])
    with pytest.raises(LakeError, match=r"cannot be written at .*day=2026-02-10"):
        lake.write(engine, SEGMENT_SUMMARY, D, "rows")
    assert files(lake) == ["segment_summary"]


def test_a_partition_that_cannot_be_replaced_is_one_clear_error(tmp_path: Path, engine: DuckDBEngine) -> None:
    lake = Lake(tmp_path / "lake")
    lake.path(SEGMENT_SUMMARY, D).mkdir(parents=True)
    engine.register_rows("rows", SCHEMA, [summary("first", 1)])
    with pytest.raises(LakeError, match=r"part-0\.parquet: Is a directory"):
        lake.write(engine, SEGMENT_SUMMARY, D, "rows")
    assert files(lake) == []


def test_what_processes_that_are_gone_left_is_cleared(engine: DuckDBEngine, lake: Lake) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = lake.root / ".scratch" / f"{platform.node()}-{gone.pid}"
    (left / "spill").mkdir(parents=True)
    (left / "transactions-2026-02-10-1.parquet").write_bytes(b"half")
    (left / "spill" / "duckdb_temp_storage-0.tmp").write_bytes(b"spilled")
    mine = lake.scratch / "mine.csv"
    mine.write_bytes(b"in use")
    lake.clear_scratch()
    assert not left.exists()
    assert mine.exists()
    lake.remove_scratch()
    assert files(lake) == ["segment_summary/day=2026-02-10/part-0.parquet"]
    assert patterns_of(engine, lake) == ["old"]


def test_only_other_rows_in_the_place_of_what_stands_are_a_replacement(
    engine: DuckDBEngine, lake: Lake
) -> None:
    seen: list[tuple[str, list[Value]]] = []

    def write(day: date, what: str) -> None:
        lake.write(
            engine,
            SEGMENT_SUMMARY,
            day,
            "rows",
            replacing=lambda: seen.append((what, patterns_of(engine, lake))),
        )

    write(date(2026, 2, 11), "a new day")
    write(D, "other rows")
    write(D, "the same rows")
    assert seen == [("other rows", ["old"])]  # what stood is still there while it is told


def test_missing_days_are_those_without_a_partition(lake: Lake) -> None:
    days = [date(2026, 2, 11), D, date(2026, 2, 9)]
    assert lake.missing(SEGMENT_SUMMARY, days) == [date(2026, 2, 11), date(2026, 2, 9)]
