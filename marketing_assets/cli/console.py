"""How the command talks: one line of progress while it works, errors with their remedy, no stack traces."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from marketing_assets.errors import MarketingError

out = Console(highlight=False, width=None if sys.stdout.isatty() else 118)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Progress:
    """Shows what is going on: a moving line on a terminal, plain lines elsewhere.

    On `err` where the output is for a program.
    """

    def __init__(self, title: str, console: Console = out) -> None:
        self._title = title
        self._console = console
        self._start = time.monotonic()
        self._status: Status | None = None

    def __call__(self, message: str) -> None:
        """Say what is going on now."""
        line = f"{self._title}: {message}"
        if self._status is not None:
            self._status.update(escape(f"{line} ({self.seconds:.0f} s)"))
        else:
            self._console.print(escape(f"  {self.seconds:6.1f} s  {line}"), soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.monotonic() - self._start

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Keep the line moving while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(escape(self._title)) as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def retitle(self, title: str) -> None:
        """Go on with another piece of the work."""
        self._title = title


def say_error(error: MarketingError) -> None:
    """Print an error and its remedy."""
    err.print(f"[red]error:[/red] {escape(error.message)}")
    err.print(f"  [bold]what to do:[/bold] {escape(error.remedy)}")


def parsed_day(text: str) -> date:
    """A day as an option says it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; write it as 2026-11-21") from None
