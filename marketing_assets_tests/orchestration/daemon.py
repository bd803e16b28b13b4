"""Dagster's daemon as tests of sensors and schedules need it: ticks, and runs that it has launched."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.events import DagsterEvent, DagsterEventType, JobFailureData, RunFailureReason
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from marketing_assets.orchestration.build import build_definitions
from marketing_assets_tests.world import World

_LOCATION = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("marketing_assets"), "__repository__")


@dataclass
class Daemon:
    """Evaluates the sensors of a world on its instance, and keeps runs as the real one does."""

    world: World

    def tick(self, sensor: str, cursor: str | None = None) -> SensorExecutionData:
        definitions = build_definitions(self.world.settings)
        context = dg.build_sensor_context(
            instance=self.world.instance,
            cursor=cursor,
            repository_def=definitions.get_repository_def(),
            sensor_name=sensor,
        )
        return definitions.resolve_sensor_def(sensor).evaluate_tick(context)

    def wanted(self, sensor: str) -> list[dg.RunRequest]:
        return list(self.tick(sensor).run_requests or [])

    def launch(
        self,
        job: str,
        tags: Mapping[str, str],
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED,
    ) -> dg.DagsterRun:
        """A run as the daemon makes it, in this state."""
        run = dg.DagsterRun(
            job_name=job, tags=tags, status=status, remote_job_origin=RemoteJobOrigin(_LOCATION, job)
        )
        return self.world.instance.add_run(run)

    def submit(self, request: dg.RunRequest) -> dg.DagsterRun:
        """Launch what a sensor asked for."""
        return self.launch(str(request.job_name), {**request.tags, "dagster/run_key": str(request.run_key)})

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what a sensor asked for, here and now."""
        job = build_definitions(self.world.settings).resolve_job_def(str(request.job_name))
        return job.execute_in_process(
            instance=self.world.instance,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            raise_on_error=False,
        )

    def report(self, run: dg.DagsterRun, kind: DagsterEventType) -> None:
        """Something happened to a run."""
        self.world.instance.report_dagster_event(
            DagsterEvent(event_type_value=kind.value, job_name=run.job_name), run.run_id
        )

    def report_failed(self, run: dg.DagsterRun, message: str) -> None:
        """The run's process died."""
        event = DagsterEvent(
            event_type_value=DagsterEventType.RUN_FAILURE.value,
            job_name=run.job_name,
            message=message,
            event_specific_data=JobFailureData(error=None, failure_reason=RunFailureReason.RUN_EXCEPTION),
        )
        self.world.instance.report_dagster_event(event, run.run_id)
