"""Whatever else runs on the machine goes first: the app's answers before the night's arithmetic."""

import os

_GIVES_WAY = 10


def give_way(process: int = 0) -> None:
    """Let others go before `process`, or this thread and those that it starts from now on.

    Where nothing else wants to run, nothing is slower. A process that stands further behind stays there.
    """
    if hasattr(os, "setpriority") and os.getpriority(os.PRIO_PROCESS, process) < _GIVES_WAY:
        os.setpriority(os.PRIO_PROCESS, process, _GIVES_WAY)
