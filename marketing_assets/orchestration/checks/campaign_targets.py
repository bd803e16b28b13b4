"""Checks of the targets: reasons are true under the policy (blocking), arms have their shares (warning)."""

from datetime import date
from decimal import Decimal

import dagster as dg

from marketing_assets.domain.assignment import deviation
from marketing_assets.orchestration.checks.datasets import partition_files, register_partitions
from marketing_assets.orchestration.checks.results import check_result, command
from marketing_assets.orchestration.metadata import markdown_table
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, CAMPAIGNS

REASONS = dg.AssetCheckSpec(
    "reasons_true",
    asset=CAMPAIGN_TARGETS.name,
    description="The values in every target's reason satisfy the policy's rule for its campaign's pattern. "
    "Targets that an earlier run of the night published stand, whatever the policy says now.",
    blocking=True,
)
ARMS = dg.AssetCheckSpec(
    "arms_as_configured",
    asset=CAMPAIGN_TARGETS.name,
    description="Control targets of each campaign against its share, in standard deviations of a fair draw; "
    "the limit is `arm_deviations` of the policy's checks.",
)


def target_check_specs() -> list[dg.AssetCheckSpec]:
    """Specs of the checks in this module."""
    return [REASONS, ARMS]


def reasons_true(platform: Platform, day: date, exempt: str | None = None) -> dg.AssetCheckResult:
    """Fails where a reason is not true; targets with a key in the relation `exempt` need none."""
    from marketing_assets.storage import dataset_queries
    from marketing_assets.storage.comparison_queries import untrue_reasons

    register_partitions(platform, CAMPAIGN_TARGETS, [day])
    known = {pattern.name: pattern for pattern in platform.policy.patterns}
    platform.lake.register(platform.engine, "decided", CAMPAIGNS, [day])
    patterns = {
        str(row["campaign_id"]): known[str(row["target_pattern"])]
        for row in platform.engine.fetch(
            "select campaign_id, target_pattern from decided order by campaign_id"
        )
        if row["target_pattern"] in known
    }
    platform.engine.drop("decided")
    found = platform.engine.fetch(dataset_queries.counted(untrue_reasons(patterns, exempt)))[0]["found"]
    return check_result(
        REASONS,
        passed=found == 0,
        observed=int(str(found)),
        limit=0,
        how_to_list=command([untrue_reasons(patterns)], partition_files(platform, CAMPAIGN_TARGETS, day)),
        policy_version=platform.policy.version,
    )


def arms_as_configured(platform: Platform, day: date) -> dg.AssetCheckResult:
    """A warning where a campaign's new targets are split as no fair draw would; every campaign's numbers."""
    from marketing_assets.storage.comparison_queries import arms

    register_partitions(platform, CAMPAIGN_TARGETS, [day])
    limit = float(platform.policy.checks.arm_deviations)
    lines, deviations = [], [0.0]
    for row in platform.engine.fetch(arms()):
        targets, control = int(str(row["targets"])), int(str(row["control"]))
        share = Decimal(str(row["holdout_share"]))
        deviations.append(deviation(targets, control, share))
        lines.append(
            (
                row["campaign_id"],
                targets,
                control,
                f"{share:.2%}",
                f"{control / targets:.2%}",
                f"{deviations[-1]:+.2f}",
            )
        )
    worst = max(deviations, key=abs)
    header = ["campaign", "new targets", "control", "share", "observed", "deviations"]
    return check_result(
        ARMS,
        passed=abs(worst) <= limit,
        observed=round(worst, 4),
        limit=limit,
        how_to_list=command([arms()], partition_files(platform, CAMPAIGN_TARGETS, day)),
        arms=markdown_table(header, lines),
    )
