"""One line of progress on stderr for whatever is going on, with the seconds since the start."""

import sys
import time
from collections.abc import Callable

Progress = Callable[[str], None]


class Elapsed:
    """Says what is going on now."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, message: str) -> None:
        """Write one line."""
        sys.stderr.write(f"{time.monotonic() - self._start:8.1f} s  {message}\n")
        sys.stderr.flush()


def titled(title: str, progress: Progress) -> Progress:
    """The same progress, each line with a title."""
    return lambda message: progress(f"{title}: {message}")
