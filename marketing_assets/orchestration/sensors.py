"""Sensors: what looks every few seconds and starts runs or alerts, each built where its matter is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration import late_data, missed_nights
from marketing_assets.orchestration.requests import build_requests_sensor
from marketing_assets.orchestration.watching import build_failing_warnings_sensor, build_run_failure_sensor
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build_sensors(
    settings: Settings,
    jobs: "Sequence[UnresolvedAssetJobDefinition]",
    of_requests: Sequence[dg.JobDefinition],
) -> list[dg.SensorDefinition]:
    """All sensors; they run unless somebody stops them. `of_requests` are jobs that requests alone start."""
    return [
        build_requests_sensor(settings, [*jobs, *of_requests]),
        late_data.build(settings, jobs),
        missed_nights.build(settings, jobs),
        build_run_failure_sensor(settings),
        build_failing_warnings_sensor(settings),
    ]
