"""Check of the features: the number of users against the day before (a warning)."""

from collections.abc import Sequence
from datetime import date

import dagster as dg

from marketing_assets.domain.days import ONE_DAY
from marketing_assets.domain.expectations import change
from marketing_assets.orchestration.checks.results import check_result, command, days_named
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import USER_FEATURES

USERS = dg.AssetCheckSpec(
    "users_like_the_day_before",
    asset=USER_FEATURES.name,
    description="Users of the window against the day before; the limit is `users_change` of the policy's "
    "checks.",
)


def users_like_the_day_before(platform: Platform, days: Sequence[date]) -> dg.AssetCheckResult:
    """A warning at a jump, with the worst day's numbers."""
    from marketing_assets.storage.comparison_queries import rows_by_day

    limit = float(platform.policy.checks.users_change)
    wanted = sorted({*days, *(day - ONE_DAY for day in days)})
    there = [day for day in wanted if platform.lake.path(USER_FEATURES, day).exists()]
    platform.lake.register(platform.engine, "checked", USER_FEATURES, there)
    counted = {row["day"]: int(str(row["rows"])) for row in platform.engine.fetch(rows_by_day())}
    users = {day: counted.get(day, 0) for day in there}
    changes = {day: change(users[day], users[day - ONE_DAY]) for day in days if day - ONE_DAY in users}
    if not changes:
        note = f"no partition of {days[0] - ONE_DAY}: nothing to compare with"
        return check_result(USERS, passed=True, observed=0.0, limit=limit, note=note, users=users[days[-1]])
    worst = max(changes, key=lambda day: changes[day])
    before = worst - ONE_DAY
    failing = [day for day in days if changes.get(day, 0.0) > limit]
    every_day = platform.lake.root / USER_FEATURES.name / "day=*" / "*.parquet"
    return check_result(
        USERS,
        passed=not failing,
        observed=changes[worst],
        limit=limit,
        how_to_list=command([rows_by_day([before, worst])], {"checked": every_day}),
        day=worst.isoformat(),
        users=users[worst],
        users_before=users[before],
        failing_days=days_named(failing) or "none",
    )
