"""Sensor `late_data` on a decided world: what counts as late, and what then happens."""

from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.jobs import NIGHTLY
from marketing_assets.orchestration.partitions import days_to_also_ingest
from marketing_assets.sources.files import FilesSource
from marketing_assets.storage import clock
from marketing_assets.storage.datasets import TRANSACTIONS, Dataset
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.orchestration import sensors
from marketing_assets_tests.orchestration.sensors import Tick, at, launch, on, recorded
from marketing_assets_tests.world import DAY, World, population, purchases

NEXT = DAY + timedelta(days=1)
EARLIER = DAY - timedelta(days=3)


def night_of(day: date) -> datetime:
    return on(day + timedelta(days=1), 2)


def tick(world: World, cursor: str | None = None) -> Tick:
    return sensors.tick(world, "late_data", cursor)


@pytest.fixture
def counted_world(decided_world: World) -> World:
    """The decided world, its last days ingested with this test's instance, and the next night decided."""
    world = decided_world
    world.ingest(DAY - timedelta(days=6), DAY)
    assert world.night(NEXT).success
    return world


def test_without_a_decided_night_nothing_is_late(world: World) -> None:
    assert tick(world).said == "No night was decided yet, so nothing can be late for one."


def test_nothing_is_late_where_the_counts_are_those_of_the_ingestion(counted_world: World) -> None:
    found = tick(counted_world)
    assert found.asked is None
    assert found.said == (
        f"No row is late: {NEXT - timedelta(days=6)} to {NEXT} have as many rows in the source as when they "
        "were read."
    )


def test_a_late_row_brings_the_newest_night_up_to_date_and_marks_older_ones(counted_world: World) -> None:
    world = counted_world
    world.write([*population(), *purchases("late", [EARLIER]), *purchases("late2", [DAY])])
    with at(world, night_of(NEXT) + timedelta(hours=9)):
        found = tick(world)
        assert found.asked is not None
        assert (found.asked.job_name, found.asked.partition_key) == (NIGHTLY, str(NEXT))
        assert days_to_also_ingest(found.asked.tags) == [EARLIER, DAY]
        assert found.asked.tags["trigger"] == "late_data"
        assert launch(world, found.asked).success
        # Its target day is not over: the users who came late are targeted too.
        targets = world.rows(
            "select user_id, assigned_on from marketing.campaign_targets where user_id like 'late%' "
            "group by 1, 2 order by 1"
        )
        assert targets == [("late", NEXT + timedelta(days=1)), ("late2", NEXT + timedelta(days=1))]
        assert recorded(world) == [
            (DAY, "stale", f"transactions of {EARLIER} changed later"),
            (NEXT, "published", None),
        ]
        assert tick(world).said is not None
        assert recorded(world)[1] == (NEXT, "published", None)


def test_after_its_target_day_the_newest_night_is_measured_again_and_not_decided_again(
    counted_world: World,
) -> None:
    world = counted_world
    before = world.tables()
    features = world.files()[f"user_features/day={NEXT}/part-0.parquet"]
    world.write([*population(), *purchases("late", [EARLIER])])
    with at(world, night_of(NEXT) + timedelta(hours=23)):
        assert launch(world, tick(world).asked).success
    assert world.files()[f"user_features/day={NEXT}/part-0.parquet"] != features
    after = world.tables()
    assert {name for name in after if after[name] != before[name]} == {"published_nights"}
    assert [status for _, status, _ in recorded(world)] == ["stale", "published"]


def test_rows_that_change_nothing_leave_every_night_as_it_is(counted_world: World) -> None:
    world = counted_world
    before = world.snapshot()
    twice = purchases("frequent1", [DAY], location="Store 1")
    world.write([*population(), *twice, *twice])
    with at(world, night_of(NEXT) + timedelta(hours=9)):
        assert launch(world, tick(world).asked).success
        assert tick(world).asked is None
    assert world.snapshot() == before


def test_the_same_rows_are_ingested_again_once_only(counted_world: World) -> None:
    world = counted_world
    world.write([*population(), *(f"bad{n},,{DAY}T12:00:00+00:00,5.00,Store 1,Food" for n in range(90))])
    with at(world, night_of(NEXT) + timedelta(hours=9)):
        first, second = tick(world), tick(world)
        assert first.asked is not None
        assert second.asked is not None
        assert first.asked.run_key == second.asked.run_key
        failed = launch(world, first.asked)
        assert not failed.success
        third = tick(world)
    assert third.asked is None
    assert third.said is not None
    assert third.said.startswith(
        f"{DAY}: 165 rows instead of 75. run {failed.run_id[:8]} (nightly_marketing, FAIL"
    )
    assert [status for _, status, _ in recorded(world)] == ["published", "published"]


def test_while_a_run_is_under_way_nothing_is_looked_for(
    counted_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the source was read")

    monkeypatch.setattr(FilesSource, "load", refuse)
    run = create_run_for_test(
        counted_world.instance, job_name="nightly_marketing", status=dg.DagsterRunStatus.STARTED
    )
    assert tick(counted_world).said == (
        f"run {run.run_id[:8]} (nightly_marketing, STARTED) is under way; looked again in an hour."
    )


def test_days_whose_ingestion_dagster_does_not_know_are_not_compared(decided_world: World) -> None:
    decided_world.write(population()[:10])
    assert tick(decided_world).asked is None


def test_a_day_that_the_clean_up_removes_meanwhile_is_not_late(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    days = Lake.days

    def removed_at_once(lake: Lake, dataset: Dataset) -> list[date]:
        found = days(lake, dataset)
        lake.path(dataset, found[-1]).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Lake, "days", removed_at_once)
    found = tick(world)
    assert found.asked is None
    assert found.said == (
        f"No row is late: {DAY - timedelta(days=6)} to {DAY} have as many rows in the source as when they "
        "were read."
    )
    assert not Lake(world.settings.lake).path(TRANSACTIONS, DAY).exists()


UPDATED = "transaction_id,user_id,occurred_at,amount,location,category,updated_at"


def updated(lines: list[str], changed: datetime) -> list[str]:
    return [f"{line},{changed.isoformat()}" for line in lines]


class TestByUpdateTime:
    """A source whose rows say when they were changed."""

    @pytest.fixture
    def stamped(self, world: World, monkeypatch: pytest.MonkeyPatch) -> World:
        """Two nights, decided from rows that were all changed on the day they occurred.

        The source's clock is the simulated one.
        """
        read: list[datetime] = []

        def now(_: FilesSource) -> datetime:
            with world.database.connect() as connection:
                read.append(clock.now(connection))
            return read[-1]

        monkeypatch.setattr(FilesSource, "now", now)
        self.put(world, updated(population(), night_of(DAY) - timedelta(hours=3)))
        with at(world, night_of(DAY)):
            world.ingest(DAY - timedelta(days=31), DAY - timedelta(days=1))
        assert world.night(DAY).success
        assert world.night(NEXT).success
        return world

    def put(self, world: World, lines: list[str]) -> None:
        world.csv.write_text("\n".join([UPDATED, *lines]) + "\n", encoding="utf-8")

    def test_nothing_is_late(self, stamped: World) -> None:
        with at(stamped, night_of(NEXT) + timedelta(hours=1)):
            found = tick(stamped)
        assert found.asked is None
        assert found.said is not None
        assert "none of an ingested day changed after it was read" in found.said
        # The next look begins where this one was, a little earlier since clocks differ.
        assert found.cursor == (night_of(NEXT) + timedelta(minutes=55)).isoformat()

    def test_a_row_changed_after_its_day_was_read_is_late_however_old_its_day(self, stamped: World) -> None:
        world, old = stamped, DAY - timedelta(days=20)
        changed = night_of(NEXT) + timedelta(hours=3)
        original = updated(population(), night_of(DAY) - timedelta(hours=3))
        today = purchases("today", [NEXT + timedelta(days=1)])
        self.put(world, [*original, *updated(purchases("late", [old]), changed), *updated(today, changed)])
        with at(world, changed + timedelta(minutes=10)):
            found = tick(world)
            assert found.asked is not None
            assert days_to_also_ingest(found.asked.tags) == [old]
            assert launch(world, found.asked).success
            assert recorded(world) == [
                (DAY, "stale", f"transactions of {old} changed later"),
                (NEXT, "published", None),
            ]
        with at(world, changed + timedelta(hours=1, minutes=10)):
            again = tick(world, found.cursor)
            assert again.asked is None
            assert again.cursor == (changed + timedelta(hours=1, minutes=5)).isoformat()

    def test_a_row_of_the_future_is_named_and_not_late_until_its_time_comes(self, stamped: World) -> None:
        world, coming = stamped, night_of(NEXT) + timedelta(days=9)
        original = updated(population(), night_of(DAY) - timedelta(hours=3))
        self.put(world, [*original, *updated(purchases("late", [EARLIER]), coming)])
        with at(world, night_of(NEXT) + timedelta(hours=1)):
            found = tick(world)
        assert found.asked is None
        assert found.said is not None
        assert found.said.endswith(". Ignored: rows of 1 day whose update time lies in the future.")
        assert found.cursor == (night_of(NEXT) + timedelta(minutes=55)).isoformat()
        with at(world, coming - timedelta(hours=1)):
            before = tick(world, found.cursor)
            assert before.asked is None
        with at(world, coming + timedelta(minutes=10)):
            after = tick(world, before.cursor)
        assert after.asked is not None
        assert days_to_also_ingest(after.asked.tags) == [EARLIER]

    @pytest.mark.verify
    def test_what_a_failed_run_left_is_found_again(self, stamped: World) -> None:
        world = stamped
        changed = night_of(NEXT) + timedelta(hours=3)
        original = updated(population(), night_of(DAY) - timedelta(hours=3))
        self.put(world, [*original, *updated(purchases("late", [EARLIER]), changed)])
        with at(world, changed + timedelta(hours=1)):
            first = tick(world)
        assert first.asked is not None
        with at(world, changed + timedelta(hours=2)):
            second = tick(world, first.cursor)
        assert second.asked is not None
        assert second.asked.run_key == first.asked.run_key

    @pytest.mark.verify
    @pytest.mark.parametrize(("minutes", "late"), [(-6, False), (-4, True), (1, True)])
    def test_a_change_shortly_before_the_reading_counts_since_clocks_differ(
        self, stamped: World, minutes: int, late: bool
    ) -> None:
        original = updated(population(), night_of(DAY) - timedelta(hours=3))
        row = updated(purchases("late", [NEXT]), night_of(NEXT) + timedelta(minutes=minutes))
        self.put(stamped, [*original, *row])
        with at(stamped, night_of(NEXT) + timedelta(hours=1)):
            found = tick(stamped)
        assert (found.asked is not None) == late


def test_the_sensors_are_on_by_default_and_no_oftener_than_hourly(world: World) -> None:
    definitions = build_definitions(world.settings)
    found: dict[str, Any] = {
        name: definitions.resolve_sensor_def(name) for name in ("late_data", "missed_nights")
    }
    assert {sensor.default_status for sensor in found.values()} == {dg.DefaultSensorStatus.RUNNING}
    assert found["late_data"].minimum_interval_seconds == 3600
    assert found["missed_nights"].minimum_interval_seconds == 60
