"""Who goes first on the machine."""

import os
import subprocess
import sys

import pytest

GIVE_WAY = """
import os
from marketing_assets.storage.priority import give_way
os.nice({before} - os.getpriority(os.PRIO_PROCESS, 0))
give_way()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.parametrize(("before", "after"), [(9, 10), (10, 10), (15, 15)])
def test_a_run_gives_way_to_others_and_stays_behind_where_it_was_put(before: int, after: int) -> None:
    before = max(before, os.getpriority(os.PRIO_PROCESS, 0))  # an earlier test may have given way for good
    code = GIVE_WAY.format(before=before)
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(made.stdout) == max(before, after)
