"""One HTML page that needs nothing else: charts with their library inside, tables, and a style that prints.

What a page says is its own module's part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1f24; }
h1 { font-size: 1.6rem; margin-bottom: .3rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
.lead { color: #4a5560; max-width: 48rem }
dl { display: flex; flex-wrap: wrap; gap: .8rem 2.2rem; margin: 1.4rem 0 }
dt { color: #4a5560; font-size: .85rem } dd { margin: 0; font-size: 1.25rem; font-weight: 600 }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid #dde3e8;
         vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
section { break-inside: avoid }
@media print { body { margin: 0; max-width: none } .modebar { display: none } }
"""
_FONT = "system-ui, sans-serif"
_ROW_PIXELS, _FRAME_PIXELS = 44, 90


@dataclass(frozen=True)
class Section:
    """A heading with a chart, a table, or both; the first row of the table is its header."""

    title: str
    chart: "Figure | None" = None
    table: Sequence[Sequence[str]] = ()


def page(title: str, lead: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page. Texts are escaped here."""
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    charts = [section.chart for section in sections if section.chart is not None]
    body = "".join(_section(each, first=bool(charts) and each.chart is charts[0]) for each in sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f'<body><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p><dl>{shown}</dl>'
        f"{body}</body></html>\n"
    )


def _section(section: Section, *, first: bool) -> str:
    chart = "" if section.chart is None else _chart(section.chart, first=first)
    return f"<section><h2>{escape(section.title)}</h2>{chart}{_table(section.table)}</section>"


def _chart(figure: "Figure", *, first: bool) -> str:
    rows = max((len(trace.y) for trace in figure.data), default=1)
    figure.update_layout(
        template="plotly_white",
        font={"family": _FONT, "size": 13},
        height=_FRAME_PIXELS + _ROW_PIXELS * rows,
        margin={"l": 10, "r": 20, "t": 10, "b": 30},
        legend={"orientation": "h", "y": 1.08, "x": 0, "traceorder": "normal"},
        xaxis={"tickformat": ",", "zeroline": True},
        yaxis={"autorange": "reversed", "automargin": True},
    )
    html: str = figure.to_html(full_html=False, include_plotlyjs=first, config={"displayModeBar": False})
    return html


def _table(rows: Sequence[Sequence[str]]) -> str:
    if len(rows) < 2:  # noqa: PLR2004 - the header alone
        return "<p>None.</p>" if rows else ""
    header, *lines = rows
    numeric = [all(_is_number(line[place]) for line in lines) for place in range(len(header))]
    head = "".join(_cell("th", name, number) for name, number in zip(header, numeric, strict=True))
    body = "".join(
        "<tr>"
        + "".join(_cell("td", cell, number) for cell, number in zip(line, numeric, strict=True))
        + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(cell: str) -> bool:
    return not cell.strip("0123456789.,-+% ")


def _cell(tag: str, text: str, number: bool) -> str:
    kind = ' class="number"' if number else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"
