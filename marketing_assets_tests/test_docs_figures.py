"""Figures in the docs are those of the last full run of the benchmark, not typed by hand."""

from benchmarks import report


def test_figures_between_marks_are_those_of_the_last_full_run() -> None:
    marked = report.marked_files()
    measured = (report.DOCS / "bench.json").exists()
    assert measured or not marked, (
        f"{marked} have marks and there is no docs/benchmark/bench.json: make bench"
    )
    if measured:
        found = report.load(report.DOCS)
        blocks = report.blocks(found)
        for file in marked:
            text = file.read_text(encoding="utf-8")
            assert report.filled(text, blocks) == text, f"python -m benchmarks.report renders {file} anew"


def test_the_page_of_the_last_full_run_is_the_one_its_json_renders() -> None:
    if (report.DOCS / "bench.json").exists():
        page = (report.DOCS / "bench.md").read_text(encoding="utf-8")
        assert page == report.document(report.load(report.DOCS))
