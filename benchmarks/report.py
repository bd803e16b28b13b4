"""A report as files: JSON, Markdown and a chart, and the figures between the marks of the docs.

`python -m benchmarks.report` renders everything again from `docs/benchmark/bench.json`, so that no figure
in the docs is ever typed by hand. A mark is `<!-- bench:NAME -->` up to `<!-- end of bench:NAME -->`, where
NAME is a table of `tables.py`, or `machine`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.suite import Report
from benchmarks.tables import Table, machine_line, tables

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "benchmark"
_REPORT = TypeAdapter(Report)
_MARK = re.compile(r"(<!-- bench:([a-z0-9-]+) -->\n)(.*?)(<!-- end of bench:\2 -->)", re.DOTALL)


def load(directory: Path) -> Report:
    """The report whose JSON lies in `directory`."""
    return _REPORT.validate_json((directory / "bench.json").read_bytes())


def save(report: Report, directory: Path) -> None:
    """Write JSON, Markdown and chart to `directory`."""
    from benchmarks.chart import draw

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bench.json").write_bytes(_REPORT.dump_json(report, indent=1) + b"\n")
    (directory / "bench.md").write_text(document(report), encoding="utf-8")
    draw(report, directory / "bench.svg")


def document(report: Report) -> str:
    """The report as one Markdown page."""
    parts = [
        "# Benchmark",
        "Written by `make bench`; [bench.json](bench.json) has every figure in full.",
        machine_line(report.machine),
        "![Seconds a step, growth, and the feature step next to others](bench.svg)",
    ]
    parts += [f"## {table.title}\n\n{markdown(table)}" for table in tables(report)]
    return "\n\n".join(parts) + "\n"


def blocks(report: Report) -> dict[str, str]:
    """What stands between the marks, by name."""
    made = {table.name: markdown(table) for table in tables(report)}
    return {"machine": machine_line(report.machine), **made}


def marked_files() -> list[Path]:
    """The documents that have marks."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [file for file in files if _MARK.search(file.read_text(encoding="utf-8"))]


def filled(text: str, made: Mapping[str, str]) -> str:
    """The text with what belongs between its marks.

    Raises:
        KeyError: a mark names nothing that was measured.
    """
    return _MARK.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[4]}", text)


def refill(report: Report) -> None:
    """Put the report's figures into every document with marks."""
    made = blocks(report)
    for file in marked_files():
        file.write_text(filled(file.read_text(encoding="utf-8"), made), encoding="utf-8")


def markdown(table: Table) -> str:
    """A table of the docs."""
    alignment = [":---", *["---:"] * (len(table.header) - 1)]
    lines = [table.header, alignment, *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def show(report: Report, console: Console) -> None:
    """Print every table."""
    console.print(machine_line(report.machine))
    for table in tables(report):
        console.print(f"\n[bold]{table.title}[/bold]")
        shown = RichTable()
        for index, name in enumerate(table.header):
            shown.add_column(name, justify="right" if index else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def main() -> None:
    """Render everything again from the JSON of the last full run."""
    report = load(DOCS)
    save(report, DOCS)
    refill(report)


if __name__ == "__main__":
    main()
