"""A year of nights in Dagster's own database: its size after the clean-up, and how long a night takes then.

Some nights are run for real on the demo's data; the rest of the year is what they wrote (events, runs, check
results), copied in SQL and moved back a day a night. Run it by hand: python -m benchmarks.year --nights 30
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from marketing_assets.cli.console import Progress
from marketing_assets.cli.nights import Nights
from marketing_assets.domain.days import day_of, days_between
from marketing_assets.orchestration.jobs import CLEANUP
from marketing_assets.orchestration.running import Runner
from marketing_assets.settings import Settings
from marketing_assets.storage import database, embedded

NIGHTS_A_YEAR = 365
_AFTER = 2
_COLUMNS = "event, dagster_event_type, step_key, asset_key"
# A night's run and what it wrote, under another id and some days earlier.
_COPIES = (
    "insert into runs (run_id, snapshot_id, pipeline_name, status, run_body, partition, create_timestamp,"
    " update_timestamp, start_time, end_time)"
    " select md5(run_id || %(nth)s), snapshot_id, pipeline_name, status, run_body, partition,"
    " create_timestamp - %(back)s, update_timestamp - %(back)s, start_time, end_time"
    " from runs where run_id = %(run)s",
    f"insert into event_logs (run_id, timestamp, partition, {_COLUMNS})"  # noqa: S608
    " select md5(run_id || %(nth)s), timestamp - %(back)s,"
    f" cast(cast(partition as date) - extract(day from %(back)s) :: integer as text), {_COLUMNS}"
    " from event_logs where run_id = %(run)s order by id",
    "insert into asset_check_executions (asset_key, check_name, partition, run_id, execution_status,"
    " evaluation_event, evaluation_event_timestamp, evaluation_event_storage_id,"
    " materialization_event_storage_id, create_timestamp)"
    " select asset_key, check_name, partition, md5(run_id || %(nth)s), execution_status, evaluation_event,"
    " evaluation_event_timestamp - %(back)s, evaluation_event_storage_id, materialization_event_storage_id,"
    " create_timestamp - %(back)s from asset_check_executions where run_id = %(run)s",
)
_AGE = (
    "update event_logs set timestamp = timestamp - %(back)s where run_id = %(run)s",
    "update runs set create_timestamp = create_timestamp - %(back)s,"
    " update_timestamp = update_timestamp - %(back)s where run_id = %(run)s",
)


@dataclass(frozen=True)
class Year:
    """Seconds of the nights before the year was filled up and of two after it, events, bytes of the database.

    `bytes_before` and `bytes_after` are those before and after the clean-up; `event_bytes` are of the events
    that are left, without the room that removed ones have left behind.
    """

    nights: int
    copied_nights: int
    events_a_night: int
    events_purged: int
    bytes_before: int
    bytes_after: int
    event_bytes: int
    cleanup_seconds: float
    seconds: list[float]
    seconds_after: list[float]

    @property
    def slowdown(self) -> float:
        """The faster night after the year over the first one."""
        return min(self.seconds_after) / self.seconds[0]


def measure(home: Path, nights: int, say: Progress) -> Year:
    """Run `nights` nights, fill up the year, clean up, and run two more nights."""
    settings = Settings(_env_file=None, MARKETING_HOME=home)
    yesterday = day_of(datetime.now(UTC), settings.zone) - timedelta(days=1)
    days = days_between(yesterday - timedelta(days=nights + _AFTER - 1), yesterday)
    with _runner(settings, say) as runner:
        runs = [run.night.run_id for run in runner.run(days[:-_AFTER], trigger="bench", simulate=True)]
    url = database.locate(settings).dagster.replace("+psycopg2", "")
    copied = NIGHTS_A_YEAR - nights
    with psycopg.connect(url) as connection:
        took = [_seconds(connection, run) for run in runs]
        counted = connection.execute("select count(*) from event_logs where run_id = %s", [runs[-1]])
        events = int(_first(counted))
        _fill_up(connection, runs, copied)
        connection.commit()
        before = _number(connection, "select pg_database_size(current_database())")
    cleaned = Runner(settings, say)
    figures = cleaned.run_once(CLEANUP, {"trigger": "bench"}).figures["dagster_storage"]
    cleaned.close()
    with _runner(settings, say) as runner:
        after = [run.night.run_id for run in runner.run(days[-_AFTER:], trigger="bench", simulate=True)]
    with psycopg.connect(url) as connection:
        return Year(
            nights=nights,
            copied_nights=copied,
            events_a_night=events,
            events_purged=int(figures["events_purged"]),
            bytes_before=before,
            bytes_after=int(figures["bytes"]),
            event_bytes=_number(connection, "select sum(pg_column_size(e.*)) from event_logs e"),
            cleanup_seconds=figures["seconds"],
            seconds=took,
            seconds_after=[_seconds(connection, run) for run in after],
        )


def _fill_up(connection: psycopg.Connection, runs: Sequence[str], copied: int) -> None:
    """Date the real nights a day apart, the newest today, and copy them for the days before."""
    for back, run in enumerate(reversed(runs)):
        for statement in _AGE:
            connection.execute(statement.encode(), {"run": run, "back": timedelta(days=back)})
    for nth in range(copied):
        # Oldest first, as a year would have written them.
        run = runs[nth % len(runs)]
        earlier = timedelta(days=copied - nth + nth % len(runs))
        for statement in _COPIES:
            connection.execute(statement.encode(), {"run": run, "nth": str(nth), "back": earlier})


def _seconds(connection: psycopg.Connection, run: str) -> float:
    took = connection.execute("select end_time - start_time from runs where run_id = %s", [run])
    return round(float(_first(took)), 3)


def _number(connection: psycopg.Connection, statement: str) -> int:
    return int(_first(connection.execute(statement.encode())))


def _first(cursor: psycopg.Cursor) -> float:
    found = cursor.fetchone()
    assert found is not None
    return float(found[0])


@contextmanager
def _runner(settings: Settings, say: Progress) -> Iterator[Nights]:
    nights = Nights(settings, say)
    try:
        yield nights
    finally:
        nights.close()


class _Lines(Progress):
    """Progress as plain lines."""

    def __call__(self, message: str) -> None:
        sys.stdout.write(f"{self._title}: {message}\n")
        sys.stdout.flush()


def main() -> None:
    """Measure in a directory of its own and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=30, help="nights that are run for real")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marketing-year-") as directory:
        home = Path(directory)
        try:
            year = measure(home, asked.nights, _Lines("year"))
        finally:
            embedded.stop(home / "postgres")
    sys.stdout.write(json.dumps({**asdict(year), "slowdown": round(year.slowdown, 3)}) + "\n")


if __name__ == "__main__":
    main()
