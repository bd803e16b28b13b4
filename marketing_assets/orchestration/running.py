"""Starting runs from outside Dagster's own daemons: the same jobs, in this process, on the same instance.

What `marketing run` and `marketing demo` start is in the UI like every other run. Progress goes to a
callback, an event at a time.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError

from marketing_assets.errors import DatabaseError
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.failures import failure_of
from marketing_assets.orchestration.partitions import range_tags
from marketing_assets.settings import Settings, export_environment
from marketing_assets.storage import database

if TYPE_CHECKING:
    from dagster._core.events import DagsterEvent

_LOGGER = "progress"
_DAGSTERS_OWN = ("Skipping step", "Blocking asset check", "Dependencies for step")


@dataclass(frozen=True)
class StepTime:
    """One step of a run and how long it took, in seconds."""

    step: str
    seconds: float


@dataclass(frozen=True)
class RunReport:
    """How a run ended: its id, its steps in the order they ran, and the error that ended it."""

    run_id: str
    success: bool
    steps: list[StepTime]
    error: str | None
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """The numbers that each asset recorded, by their names."""


def prepare_instance(settings: Settings) -> database.DatabaseUrls:
    """Databases up and upgraded, the environment set for Dagster's own files, its home in place.

    Raises:
        DatabaseError: a database cannot be started, reached or upgraded.
    """
    urls = database.locate(settings)
    database.prepare(urls)
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    if settings.own_dagster_home or not (home / "dagster.yaml").exists():
        copy_packaged("dagster.yaml", home / "dagster.yaml")
    export_environment(
        {
            "DAGSTER_HOME": str(home),
            "MARKETING_DAGSTER_DATABASE_URL": urls.dagster,
            "MARKETING_HOME": str(settings.home.resolve()),
        }
    )
    return urls


def copy_packaged(name: str, target: Path) -> None:
    """Put one of Dagster's files that come with the package at `target`."""
    with resources.as_file(resources.files("marketing_assets.orchestration") / name) as packaged:
        if not target.exists() or target.read_bytes() != packaged.read_bytes():
            shutil.copyfile(packaged, target)


class Runner:
    """Runs jobs of the code location in this process, on the configured instance."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        prepare_instance(settings)
        # Dagster's own retries and traces: a line of progress instead, and the error is said once.
        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        logging.getLogger().addHandler(_Retries(progress))
        self._settings = settings
        self._definitions = build_definitions(settings, loggers={_LOGGER: _progress_logger(progress)})
        try:
            self.instance = dg.DagsterInstance.get()
        except Exception as error:
            raise DatabaseError(
                f"Dagster's instance cannot be opened: {' '.join(str(error).split())[:300]}",
                remedy="see that MARKETING_DAGSTER_DATABASE_URL names a database of yours, and that "
                "DAGSTER_HOME is a directory with a dagster.yaml",
            ) from error

    def run_day(self, job: str, day: date, tags: dict[str, str]) -> RunReport:
        """Run a job on one partition."""
        return self._run(job, tags, partition_key=day.isoformat())

    def run_range(
        self, job: str, first: date, last: date, tags: dict[str, str], assets: Sequence[str] | None = None
    ) -> RunReport:
        """Run a job (or of its assets those named) on the partitions of a range of days, as one run."""
        return self._run(job, {**tags, **range_tags(first, last)}, assets=assets)

    def run_once(self, job: str, tags: dict[str, str]) -> RunReport:
        """Run a job that has no partitions."""
        return self._run(job, tags)

    def close(self) -> None:
        """Close the instance's connections."""
        self.instance.dispose()

    def _run(
        self,
        job: str,
        tags: dict[str, str],
        partition_key: str | None = None,
        assets: Sequence[str] | None = None,
    ) -> RunReport:
        try:
            result = self._definitions.resolve_job_def(job).execute_in_process(
                instance=self.instance,
                partition_key=partition_key,
                asset_selection=None if assets is None else [dg.AssetKey(name) for name in assets],
                run_config={"loggers": {_LOGGER: {}}},
                tags={"source": self._settings.source, **tags},
                raise_on_error=False,
            )
        except (DBAPIError, DagsterPostgresException) as lost:
            raise _cut_off(lost) from lost
        if any(_is_interruption(event) for event in result.all_events):
            raise KeyboardInterrupt
        steps = [
            StepTime(str(event.step_key), event.step_success_data.duration_ms / 1000)
            for event in result.all_events
            if event.event_type_value == "STEP_SUCCESS"
        ]
        error = None if result.success else failure_of(result.all_events).text
        return RunReport(result.run_id, result.success, steps, error, _figures(result.all_events))


def _figures(events: "Sequence[DagsterEvent]") -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    for event in events:
        if event.event_type_value == "ASSET_MATERIALIZATION":
            made = event.step_materialization_data.materialization
            figures[made.asset_key.to_user_string()] = {
                name: value.value
                for name, value in made.metadata.items()
                if isinstance(value.value, int | float)
            }
    return figures


def _cut_off(error: Exception) -> DatabaseError:
    return DatabaseError(
        f"Dagster's database was lost while the run was under way: {' '.join(str(error).split())[:300]}",
        remedy="see that PostgreSQL is up, then run the same command again; nothing is half done",
    )


def _is_interruption(event: "DagsterEvent") -> bool:
    error = getattr(event.event_specific_data, "error", None)
    while error is not None:
        if error.cls_name in {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}:
            return True
        error = error.cause
    return False


class _Progress(logging.Handler):
    """Hands a run's progress to a callback: the start of each step, and what assets log themselves."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        message = str(meta.get("orig_message", record.getMessage()))
        if event is None and record.levelno >= logging.INFO and not message.startswith(_DAGSTERS_OWN):
            self._progress(message)
        elif event is not None and event.event_type_value == "STEP_START":
            self._progress(str(event.step_key).replace("_", " "))


class _Retries(logging.Handler):
    """Says once in a row that Dagster tries to reach its database again."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress
        self._said = False

    def emit(self, record: logging.LogRecord) -> None:
        if "Retrying failed database connection" in record.getMessage() and not self._said:
            self._progress("PostgreSQL does not answer: trying again for some seconds")
            self._said = True


def _progress_logger(progress: Callable[[str], None]) -> dg.LoggerDefinition:
    def console(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("marketing_assets.progress", level=logging.DEBUG)
        logger.addHandler(_Progress(progress))
        return logger

    return dg.LoggerDefinition(console, description="Progress of runs started from the command.")
