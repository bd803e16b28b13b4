"""Backfills as the UI and the command start them: ranged where that is possible, night by night elsewhere."""

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.selector import (
    PartitionRangeSelector,
    PartitionsByAssetSelector,
    PartitionsSelector,
)
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.dagster_run import RunsFilter
from dagster._core.test_utils import create_test_daemon_workspace_context, instance_for_test
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration

from marketing_assets.orchestration.build import build_definitions
from marketing_assets_tests.end_to_end.shell import Shell
from marketing_assets_tests.world import DAY, World, population, purchases

DAYS = [DAY + timedelta(days=number) for number in range(1, 4)]
INGEST = {"transactions", "rejected_transactions"}
BEHAVIOUR = {"user_features", "user_patterns", "segment_summary"}
DECISIONS = {
    "settled_rewards",
    "campaigns",
    "campaign_targets",
    "targeting_decisions",
    "published_night",
}
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@pytest.fixture
def world(decided_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A decided world with purchases of the three days after it; its settings are in the environment."""
    decided_world.write([*population(), *purchases("late", DAYS)])
    for name, value in Shell(decided_world, "").environment.items():
        if name.startswith("MARKETING_") and value:
            monkeypatch.setenv(name, value)
    return decided_world


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance with Dagster's own queue; its runs are executed in this process when they are launched."""
    launcher = {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    }
    with instance_for_test(overrides={"run_launcher": launcher}) as made:
        yield made


def backfilled(
    world: World, instance: dg.DagsterInstance, assets: set[str], ended: BulkActionStatus
) -> list[dg.DagsterRun]:
    """Runs of a backfill of those assets over `DAYS`, in the order the daemon started them."""
    graph = build_definitions(world.settings).resolve_asset_graph()
    wanted = PartitionsSelector(
        ranges=[PartitionRangeSelector(start=DAYS[0].isoformat(), end=DAYS[-1].isoformat())]
    )
    instance.add_backfill(
        PartitionBackfill.from_partitions_by_assets(
            backfill_id="abcdefgh",
            asset_graph=graph,
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            partitions_by_assets=[
                PartitionsByAssetSelector(asset_key=dg.AssetKey(name), partitions=wanted)
                for name in sorted(assets)
            ],
            title=None,
            description=None,
            run_config=None,
        )
    )
    target = ModuleTarget(
        module_name="marketing_assets.definitions",
        attribute=None,
        working_directory=str(Path.cwd()),
        location_name="marketing_assets",
    )
    with create_test_daemon_workspace_context(target, instance) as workspace:
        for _ in range(12):
            errors = [e for e in execute_backfill_iteration(workspace, logging.getLogger("backfill")) if e]
            assert errors == []
            queued = instance.get_runs(RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
            for run in reversed(queued):  # as the daemon takes them off the queue: the oldest first
                instance.launch_run(run.run_id, workspace.create_request_context())
            if _status(instance) != BulkActionStatus.REQUESTED:
                break
    assert _status(instance) == ended
    return list(reversed(instance.get_runs(RunsFilter(tags={"dagster/backfill": "abcdefgh"}))))


def _status(instance: dg.DagsterInstance) -> BulkActionStatus:
    backfill = instance.get_backfill("abcdefgh")
    assert backfill is not None
    return backfill.status


def assets_of(run: dg.DagsterRun) -> set[str]:
    return {key.to_user_string() for key in run.asset_selection or ()}


def range_of(run: dg.DagsterRun) -> tuple[str | None, ...]:
    return tuple(run.tags.get(edge) for edge in RANGE)


@pytest.mark.verify
def test_a_backfill_of_the_ui_makes_a_range_of_days_in_one_run(
    world: World, instance: dg.DagsterInstance
) -> None:
    runs = backfilled(world, instance, INGEST | BEHAVIOUR, BulkActionStatus.COMPLETED_SUCCESS)
    whole = (DAYS[0].isoformat(), DAYS[-1].isoformat())
    assert [(assets_of(run), range_of(run)) for run in runs] == [(INGEST | BEHAVIOUR, whole)]
    for name in ("user_features", "user_patterns"):
        for day in DAYS:
            assert (world.settings.lake / name / f"day={day}" / "part-0.parquet").exists()
    materialized = instance.get_materialized_partitions(dg.AssetKey("user_patterns"))
    assert materialized == {day.isoformat() for day in DAYS}


@pytest.mark.verify
def test_a_backfill_of_the_ui_decides_night_by_night_oldest_first(
    world: World, instance: dg.DagsterInstance
) -> None:
    # Dagster calls a backfill failed where a run that succeeded left an asset out, as a missed night does.
    everything = INGEST | BEHAVIOUR | DECISIONS
    runs = backfilled(world, instance, everything, BulkActionStatus.COMPLETED_FAILED)
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert assets_of(runs[0]) == INGEST | BEHAVIOUR
    assert [(assets_of(run), run.tags.get("dagster/partition")) for run in runs[1:]] == [
        (DECISIONS, day.isoformat()) for day in DAYS
    ]
    # The past is never decided again: these nights were found too late, and say so.
    assert {run.tags["marketing/night"] for run in runs[1:]} == {"missed"}
    assert world.rows("select day, status from marketing.published_nights order by day") == [
        (DAY, "published"),
        *((day, "skipped") for day in DAYS),
    ]


@pytest.mark.verify
def test_the_command_makes_what_is_missing_in_one_run_and_nothing_twice(
    world: World, dagster_url: str
) -> None:
    shell = Shell(world, dagster_url)
    asked = ("backfill", "--from", DAYS[0].isoformat(), "--to", DAYS[-1].isoformat())
    code, output = shell.call(*asked)
    assert code == 0, output
    assert f"transactions of {DAYS[0]} to {DAYS[-1]} (3 days)" in output
    assert f"features and patterns of {DAYS[0]} to {DAYS[-1]} (3 days)" in output
    once = world.files()
    code, output = shell.call(*asked)
    assert code == 0, output
    assert "are there already; --again makes them anew" in output
    (world.settings.lake / "user_patterns" / f"day={DAYS[1]}" / "part-0.parquet").unlink()
    code, output = shell.call(*asked)
    assert code == 0, output
    assert f"patterns of {DAYS[1]} to {DAYS[1]} (1 days)" in output
    assert "user features" not in output
    code, output = shell.call(*asked, "--again")
    assert code == 0, output
    assert f"transactions, features and patterns of {DAYS[0]} to {DAYS[-1]} (3 days)" in output
    assert world.files() == once


@pytest.mark.verify
def test_a_backfill_killed_half_way_goes_on(world: World, dagster_url: str) -> None:
    shell = Shell(world, dagster_url)
    asked = ("backfill", "--from", DAYS[0].isoformat(), "--to", DAYS[-1].isoformat())
    assert shell.call(*asked, point="after:user_features")[0] == -9
    code, output = shell.call(*asked)
    assert code == 0, output
    assert f"\nfeatures of {DAYS[1]} to {DAYS[-1]} (2 days)" in output
    assert f"\npatterns of {DAYS[0]} to {DAYS[-1]} (3 days)" in output


@pytest.mark.verify
def test_an_interrupted_rebuild_of_a_range_goes_on_with_the_next_night(
    world: World, dagster_url: str
) -> None:
    shell = Shell(world, dagster_url)
    asked = ("run", "--from", DAYS[0].isoformat(), "--to", DAYS[-1].isoformat(), "--rebuild")
    code, output = shell.call("run", "--day", DAYS[0].isoformat(), "--rebuild")
    assert code == 0, output
    shell.call(*asked)
    undisturbed = world.snapshot()
    # Begun again, and killed in its second night.
    world.csv.touch()
    process = shell.start(*asked, point=f"wait:day={DAYS[1]}")
    deadline = time.monotonic() + 60
    while not (world.settings.home / "waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert world.rows("select max(day) from marketing.published_nights where status = 'published'") == [
        (DAYS[0],)
    ]
    code, output = shell.call(*asked)
    assert code == 0, output
    assert "1 of 3 nights need not run again (--again: all)." in output
    assert f"Night of {DAYS[0]}" not in output
    assert world.snapshot() == undisturbed
    # Complete now: asked for once more, it begins again.
    code, output = shell.call(*asked)
    assert code == 0, output
    assert f"Night of {DAYS[0]}: " in output
    assert world.snapshot() == undisturbed


@pytest.mark.verify
def test_nights_that_stay_as_they_were_decided_are_left_out_of_a_range(
    world: World, dagster_url: str
) -> None:
    shell = Shell(world, dagster_url)
    assert shell.call("run", "--from", DAYS[0].isoformat(), "--to", DAYS[-1].isoformat(), "--rebuild")[0] == 0
    before = world.snapshot()
    asked = ("run", "--from", DAY.isoformat(), "--to", DAYS[1].isoformat())
    code, output = shell.call(*asked)
    assert code == 0, output
    assert "3 of 3 nights need not run again" in output
    code, output = shell.call(*asked, "--again")
    assert code == 0, output
    assert f"Night of {DAY}" in output
    assert world.snapshot() == before
