"""What a run works with: settings, lake, engine, source, policy, database, and the writer lock it holds.

Every part is made when it is first used. The Dagster resource holds the lock for the whole run, so that
no two runs ever write at a time, however they were started.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import day_of, window
from marketing_assets.errors import MarketingError, UnavailableError
from marketing_assets.orchestration.failures import can_pass
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine as DatabaseEngine

    from marketing_assets.engine.base import Engine
    from marketing_assets.policy.model import Policy
    from marketing_assets.sources.base import Source
    from marketing_assets.storage.database import DatabaseUrls
    from marketing_assets.storage.lake import Lake
    from marketing_assets.storage.lake_record import LakeRecord
    from marketing_assets.storage.writer import WriterLock

REBUILD_TAG = "marketing/rebuild"
"""Tag of a run that decides its night again (`marketing run --rebuild`)."""

_OPEN_AGAIN_AFTER = (5.0, 15.0, 30.0)
"""Seconds; Dagster retries steps, but not what they work with."""

_REMADE = ("urls", "database", "writer", "lake", "engine", "source")

WAIT_SECONDS = 30 * 60.0
"""How long a run waits for another writer before it gives up and says who holds the lock."""


class Platform:
    """The parts, by name. `holder` is how this writer is called while others wait for it."""

    def __init__(self, settings: Settings, holder: str) -> None:
        self.settings = settings
        self.zone = settings.zone
        self.started_at: datetime | None = None
        """When the lock was taken, by the one clock: what decides whether a night comes too late."""
        self.rebuild = False
        """Whether the night is decided again, as if it and the nights after it had never been."""
        self.holder = holder
        self._wait_seconds = 0.0
        self._on_wait: Callable[[str], None] = lambda _: None

    def open(self, wait_seconds: float, on_wait: Callable[[str], None]) -> None:
        """Bring the schema up to date and take the writer lock.

        Raises:
            PolicyError: the policy file is wrong.
            DatabaseError: the database cannot be reached or upgraded.
            WriterLockError: another writer held the lock all the time.
        """
        from marketing_assets.storage import database
        from marketing_assets.storage.priority import give_way

        self._wait_seconds, self._on_wait = wait_seconds, on_wait
        database.prepare(self.urls)
        give_way()
        _ = self.policy
        self.writer.acquire(wait_seconds, on_wait)
        if self.settings.database_url is None:
            self.writer.give_way()
        self.started_at = self.now()
        self.lake.clear_scratch()
        _ = self.engine

    def reopen(self) -> None:
        """Start over: nothing of before is used again, the lock least of all; only the policy stays.

        Raises: see `open`.
        """
        self.close()
        self.open(self._wait_seconds, self._on_wait)

    def close(self) -> None:
        """Let the next writer in and free everything; what is asked for afterwards is made anew."""
        if "engine" in self.__dict__:
            self.engine.close()
        if "lake" in self.__dict__:
            self.lake.remove_scratch()
        if "writer" in self.__dict__:
            self.writer.release()
        if "database" in self.__dict__:
            self.database.dispose()
        for part in _REMADE:
            self.__dict__.pop(part, None)

    @cached_property
    def urls(self) -> "DatabaseUrls":
        """Where the databases are."""
        from marketing_assets.storage import database

        return database.locate(self.settings)

    @cached_property
    def database(self) -> "DatabaseEngine":
        """The serving database."""
        from marketing_assets.storage import database

        return database.connect(self.urls.product)

    @cached_property
    def writer(self) -> "WriterLock":
        """The lock of the one writer."""
        from marketing_assets.storage.writer import WriterLock

        return WriterLock(self.urls.product, self.holder)

    @cached_property
    def record(self) -> "LakeRecord":
        """What the lake was made with; made at first use."""
        from marketing_assets.storage.lake_record import ensure_record

        return ensure_record(self.settings.lake, self.settings, day_of(self.now(), self.zone))

    @cached_property
    def lake(self) -> "Lake":
        """The lake, which only the holder of the lock can write."""
        from marketing_assets.storage.lake import Lake

        _ = self.record
        return Lake(self.settings.lake, guard=self.writer.check)

    @cached_property
    def engine(self) -> "Engine":
        """The engine that runs the SQL."""
        from marketing_assets.engine.duckdb import DuckDBEngine

        return DuckDBEngine(
            memory_limit=self.settings.memory_limit,
            threads=self.settings.threads,
            temp_directory=self.lake.scratch / "spill",
        )

    @cached_property
    def source(self) -> "Source":
        """Where transactions come from."""
        from marketing_assets.sources.factory import make_source

        return make_source(self.settings, shift_days=self.record.replay_shift, lake=self.lake, now=self.now)

    @cached_property
    def policy(self) -> "Policy":
        """What marketing decides, from the policy file."""
        from marketing_assets.policy.load import load_policy

        return load_policy(self.settings.policy, self.settings.window_days)

    def now(self) -> datetime:
        """The instant it is, from the one clock."""
        from marketing_assets.storage import clock

        with self.database.connect() as connection:
            return clock.now(connection)

    def window(self, day: date) -> list[date]:
        """The days of the window that ends with `day`, from the lake's first day on."""
        return window(day, self.settings.window_days, self.record.start_date)


@cache
def prepare_once(urls: "DatabaseUrls") -> None:
    """Bring the schema up to date, once in the life of this process: for what looks every few seconds.

    Raises:
        DatabaseError: the database cannot be reached or upgraded; the next call tries again.
    """
    from marketing_assets.storage import database

    database.prepare(urls)


def holder_of(run_id: str) -> str:
    """What a run is called while it holds the lock or waits for it."""
    return f"marketing_assets run {run_id[:8]}"


def platform_resource(settings: Settings) -> dg.ResourceDefinition:
    """The platform as a resource: opened with the run's first step, closed with its last."""

    @dg.resource(description="Settings, lake, engine, source, policy, database and the writer lock.")
    def platform(context: dg.InitResourceContext) -> Iterator[Platform]:
        from marketing_assets.storage.presence import seen

        run = context.run
        made = Platform(settings, holder_of(run.run_id) if run else "marketing_assets run without id")
        made.rebuild = run is not None and run.tags.get(REBUILD_TAG) == "true"
        log = context.log
        try:
            with _unavailable_named():
                _open(made, log.info if log is not None else lambda _: None)
            with seen(made.urls.product, made.holder):
                yield made
        finally:
            made.close()

    return platform


@contextmanager
def _unavailable_named() -> Iterator[None]:
    """What can pass by itself is known by its class: of an error before the first step no more is kept."""
    try:
        yield
    except MarketingError as error:
        if not can_pass(error):
            raise
        raise UnavailableError(error.message, remedy=error.remedy, transient=True) from None


def _open(platform: Platform, log: Callable[[str], None]) -> None:
    """Open, and where the database does not answer try again after a while."""
    for seconds in _OPEN_AGAIN_AFTER:
        try:
            platform.open(WAIT_SECONDS, log)
        except MarketingError as error:
            if not error.transient:
                raise
            log(f"{error.message}: trying again in {seconds:.0f} s")
            platform.close()
            time.sleep(seconds)
        else:
            return
    platform.reopen()
