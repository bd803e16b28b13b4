"""Memory of a process and of the PostgreSQL it works with, sampled from outside while it runs.

Linux only: it reads /proc. Which sample belongs to which step follows from the instants of the step.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY_SECONDS = 0.05
_LOOK_FOR_PROCESSES = 5
_FIELDS = ("VmRSS:", "RssAnon:", "RssShmem:")


@dataclass(frozen=True)
class Sample:
    """One process at one instant, in bytes: all resident pages, its own, and those it shares as memory."""

    at: float
    of_server: bool
    resident: int
    private: int
    shared: int


@dataclass(frozen=True)
class Peak:
    """The most that was seen, in bytes: of the process, and of the largest process of the server.

    The server's shared pages are one piece of memory that each of its processes counts as its own.
    """

    process: int
    server_private: int
    server_shared: int

    @property
    def largest(self) -> int:
        """The most that any one process held."""
        return max(self.process, self.server_private + self.server_shared)


def peak(samples: Sequence[Sample], start: float, end: float) -> Peak:
    """The peak from `start` to `end`; of a time without a sample, what was sampled nearest to it."""
    process = _between([sample for sample in samples if not sample.of_server], start, end)
    server = _between([sample for sample in samples if sample.of_server], start, end)
    largest = max(server, key=lambda each: each.private + each.shared, default=None)
    return Peak(
        max((sample.resident for sample in process), default=0),
        largest.private if largest else 0,
        largest.shared if largest else 0,
    )


def _between(samples: Sequence[Sample], start: float, end: float) -> list[Sample]:
    found = [sample for sample in samples if start <= sample.at <= end]
    if found or not samples:
        return found
    nearest = min(samples, key=lambda sample: max(start - sample.at, sample.at - end))
    return [sample for sample in samples if sample.at == nearest.at]


class Sampler:
    """Samples while it is entered: the process, and those of the server on a data directory, if any runs."""

    def __init__(self, process: int, server: Path) -> None:
        self.samples: list[Sample] = []
        self._process = process
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        turn = 0
        processes: list[int] = []
        while not self._stop.wait(_EVERY_SECONDS):
            if turn % _LOOK_FOR_PROCESSES == 0:
                processes = _server_processes(self._server)
            turn += 1
            at = time.time()
            self._take(at, self._process, of_server=False)
            for process in processes:
                self._take(at, process, of_server=True)

    def _take(self, at: float, process: int, *, of_server: bool) -> None:
        found = _status(process)
        if found is not None:
            self.samples.append(Sample(at, of_server, *found))


def _server_processes(server: Path) -> list[int]:
    try:
        first = int((server / "postmaster.pid").read_text().split("\n", 1)[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    except (OSError, ValueError):
        return []
    return [first, *map(int, children)]


def _status(process: int) -> tuple[int, int, int] | None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(_FIELDS)}
    if len(sizes) < len(_FIELDS):
        return None  # it has ended and is not waited for yet
    return sizes["VmRSS:"], sizes["RssAnon:"], sizes["RssShmem:"]


def own_peak() -> int:
    """The most this process ever held, in bytes, as the kernel knows it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def reset_own_peak() -> None:
    """Let `own_peak` begin again at what this process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
