"""Check of the patterns: each one's share of all users against the day before (a warning)."""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg

from marketing_assets.domain.days import ONE_DAY
from marketing_assets.orchestration.checks.results import check_result, command, days_named
from marketing_assets.orchestration.metadata import markdown_table
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import SEGMENT_SUMMARY

SHARES = dg.AssetCheckSpec(
    "shares_like_the_day_before",
    asset=SEGMENT_SUMMARY.name,
    description="Each pattern's share of all users against the day before, as a difference (0.05 = five "
    "points); the limit is `pattern_share_change` of the policy's checks.",
)
Shares = Mapping[str, float]


def shares_like_the_day_before(platform: Platform, days: Sequence[date]) -> dg.AssetCheckResult:
    """A warning at a jump, with each pattern's share of both days; a pattern new in the policy has none."""
    from marketing_assets.storage.comparison_queries import shares_by_day

    limit = float(platform.policy.checks.pattern_share_change)
    shares = _shares(platform, days)
    jumps = {
        day: _largest_jump(shares[day], shares[day - ONE_DAY]) for day in days if day - ONE_DAY in shares
    }
    if not jumps:
        note = f"no partition of {days[0] - ONE_DAY}: nothing to compare with"
        return check_result(SHARES, passed=True, observed=0.0, limit=limit, note=note)
    worst = max(jumps, key=lambda day: jumps[day])
    failing = [day for day in days if jumps.get(day, 0.0) > limit]
    every_day = platform.lake.root / SEGMENT_SUMMARY.name / "day=*" / "*.parquet"
    return check_result(
        SHARES,
        passed=not failing,
        observed=round(jumps[worst], 6),
        limit=limit,
        how_to_list=command([shares_by_day([worst - ONE_DAY, worst])], {"checked": every_day}),
        day=worst.isoformat(),
        shares=_table(shares[worst - ONE_DAY], shares[worst]),
        failing_days=days_named(failing) or "none",
    )


def _shares(platform: Platform, days: Sequence[date]) -> dict[date, dict[str, float]]:
    from marketing_assets.storage.comparison_queries import shares_by_day

    wanted = sorted({*days, *(day - ONE_DAY for day in days)})
    there = [day for day in wanted if platform.lake.path(SEGMENT_SUMMARY, day).exists()]
    platform.lake.register(platform.engine, "checked", SEGMENT_SUMMARY, there)
    shares: dict[date, dict[str, float]] = {day: {} for day in there}
    for row in platform.engine.fetch(shares_by_day()):
        assert isinstance(row["day"], date)
        shares[row["day"]][str(row["pattern"])] = float(str(row["share"]))
    return shares


def _largest_jump(now: Shares, before: Shares) -> float:
    return max((abs(now[pattern] - before[pattern]) for pattern in now if pattern in before), default=0.0)


def _table(before: Shares, now: Shares) -> dg.MarkdownMetadataValue:
    rows = [
        (pattern, f"{before[pattern]:.1%}" if pattern in before else "", f"{share:.1%}")
        for pattern, share in now.items()
    ]
    return markdown_table(["pattern", "the day before", "the day"], rows)
