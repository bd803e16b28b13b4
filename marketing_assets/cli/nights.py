"""Running nights from the command: missing days first, then each night, oldest first, by the one clock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from marketing_assets.cli.console import Progress
from marketing_assets.domain.days import day_of, start_of, window
from marketing_assets.domain.nights import due_at
from marketing_assets.errors import NightError, RunFailedError
from marketing_assets.orchestration.jobs import INGEST_RANGE, NIGHTLY
from marketing_assets.orchestration.platform import REBUILD_TAG
from marketing_assets.orchestration.running import Runner, RunReport
from marketing_assets.policy.load import load_policy
from marketing_assets.settings import Settings
from marketing_assets.storage import clock, database
from marketing_assets.storage.datasets import SEGMENT_SUMMARY, TRANSACTIONS
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.lake_record import LakeRecord, ensure_record
from marketing_assets.storage.publish import refuse_reported
from marketing_assets.storage.repositories import campaigns as campaign_rows
from marketing_assets.storage.repositories import nights

RANGE_TAG = "marketing/range"
"""Tag of a run that is one night of a range: its first and last day, as the command was given them."""


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
        # A mistake in it is said before anything is started.
        load_policy(settings.policy, settings.window_days)
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
        self,
        days: Sequence[date],
        *,
        trigger: str,
        simulate: bool,
        rebuild: bool = False,
        asked: Sequence[date] | None = None,
    ) -> Iterator[NightRun]:
        """Run the nights of `days`, oldest first; where `simulate`, each at its own night's time.

        `asked` are the days of the command where `days` are only what is left of them (`left_of`).
        Where `rebuild`, each is decided again, and replaces in the transaction that publishes it what it
        and the nights after it had published; until then the app reads the old nights.

        Raises:
            RunFailedError: a run failed; the nights after it are not run.
            NightError: a day lies outside the lake, nights were decided on top of those to rebuild, or a
                campaign of theirs is archived or has events.
        """
        self.refuse_outside(days)
        if rebuild:
            self._refuse_below_decided(days)
            self._refuse_archived(days)
            self._refuse_reported(days)
        tags = {"trigger": trigger, REBUILD_TAG: str(rebuild).lower(), RANGE_TAG: _range_named(asked or days)}
        with self._clock(simulate, trigger) as simulated:
            for day in days:
                if simulated is not None:
                    simulated.set(night_time(day, self.settings))
                yield self._night(day, tags)

    def left_of(self, days: Sequence[date], *, rebuild: bool = False) -> list[date]:
        """Those of `days` that an interrupted command has still to run.

        A night that stays as it was decided, and whose partitions are there, need not run again. A rebuild
        goes on after the nights that the same rebuild had published when it was interrupted; one that had
        reached its end begins again.

        Raises:
            NightError: a day lies outside the lake or is not over.
        """
        self.refuse_outside(days)
        with self.database.connect() as connection:
            rows = {day: nights.night(connection, day) for day in days}
            newest = nights.newest_decided(connection)
        if rebuild:
            made = [day for day, row in rows.items() if row is not None and self._rebuilt(row, days)]
            interrupted = made == list(days[: len(made)]) and len(made) < len(days)
            return list(days[len(made) :]) if interrupted else list(days)
        lake = Lake(self.settings.lake)
        stays = {
            day
            for day, row in rows.items()
            if row is not None
            and row.status == "published"
            and newest is not None
            and day < newest
            and all(lake.path(dataset, day).exists() for dataset in (TRANSACTIONS, SEGMENT_SUMMARY))
        }
        return [day for day in days if day not in stays]

    def _rebuilt(self, row: nights.Night, days: Sequence[date]) -> bool:
        run = self._runner.instance.get_run_by_id(row.run_id)
        tags = {} if run is None else run.tags
        return tags.get(REBUILD_TAG) == "true" and tags.get(RANGE_TAG) == _range_named(days)

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

    def run_range(
        self, job: str, days: Sequence[date], tags: dict[str, str], assets: Sequence[str] | None = None
    ) -> RunReport:
        """Run a job (or of its assets those named) on all of `days`, which follow each other, as one run.

        Raises:
            RunFailedError: it failed.
        """
        report = self._runner.run_range(job, days[0], days[-1], tags, assets)
        refuse_failed(report, f"the run of {days[0]} to {days[-1]}")
        return report

    def _refuse_archived(self, days: Sequence[date]) -> None:
        """What such a campaign had decided is no longer where the nights would be decided from."""
        with self.database.connect() as connection:
            ended = campaign_rows.latest_archived_end(connection)
        if ended is not None and ended > start_of(days[0] + timedelta(days=1), self.settings.zone):
            raise NightError(
                f"a campaign that was open after {days[0]} is archived: the nights cannot be decided again",
                remedy=f"rebuild nights from {day_of(ended, self.settings.zone)} on, or all in another "
                "MARKETING_LAKE and MARKETING_DATABASE_URL",
            )

    def _refuse_reported(self, days: Sequence[date]) -> None:
        with self.database.connect() as connection:
            touched = campaign_rows.assigned_since(connection, days[0] + timedelta(days=1))
            refuse_reported(connection, touched, days[0])

    def _night(self, day: date, tags: dict[str, str]) -> NightRun:
        self._progress.retitle(f"night of {day}")
        ingest = self._ingest_missing(day, tags)
        report = self._runner.run_day(NIGHTLY, day, tags)
        refuse_failed(report, f"the night of {day}")
        return NightRun(day, ingest, report)

    def _ingest_missing(self, day: date, tags: dict[str, str]) -> RunReport | None:
        earlier = window(day, self.settings.window_days, self.record.start_date)[:-1]
        missing = Lake(self.settings.lake).missing(TRANSACTIONS, earlier)
        if not missing:
            return None
        self._progress(f"{len(missing)} days of its window are missing: ingesting them first")
        report = self._runner.run_range(INGEST_RANGE, missing[0], missing[-1], tags)
        refuse_failed(report, f"ingesting {missing[0]} to {missing[-1]}")
        return report

    def refuse_outside(self, days: Sequence[date]) -> None:
        """Make sure that the days can be processed at all.

        Raises:
            NightError: one lies before the lake's first day, or is not over yet.
        """
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


def _range_named(days: Sequence[date]) -> str:
    return f"{days[0]} to {days[-1]}"


def refuse_failed(report: RunReport, what: str) -> None:
    """Raise what a run that failed has to say.

    Raises:
        RunFailedError: the run did not succeed.
    """
    if not report.success:
        message, _, remedy = (report.error or "no error was recorded").partition("\n  What to do: ")
        raise RunFailedError(
            f"{what} failed: {message}",
            remedy=(remedy or "see the run in the UI (marketing up)") + f" [run {report.run_id[:8]}]",
        )
