"""Runs a module of ours as a process of its own, measures it from outside and reads what it reports.

The process gets `--report FILE` and writes one JSON document there; each line it prints is progress.
"""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.home import Home
from benchmarks.memory import Sample, Sampler
from benchmarks.progress import Progress

_SHOWN_LINES = 30
_ERROR = re.compile(r"[\w.]+(Error|Exception|Interrupt)\b")


class ChildError(RuntimeError):
    """A process failed; the message ends with what it said last."""


@dataclass(frozen=True)
class Finished:
    """A process that has ended well: what it reported, its seconds from start to end, its samples."""

    report: str
    seconds: float
    samples: Sequence[Sample]


def run(module: str, arguments: Sequence[str], home: Home, progress: Progress) -> Finished:
    """Run `python -m module arguments` on a home.

    Raises:
        ChildError: it failed.
    """
    report = home.directory / "report.json"
    report.unlink(missing_ok=True)
    errors = home.directory / "errors.log"
    start = time.monotonic()
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--report", str(report)],
            env=home.environment,
            cwd=home.directory,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        with Sampler(process.pid, home.server) as sampler:
            for line in process.stdout or ():
                progress(line.strip())
            process.wait()
    seconds = time.monotonic() - start
    if process.returncode != 0 or not report.exists():
        said = errors.read_text().splitlines()[-_SHOWN_LINES:]
        error = next((line for line in reversed(said) if _ERROR.match(line)), f"exit {process.returncode}")
        raise ChildError("\n".join([f"{module} {' '.join(arguments)}: {error}", *said]))
    return Finished(report.read_text(encoding="utf-8"), seconds, sampler.samples)
