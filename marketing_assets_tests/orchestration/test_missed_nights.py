"""Sensor `missed_nights` on a decided world: what it asks for after the system was down."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from dagster._core.test_utils import create_run_for_test

from marketing_assets.orchestration import sensing
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.partitions import days_to_also_ingest
from marketing_assets.storage import clock
from marketing_assets_tests.world import DAY, FIRST, World, population

NEXT = DAY + timedelta(days=1)
LATER = DAY + timedelta(days=4)


def day(number: int) -> date:
    return DAY + timedelta(days=number)


@contextmanager
def at(world: World, instant: datetime) -> Iterator[None]:
    with clock.simulated(world.database, "test") as simulated:
        simulated.set(instant)
        yield


def morning(of: date, hour: int = 9) -> datetime:
    return datetime.combine(of, datetime.min.time(), UTC) + timedelta(hours=hour)


def tick(world: World, cursor: str | None = None) -> dg.RunRequest | str:
    """What the sensor asks for now, or why it asks for nothing."""
    definitions = build_definitions(world.settings)
    context = dg.build_sensor_context(
        instance=world.instance, cursor=cursor, repository_def=definitions.get_repository_def()
    )
    ticked = definitions.resolve_sensor_def("missed_nights").evaluate_tick(context)
    if ticked.run_requests:
        [request] = ticked.run_requests
        return request
    assert ticked.skip_message
    return ticked.skip_message


def launch(world: World, asked: dg.RunRequest | str) -> dg.ExecuteInProcessResult:
    """Run what was asked for, as the daemon would: same job, partition and tags."""
    assert isinstance(asked, dg.RunRequest)
    job = build_definitions(world.settings).resolve_job_def(str(asked.job_name))
    return job.execute_in_process(
        instance=world.instance,
        partition_key=asked.partition_key,
        tags={**asked.tags, "dagster/run_key": str(asked.run_key)},
        raise_on_error=False,
    )


def recorded(world: World) -> list[tuple[date, str, str | None]]:
    return world.rows("select day, status, reason from marketing.published_nights order by day")


def test_a_new_installation_has_missed_nothing(world: World) -> None:
    with at(world, morning(NEXT)):
        said = tick(world)
    assert isinstance(said, str)
    assert said.startswith("No night was decided yet, so none was missed.")
    assert recorded(world) == []


def test_nothing_is_missing_when_the_newest_night_is_decided(decided_world: World) -> None:
    with at(decided_world, morning(NEXT)):
        assert tick(decided_world) == "Every night so far is decided or recorded, and every day measured."


def test_before_the_night_is_overdue_it_is_the_schedule_s(decided_world: World) -> None:
    with at(decided_world, morning(day(2), 2) + timedelta(minutes=14)):
        assert isinstance(tick(decided_world), str)
    with at(decided_world, morning(day(2), 2) + timedelta(minutes=15)):
        assert isinstance(tick(decided_world), dg.RunRequest)


def test_after_days_down_the_newest_night_is_decided_and_the_others_measured_and_recorded(
    decided_world: World,
) -> None:
    world = decided_world
    with at(world, morning(day(5))):
        night = tick(world)
        assert isinstance(night, dg.RunRequest)
        assert (night.job_name, night.partition_key) == ("nightly_marketing", str(day(4)))
        assert night.tags["dagster/priority"] == "10"
        assert night.tags["trigger"] == "missed_nights"
        assert days_to_also_ingest(night.tags) == [day(1), day(2), day(3)]
        # Recorded already, whatever becomes of the run.
        missed = [(day(number), "skipped", "missed") for number in (1, 2, 3)]
        assert recorded(world) == [(DAY, "published", None), *missed]

        assert launch(world, night).success
        assert recorded(world) == [(DAY, "published", None), *missed, (day(4), "published", None)]
        behaviour = tick(world)
        assert isinstance(behaviour, dg.RunRequest)
        assert behaviour.job_name == "behaviour_range"
        assert behaviour.tags["dagster/asset_partition_range_start"] == str(day(1))
        assert behaviour.tags["dagster/asset_partition_range_end"] == str(day(3))
        assert int(behaviour.tags["dagster/priority"]) < 0

        assert launch(world, behaviour).success
        lake = world.settings.lake
        assert all((lake / "user_patterns" / f"day={day(n)}" / "part-0.parquet").exists() for n in range(5))
        assert tick(world) == "Every night so far is decided or recorded, and every day measured."


def test_a_night_too_late_to_decide_is_measured_and_recorded_while_the_next_is_not_due(
    decided_world: World,
) -> None:
    world = decided_world
    with at(world, morning(day(3), 1)):
        asked = tick(world)
        assert isinstance(asked, dg.RunRequest)
        assert asked.run_key == f"behaviour/{day(1)}/{day(1)}"
        assert launch(world, asked).success
        assert isinstance(tick(world), str)
    assert recorded(world) == [(DAY, "published", None), (day(1), "skipped", "missed")]


@pytest.mark.parametrize("job", ["nightly_marketing", "behaviour_range", "ingest_range", "__ASSET_JOB"])
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_while_a_run_is_under_way_nothing_is_started(
    decided_world: World, job: str, status: dg.DagsterRunStatus
) -> None:
    run = create_run_for_test(decided_world.instance, job_name=job, status=status)
    with at(decided_world, morning(day(5))):
        said = tick(decided_world)
    assert said == (
        f"run {run.run_id[:8]} ({job}, {status.value}) is under way; looked at again when it has ended."
    )
    assert recorded(decided_world) == [(DAY, "published", None)]


def test_the_same_night_is_asked_for_under_the_same_key_and_once_run_not_again(
    decided_world: World,
) -> None:
    world = decided_world
    with at(world, morning(day(2))):
        first, second = tick(world), tick(world)
        assert isinstance(first, dg.RunRequest)
        assert isinstance(second, dg.RunRequest)
        assert first.run_key == second.run_key == f"night/{NEXT}"
        broken = [f"bad{n},,{NEXT}T12:00:00+00:00,5.00,Store 1,Food" for n in range(3)]
        world.write([*population(), *broken])
        failed = launch(world, first)
        assert not failed.success
        said = tick(world)
    assert isinstance(said, str)
    assert said == (
        f"The night of {NEXT} was run and not published: see run {failed.run_id[:8]} "
        "(nightly_marketing, FAILURE), then run it again."
    )


def test_a_range_that_failed_is_named_and_does_not_hold_up_the_next(decided_world: World) -> None:
    world = decided_world
    world.ingest(day(1), day(1))
    world.behaviour(day(2), day(2))  # leaves two gaps
    with at(world, morning(day(5), 1)):
        gap = tick(world)
        assert isinstance(gap, dg.RunRequest)
        assert gap.run_key == f"behaviour/{day(1)}/{day(1)}"
        run = create_run_for_test(
            world.instance,
            job_name="behaviour_range",
            status=dg.DagsterRunStatus.FAILURE,
            tags={"dagster/run_key": gap.run_key},
        )
        other = tick(world)
        assert isinstance(other, dg.RunRequest)
        assert other.run_key == f"behaviour/{day(3)}/{day(3)}"
        assert launch(world, other).success
        assert tick(world) == (
            f"{day(1)} to {day(1)} still have no patterns: see run {run.run_id[:8]} "
            "(behaviour_range, FAILURE), then launch behaviour_range for these days again."
        )


def test_a_night_before_the_first_decided_one_gets_no_row(decided_world: World) -> None:
    world = decided_world
    assert world.night(DAY - timedelta(days=1), at=morning(NEXT)).success
    assert recorded(world) == [(DAY, "published", None)]


def test_the_first_night_of_a_new_installation_needs_nobody(world: World) -> None:
    world.write(population())
    definitions = build_definitions(world.settings)
    due = morning(NEXT, 2)
    context = dg.build_schedule_context(
        instance=world.instance,
        scheduled_execution_time=due,
        repository_def=definitions.get_repository_def(),
    )
    [asked] = definitions.resolve_schedule_def("nightly_marketing").evaluate_tick(context).run_requests or []
    with at(world, due):
        assert launch(world, asked).success
    assert recorded(world) == [(DAY, "published", None)]
    held = sorted(path.name for path in (world.settings.lake / "transactions").iterdir())
    first = max(FIRST, DAY - timedelta(days=world.settings.window_days - 1))
    assert (held[0], held[-1], len(held)) == (f"day={first}", f"day={DAY}", 31)


@pytest.mark.parametrize(
    ("surely_begun", "alive"), [(timedelta(minutes=1), True), (timedelta(minutes=-1), False)]
)
def test_a_run_that_was_killed_unnoticed_holds_up_nothing(
    decided_world: World, monkeypatch: pytest.MonkeyPatch, surely_begun: timedelta, alive: bool
) -> None:
    run = create_run_for_test(
        decided_world.instance, job_name="nightly_marketing", status=dg.DagsterRunStatus.STARTED
    )
    monkeypatch.setattr(sensing, "_SURELY_BEGUN", surely_begun)
    with at(decided_world, morning(day(5))):
        assert isinstance(tick(decided_world), str if alive else dg.RunRequest)
        # The same run, at work: it has a session, of the name that others see while they wait.
        with psycopg.connect(
            decided_world.urls.product.replace("+psycopg", ""),
            application_name=f"marketing_assets run {run.run_id[:8]}",
        ):
            assert isinstance(tick(decided_world), str)
