from pathlib import Path

import pytest

from benchmarks import features, nights, suite
from benchmarks.features import FeaturesResult
from benchmarks.home import Home
from benchmarks.nights import NightsResult
from benchmarks.progress import Progress
from benchmarks.suite import Suite
from marketing_assets_tests.benchmarks import reports


@pytest.fixture(autouse=True)
def measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured_nights(home: Home, steady_nights: int, progress: Progress) -> NightsResult:
        return reports.nights(home.users, float(steady_nights))

    def measured_features(home: Home, progress: Progress) -> FeaturesResult:
        return reports.features(home.users, scan=1.0, wide_scan=1.0, whole=1.0, in_ranges=1.0)

    monkeypatch.setattr(suite, "this_machine", lambda home: reports.MACHINE)
    monkeypatch.setattr(nights, "measure", measured_nights)
    monkeypatch.setattr(nights, "ensure_ingested", lambda home, progress: None)
    monkeypatch.setattr(features, "measure", measured_features)


def run(
    directory: Path, *parts: str, sizes: tuple[int, ...] = (2_000, 20_000)
) -> tuple[suite.Report, list[str]]:
    said: list[str] = []
    return Suite(directory, parts, steady_nights=1, progress=said.append).run(sizes), said


def test_only_the_parts_that_are_asked_for_are_run(tmp_path: Path) -> None:
    found, _ = run(tmp_path, "nights")
    assert [size.nights is not None for size in found.sizes] == [True, True]
    assert [size.features for size in found.sizes] == [None, None]
    assert found.compared == {}


def test_features_are_compared_where_rows_take_the_time(tmp_path: Path) -> None:
    found, _ = run(tmp_path, "features")
    assert [size.features is not None for size in found.sizes] == [False, True]
    alone, _ = run(tmp_path, "features", sizes=(2_000,))
    assert alone.sizes[0].features is not None


def test_a_part_that_fails_does_not_keep_the_others_from_being_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(home: Home, steady_nights: int, progress: Progress) -> NightsResult:
        raise RuntimeError("no space\nleft on the disk")

    monkeypatch.setattr(nights, "measure", broken)
    found, said = run(tmp_path, "nights", "features", sizes=(20_000,))
    assert found.failures == ["nights: RuntimeError: no space"]
    assert found.sizes[0].features is not None
    assert "left on the disk" in said[0]


def test_others_are_compared_at_the_largest_size_they_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at: list[tuple[str, int]] = []
    monkeypatch.setattr(suite, "_compare", lambda name, home, progress: at.append((name, home.users)))
    run(tmp_path, "pandas", "postgres", sizes=(10_000, 100_000, 1_000_000))
    assert at == [("pandas", 100_000), ("postgres", 1_000_000)]
    run(tmp_path, "pandas", sizes=(1_000_000,))
    assert len(at) == 2
