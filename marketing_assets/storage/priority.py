"""Whatever else runs on the machine goes first: the app's answers before the night's arithmetic."""

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_GIVES_WAY = 10
_SLICE_NANOSECONDS = 100_000
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of Linux's system call, which Python has no name for, by machine."""


def give_way(process: int = 0) -> None:
    """Let others go before `process`, or this thread and those that it starts from now on.

    Where nothing else wants to run, nothing is slower. A process that stands further behind stays there.
    """
    if hasattr(os, "setpriority"):
        if os.getpriority(os.PRIO_PROCESS, process) < _GIVES_WAY:
            os.setpriority(os.PRIO_PROCESS, process, _GIVES_WAY)
        _run_in_short_slices(process, os.getpriority(os.PRIO_PROCESS, process))


def _run_in_short_slices(process: int, nice: int) -> None:
    """Let whoever wakes up interrupt `process` after a tenth of a millisecond, not at the kernel's next tick.

    Linux from 6.12 on; elsewhere nothing changes. The structure is `sched_attr` of sched(7), first version.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is not None and platform.system() == "Linux":
        attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, _SLICE_NANOSECONDS, 0, 0)
        ctypes.CDLL(None).syscall(number, process, attributes, 0)


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
    try:
        for thread in _threads():
            with suppress(ProcessLookupError):  # it has just ended
                keep_to_one_core(thread)
        yield
    finally:
        for thread in _threads():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)


def _threads() -> list[int]:
    return [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
