"""What the sensors share: a look at the stores without the writer lock, and at the runs under way.

A sensor reads and asks for runs; it never waits for the lock. No sensor lives here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg

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


def run_with(
    instance: dg.DagsterInstance, tags: dict[str, str], job: str | None = None
) -> dg.DagsterRun | None:
    """The newest run that has all these tags (and is of this job); None where there is none."""
    runs = instance.get_runs(dg.RunsFilter(tags=dict(tags), job_name=job), limit=1)
    return runs[0] if runs else None


def described(run: dg.DagsterRun) -> str:
    """The run as people find it in the UI: `run 1234abcd (nightly_marketing, STARTED)`."""
    return f"run {run.run_id[:8]} ({run.job_name}, {run.status.value})"
