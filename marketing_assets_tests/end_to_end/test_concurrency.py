"""No two runs write at a time, however they are started; the night goes before backfills."""

import time
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import dagster as dg
import pytest

from marketing_assets_tests.end_to_end.dagster_home import DagsterHome, dagster_home_of, eventually
from marketing_assets_tests.end_to_end.shell import NEXT, Shell, shell_on
from marketing_assets_tests.world import DAY, World

LOCK_HOLDERS = """
    select count(*) from pg_locks l
    where l.locktype = 'advisory' and l.granted and l.objid = 2 and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
"""


@pytest.fixture
def shell(decided_world: World, own_dagster_url: str) -> Iterator[Shell]:
    with shell_on(decided_world, own_dagster_url) as made:
        yield made


@pytest.fixture
def home(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterHome]:
    with dagster_home_of(shell, monkeypatch) as made:
        yield made


def written(home: DagsterHome, run: dg.DagsterRun) -> tuple[float, float]:
    """When the run wrote its first and its last partition."""
    records = home.instance.get_records_for_run(
        run.run_id, of_type={dg.DagsterEventType.ASSET_MATERIALIZATION}
    ).records
    instants = [record.event_log_entry.timestamp for record in records]
    return min(instants), max(instants)


def messages(home: DagsterHome, run: dg.DagsterRun) -> str:
    return "\n".join(entry.user_message for entry in home.instance.all_logs(run.run_id))


@pytest.mark.verify
def test_the_ui_s_launcher_and_the_command_at_the_same_time(
    shell: Shell, home: DagsterHome, undisturbed: dict[str, Any]
) -> None:
    world = shell.world
    go, waiting = world.settings.home / "go", world.settings.home / "waiting"
    home.launch("nightly_marketing", f'{{"dagster/partition": "{NEXT}"}}')
    [launched] = home.runs("nightly_marketing")
    assert launched.status is dg.DagsterRunStatus.QUEUED

    # The command holds the lock, half way through the night, when the daemon starts the queued run.
    command = shell.start("run", "--day", str(NEXT), point="wait:user_features")
    eventually(waiting.exists, 120, lambda: "the command did not come to its user_features")
    with home.daemons():
        eventually(lambda: "waiting for another writer: marketing_assets run" in messages(home, launched), 60,
                   home.log)  # fmt: skip
        until = time.monotonic() + 5
        while time.monotonic() < until:
            assert world.rows(LOCK_HOLDERS) == [(1,)]
            assert not home.instance.get_records_for_run(
                launched.run_id, of_type={dg.DagsterEventType.ASSET_MATERIALIZATION}
            ).records
            time.sleep(0.2)
        go.touch()
        output, _ = command.communicate(timeout=120)
        assert command.returncode == 0, output

        def launched_run() -> dg.DagsterRun:
            [found] = [run for run in home.runs("nightly_marketing") if run.run_id == launched.run_id]
            return found

        eventually(lambda: launched_run().is_finished, 240, home.log)
    by_command = next(run for run in home.runs("nightly_marketing") if run.run_id != launched.run_id)
    assert {launched_run().status, by_command.status} == {dg.DagsterRunStatus.SUCCESS}
    assert written(home, by_command)[1] <= written(home, launched)[0]
    assert world.snapshot() == undisturbed


@pytest.mark.verify
def test_the_night_goes_first_and_a_backfill_s_runs_one_at_a_time_in_their_order(
    shell: Shell, home: DagsterHome, undisturbed: dict[str, Any]
) -> None:
    def day(number: int) -> date:
        return DAY - timedelta(days=number)

    # All in the queue before any daemon is up, the night last.
    for number in (3, 2, 1):
        tags = f'{{"dagster/partition": "{day(number)}", "dagster/backfill": "abcdefgh"}}'
        home.launch("ingest_range", tags)
    home.launch("nightly_marketing", f'{{"dagster/partition": "{NEXT}", "dagster/priority": "10"}}')
    with home.daemons():
        eventually(
            lambda: all(
                run.is_finished for run in [*home.runs("ingest_range"), *home.runs("nightly_marketing")]
            ),
            240,
            home.log,
        )
    runs = home.instance.get_run_records()
    assert {record.dagster_run.status for record in runs} == {dg.DagsterRunStatus.SUCCESS}
    in_order = sorted(runs, key=lambda record: record.start_time or 0.0)
    assert [record.dagster_run.tags["dagster/partition"] for record in in_order if _backfills(record)] == [
        str(day(number)) for number in (3, 2, 1)
    ]
    backfill = [record for record in in_order if _backfills(record)]
    for earlier, later in pairwise(backfill):
        assert (earlier.end_time or 0.0) <= (later.start_time or 0.0)
    dequeued = {
        record.dagster_run.job_name: _dequeued(home, record.dagster_run)
        for record in (backfill[0], *[each for each in runs if not _backfills(each)])
    }
    assert dequeued["nightly_marketing"] < dequeued["ingest_range"]
    assert shell.world.snapshot() == undisturbed


def _backfills(record: dg.RunRecord) -> bool:
    return "dagster/backfill" in record.dagster_run.tags


def _dequeued(home: DagsterHome, run: dg.DagsterRun) -> int:
    """The place in the log at which the run left the queue."""
    [record] = home.instance.get_records_for_run(
        run.run_id, of_type={dg.DagsterEventType.PIPELINE_STARTING}
    ).records
    return record.storage_id
