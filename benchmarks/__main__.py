"""`python -m benchmarks`: measures, shows tables, writes the report, and fails where a ratio is out of bound.

A full run writes `docs/benchmark` and the figures of the docs; any other leaves its report beside its data.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.bounds import bounds
from benchmarks.progress import Elapsed
from benchmarks.suite import FULL, PARTS, SMALL, SMALL_PARTS, Report, Suite

_WIDTH = 150


def _parts(text: str) -> tuple[str, ...]:
    unknown = set(text.split(",")) - set(PARTS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    return tuple(text.split(","))


def main(
    small: Annotated[bool, typer.Option("--small", help="The sizes that CI runs.")] = False,
    users: Annotated[list[int] | None, typer.Option(min=100, help="A size, in users; repeatable.")] = None,
    directory: Annotated[Path, typer.Option(help="Where data is kept between runs.")] = Path(".benchmarks"),
    only: Annotated[str | None, typer.Option(help=f"Of {', '.join(PARTS)}; separated by commas.")] = None,
) -> None:
    """Measure how the product performs on this machine."""
    sizes = tuple(sorted(set(users))) if users else SMALL if small else FULL
    parts = _parts(only) if only else SMALL_PARTS if small else PARTS
    found = Suite(directory, parts, steady_nights=1 if small else 3, progress=Elapsed()).run(sizes)
    report.show(found, Console(highlight=False, width=_WIDTH))
    if sizes == FULL and set(parts) == set(PARTS) and not found.failures:
        report.save(found, report.DOCS)
        report.refill(found)
    else:
        report.save(found, directory / ("small" if small else "part"))
    raise typer.Exit(_said(found))


def _said(found: Report) -> int:
    """Say what was not as it must be; 1 where that ends the run with an error."""
    said = Console(stderr=True, highlight=False, soft_wrap=True)
    broken = [bound.name for bound in bounds(found) if bound.fails and not bound.met]
    for failure in found.failures:
        said.print(f"[red]failed:[/red] {failure}")
    for name in broken:
        said.print(f"[red]out of its bound:[/red] {name}")
    return 1 if broken or found.failures else 0


if __name__ == "__main__":
    typer.run(main)
