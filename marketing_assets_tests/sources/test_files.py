"""Parquet and CSV files: what is read, and the one clear error of each thing that can be wrong."""

import csv
import gzip
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import SourceError
from marketing_assets.sources.base import ColumnMapping, load_mapping
from marketing_assets.sources.files import FilesSource
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import ingest_days, kept_ids, loaded, reasons

_HEADER = ("transaction_id", "user_id", "occurred_at", "amount")
_DAY = date(2026, 3, 2)


def _csv(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = _HEADER) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


def _source(pattern: Path | str, mapping: ColumnMapping | None = None) -> FilesSource:
    return FilesSource(str(pattern), mapping or ColumnMapping())


def _mapping(tmp_path: Path, text: str) -> ColumnMapping:
    path = tmp_path / "mapping.yaml"
    path.write_text(text, encoding="utf-8")
    return load_mapping(path)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.csv.gz", "ROWS.CSV"])
def test_csv_is_read_as_text(engine: DuckDBEngine, tmp_path: Path, name: str) -> None:
    file = _csv(tmp_path / name, [("007", "a,\"b'\n\r\nü\t", "2026-03-02 10:00", "1.50"), ("", "", "", "")])
    first, second = loaded(engine, _source(file))
    assert [first["transaction_id"], second["transaction_id"]] == ["007", None]
    assert (first["user_id"], first["amount"]) == ("a,\"b'\n\r\nü\t", "1.50")
    assert first["merchant"] is None


def test_a_glob_reads_files_whose_columns_stand_in_another_order(
    engine: DuckDBEngine, tmp_path: Path
) -> None:
    _csv(tmp_path / "a.csv", [("1", "ann", "2026-03-02", "1")])
    _csv(tmp_path / "b.csv", [("5", "2026-03-02", "2", "bob", "shop")],
         ("amount", "occurred_at", "transaction_id", "user_id", "merchant"))  # fmt: skip
    _csv(tmp_path / "c.csv", [])
    rows = loaded(engine, _source(tmp_path / "*.csv"))
    assert [(one["transaction_id"], one["user_id"], one["merchant"]) for one in rows] == [
        ("1", "ann", None),
        ("2", "bob", "shop"),
    ]


def test_a_mapping_renames_and_leaves_out(engine: DuckDBEngine, tmp_path: Path) -> None:
    file = _csv(tmp_path / "a.csv", [("1", "ann", "2026-03-02", "9", "shop", "x")],
                ("Id", "customer", "when", "sum", "merchant", "updated_at"))  # fmt: skip
    mapping = _mapping(
        tmp_path, "columns: {transaction_id: Id, user_id: customer, occurred_at: when, amount: sum}"
    )
    source = _source(file, mapping)
    assert [list(one.values()) for one in loaded(engine, source)] == [
        ["1", "ann", "2026-03-02", "9", None, None, None, None]
    ]
    assert not source.has_update_time


def test_update_times_are_used_where_the_files_have_them(engine: DuckDBEngine, tmp_path: Path) -> None:
    file = _csv(tmp_path / "a.csv", [], (*_HEADER, "updated_at"))
    source = _source(file)
    loaded(engine, source)
    assert source.has_update_time


def test_parquet_is_read_with_its_types(engine: DuckDBEngine, lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    engine.write_parquet(
        "select * from (values "
        "(1, 2, timestamp '2026-03-02 23:30:00', 1.25::double, 'L'), "
        "(2, 2, timestamp '2026-03-03 00:30:00', 0.1, 'L'), "
        "(3, 2, timestamp '2026-03-09 10:00:00', 5.0, 'L'), "
        "(4, 2, null, 5.0, 'L'), "
        "(5, 2, timestamp 'infinity', 5.0, 'L'), "
        "(6, 2, timestamp '2026-03-02 10:00:00', 'nan'::double, 'L')"
        ") as rows (transaction_id, user_id, occurred_at, amount, location)",
        None,
        file,
    )
    at, until = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
    assert {one["transaction_id"] for one in loaded(engine, _source(file), at, until)} >= {"1", "4", "5", "6"}
    assert "3" not in {one["transaction_id"] for one in loaded(engine, _source(file), at, until)}
    ingest_days(engine, lake, _source(file), _DAY)
    assert kept_ids(engine, lake, _DAY) == ["1"]
    assert reasons(engine, lake, _DAY) == {
        "4": "missing_time",
        "5": "unreadable_time",
        "6": "amount_not_finite",
    }


def test_times_without_offset_are_in_the_mapping_s_zone(
    engine: DuckDBEngine, lake: Lake, tmp_path: Path
) -> None:
    names = ", ".join(f"{name}: {name}" for name in _HEADER)
    mapping = _mapping(tmp_path, f"timezone: America/New_York\ncolumns: {{{names}}}")
    file = tmp_path / "a.parquet"
    engine.write_parquet(
        "select * from (values (1, 1, timestamp '2026-03-01 18:59:59', 1), "
        "(2, 1, timestamp '2026-03-01 19:00:00', 1), (3, 1, timestamp '2026-03-02 18:59:59', 1), "
        "(4, 1, timestamp '2026-03-02 19:00:00', 1)) as rows (transaction_id, user_id, occurred_at, amount)",
        None,
        file,
    )
    ingest_days(engine, lake, _source(file, mapping), _DAY)
    assert kept_ids(engine, lake, _DAY) == ["2", "3"]


def test_fields_of_ten_thousand_characters(engine: DuckDBEngine, lake: Lake, tmp_path: Path) -> None:
    long = "é" * 10_000
    file = _csv(tmp_path / "a.csv", [(long, "ann", "2026-03-02", "1"), ("1", long, "2026-03-02", "1")])
    ingest_days(engine, lake, _source(file), _DAY)
    assert reasons(engine, lake, _DAY) == {long: "long_transaction_id", "1": "long_user_id"}


def _fails(engine: DuckDBEngine, source: FilesSource, *says: str) -> None:
    with pytest.raises(SourceError) as caught:
        loaded(engine, source)
    for text in says:
        assert text in str(caught.value)
    assert caught.value.remedy


def test_no_file_matches(engine: DuckDBEngine, tmp_path: Path) -> None:
    _fails(engine, _source(tmp_path / "*.csv"), "no file matches", "MARKETING_SOURCE_URL")


def test_mixed_kinds(engine: DuckDBEngine, tmp_path: Path) -> None:
    _csv(tmp_path / "a.csv", [])
    (tmp_path / "b.parquet").write_bytes(b"")
    _fails(engine, _source(tmp_path / "*"), "different kinds: CSV, Parquet")


def test_another_kind(engine: DuckDBEngine, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"")
    _fails(engine, _source(tmp_path / "*"), "a.xlsx is not a Parquet or CSV file")


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_corrupt_parquet(engine: DuckDBEngine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    _fails(engine, _source(tmp_path / "a.parquet"), "cannot be read", "a.parquet")


def test_truncated_in_the_middle(engine: DuckDBEngine, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    engine.write_parquet(
        "select i as transaction_id, i as user_id, '2026-03-02' as occurred_at, 1 as amount "
        "from range(5000) t(i)",
        None,
        file,
    )
    content = bytearray(file.read_bytes())
    content[8:3000] = os.urandom(2992)
    file.write_bytes(content)
    _fails(engine, _source(file), "cannot be read")


@pytest.mark.parametrize("content", [b"", b"\n1,2,3,4\n"])
def test_csv_without_header(engine: DuckDBEngine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    _fails(engine, _source(tmp_path / "a.csv"), "header", "a.csv")


def test_csv_that_repeats_a_column(engine: DuckDBEngine, tmp_path: Path) -> None:
    _csv(tmp_path / "a.csv", [], ("amount", "amount"))
    _fails(engine, _source(tmp_path / "a.csv"), "names amount more than once")


@pytest.mark.parametrize("row", ["2,secret-name,2026-03-02", "2,secret-name,2026-03-02,5,6"])
def test_ragged_csv_names_the_line_and_shows_no_data(engine: DuckDBEngine, tmp_path: Path, row: str) -> None:
    (tmp_path / "a.csv").write_text(f"{','.join(_HEADER)}\n1,ann,2026-03-02,5\n{row}\n", encoding="utf-8")
    _fails(engine, _source(tmp_path / "a.csv"), "Line: 3", "Expected Number of Columns: 4", "a.csv")
    with pytest.raises(SourceError) as caught:
        loaded(engine, _source(tmp_path / "a.csv"))
    assert "secret-name" not in str(caught.value)


def test_csv_that_is_not_utf8(engine: DuckDBEngine, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(",".join(_HEADER).encode() + b"\n1,J\xfcrgen,2026-03-02,5\n")
    _fails(engine, _source(tmp_path / "a.csv"), "not utf-8", "a.csv")


def test_gzip_that_is_cut_off(engine: DuckDBEngine, tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(50_000).hex().encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[:1000])
    _fails(engine, _source(tmp_path / "a.csv.gz"), "cannot be read", "a.csv.gz")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_missing_column_lists_those_that_exist(engine: DuckDBEngine, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        _csv(file, [], ("transaction_id", "customer", "occurred_at", "amount"))
    else:
        engine.write_parquet(
            "select 1 as transaction_id, 1 as customer, 1 as occurred_at, 1 as amount", None, file
        )
    _fails(
        engine,
        _source(file),
        f"files source: {file} has no column 'user_id' (for user_id)",
        "transaction_id, customer, occurred_at, amount",
    )


def test_file_that_disappears_before_it_is_read(engine: DuckDBEngine, lake: Lake, tmp_path: Path) -> None:
    source = _source(_csv(tmp_path / "a.csv", [("1", "ann", "2026-03-02", "1")]))
    source.load(engine, "rows", datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))
    (tmp_path / "a.csv").unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        engine.fetch("select count(*) from rows")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("columns: {transaction_id: a, user_id: b, occurred_at: c}", "columns.amount is missing"),
        (
            "columns: {transaction_id: a, user_id: b, occurred_at: c, amount: d, shop: e}",
            "columns.shop is not",
        ),
        ("colums: {}", "colums is not a known key"),
        ("table: t", "has no key columns"),
        ("table: t\nquery: select 1\ncolumns: {transaction_id: a, user_id: b, occurred_at: c, amount: d}",
         "either table or query"),
        ("timezone: Mars\ncolumns: {transaction_id: a, user_id: b, occurred_at: c, amount: d}", "time zone"),
        ("[1, 2", "cannot be read"),
        ("just text", "is wrong"),
    ],
)  # fmt: skip
def test_wrong_mapping(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SourceError) as caught:
        _mapping(tmp_path, text)
    assert says in caught.value.message
    assert "mapping.yaml" in caught.value.message


def test_mapping_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="MARKETING_SOURCE_MAPPING"):
        load_mapping(tmp_path / "none.yaml")


def test_a_table_makes_no_sense_for_files(tmp_path: Path) -> None:
    columns = "{transaction_id: a, user_id: b, occurred_at: c, amount: d}"
    with pytest.raises(SourceError, match="only a database has"):
        _source("x.csv", _mapping(tmp_path, f"table: t\ncolumns: {columns}"))
