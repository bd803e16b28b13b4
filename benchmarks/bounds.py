"""What the measurements have to keep.

A ratio out of its bound fails the run; an absolute time never does, because it says as much about the
machine as about the product. Nor does the p99 of the reader except in a full run: it is the wait for a free
core, and on a machine that others use it has been 1.6 and 4.9 with the same code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.comparison import ComparisonResult
from benchmarks.features import FeaturesResult
from benchmarks.figures import Figures
from benchmarks.nights import NightsResult
from benchmarks.suite import Report

GIB = 1 << 30
LARGE_USERS = 1_000_000
_NOISE = 1.1
_SLOWER, _SLOWER_ROWS = "pandas_plain", 9_000_000
_TARGETS = 2_000_000
_DECIDE_AND_PUBLISH = ("campaigns", "campaign_targets", "published_night")
_WAITS = "p99_ratio"
_LIMITS = {
    "bloat": ("tables after 30 nights over their size without bloat", 1.5, "×"),
    _WAITS: ("p99 of a reader while a night is published, over before", 2, "×"),
    "errors": ("errors that the reader met", 0, ""),
    "inconsistent": ("answers of half a night that the reader met", 0, ""),
}
"""What publishing and serving have to keep, by the names of their figures: what it is, limit, unit."""

_API = {
    "campaigns_ratio": ("offers of a user a second, over an empty route", 0.28, True),
    "not_modified_ratio": ("304 a second, over an empty route", 0.28, True),
    "view_ratio": ("views taken a second, over an empty route", 0.12, True),
    "campaigns_tail": ("p99 over p50 of offers", 5, False),
    "not_modified_tail": ("p99 over p50 of 304", 5, False),
    "view_tail": ("p99 over p50 of views", 5, False),
    "memory_growth": ("memory of the sidecar after 200,000 requests, over before", 1.1, False),
    "refused": ("calls that were answered with an error", 0, False),
    "failed": ("calls that got no answer", 0, False),
}
"""What the sidecar has to keep: what it is, the limit, and whether it is the least."""


@dataclass(frozen=True)
class Bound:
    """A value and its limit, an upper one unless `at_least`; `fails` where missing it ends the run with 1."""

    name: str
    value: float
    limit: float
    unit: str
    fails: bool
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the value keeps the limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def bounds(report: Report) -> list[Bound]:
    """Every bound that the report has figures for."""
    nights = [size.nights for size in report.sizes if size.nights is not None]
    features = [size.features for size in report.sizes if size.features is not None]
    found = [*_scaling(nights)]
    for result in nights:
        found += _nights(result)
    for measured in features:
        found += _features(measured)
    source = report.sizes[-1].source
    if source is not None:
        speed = source.rows / source.seconds
        found.append(Bound("simulated source", speed, 500_000, "rows/s", fails=False, at_least=True))
    found += _limited(
        {**(report.publishing or {}), **(report.serving or {})}, full=report.sizes[-1].users >= LARGE_USERS
    )
    for figure, (name, limit, at_least) in _API.items() if report.api else ():
        unit = "×" if at_least or limit else ""
        found.append(Bound(name, (report.api or {})[figure], limit, unit, fails=True, at_least=at_least))
    for name, compared in report.compared.items():
        found += _compared(name, compared)
    return found


def _scaling(nights: list[NightsResult]) -> Iterator[Bound]:
    for smaller, larger in pairwise(nights):
        grown = _cost(larger) / _cost(smaller)
        name = f"cost of a transaction, {larger.users:,} users over {smaller.users:,}"
        yield Bound(name, grown, _NOISE, "×", fails=True)


def _cost(nights: NightsResult) -> float:
    return nights.steady.step_seconds / nights.window_rows


def _nights(result: NightsResult) -> Iterator[Bound]:
    if result.users >= LARGE_USERS:
        yield Bound("steady night", result.steady.seconds, 60, "s", fails=False)
        yield Bound("first night", result.first.seconds, 100, "s", fails=False)
        yield from _decisions(result)
    largest = max(result.first.peak.largest, result.steady.peak.largest)
    name = f"memory of a process, {result.users:,} users"
    yield Bound(name, largest / GIB, 2, "GiB", fails=True)


def _decisions(result: NightsResult) -> Iterator[Bound]:
    """Everybody decided and logged at once, and a night on which few targets are new, up to the app."""
    for step in result.first.steps:
        if step.step == "campaign_targets":
            yield Bound("every pair decided and logged", step.seconds, 8, "s", fails=False)
            yield Bound("memory of that step", step.peak.largest / GIB, 1.5, "GiB", fails=False)
    few = [step.seconds for step in result.steady.steps if step.step in _DECIDE_AND_PUBLISH]
    if few:
        yield Bound("campaigns, targets and publishing of a steady night", sum(few), 8, "s", fails=False)


def _features(result: FeaturesResult) -> Iterator[Bound]:
    passes = [result.features]
    if result.row_groups >= result.features_in_ranges.ranges:
        passes.append(result.features_in_ranges)
    for done in passes:
        name = f"features over a bare scan, {result.users:,} users, ranges: {done.ranges}"
        yield Bound(name, done.over_wide_scan, 5, "×", fails=True)
    largest = max(result.features.peak_memory, result.features_in_ranges.peak_memory)
    yield Bound(f"memory of the feature step, {result.users:,} users", largest / GIB, 2, "GiB", fails=True)


def _limited(figures: Figures, *, full: bool) -> Iterator[Bound]:
    if figures.get("targets", 0) >= _TARGETS:
        yield Bound(f"publishing {_TARGETS:,} new targets", figures["seconds"], 15, "s", fails=False)
    for figure, (name, limit, unit) in _LIMITS.items():
        if figure in figures:
            yield Bound(name, figures[figure], limit, unit, fails=full or figure != _WAITS)


def _compared(name: str, compared: ComparisonResult) -> Iterator[Bound]:
    if name == _SLOWER and compared.rows >= _SLOWER_ROWS:
        slower = compared.seconds / compared.product_seconds
        what = f"{name} over the product, {compared.rows:,} transactions"
        yield Bound(what, slower, 10, "×", fails=True, at_least=True)
    differing = 0 if compared.equal else max(1, len(compared.differences))
    yield Bound(f"features that differ from {name}", differing, 0, "", fails=True)
