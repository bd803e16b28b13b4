"""Sensor `missed_nights` on a decided world: what it asks for after the system was down."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from dagster._core.test_utils import create_run_for_test

from marketing_assets.domain import nights
from marketing_assets.errors import LakeError, SourceError
from marketing_assets.orchestration import attempts, sensing
from marketing_assets.orchestration.assets import user_features
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.partitions import days_of_range, days_to_also_ingest
from marketing_assets.orchestration.platform import Platform
from marketing_assets.sources.files import FilesSource
from marketing_assets_tests.orchestration import sensors
from marketing_assets_tests.orchestration.sensors import at, on, recorded
from marketing_assets_tests.world import DAY, FIRST, World, population

NEXT = DAY + timedelta(days=1)
LATER = DAY + timedelta(days=4)


def day(number: int) -> date:
    return DAY + timedelta(days=number)


def morning(of: date, hour: int = 9) -> datetime:
    return on(of, hour)


def tick(world: World) -> dg.RunRequest | str:
    """What the sensor asks for now, or why it asks for nothing."""
    ticked = sensors.tick(world, "missed_nights")
    return ticked.asked or str(ticked.said)


def launch(world: World, asked: dg.RunRequest | str) -> dg.ExecuteInProcessResult:
    assert isinstance(asked, dg.RunRequest)
    return sensors.launch(world, asked)


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


@pytest.mark.verify
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
            tags=dict(gap.tags),
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


@pytest.mark.verify
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


ALL_MEASURED = "Every night so far is decided or recorded, and every day measured."


@pytest.fixture
def source_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The source does not answer until the patch is undone; no step waits before it tries again."""
    monkeypatch.setattr(attempts, "RETRIES", dg.RetryPolicy(max_retries=0))

    def away(*_: object) -> None:
        raise SourceError("the source is away", remedy="start it", transient=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FilesSource, "load", away)
        yield patch


def later(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    """Let a quarter of an hour be so much shorter."""
    monkeypatch.setattr(nights, "_AGAIN_AFTER", timedelta(minutes=15 - minutes))


def run_of(world: World, asked: dg.RunRequest | str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    assert isinstance(asked, dg.RunRequest)
    partition = {} if asked.partition_key is None else {"dagster/partition": asked.partition_key}
    run: dg.DagsterRun = create_run_for_test(
        world.instance,
        job_name=str(asked.job_name),
        status=status,
        tags={**asked.tags, **partition, "dagster/run_key": str(asked.run_key)},
    )
    return run


def test_a_night_that_failed_while_the_source_was_away_is_tried_again_after_a_quarter_of_an_hour(
    decided_world: World, source_away: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    with at(world, morning(day(2))):
        failed = launch(world, tick(world))
        assert not failed.success
        said = tick(world)
        assert isinstance(said, str)
        assert said.startswith(
            f"The night of {NEXT} was run and not published: run {failed.run_id[:8]} "
            "(nightly_marketing, FAILURE) is tried again from "
        )
        later(monkeypatch, 15)
        again = tick(world)
        assert isinstance(again, dg.RunRequest)
        assert (again.run_key, again.partition_key) == (f"night/{NEXT}/2", str(NEXT))
        source_away.undo()
        assert launch(world, again).success
        assert tick(world) == ALL_MEASURED
    assert recorded(world) == [(DAY, "published", None), (NEXT, "published", None)]


def test_after_the_fourth_try_it_is_left_to_a_person(
    decided_world: World, source_away: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    later(monkeypatch, 15)
    keys = []
    with at(world, morning(day(2))):
        while isinstance(asked := tick(world), dg.RunRequest):
            keys.append(asked.run_key)
            run_id = launch(world, asked).run_id
    assert keys == [f"night/{NEXT}", *(f"night/{NEXT}/{number}" for number in (2, 3, 4))]
    assert asked == (
        f"The night of {NEXT} was run and not published: see run {run_id[:8]} "
        "(nightly_marketing, FAILURE), then run it again."
    )


def test_bad_data_is_not_tried_again_however_long_ago(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    later(monkeypatch, 15)
    world.write([*population(), *bad_rows(NEXT)])
    with at(world, morning(day(2))):
        assert not launch(world, tick(world)).success
        said = tick(world)
    assert isinstance(said, str)
    assert said.endswith("(nightly_marketing, FAILURE), then run it again.")


def test_a_run_whose_process_was_killed_is_tried_again_and_one_that_somebody_ended_is_not(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    later(monkeypatch, 15)
    with at(world, morning(day(2))):
        killed = run_of(world, tick(world), dg.DagsterRunStatus.STARTED)
        world.instance.report_run_failed(killed, "its process is gone")
        again = tick(world)
        assert isinstance(again, dg.RunRequest)
        assert again.run_key == f"night/{NEXT}/2"
        ended = run_of(world, again, dg.DagsterRunStatus.CANCELED)
        said = tick(world)
    assert said == (
        f"The night of {NEXT} was run and not published: see run {ended.run_id[:8]} "
        "(nightly_marketing, CANCELED), then run it again."
    )


def test_a_run_that_dagster_starts_again_by_itself_is_not_asked_for(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    later(monkeypatch, 15)
    with at(world, morning(day(2))):
        killed = run_of(world, tick(world), dg.DagsterRunStatus.STARTED)
        world.instance.add_run_tags(killed.run_id, {"dagster/will_retry": "true"})
        world.instance.report_run_failed(killed, "its process is gone")
        said = tick(world)
    assert isinstance(said, str)
    assert said.endswith("(nightly_marketing, FAILURE) is started again by Dagster.")


def test_a_run_that_was_never_started_counts_as_none(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    monkeypatch.setattr(sensing, "_SURELY_BEGUN", timedelta(0))
    with at(world, morning(day(2))):
        first = tick(world)
        run_of(world, first, dg.DagsterRunStatus.NOT_STARTED)
        second = tick(world)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert second.run_key == first.run_key == f"night/{NEXT}"


def bad_rows(of: date) -> list[str]:
    """More rows without a user than a day may have."""
    return [f"bad{number},,{of}T12:00:00+00:00,5.00,Store 1,Food" for number in range(90)]


def measured_one_after_another(world: World) -> tuple[list[tuple[str, str, bool]], str]:
    """Each run that the sensor asks for, by its days, and whether it ended well; what it says in the end."""
    runs = []
    while isinstance(asked := tick(world), dg.RunRequest):
        first, last = days_of_range(asked.tags)
        runs.append((f"{first:%d}", f"{last:%d}", launch(world, asked).success))
        assert len(runs) < 10
    return runs, asked


@pytest.mark.verify
def test_after_a_range_that_failed_its_days_are_asked_for_one_by_one(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    compute = user_features.compute_features

    def broken(platform: Platform, of: date) -> None:
        if of == day(2):
            raise LakeError("this day is bad", remedy="mend it")
        compute(platform, of)

    monkeypatch.setattr(user_features, "compute_features", broken)
    with at(world, morning(day(5), 1)):
        runs, said = measured_one_after_another(world)
    assert runs == [("11", "13", False), ("11", "11", True), ("12", "12", False), ("13", "13", True)]
    assert said.startswith(f"{day(2)} to {day(2)} still have no patterns: see run ")
    assert said.endswith("(behaviour_range, FAILURE), then launch behaviour_range for these days again.")
    # A day that is missed later is asked for beside it, not with it.
    with at(world, morning(day(6), 1)):
        runs, later_said = measured_one_after_another(world)
    assert runs == [("14", "14", True)]
    assert later_said == said


@pytest.mark.verify
def test_days_whose_window_lacks_the_bad_one_wait_for_it(decided_world: World) -> None:
    world = decided_world
    world.write([*population(), *bad_rows(day(2))])
    with at(world, morning(day(5), 1)):
        runs, said = measured_one_after_another(world)
        assert runs == [("11", "13", False), ("11", "11", True), ("12", "12", False)]
        assert said.endswith(f" {day(3)} to {day(3)} still have no patterns: their windows lack {day(2)}.")
        # Mended by hand, as the sensor says, the rest follows by itself.
        world.write(population())
        world.behaviour(day(2), day(2))
        assert measured_one_after_another(world) == ([("13", "13", True)], ALL_MEASURED)
