"""Running nights from the command: missing days first, then each night, oldest first, by the one clock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from marketing_assets.cli.console import Progress
from marketing_assets.domain.days import day_of, window
from marketing_assets.domain.nights import due_at
from marketing_assets.errors import NightError, RunFailedError
from marketing_assets.orchestration.jobs import INGEST_RANGE, NIGHTLY
from marketing_assets.orchestration.platform import REBUILD_TAG
from marketing_assets.orchestration.running import Runner, RunReport
from marketing_assets.policy.load import load_policy
from marketing_assets.settings import Settings
from marketing_assets.storage import clock, database
from marketing_assets.storage.datasets import TRANSACTIONS
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.lake_record import LakeRecord, ensure_record
from marketing_assets.storage.repositories import nights


@dataclass(frozen=True)
class NightRun:
    """One night that was run: the run that ingested missing days (if any were), and the night's own."""

    day: date
    ingest: RunReport | None
    night: RunReport


class Nights:
    """Runs nights with one runner; `progress` shows where it is."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self._progress = progress
        load_policy(settings.policy)  # a mistake in it is said before anything is started
        progress("starting PostgreSQL and Dagster")
        self._runner = Runner(settings, progress)
        self.record: LakeRecord = ensure_record(
            settings.lake, settings, day_of(datetime.now(UTC), settings.zone)
        )
        self.database = database.connect(database.locate(settings).product)

    def close(self) -> None:
        """Close connections."""
        self.database.dispose()
        self._runner.close()

    def run(
        self, days: Sequence[date], *, trigger: str, simulate: bool, rebuild: bool = False
    ) -> Iterator[NightRun]:
        """Run the nights of `days`, oldest first; where `simulate`, each at its own night's time.

        Where `rebuild`, each is decided again, and replaces in the transaction that publishes it what it
        and the nights after it had published; until then the app reads the old nights.

        Raises:
            RunFailedError: a run failed; the nights after it are not run.
            NightError: a day lies outside the lake, or nights were decided on top of those to rebuild.
        """
        self._refuse_outside(days)
        if rebuild:
            self._refuse_below_decided(days)
        tags = {"trigger": trigger, REBUILD_TAG: str(rebuild).lower()}
        with self._clock(simulate, trigger) as simulated:
            for day in days:
                if simulated is not None:
                    simulated.set(night_time(day, self.settings))
                yield self._night(day, tags)

    @contextmanager
    def _clock(self, simulate: bool, trigger: str) -> Iterator[clock.SimulatedClock | None]:
        if not simulate:
            yield None
            return
        with clock.simulated(self.database, f"marketing {trigger}") as simulated:
            yield simulated

    def _refuse_below_decided(self, days: Sequence[date]) -> None:
        with self.database.connect() as connection:
            newest = nights.newest_decided(connection)
        if newest is not None and newest > days[-1]:
            raise NightError(
                f"nights after {days[-1]} are decided already, the newest is {newest}",
                remedy=f"rebuild up to it: marketing run --from {days[0]} --to {newest} --rebuild",
            )

    def _night(self, day: date, tags: dict[str, str]) -> NightRun:
        self._progress.retitle(f"night of {day}")
        ingest = self._ingest_missing(day, tags)
        report = self._runner.run_day(NIGHTLY, day, tags)
        _refuse_failed(report, f"the night of {day}")
        return NightRun(day, ingest, report)

    def _ingest_missing(self, day: date, tags: dict[str, str]) -> RunReport | None:
        lake = Lake(self.settings.lake)
        missing = [
            each
            for each in window(day, self.settings.window_days)[:-1]
            if each >= self.record.start_date and not lake.path(TRANSACTIONS, each).exists()
        ]
        if not missing:
            return None
        self._progress(f"{len(missing)} days of its window are missing: ingesting them first")
        report = self._runner.run_range(INGEST_RANGE, missing[0], missing[-1], tags)
        _refuse_failed(report, f"ingesting {missing[0]} to {missing[-1]}")
        return report

    def _refuse_outside(self, days: Sequence[date]) -> None:
        if days[0] < self.record.start_date:
            first = days[0] - timedelta(days=self.settings.window_days)
            raise NightError(
                f"{days[0]} lies before the lake's first day, {self.record.start_date}",
                remedy=f"set MARKETING_START_DATE to {first} or earlier together with a new MARKETING_LAKE "
                "(the first day of a lake is fixed)",
            )
        yesterday = day_of(datetime.now(UTC), self.settings.zone) - timedelta(days=1)
        if days[-1] > yesterday:
            raise NightError(
                f"{days[-1]} is not over yet in {self.settings.timezone}",
                remedy=f"the newest day that can be run is {yesterday}",
            )


def night_time(day: date, settings: Settings) -> datetime:
    """When the night of `day` is due: the configured time on the day after, in UTC."""
    return due_at(day, time(settings.analysis_hour, settings.analysis_minute), settings.zone)


def _refuse_failed(report: RunReport, what: str) -> None:
    if not report.success:
        message, _, remedy = (report.error or "no error was recorded").partition("\n  What to do: ")
        raise RunFailedError(
            f"{what} failed: {message}",
            remedy=(remedy or "see the run in the UI (marketing up)") + f" [run {report.run_id[:8]}]",
        )
