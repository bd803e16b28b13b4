from benchmarks.features import result
from benchmarks.passes import Pass, Round


def measured(scan: float, features: float, memory: int) -> Round:
    done = Pass(seconds=scan, rows=1000, ranges=1, peak_memory=100)
    whole = Pass(seconds=features, rows=1000, ranges=1, peak_memory=memory)
    in_ranges = Pass(seconds=features, rows=1000, ranges=4, peak_memory=memory)
    return Round(scan=done, wide_scan=done, features=whole, features_in_ranges=in_ranges)


def test_a_ratio_is_the_median_of_the_rounds_not_the_ratio_of_medians() -> None:
    rounds = [measured(1.0, 4.0, 300), measured(9.0, 36.0, 500), measured(2.0, 10.0, 200)]
    found = result(10_000, 10, rounds)
    assert (found.scan.seconds, found.features.seconds) == (2.0, 10.0)
    assert (found.features.over_scan, found.features.over_wide_scan) == (4.0, 4.0)
    assert found.scan.over_scan == 1.0


def test_memory_is_the_highest_of_the_rounds() -> None:
    rounds = [measured(1.0, 4.0, 300), measured(1.0, 4.0, 500), measured(1.0, 4.0, 200)]
    assert result(10_000, 10, rounds).features.peak_memory == 500
