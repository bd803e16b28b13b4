"""Ticks of a world's sensors, at any instant, and the runs that they ask for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from marketing_assets.orchestration.build import build_definitions
from marketing_assets.storage import clock
from marketing_assets_tests.world import World


@contextmanager
def at(world: World, instant: datetime) -> Iterator[None]:
    with clock.simulated(world.database, "test") as simulated:
        simulated.set(instant)
        yield


def on(day: date, hour: int) -> datetime:
    """That hour of the day, UTC."""
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=hour)


@dataclass
class Tick:
    """What the sensor asked for or said, and its cursor afterwards."""

    asked: dg.RunRequest | None
    said: str | None
    cursor: str | None


def tick(world: World, sensor: str, cursor: str | None = None) -> Tick:
    definitions = build_definitions(world.settings)
    context = dg.build_sensor_context(
        instance=world.instance, cursor=cursor, repository_def=definitions.get_repository_def()
    )
    ticked = definitions.resolve_sensor_def(sensor).evaluate_tick(context)
    requests = ticked.run_requests or []
    assert len(requests) <= 1
    return Tick(requests[0] if requests else None, ticked.skip_message, ticked.cursor)


def launch(world: World, asked: dg.RunRequest | None) -> dg.ExecuteInProcessResult:
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
    """Day, status and reason of every night that has a row."""
    return world.rows("select day, status, reason from marketing.published_nights order by day")
