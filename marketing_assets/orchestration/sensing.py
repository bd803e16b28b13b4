"""What the sensors share: a look at the stores without the writer lock, and at the runs under way.

A sensor reads and asks for runs; it never waits for the lock. No sensor lives here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from marketing_assets.domain.nights import MOST_TRIES, again_at
from marketing_assets.orchestration.failures import failure_of_run
from marketing_assets.orchestration.jobs import BEHAVIOUR_RANGE, CLEANUP, INGEST_RANGE, NIGHTLY
from marketing_assets.orchestration.platform import Platform, holder_of
from marketing_assets.settings import Settings

PARTITION_TAG = "dagster/partition"
RUN_KEY_TAG = "dagster/run_key"

_WRITING_JOBS = (NIGHTLY, BEHAVIOUR_RANGE, INGEST_RANGE, CLEANUP, "__ASSET_JOB")
_MAY_BE_DEAD = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED)
"""Dagster's run monitoring looks at neither: who was to start the one, or ran the other, may be gone."""
_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_STARTED_ONCE = [each for each in dg.DagsterRunStatus if each is not dg.DagsterRunStatus.NOT_STARTED]
"""A run that never started did nothing: asked for again under the same key, it is launched."""

_SURELY_BEGUN = timedelta(minutes=5)


@contextmanager
def watching(settings: Settings, sensor: str) -> Iterator[Platform]:
    """The platform of a sensor, with the schema up to date and without the writer lock."""
    from marketing_assets.storage import database

    platform = Platform(settings, f"marketing_assets {sensor}")
    database.prepare(platform.urls)
    try:
        yield platform
    finally:
        platform.close()


def run_under_way(instance: dg.DagsterInstance, platform: Platform) -> dg.DagsterRun | None:
    """A run that writes or will write, whoever started it; None where there is none.

    One that began minutes ago and has no database session was killed where nobody could note it.
    """
    from marketing_assets.storage.writer import at_work

    with platform.database.connect() as connection:
        working = at_work(connection)
    began_before = datetime.now(UTC) - _SURELY_BEGUN
    for job in _WRITING_JOBS:
        for record in instance.get_run_records(dg.RunsFilter(job_name=job, statuses=_UNDER_WAY)):
            run = record.dagster_run
            begun = run.status in _MAY_BE_DEAD and record.create_timestamp < began_before
            if not begun or holder_of(run.run_id) in working:
                return run
    return None


def run_with(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun | None:
    """The newest run that was started with all these tags; None where there is none."""
    runs = instance.get_runs(dg.RunsFilter(tags=dict(tags), statuses=_STARTED_ONCE), limit=1)
    return runs[0] if runs else None


@dataclass(frozen=True)
class NextTry:
    """Whether a run that is still wanted is asked for: under which key, or None and in words why not.

    `given_up`: no more by itself, since what failed does not pass by itself or was tried often enough.
    """

    key: str | None
    why: str = ""
    given_up: bool = False


def next_try(instance: dg.DagsterInstance, job: str, tags: dict[str, str], key: str) -> NextTry:
    """Of a run of this job with these tags, whoever started it: for the first time under `key`, then spaced.

    A run that somebody ended is never asked for again.
    """
    wanted = dg.RunsFilter(job_name=job, tags=dict(tags), statuses=_STARTED_ONCE)
    records = instance.get_run_records(wanted, limit=MOST_TRIES)
    if not records:
        return NextTry(key)
    run = records[0].dagster_run
    if run.is_complete_and_waiting_to_retry:
        return NextTry(None, f"{described(run)} is started again by Dagster")
    ended = records[0].end_time or records[0].update_timestamp.timestamp()
    failed = run.status is dg.DagsterRunStatus.FAILURE
    again = again_at(
        len(records),
        datetime.fromtimestamp(ended, UTC),
        transient=failed and failure_of_run(instance, run.run_id).transient,
    )
    if again is None:
        return NextTry(None, f"see {described(run)}", given_up=True)
    if datetime.now(UTC) < again:
        return NextTry(None, f"{described(run)} is tried again from {again:%H:%M} UTC on")
    return NextTry(f"{key}/{len(records) + 1}")


def described(run: dg.DagsterRun) -> str:
    """The run as people find it in the UI: `run 1234abcd (nightly_marketing, STARTED)`."""
    return f"run {run.run_id[:8]} ({run.job_name}, {run.status.value})"
