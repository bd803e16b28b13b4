"""Faults that leave nothing behind: afterwards every table and file is as if nothing had happened."""

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon import daemon as _first  # noqa: F401 - the scheduler needs it to be there
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs

from marketing_assets.storage import clock
from marketing_assets_tests.end_to_end.dagster_home import DagsterHome, dagster_home_of, eventually
from marketing_assets_tests.end_to_end.shell import NEXT, Shell, late_population, shell_on
from marketing_assets_tests.world import HEADER, World

TARGET_DAY = datetime(NEXT.year, NEXT.month, NEXT.day, tzinfo=UTC) + timedelta(days=1)


@pytest.fixture
def shell(decided_world: World, own_dagster_url: str) -> Iterator[Shell]:
    with shell_on(decided_world, own_dagster_url) as made:
        yield made


def set_clock(shell: Shell, instant: datetime) -> None:
    """Put the one clock forward or back, in the session that keeps it."""
    statement = "update marketing.simulated_clock set instant = %s returning only_row"
    with shell.world.database.begin() as connection:
        assert connection.exec_driver_sql(statement, (instant,)).scalar() == 1
        assert clock.now(connection) == instant


@pytest.mark.verify
def test_two_daemons_by_mistake_decide_the_night_once(
    shell: Shell, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = shell.world
    set_clock(shell, TARGET_DAY + timedelta(hours=9))  # seven hours overdue: the sensor of both sees it
    with dagster_home_of(shell, monkeypatch) as home:

        def published() -> bool:
            return (
                len(world.rows("select day from marketing.published_nights where status = 'published'")) == 2
            )

        def ended() -> bool:
            runs = home.runs("nightly_marketing")
            return bool(runs) and all(run.is_finished for run in runs)

        with home.daemons(2):
            eventually(lambda: published() and ended(), 240, home.log)
            # Both daemons look again, and find nothing more to do.
            first = {run.run_id for run in home.runs("nightly_marketing")}
            before = _ticks(home.instance)
            eventually(lambda: _ticks(home.instance) > before, 240, home.log)
        runs = home.runs("nightly_marketing")
        assert {run.run_id for run in runs} == first
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert {run.tags["dagster/partition"] for run in runs} == {str(NEXT)}
    assert world.snapshot() == undisturbed


def _ticks(instance: dg.DagsterInstance) -> int:
    """Ticks of the sensor so far."""
    [state] = [state for state in instance.all_instigator_state() if state.instigator_name == "missed_nights"]
    return len(instance.get_ticks(state.instigator_origin_id, state.selector_id))


@pytest.mark.verify
def test_yesterday_s_rows_returned_twice_change_nothing(shell: Shell, undisturbed: dict[str, Any]) -> None:
    world = shell.world
    twice = [line for line in late_population() if f",{NEXT}T" in line]
    assert len(twice) == 30
    world.write([*late_population(), *twice])
    assert shell.night() == 0
    assert world.snapshot() == undisturbed
    # And when they come twice only after the day was read.
    world.write([*late_population(), *twice, *twice])
    assert shell.night() == 0
    assert world.snapshot() == undisturbed


@pytest.mark.verify
def test_a_column_lost_at_the_source_is_one_clear_error_and_whole_again_later(
    shell: Shell, undisturbed: dict[str, Any]
) -> None:
    world = shell.world
    before = world.snapshot()
    renamed = HEADER.replace("amount", "amount_new")
    world.csv.write_text("\n".join([renamed, *late_population()]) + "\n", encoding="utf-8")
    code, output = shell.call("run", "--day", str(NEXT))
    assert code == 1
    said = " ".join(output.split())
    assert said.count("has no column 'amount' (for amount)") == 1
    assert "name the right column in the file of MARKETING_SOURCE_MAPPING" in said
    assert world.snapshot() == before
    world.write(late_population())
    assert shell.night() == 0
    assert world.snapshot() == undisturbed


@pytest.mark.verify
@pytest.mark.parametrize(
    ("first", "back"),
    [
        pytest.param(timedelta(hours=2), timedelta(hours=1), id="after the night, within its target day"),
        pytest.param(
            timedelta(minutes=30), timedelta(minutes=-30), id="across midnight: the day is not over"
        ),
    ],
)
def test_the_clock_set_back_an_hour(
    shell: Shell, undisturbed: dict[str, Any], first: timedelta, back: timedelta
) -> None:
    world = shell.world
    set_clock(shell, TARGET_DAY + first)
    assert shell.night() == 0
    assert world.snapshot() == undisturbed
    set_clock(shell, TARGET_DAY + back)
    code, output = shell.call("run", "--day", str(NEXT))
    if back < timedelta(0):
        assert code == 1
        assert f"the business day {NEXT} is not over yet: it is {NEXT} in UTC" in " ".join(output.split())
    else:
        assert code == 0, output
    assert world.snapshot() == undisturbed
    set_clock(shell, TARGET_DAY + first)
    assert shell.night() == 0
    assert world.snapshot() == undisturbed


# Dagster reads its own deprecated property when it loads a code location in its process.
@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`")
@pytest.mark.verify
@pytest.mark.parametrize("restarted", [False, True], ids=["the same daemon", "a daemon started again"])
def test_the_scheduler_asks_for_a_night_once_though_the_clock_goes_back(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    with dagster_home_of(shell, monkeypatch) as home:
        for name, value in home.environment.items():
            monkeypatch.setenv(name, value)
        origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(executable_path=sys.executable, module_name="marketing_assets.definitions")
        )
        workspace = InProcessWorkspaceLoadTarget(origin)
        with WorkspaceProcessContext(home.instance, workspace) as context:
            look_at(context, restarted, home)


def look_at(context: WorkspaceProcessContext, restarted: bool, home: DagsterHome) -> None:
    iterations: dict[str, ScheduleIterationTimes] = {}

    def asked_for(at: datetime) -> list[str]:
        """The nights in the queue after Dagster's scheduler looked at this instant."""
        known = {} if restarted else iterations
        errors = list(launch_scheduled_runs(context, logging.getLogger("test"), at, known))
        assert not any(errors)
        return [run.tags["dagster/partition"] for run in home.runs("nightly_marketing")]

    assert asked_for(TARGET_DAY + timedelta(hours=1, minutes=59)) == []
    assert asked_for(TARGET_DAY + timedelta(hours=2, seconds=5)) == [str(NEXT)]
    for back in (timedelta(hours=1, seconds=5), timedelta(hours=2, seconds=1), timedelta(hours=3)):
        assert asked_for(TARGET_DAY + back) == [str(NEXT)]
    following = [str(NEXT), str(NEXT + timedelta(days=1))]
    assert asked_for(TARGET_DAY + timedelta(days=1, hours=2, seconds=5)) == following
