"""Trying again: which steps do, how often, and how an attempt begins.

A step is tried again where an error says that this can help (`MarketingError.transient`): a connection or
a server went away. Bad data, wrong settings, failed checks and errors that nobody foresaw never are, and
neither is a run that somebody ended: that is why steps have no retry policy of Dagster's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from marketing_assets.errors import NightError
from marketing_assets.orchestration.metadata import named_failures
from marketing_assets.orchestration.platform import Platform

Context = dg.AssetExecutionContext | dg.OpExecutionContext

# After about 10, 30 and 70 seconds: longer than a restart of PostgreSQL, shorter than a night.
RETRIES = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@contextmanager
def attempt(context: Context, platform: Platform) -> Iterator[None]:
    """One attempt of a step; errors become failures with their remedy, or ask for another attempt.

    A second attempt starts over with nothing of the first: new connections, a new engine, and the writer lock
    taken anew, since the first may have lost it to a restart of the database.

    Raises:
        Failure: an error that stays.
        RetryRequested: one that can pass, with the failure as its cause; Dagster fails with that in the end.
        DagsterExecutionInterruptedError: the run was ended, or Dagster says that it is over.
    """
    try:
        with named_failures():
            if context.retry_number > 0:
                context.log.info(
                    f"Trying again, attempt {context.retry_number + 1}: taking the writer lock anew."
                )
                platform.reopen()
            _refuse_ended(context)
            yield
    except Exception as error:
        interruption = _interruption(error)
        if interruption is not None:
            raise interruption from None
        if isinstance(error, dg.Failure) and error.allow_retries:
            wait = RETRIES.calculate_delay(context.retry_number + 1)
            raise dg.RetryRequested(RETRIES.max_retries, wait) from error
        raise


def _refuse_ended(context: Context) -> None:
    """Stop a run that was called dead or cancelled and lives: its next try may be under way.

    As an interruption, which leaves the run's status as it is.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and run.is_finished:
        raise DagsterExecutionInterruptedError(f"Dagster says that this run is over: {run.status.value}")


def _interruption(error: BaseException | None) -> BaseException | None:
    """The interruption behind an error: DuckDB hides it, and closing what it cut off may fail."""
    while error is not None and not isinstance(error, DagsterExecutionInterruptedError | KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


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
