"""Runs the parts of the benchmark one after another and puts together what they found.

Which part runs at which size is decided here. Nothing is measured and nothing is shown here.
"""

import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from benchmarks import features, nights, pandas_features, pandas_plain, postgres_features
from benchmarks.comparison import ComparisonResult
from benchmarks.features import FeaturesResult
from benchmarks.figures import Figures, figures_of
from benchmarks.home import INGESTED, WINDOW_DAYS, Home, home_of
from benchmarks.machine import Machine, this_machine
from benchmarks.nights import NightsResult
from benchmarks.passes import Pass
from benchmarks.progress import Progress, titled

LARGEST = {"pandas_plain": 100_000, "pandas": 100_000, "postgres": 1_000_000}
"""The features by other means, and the largest size, in users, at which each is measured."""

SMALL_PARTS = ("source", "nights", "features", "publishing", "serving")
"""Without the features by other means, whose results the tests compare; their ratios need more rows."""

PARTS = (*SMALL_PARTS, "api", *LARGEST)
FULL = (10_000, 100_000, 1_000_000)
SMALL = (2_000, 20_000)

TARGETS_A_USER = 2
SERVED_USERS = 1_000_000
"""A reader, and the sidecar, are measured with a million rows at any size: shorter nights are noise."""

_FEATURES_FROM = 10_000
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class SizeResult:
    """What was measured at one size; None where it was not asked for, or failed."""

    users: int
    source: Pass | None = None
    nights: NightsResult | None = None
    features: FeaturesResult | None = None


@dataclass(frozen=True)
class Report:
    """One run of the benchmark; `failures` are parts that came to no result."""

    machine: Machine
    sizes: list[SizeResult]
    publishing: Figures | None = None
    serving: Figures | None = None
    api: Figures | None = None
    compared: dict[str, ComparisonResult] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass
class Suite:
    """Runs the `parts` that are asked for; one that fails does not keep the others from being run."""

    directory: Path
    parts: Collection[str]
    steady_nights: int
    progress: Progress
    failures: list[str] = field(default_factory=list)

    def run(self, sizes: Sequence[int]) -> Report:
        """Measure at each of `sizes`, ascending; what is compared with, at the largest that it can hold."""
        homes = [home_of(users, self.directory) for users in sizes]
        return Report(
            this_machine(homes[0]),
            [self._size(home, largest=home == homes[-1]) for home in homes],
            publishing=self._part(
                "publishing", lambda: _publishing(self.directory, sizes[-1], self.progress)
            ),
            api=self._part("api", lambda: _api(self.directory, SERVED_USERS, self.progress)),
            compared={name: found for name in LARGEST if (found := self._compared(name, homes)) is not None},
            # Last, because this process gives way from then on.
            serving=self._part("serving", lambda: _serving(self.directory, SERVED_USERS, self.progress)),
            failures=self.failures,
        )

    def _size(self, home: Home, *, largest: bool) -> SizeResult:
        said = titled(f"{home.users:,} users", self.progress)
        result = SizeResult(
            home.users,
            source=self._part("source", lambda: features.measure_source(home, said)),
            nights=self._part("nights", lambda: nights.measure(home, self.steady_nights, said)),
        )
        if home.users < _FEATURES_FROM and not largest:  # opening files would be all that is measured
            return result
        return replace(result, features=self._part("features", lambda: features.measure(home, said)))

    def _compared(self, name: str, homes: Sequence[Home]) -> ComparisonResult | None:
        held = [home for home in homes if home.users <= LARGEST[name]]
        if not held:
            return None
        said = titled(f"{held[-1].users:,} users, {name}", self.progress)
        return self._part(name, lambda: _compare(name, held[-1], said))

    def _part(self, name: str, measure: Callable[[], _Result]) -> _Result | None:
        if name not in self.parts:
            return None
        try:
            return measure()
        except ModuleNotFoundError as error:
            self.progress(f"{name} is left out: {error}")
        except Exception as error:
            self.progress(f"{name} failed:\n{traceback.format_exc()}")
            self.failures.append(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        return None


def _publishing(directory: Path, users: int, progress: Progress) -> Figures:
    publishing = import_module("benchmarks.publishing")
    said = titled(f"publishing {TARGETS_A_USER * users:,} targets", progress)
    place = (directory / "publishing").resolve()
    return figures_of(publishing.measure(place, users=users, targets=TARGETS_A_USER * users, progress=said))


def _serving(directory: Path, users: int, progress: Progress) -> Figures:
    serving = import_module("benchmarks.serving")
    said = titled(f"serving while {users:,} rows are published", progress)
    place = (directory / "serving").resolve()
    return figures_of(serving.measure(place, users=users, rows=users, progress=said))


def _api(directory: Path, users: int, progress: Progress) -> Figures:
    api = import_module("benchmarks.api")
    said = titled(f"the API beside an empty route, {users:,} users", progress)
    return figures_of(api.measure((directory / "api").resolve(), users=users, progress=said))


def _compare(name: str, home: Home, progress: Progress) -> ComparisonResult:
    nights.ensure_ingested(home, progress)
    lake, day = home.lake.root, INGESTED[-1]
    match name:
        case "pandas":
            return pandas_features.measure(lake, day, window_days=WINDOW_DAYS, progress=progress)
        case "pandas_plain":
            return pandas_plain.measure(lake, day, window_days=WINDOW_DAYS, progress=progress)
        case _:
            directory = home.directory / "compared"
            return postgres_features.measure(
                lake, day, window_days=WINDOW_DAYS, directory=directory, progress=progress
            )
