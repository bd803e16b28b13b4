"""The job `policy_plan`: a policy tried over past nights from the UI, with the result as metadata.

It writes no partition and no table, so it waits for no other run. What it computes is `planning.py`'s part.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from marketing_assets.domain.days import days_between
from marketing_assets.errors import PolicyError
from marketing_assets.orchestration.metadata import Metadata, markdown_table, named_failures
from marketing_assets.orchestration.platform import Platform, holder_of
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_assets.domain.plans import Plan

NAME = "policy_plan"
_STEP = "plan_policy"
_LONGEST = 366


class PlanConfig(dg.Config):
    """What the launchpad asks for."""

    policy: str = Field(description="The policy file, as the machine that runs this names it.")
    day: str = Field(description="The last night to plan, YYYY-MM-DD.")
    days: int = Field(
        default=1, ge=1, le=_LONGEST, description="How many nights, the last one that of `day`."
    )


def build_plan_job(settings: Settings) -> dg.JobDefinition:
    """The job for these settings."""

    @dg.op(name=_STEP, description="Both policies over the same nights; nothing is published.")
    def policy_plan_step(context: dg.OpExecutionContext, config: PlanConfig) -> None:
        with named_failures():
            found, page = _planned(settings, config, context.run_id, context.log.info)
        context.add_output_metadata(
            {**_metadata(found, settings.currency), "page": dg.MetadataValue.path(page)}
        )

    @dg.job(
        name=NAME,
        executor_def=dg.in_process_executor,
        tags={"trigger": "ui", "source": settings.source},
        description="What a policy would do over past nights beside the one in force. The result is metadata "
        "of its step, and a page with charts.",
    )
    def policy_plan() -> None:
        policy_plan_step()

    return policy_plan


def _planned(
    settings: Settings, config: PlanConfig, run_id: str, progress: "Callable[[str], None]"
) -> "tuple[Plan, Path]":
    """The plan, and the page of it."""
    from marketing_assets.orchestration.planning import plan
    from marketing_assets.policy.load import load_policy
    from marketing_assets.reports.plan_page import plan_page

    try:
        last = date.fromisoformat(config.day)
    except ValueError as error:
        raise PolicyError(
            f"{config.day!r} is not a day", remedy="give ops.plan_policy.config.day as 2026-11-21"
        ) from error
    policy = load_policy(Path(config.policy), settings.window_days)
    platform = Platform(settings, holder_of(run_id))
    try:
        nights = days_between(last - timedelta(days=config.days - 1), last)
        found = plan(platform, policy, nights, progress)
    finally:
        platform.close()
    page = settings.home / "plans" / f"{run_id}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(plan_page(found, settings.currency), encoding="utf-8")
    return found, page


def _metadata(found: "Plan", currency: str) -> Metadata:
    current, proposed = found.current, found.proposed
    patterns = [
        (name, f"{current.patterns.get(name, 0):,}", f"{proposed.patterns.get(name, 0):,}")
        for name in dict.fromkeys([*current.patterns, *proposed.patterns])
    ]
    templates = [
        (
            each.template,
            *(
                f"{sum(one.targets for one in side.of_template(each.template)):,}"
                for side in (current, proposed)
            ),
            *(
                f"{sum(one.expected_cost for one in side.of_template(each.template)):,.2f}"
                for side in (current, proposed)
            ),
            f"{each.gain:,}",
            f"{each.lose:,}",
        )
        for each in found.changes
    ]
    cost = f"cost {currency}"
    return {
        "policy_version": proposed.policy_version,
        "in_force": current.policy_version,
        "nights": f"{found.first} to {found.last}",
        "patterns": markdown_table(["pattern", "users", "proposed"], patterns),
        "templates": markdown_table(
            ["template", "targets", "proposed", cost, f"{cost}, proposed", "users gain", "users lose"],
            templates,
        ),
        "overlaps": markdown_table(
            ["users in both", "and", "users", "proposed"],
            [(*each.templates, f"{each.current:,}", f"{each.proposed:,}") for each in found.overlaps],
        ),
        "users_gain": found.users.gain,
        "users_lose": found.users.lose,
        "targets": proposed.targets,
        "expected_cost": float(round(proposed.expected_cost, 2)),
        "refused_nights": sum(night.refused for night in proposed.nights),
    }
