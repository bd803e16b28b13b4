"""Trying again: which steps do, how often, and how an attempt begins.

A step is tried again where an error says that this can help (`MarketingError.transient`): a connection or
a server went away. Bad data, wrong settings and failed checks are never tried again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from marketing_assets.errors import NightError
from marketing_assets.orchestration.metadata import named_failures
from marketing_assets.orchestration.platform import Platform

# After about 10, 30 and 70 seconds: longer than a restart of PostgreSQL, shorter than a night.
RETRIES = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@contextmanager
def attempt(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[None]:
    """One attempt of a step; errors become failures with their remedy.

    A second attempt starts over with nothing of the first: new connections, a new engine, and the writer lock
    taken anew, since the first may have lost it to a restart of the database.
    """
    with named_failures(), _interruption_final():
        if context.retry_number > 0:
            context.log.info(
                f"Trying again, attempt {context.retry_number + 1}: taking the writer lock anew."
            )
            platform.reopen()
        yield


@contextmanager
def _interruption_final() -> Iterator[None]:
    """Dagster tries a step with a retry policy again also where somebody ended it: Ctrl-C, or the UI."""
    try:
        yield
    except (DagsterExecutionInterruptedError, KeyboardInterrupt) as interruption:
        raise dg.Failure(
            "the run was ended\n  What to do: run it again; nothing is half done", allow_retries=False
        ) from interruption


def refuse_overtaken(platform: Platform, day: date) -> None:
    """Make sure that no later night than `day` was decided, now that the lock is held.

    Between two attempts another writer may have had it.

    Raises:
        NightError: a later night is decided; this one's turn is over.
    """
    from marketing_assets.storage.repositories import nights

    if platform.rebuild:
        return
    with platform.database.connect() as connection:
        newest = nights.newest_decided(connection)
    if newest is not None and newest > day:
        raise NightError(
            f"the night of {day} is too late to be decided or published: that of {newest} is decided already",
            remedy="nothing need be done: nothing is half done, and the day's features and patterns are made",
        )
