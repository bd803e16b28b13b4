from dataclasses import replace

import pytest

from benchmarks.bounds import Bound, bounds
from benchmarks.memory import Peak
from benchmarks.nights import StepResult
from benchmarks.passes import Pass
from benchmarks.suite import Report, SizeResult
from marketing_assets_tests.benchmarks.reports import COMPARED, MACHINE, features, nights, report

GIB = 1 << 30


def named(found: list[Bound], start: str) -> Bound:
    (bound,) = [bound for bound in found if bound.name.startswith(start)]
    return bound


def test_only_what_was_measured_is_judged() -> None:
    assert bounds(Report(MACHINE, [SizeResult(10_000)])) == []


def test_a_report_in_its_bounds_keeps_them_all() -> None:
    assert all(bound.met for bound in bounds(report()))


@pytest.mark.parametrize(("seconds", "kept"), [(44.0, True), (45.0, False)])
def test_ten_times_the_rows_may_take_eleven_times_as_long(seconds: float, kept: bool) -> None:
    sizes = [
        SizeResult(users, nights=nights(users, taken)) for users, taken in ((1000, 4), (10_000, seconds))
    ]
    bound = named(bounds(Report(MACHINE, sizes)), "cost of a transaction")
    assert bound.met is kept
    assert bound.fails


def test_features_are_judged_over_the_scan_of_all_columns_they_read() -> None:
    compared = features(10_000, scan=1.0, wide_scan=2.0, whole=9.9, in_ranges=10.1)
    found = bounds(Report(MACHINE, [SizeResult(10_000, features=compared)]))
    whole, in_ranges, _memory = found
    assert [whole.value, in_ranges.value] == pytest.approx([4.95, 5.05])
    assert [whole.met, in_ranges.met] == [True, False]
    assert whole.fails
    assert in_ranges.fails


def test_ranges_are_judged_where_a_range_can_skip_what_it_does_not_need() -> None:
    compared = features(10_000, scan=1.0, wide_scan=1.0, whole=4.0, in_ranges=9.0, row_groups=3)
    found = bounds(Report(MACHINE, [SizeResult(10_000, features=compared)]))
    assert [bound.value for bound in found if bound.unit == "×"] == [4.0]


def test_the_largest_process_has_two_gibibytes() -> None:
    large = nights(10_000, 4.0)
    peak = Peak(process=GIB, server_private=GIB, server_shared=GIB + 1)
    sizes = [SizeResult(10_000, nights=replace(large, first=replace(large.first, peak=peak)))]
    bound = named(bounds(Report(MACHINE, sizes)), "memory of a process")
    assert (bound.met, bound.fails) == (False, True)


def test_times_are_shown_at_a_million_users_and_never_fail() -> None:
    sizes = [
        SizeResult(100_000, nights=nights(100_000, 61)),
        SizeResult(1_000_000, nights=nights(1_000_000, 61)),
    ]
    found = bounds(Report(MACHINE, sizes))
    steady, first = named(found, "steady night"), named(found, "first night")
    assert (steady.value, steady.met, steady.fails) == (61, False, False)
    assert (first.value, first.met, first.fails) == (122, False, False)


def test_decisions_are_shown_at_a_million_users() -> None:
    large = nights(1_000_000, 40)
    step = StepResult("campaign_targets", 8.5, 2_500_000, Peak(GIB * 2, 0, 0))
    first = replace(large.first, steps=[*large.first.steps, step])
    found = bounds(Report(MACHINE, [SizeResult(1_000_000, nights=replace(large, first=first))]))
    decided, memory = named(found, "every pair decided"), named(found, "memory of that step")
    assert (decided.value, decided.met, decided.fails) == (8.5, False, False)
    assert (memory.value, memory.met, memory.fails) == (2.0, False, False)
    assert named(found, "campaigns, targets and publishing").value == 10.0


@pytest.mark.parametrize(("rows", "judged"), [(8_000_000, False), (10_000_000, True)])
def test_pandas_takes_ten_times_as_long_at_ten_million_rows(rows: int, judged: bool) -> None:
    compared = replace(COMPARED, rows=rows, seconds=19.0, product_seconds=2.0)
    found = bounds(Report(MACHINE, [SizeResult(10_000)], compared={"pandas_plain": compared}))
    assert [(bound.value, bound.met, bound.fails) for bound in found if bound.at_least] == (
        [(9.5, False, True)] if judged else []
    )


def test_other_means_give_equal_features() -> None:
    compared = replace(COMPARED, equal=False, differences=["spend: 3 users differ"])
    found = bounds(Report(MACHINE, [SizeResult(10_000)], compared={"postgres": compared}))
    assert [(bound.met, bound.fails) for bound in found] == [(False, True)]


def test_a_reader_meets_no_error_and_no_half_night_and_waits_twice_as_long_at_most() -> None:
    serving = {"p99_ratio": 2.1, "errors": 1, "inconsistent": 0, "reads": 1000}
    found = bounds(Report(MACHINE, [SizeResult(1_000_000)], serving=serving, publishing={"bloat": 1.6}))
    assert [bound.met for bound in found] == [False, False, False, True]
    assert all(bound.fails for bound in found)


def test_the_wait_of_a_reader_fails_a_full_run_alone() -> None:
    serving = {"p99_ratio": 2.1, "errors": 0, "inconsistent": 0}
    found = bounds(Report(MACHINE, [SizeResult(20_000)], serving=serving))
    assert [(bound.met, bound.fails) for bound in found] == [(False, False), (True, True), (True, True)]


def test_two_million_targets_are_shown_next_to_fifteen_seconds() -> None:
    publishing = {"targets": 2_000_000, "seconds": 15.5}
    (bound,) = bounds(Report(MACHINE, [SizeResult(10_000)], publishing=publishing))
    assert (bound.value, bound.met, bound.fails) == (15.5, False, False)
    assert bounds(Report(MACHINE, [SizeResult(10_000)], publishing={"targets": 40_000, "seconds": 20})) == []


def test_a_speed_has_a_lower_bound() -> None:
    slow = Pass(seconds=2.0, rows=900_000, ranges=1, peak_memory=0)
    bound = named(bounds(Report(MACHINE, [SizeResult(10_000, source=slow)])), "simulated source")
    assert (bound.value, bound.met, bound.fails) == (450_000, False, False)
