"""The report as one picture: seconds a step, growth with the data, and the feature step next to others.

The SVG has no background, and its text turns light where the reader's system is dark.
"""

import io
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from math import floor, log10
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.nights import NightsResult
from benchmarks.suite import Report
from benchmarks.tables import MEANS

_INK, _LIGHT_INK = "#24292f", "#e6edf3"
_FAINT = "#8b949e"
PRODUCT = "the product"
_COLOURS = ("#4e79a7", "#59a14f", "#edc948", "#b07aa1", "#f28e2b", "#e15759", "#76b7b2", "#9c755f")
_STYLE = Path(__file__).with_name("chart.mplstyle")
_DARK = (
    "<style>text{font-family:system-ui,sans-serif}"
    f"@media(prefers-color-scheme:dark){{[style*='fill: {_INK}']{{fill:{_LIGHT_INK} !important}}"
    f"[style*='stroke: {_INK}']{{stroke:{_LIGHT_INK} !important}}}}</style>"
)


def draw(report: Report, file: Path) -> None:
    """Write the picture."""
    nights = [size.nights for size in report.sizes if size.nights is not None]
    compared = speeds(report)
    panels: list[Callable[[Axes], None]] = []
    if nights:
        panels += [partial(_draw_steps, nights), partial(_draw_growth, nights)]
    if compared:
        panels.append(partial(_draw_compared, compared))
    with style.context(_STYLE):
        figure = Figure(figsize=(5.4 * max(1, len(panels)), 4.2), layout="constrained")
        for index, panel in enumerate(panels):
            panel(figure.add_subplot(1, len(panels), index + 1))
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    file.write_text(drawn.getvalue().replace("<defs>", _DARK + "<defs>", 1), encoding="utf-8")


def _draw_steps(nights: Sequence[NightsResult], axes: Axes) -> None:
    shown = {
        f"{each.users:,} users\n{name} night": night
        for each in nights
        for name, night in (("first", each.first), ("steady", each.steady))
    }
    names = [step.step for step in nights[-1].first.steps]
    left = dict.fromkeys(shown, 0.0)
    for name, colour in zip(names, cycle(_COLOURS), strict=False):
        widths = [sum(step.seconds for step in night.steps if step.step == name) for night in shown.values()]
        axes.barh(list(shown), widths, left=list(left.values()), color=colour, label=name.replace("_", " "))
        left = {bar: left[bar] + width for bar, width in zip(left, widths, strict=True)}
    for bar, total in left.items():
        axes.annotate(f"{total:.1f} s", (total, bar), xytext=(4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set(title="Seconds in the steps of a night", xlabel="seconds")
    axes.legend(handlelength=1)


def _draw_growth(nights: Sequence[NightsResult], axes: Axes) -> None:
    rows = [each.window_rows for each in nights]
    first = [each.first.step_seconds for each in nights]
    steady = [each.steady.step_seconds for each in nights]
    axes.loglog(rows, first, marker="o", color=_COLOURS[4], label="first night")
    axes.loglog(rows, steady, marker="o", color=_COLOURS[0], label="steady night")
    linear = [steady[-1] * each / rows[-1] for each in rows]
    axes.loglog(rows, linear, linestyle="--", color=_FAINT, label="linear growth")
    axes.grid(which="major")
    axes.set(title="All steps together", xlabel="transactions in the window", ylabel="seconds")
    axes.legend()


def _draw_compared(compared: dict[str, float], axes: Axes) -> None:
    colours = [_COLOURS[1] if name == PRODUCT else _FAINT for name in compared]
    axes.barh(list(compared), list(compared.values()), color=colours)
    for name, speed in compared.items():
        axes.annotate(f"{speed:,.2g}", (speed, name), xytext=(4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(10 ** floor(log10(min(compared.values()))), 2 * max(compared.values()))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(title="The features of the window, and a bare scan", xlabel="million transactions a second")


def speeds(report: Report) -> dict[str, float]:
    """Million transactions a second, at the largest size that each was measured at."""
    features = [size.features for size in report.sizes if size.features is not None]
    if not features:
        return {}
    largest = features[-1]
    shown = {
        "bare scan: sums": (largest.scan.rows, largest.scan.seconds),
        "bare scan: all columns": (largest.wide_scan.rows, largest.wide_scan.seconds),
        PRODUCT: (largest.features.rows, largest.features.seconds),
    }
    for name, compared in report.compared.items():
        shown[MEANS[name].replace(", ", ",\n")] = (compared.rows, compared.seconds)
    return {name: rows / seconds / 1e6 for name, (rows, seconds) in shown.items()}
