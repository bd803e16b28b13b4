from benchmarks.nights import rows_worked_on


def test_each_step_is_measured_by_the_rows_it_works_on() -> None:
    figures = {
        "transactions": {"read": 1200.0, "rows": 1100.0},
        "user_features": {"rows": 90.0},
        "user_patterns": {"rows": 240.0},
        "published_night": {"new_targets": 30.0, "segments": 90.0},
    }
    assert rows_worked_on(figures, window_transactions=99_000) == {
        "ingest": 1200,
        "user_features": 99_000,
        "user_patterns": 90,
        "campaign_targets": 240,
        "published_night": 120,
    }
