import pytest

from benchmarks.serving import _result, _Spans


def test_the_reader_alone_is_compared_with_the_nights_that_follow() -> None:
    spans = _Spans()
    asked: list[list[float]] = []
    for night, times in enumerate((2.0, 3.0, 1.0)):
        start = 100.0 * night
        spans.alone.append((start, start + 10))
        spans.publishing.append((start + 20, start + 40))
        asked += [[start + 5, 0.001]] * 100 + [[start + 30, 0.001 * times]] * 100 + [[start + 50, 9.0]]
    found = _result(10, 20, spans, {"asked": asked, "errors": [], "inconsistent": [[1.0]]})
    assert (found.nights, found.publish_seconds) == (3, 20.0)
    assert (found.asked_alone, found.asked_while) == (300, 300)
    assert found.p99_ratio == pytest.approx(2.0)
    assert (found.median_while, found.slowest_while) == pytest.approx((2.0, 3.0))
    assert (found.errors, found.inconsistent) == (0, 1)
