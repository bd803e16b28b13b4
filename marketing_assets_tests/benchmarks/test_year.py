"""After a year of nights Dagster's database is small, and a night as fast as the first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.verify
def test_a_year_of_events_is_cleaned_up_and_slows_no_night(tmp_path: Path) -> None:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MARKETING_", "DAGSTER"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.year", "--nights", "6"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    year = json.loads(done.stdout.splitlines()[-1])
    assert year["nights"] + year["copied_nights"] == 365
    # Most of the events of the 351 nights that are older than 14 days.
    assert year["events_purged"] > 351 * year["events_a_night"] / 2
    assert year["bytes_after"] < 200_000_000
    assert year["slowdown"] <= 1.2, year
