"""Whatever else runs on the machine goes first: the app's answers before the night's arithmetic."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_GIVES_WAY = 10


def give_way(process: int = 0) -> None:
    """Let others go before `process`, or this thread and those that it starts from now on.

    Where nothing else wants to run, nothing is slower. A process that stands further behind stays there.
    """
    if hasattr(os, "setpriority") and os.getpriority(os.PRIO_PROCESS, process) < _GIVES_WAY:
        os.setpriority(os.PRIO_PROCESS, process, _GIVES_WAY)


def keep_to_one_core(process: int) -> None:
    """Let `process` run on the last core alone, so that the app's answers find the others free.

    A low priority is not enough for that: who waits is put on the core that looks least loaded, behind the
    process that gives way, until the kernel's next tick.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, {max(os.sched_getaffinity(process))})


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep every thread of this process to the last core while the block runs."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    for thread in _threads():
        keep_to_one_core(thread)
    try:
        yield
    finally:
        for thread in _threads():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)


def _threads() -> list[int]:
    return [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
