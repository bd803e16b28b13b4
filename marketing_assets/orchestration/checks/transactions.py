"""Checks of the ingest: share of rejected rows (blocking), empty days and a day's volume (warnings)."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.expectations import change, expected_rows, same_weekdays
from marketing_assets.errors import RejectedShareError
from marketing_assets.orchestration.checks.results import check_result, command, days_named
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import REJECTED_TRANSACTIONS, TRANSACTIONS

if TYPE_CHECKING:
    from marketing_assets.sources.ingest import IngestedDay

REJECTED_SHARE = dg.AssetCheckSpec(
    "rejected_share",
    asset=TRANSACTIONS.name,
    description="Rejected rows / rows read stay below MARKETING_MAX_REJECTED; else the day keeps what it "
    "had.",
    blocking=True,
)
DAY_NOT_EMPTY = dg.AssetCheckSpec(
    "day_not_empty", asset=TRANSACTIONS.name, description="The source has rows for the day."
)
VOLUME = dg.AssetCheckSpec(
    "volume",
    asset=TRANSACTIONS.name,
    description="Rows of the day against the median of the same weekday in the four weeks before; "
    "the limit is `volume_change` of the policy's checks.",
)


def transaction_check_specs() -> list[dg.AssetCheckSpec]:
    """Specs of the checks in this module."""
    return [REJECTED_SHARE, DAY_NOT_EMPTY, VOLUME]


def rejected_share(
    platform: Platform, days: "Sequence[IngestedDay]", failed: RejectedShareError | None
) -> dg.AssetCheckResult:
    """The worst share among the days; failed where ingest refused to go on."""
    shares = {day.day: day.rejected / day.read for day in days if day.read}
    observed, day = max(((share, day) for day, share in shares.items()), default=(0.0, None))
    if failed is not None:
        observed, day = failed.share, failed.day
    return check_result(
        REJECTED_SHARE,
        passed=failed is None,
        observed=observed,
        limit=float(platform.settings.max_rejected),
        how_to_list=None if day is None else _rejected_rows(platform, day),
    )


def day_not_empty(platform: Platform, days: "Sequence[IngestedDay]") -> dg.AssetCheckResult:
    """A warning where the source has no row at all for a day."""
    empty = [day.day for day in days if day.read == 0]
    shown = [day.day for day in days][-1:]
    return check_result(
        DAY_NOT_EMPTY,
        passed=not empty,
        observed=len(empty),
        limit=0,
        how_to_list=_counts(platform, empty or shown),
        empty_days=days_named(empty) or "none",
    )


def volume(platform: Platform, days: Sequence[date]) -> dg.AssetCheckResult:
    """A warning where a day has far more or fewer rows than its weekday had lately, with the numbers."""
    limit = float(platform.policy.checks.volume_change)
    rows = _rows_by_day(platform, days)
    changes = {
        day: change(rows[day], expected) for day in days if (expected := expected_rows(rows, day)) is not None
    }
    if not changes:
        note = (
            f"fewer than two of {days_named(same_weekdays(days[-1]))} were ingested: nothing to compare with"
        )
        return check_result(VOLUME, passed=True, observed=0.0, limit=limit, note=note)
    worst = max(changes, key=lambda day: changes[day])
    failing = [day for day in days if changes.get(day, 0.0) > limit]
    return check_result(
        VOLUME,
        passed=not failing,
        observed=changes[worst],
        limit=limit,
        how_to_list=_counts(platform, [*same_weekdays(worst), worst]),
        day=worst.isoformat(),
        rows=rows[worst],
        expected=expected_rows(rows, worst),
        failing_days=days_named(failing) or "none",
    )


def _rows_by_day(platform: Platform, days: Sequence[date]) -> Mapping[date, int]:
    from marketing_assets.storage.comparison_queries import rows_by_day

    wanted = sorted({*days, *(each for day in days for each in same_weekdays(day))})
    there = [day for day in wanted if platform.lake.path(TRANSACTIONS, day).exists()]
    platform.lake.register(platform.engine, "checked", TRANSACTIONS, there)
    counted = {row["day"]: int(str(row["rows"])) for row in platform.engine.fetch(rows_by_day())}
    return {day: counted.get(day, 0) for day in there}


def _counts(platform: Platform, days: Sequence[date]) -> str | None:
    from marketing_assets.storage.comparison_queries import rows_by_day

    if not days:
        return None
    every_day = platform.lake.root / TRANSACTIONS.name / "day=*" / "*.parquet"
    return command([rows_by_day(days)], {"checked": every_day})


def _rejected_rows(platform: Platform, day: date) -> str:
    from marketing_assets.storage.comparison_queries import everything

    return command([everything()], {"checked": platform.lake.path(REJECTED_TRANSACTIONS, day)})
