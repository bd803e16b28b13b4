"""Starting runs as Dagster does by default, and telling which of them died where nobody saw it.

A code server sees the end of a run's process only if it lives then and can write to Dagster's database.
After a power cut, or while PostgreSQL is away, nobody does, and the run would stand as started for hours.
Run monitoring asks here. A living run has a database session of its name, whatever it does: for the writer
lock, to wait for it, or only to be seen (`storage/presence.py`), on this machine or another. It is without
one for seconds after a restart of the database.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus

from marketing_assets.orchestration.jobs import BEHAVIOUR_RANGE, CLEANUP, INGEST_RANGE, NIGHTLY
from marketing_assets.orchestration.platform import holder_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

GONE_AFTER_SECONDS = 180
"""So long without a session while the database answers."""

_ASSETS_OF_THE_UI = "__ASSET_JOB"
_JOBS = (NIGHTLY, INGEST_RANGE, BEHAVIOUR_RANGE, CLEANUP, _ASSETS_OF_THE_UI)
_ALIVE = CheckRunHealthResult(WorkerStatus.RUNNING)


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher, for dagster.yaml, with a look whether a run is still there."""

    def __init__(self, inst_data: Any = None, gone_after_seconds: int = GONE_AFTER_SECONDS) -> None:
        super().__init__(inst_data)
        self._gone_after_seconds = gone_after_seconds
        self._database: Engine | None = None
        self._unseen_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        """What dagster.yaml may say."""
        return {"gone_after_seconds": dg.Field(int, default_value=GONE_AFTER_SECONDS, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "WatchedRunLauncher":
        """As dagster.yaml says."""
        return cls(inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """It does."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run lives; where that cannot be told (no database, a job of others), it does."""
        if run.job_name not in _JOBS or run.remote_job_origin is None:
            return _ALIVE
        working = self._at_work()
        if working is None or holder_of(run.run_id) in working:
            self._unseen_since.pop(run.run_id, None)
            return _ALIVE
        now = time.monotonic()
        unseen = now - self._unseen_since.setdefault(run.run_id, now)
        if unseen < self._gone_after_seconds:
            return _ALIVE
        del self._unseen_since[run.run_id]
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"its process is gone: for {unseen:.0f} s it has had no session on the serving database",
        )

    def dispose(self) -> None:
        """Close the connections."""
        if self._database is not None:
            self._database.dispose()
        super().dispose()

    def _at_work(self) -> set[str] | None:
        """Who has a session; None where the database does not say."""
        from sqlalchemy.exc import SQLAlchemyError

        from marketing_assets.errors import MarketingError
        from marketing_assets.settings import load_settings
        from marketing_assets.storage import database
        from marketing_assets.storage.writer import at_work

        try:
            if self._database is None:
                self._database = database.connect(database.locate(load_settings()).product)
            with self._database.connect() as connection:
                return at_work(connection)
        except (MarketingError, SQLAlchemyError):
            return None
