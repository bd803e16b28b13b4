import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import report as reporting
from benchmarks.tables import Table, rounded, seconds, size, tables
from marketing_assets_tests.benchmarks.reports import report


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    reporting.save(report(), tmp_path)
    assert reporting.load(tmp_path) == report()


def test_the_same_report_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        reporting.save(report(), tmp_path / name)
    for file in ("bench.json", "bench.md", "bench.svg"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_the_picture_is_light_on_dark_where_the_reader_is(tmp_path: Path) -> None:
    reporting.save(report(), tmp_path)
    picture = (tmp_path / "bench.svg").read_text(encoding="utf-8")
    assert "prefers-color-scheme:dark" in picture
    assert "Seconds in the steps of a night" in picture


def test_a_table_in_markdown() -> None:
    table = Table("name", "Title", ["step", "seconds"], [["ingest", "1.0 s"]])
    assert reporting.markdown(table) == "| step | seconds |\n| :--- | ---: |\n| ingest | 1.0 s |"


def test_steps_show_seconds_speed_and_memory() -> None:
    (steps,) = [table for table in tables(report()) if table.name == "steps-10000"]
    assert steps.rows[0][:5] == ["user_features", "4.0 s", "250,000", "400 MiB", "20 + 30 MiB"]
    assert steps.rows[1][:3] == ["campaigns", "2.0 s", "–"]


def test_what_stands_between_marks_is_replaced_and_nothing_else() -> None:
    text = "before\n<!-- bench:nights -->\nold\n<!-- end of bench:nights -->\nafter\n"
    filled = reporting.filled(text, {"nights": "new"})
    assert filled == "before\n<!-- bench:nights -->\nnew\n<!-- end of bench:nights -->\nafter\n"
    assert reporting.filled(filled, {"nights": "new"}) == filled


def test_a_mark_of_something_that_was_not_measured_is_an_error() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        reporting.filled("<!-- bench:nonsense -->\n<!-- end of bench:nonsense -->\n", {"nights": "new"})


def test_every_table_is_printed() -> None:
    shown = io.StringIO()
    reporting.show(report(), Console(file=shown, width=160))
    for table in tables(report()):
        assert table.title in shown.getvalue()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (seconds(0.123), "0.12 s"),
        (seconds(61.44), "61.4 s"),
        (size(3 << 29), "1.50 GiB"),
        (size(300 << 20), "300 MiB"),
        (rounded(1_234_567), "1,230,000"),
    ],
)
def test_figures_have_the_digits_that_say_something(shown: str, expected: str) -> None:
    assert shown == expected
