"""Whether the run at hand decides its night: asked by the steps that may begin it."""

from datetime import date

import dagster as dg

from marketing_assets.domain.nights import standing
from marketing_assets.orchestration.platform import Platform

NIGHT_TAG = "marketing/night"
"""Tag of a run, so that a list of runs says why steps were skipped: decide, stays or missed."""


def is_decided_now(context: dg.AssetExecutionContext, platform: Platform, day: date) -> bool:
    """Whether the night is decided; one that comes too late, after the first one, is recorded as skipped."""
    from marketing_assets.storage.repositories import nights

    now = platform.started_at or platform.now()
    with platform.database.begin() as connection:
        row = None if platform.rebuild else nights.night(connection, day)
        decided = row is not None and row.is_decided
        newest = nights.newest_decided(connection, before=day if platform.rebuild else None)
        stand = standing(day, now, platform.zone, newest, decided=decided)
        first = nights.first_decided(connection)
        recorded = stand == "missed" and first is not None and day > first
        if recorded:
            nights.record_skipped(
                connection,
                [day],
                run_id=context.run.run_id,
                policy_version=platform.policy.version,
                reason="missed",
                at=now,
            )
    context.instance.add_run_tags(context.run.run_id, {NIGHT_TAG: stand})
    if stand == "stays":
        context.log.info(f"The night of {day} stays as it was decided.")
    if stand == "missed":
        context.log.warning(
            f"The night of {day} is not decided: its target day was over when the run began "
            f"({'recorded as skipped' if recorded else 'before the first decided night, so not recorded'}). "
            f"To decide it in the simulated clock: marketing run --day {day} --rebuild"
        )
    return stand == "decide"
