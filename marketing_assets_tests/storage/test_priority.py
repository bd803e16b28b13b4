"""Who goes first on the machine."""

import os
import subprocess
import sys
import threading

import pytest

from marketing_assets.storage.priority import on_one_core

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


@pytest.mark.skipif(not hasattr(os, "SCHED_OTHER"), reason="Linux alone has the system call")
def test_who_gives_way_keeps_the_scheduling_class_it_had() -> None:
    code = GIVE_WAY.format(before=os.getpriority(os.PRIO_PROCESS, 0)) + "print(os.sched_getscheduler(0))"
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert made.stdout.split() == [str(max(10, os.getpriority(os.PRIO_PROCESS, 0))), str(os.SCHED_OTHER)]


def test_a_block_keeps_every_thread_to_the_last_core_and_gives_the_cores_back() -> None:
    cores = os.sched_getaffinity(0)
    go_on = threading.Event()
    other = threading.Thread(target=go_on.wait, args=(10,))
    other.start()
    assert other.native_id is not None
    try:
        with on_one_core():
            assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id) == {max(cores)}
        assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id) == cores
    finally:
        go_on.set()
        other.join()
