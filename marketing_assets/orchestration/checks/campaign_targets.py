"""Checks of the targets: consent, cost and reasons (blocking), and that arms have their shares (warning)."""

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.assignment import deviation
from marketing_assets.orchestration.checks.datasets import partition_files, register_partitions
from marketing_assets.orchestration.checks.results import check_result, command
from marketing_assets.orchestration.metadata import markdown_table
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, CAMPAIGNS

if TYPE_CHECKING:
    from marketing_assets.policy.model import Pattern

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
CONSENT = dg.AssetCheckSpec(
    "consent_respected",
    asset=CAMPAIGN_TARGETS.name,
    description="No new target is a user who had opted out when the run read consent.",
    blocking=True,
)
COST = dg.AssetCheckSpec(
    "cost_in_proportion",
    asset=CAMPAIGN_TARGETS.name,
    description="What the night's new targets are expected to cost, against what the audience of its "
    "campaigns has spent in the window; the limit is `max_cost_share` of the policy's limits, which a policy "
    "that means it raises.",
    blocking=True,
)


def target_check_specs() -> list[dg.AssetCheckSpec]:
    """Specs of the checks in this module."""
    return [REASONS, CONSENT, COST, ARMS]


def check_targets(
    platform: Platform, day: date, spend: Decimal, exempt: str | None = None
) -> list[dg.AssetCheckResult]:
    """Results of all of them; the relation `opted_out` is what the run read, `spend` that of the audience.

    Targets with a key in the relation `exempt` stand, whatever policy and consent say now.
    """
    return [
        reasons_true(platform, day, exempt),
        consent_respected(platform, day, exempt),
        cost_in_proportion(platform, day, spend, exempt),
        arms_as_configured(platform, day),
    ]


def _patterns_by_campaign(platform: Platform, day: date) -> dict[str, "Pattern"]:
    """The pattern of each campaign of the night: the policy's, or the campaign's own."""
    from marketing_assets.domain.campaigns import pattern_of
    from marketing_assets.policy.model import frozen_terms

    found: dict[str, Pattern] = {pattern.name: pattern for pattern in platform.policy.patterns}
    platform.lake.register(platform.engine, "decided", CAMPAIGNS, [day])
    rows = platform.engine.fetch(
        "select campaign_id, target_pattern, template_settings from decided order by campaign_id"
    )
    platform.engine.drop("decided")
    by_campaign = {}
    for row in rows:
        settings = row["template_settings"]
        own = None if settings is None else pattern_of(frozen_terms(str(settings)))
        pattern = own or found.get(str(row["target_pattern"]))
        if pattern is not None:
            by_campaign[str(row["campaign_id"])] = pattern
    return by_campaign


def consent_respected(platform: Platform, day: date, exempt: str | None = None) -> dg.AssetCheckResult:
    """Fails where a new target had opted out."""
    from marketing_assets.storage import dataset_queries
    from marketing_assets.storage.comparison_queries import opted_out_targets

    register_partitions(platform, CAMPAIGN_TARGETS, [day])
    query = dataset_queries.counted(opted_out_targets(exempt))
    found = int(str(platform.engine.fetch(query)[0]["found"]))
    file = partition_files(platform, CAMPAIGN_TARGETS, day)["checked"]
    return check_result(
        CONSENT,
        passed=found == 0,
        observed=found,
        limit=0,
        how_to_list=f"the targets are in {file}, who has opted out is in marketing.user_consent",
    )


def cost_in_proportion(
    platform: Platform, day: date, spend: Decimal, exempt: str | None = None
) -> dg.AssetCheckResult:
    """Fails where the night promises more than the policy's share of what its audience has spent."""
    from marketing_assets.storage.comparison_queries import costs_by_campaign, expected_cost

    register_partitions(platform, CAMPAIGN_TARGETS, [day])
    cost = Decimal(str(platform.engine.fetch(expected_cost(exempt))[0]["cost"] or 0))
    limit = platform.policy.limits.max_cost_share
    share = cost / spend if spend > 0 else Decimal(cost > 0)
    return check_result(
        COST,
        passed=cost <= limit * max(spend, Decimal(0)),
        observed=round(float(share), 4),
        limit=float(limit),
        how_to_list=command([costs_by_campaign()], partition_files(platform, CAMPAIGN_TARGETS, day)),
        expected_cost=round(float(cost), 2),
        spend_in_window=round(float(spend), 2),
        remedy="marketing policy plan shows which campaign costs what; lower its offer, max_reward, "
        "expected_conversion or budget, or raise limits.max_cost_share if the night is meant so",
    )


def reasons_true(platform: Platform, day: date, exempt: str | None = None) -> dg.AssetCheckResult:
    """Fails where a reason is not true; targets with a key in the relation `exempt` need none."""
    from marketing_assets.storage import dataset_queries
    from marketing_assets.storage.comparison_queries import untrue_reasons

    register_partitions(platform, CAMPAIGN_TARGETS, [day])
    patterns = _patterns_by_campaign(platform, day)
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
