"""Sensor `missed_nights`: the system was down; what was not run is run, what is too late is recorded.

What is missing is decided in `domain/nights.py`. At most one run a tick, none while another is under way:
the night that can still be decided first, then the days whose features and patterns are missing.
"""

from collections.abc import Sequence
from datetime import date, time
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import ONE_DAY, days_between, stretches, window
from marketing_assets.domain.nights import LONGEST_STRETCH, Repair, repair
from marketing_assets.orchestration.jobs import BEHAVIOUR_RANGE, NIGHTLY
from marketing_assets.orchestration.partitions import also_ingest, days_of_range, first_day, range_tags
from marketing_assets.orchestration.platform import Platform
from marketing_assets.orchestration.schedules import night_request
from marketing_assets.orchestration.sensing import (
    PARTITION_TAG,
    NextTry,
    described,
    next_try,
    run_under_way,
    watching,
)
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NAME = "missed_nights"
_EVERY_SECONDS = 60
_RUNS_LOOKED_AT = 100
_BEHIND_EVERYTHING = {"dagster/priority": "-5"}


def build(settings: Settings, jobs: "Sequence[UnresolvedAssetJobDefinition]") -> dg.SensorDefinition:
    """The sensor, on by default."""

    @dg.sensor(
        name=NAME,
        jobs=[job for job in jobs if job.name in (NIGHTLY, BEHAVIOUR_RANGE)],
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Nights that did not run because the system was down: the newest is decided while its "
        "target day lasts, the others are recorded as skipped; every day gets its features and patterns.",
    )
    def missed_nights(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with watching(settings, NAME) as platform:
            busy = run_under_way(context.instance, platform)
            if busy is not None:
                return dg.SkipReason(f"{described(busy)} is under way; looked at again when it has ended.")
            found = _missing(platform)
            if found is None:
                return dg.SkipReason(
                    "No night was decided yet, so none was missed. The first one is decided by the schedule "
                    f"{NIGHTLY}, or now: marketing run --day <yesterday>"
                )
            _record(platform, found.record)
        return _next_run(settings, context.instance, found)

    return missed_nights


def _missing(platform: Platform) -> Repair | None:
    """What is missing; None where no night was ever decided."""
    from marketing_assets.storage.datasets import USER_PATTERNS
    from marketing_assets.storage.lake import Lake
    from marketing_assets.storage.repositories import nights

    settings = platform.settings
    with platform.database.connect() as connection:
        recorded = nights.recorded(connection)
    if not any(recorded.values()):
        return None
    return repair(
        platform.now(),
        settings.zone,
        time(settings.analysis_hour, settings.analysis_minute),
        recorded,
        frozenset(Lake(settings.lake).days(USER_PATTERNS)),
        settings.feature_retention_days,
    )


def _record(platform: Platform, days: Sequence[date]) -> None:
    """Write that these nights were missed; a row that came in between stays."""
    from marketing_assets.storage.repositories import nights

    if days:
        with platform.database.begin() as connection:
            nights.record_skipped(
                connection,
                days,
                run_id=NAME,
                policy_version=platform.policy.version,
                reason="missed",
                at=platform.now(),
            )


def _next_run(
    settings: Settings, instance: dg.DagsterInstance, found: Repair
) -> dg.RunRequest | dg.SkipReason:
    said = _said(found)
    if found.decide is not None:
        day = found.decide.isoformat()
        tried = next_try(instance, NIGHTLY, {PARTITION_TAG: day}, f"night/{day}")
        if tried.key is not None:
            return night_request(settings, found.decide, run_key=tried.key, trigger=NAME)
        then = ", then run it again" if tried.given_up else ""
        said.append(f"The night of {day} was run and not published: {tried.why}{then}.")
    given_up: list[date] = []
    for first, last in _pieces(instance, found.measure):
        before = _never_ingested(settings, first)
        lacking = [day for day in before if day in given_up]
        tried = _next_measuring(instance, first, last)
        if lacking:
            why = f"their windows lack {lacking[0]}"
        elif tried.key is not None:
            return _range_request(settings, first, last, tried.key, before)
        else:
            then = f", then launch {BEHAVIOUR_RANGE} for these days again" if tried.given_up else ""
            why = f"{tried.why}{then}"
        said.append(f"{first} to {last} still have no patterns: {why}.")
        if lacking or tried.given_up:
            given_up += days_between(first, last)
    return dg.SkipReason(
        " ".join(said) or "Every night so far is decided or recorded, and every day measured."
    )


def _pieces(instance: dg.DagsterInstance, missing: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    """What is asked for as one run: a stretch of days; one by one those of a stretch that was given up.

    So one bad day holds up no other, apart from those whose window holds it.
    """
    days = {day for first, last in missing for day in days_between(first, last)}
    alone = days & _given_up_together(instance) if days else set()
    singles = [(day, day) for day in alone]
    return sorted([*singles, *stretches(days - alone, LONGEST_STRETCH)])


def _given_up_together(instance: dg.DagsterInstance) -> set[date]:
    """The days of stretches whose run failed and is not tried again."""
    failed = dg.RunsFilter(
        job_name=BEHAVIOUR_RANGE, statuses=[dg.DagsterRunStatus.FAILURE], tags={"trigger": NAME}
    )
    asked = {days_of_range(run.tags) for run in instance.get_runs(failed, limit=_RUNS_LOOKED_AT)}
    return {
        day
        for first, last in asked
        if first != last and _next_measuring(instance, first, last).given_up
        for day in days_between(first, last)
    }


def _next_measuring(instance: dg.DagsterInstance, first: date, last: date) -> NextTry:
    return next_try(instance, BEHAVIOUR_RANGE, range_tags(first, last), f"behaviour/{first}/{last}")


def _never_ingested(settings: Settings, first: date) -> list[date]:
    """The days before `first` that its window holds and that have no transactions."""
    from marketing_assets.storage.datasets import TRANSACTIONS
    from marketing_assets.storage.lake import Lake

    earliest = window(first, settings.window_days, first_day(settings))[0]
    return Lake(settings.lake).missing(TRANSACTIONS, days_between(earliest, first - ONE_DAY))


def _range_request(
    settings: Settings, first: date, last: date, key: str, before: Sequence[date]
) -> dg.RunRequest:
    """Features and patterns of a stretch of days, and the days `before` that their windows lack."""
    return dg.RunRequest(
        run_key=key,
        job_name=BEHAVIOUR_RANGE,
        tags={
            "trigger": NAME,
            "source": settings.source,
            **_BEHIND_EVERYTHING,
            **range_tags(first, last),
            **also_ingest(before),
        },
    )


def _said(found: Repair) -> list[str]:
    if not found.record:
        return []
    return [f"Recorded as missed: {', '.join(day.isoformat() for day in found.record)}."]
