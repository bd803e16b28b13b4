"""The job `target_campaign`: one campaign made by hand gets its targets at once, not only with the night.

It decides on the newest published features and adds to the partitions of yesterday, of which today is the
target day, so that every night after it, and a later run of that night, finds its targets published.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import ONE_DAY, day_of, end_of, start_of
from marketing_assets.errors import RequestError
from marketing_assets.orchestration.attempts import attempt, refuse_overtaken
from marketing_assets.orchestration.platform import Platform, platform_resource
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from datetime import date
    from zoneinfo import ZoneInfo

    from sqlalchemy import Connection

    from marketing_assets.domain.campaigns import Campaign, CampaignDecision
    from marketing_assets.orchestration.targeting import GlobalHoldout
    from marketing_assets.policy.model import Pattern, Policy

NAME = "target_campaign"
CAMPAIGN_TAG = "marketing/campaign"
"""Tag of a run: the campaign that it gives targets."""

_REFUSED = "refused/"
_COST = "select sum(expected_cost) as cost from night_decisions where outcome in ('treatment', 'control')"
_REFUSALS = (
    "select outcome, count(*) as users from night_decisions where outcome not in ('treatment', 'control')"
    " group by outcome order by outcome"
)


@dataclass(frozen=True)
class TargetedNow:
    """What a campaign has after it: users by arm, of all that were assigned today, and the refused."""

    day: "date"
    treatment: int
    control: int
    refused: Mapping[str, int]

    @property
    def figures(self) -> dict[str, int | str]:
        """As metadata of the run."""
        refused = {f"{_REFUSED}{reason}": users for reason, users in self.refused.items()}
        return {
            "assigned_on": self.day.isoformat(),
            "treatment": self.treatment,
            "control": self.control,
            **refused,
        }


def build_target_job(settings: Settings) -> dg.JobDefinition:
    """The job for these settings."""

    @dg.op(name="target_campaign_now", description="Decides, writes and publishes the campaign's targets.")
    def target_campaign_step(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
        with attempt(context, platform):
            campaign_id = context.run.tags.get(CAMPAIGN_TAG)
            if campaign_id is None:
                raise RequestError(
                    "the run does not say which campaign it is for",
                    remedy=f"launch it with the tag {CAMPAIGN_TAG}, whose value is the campaign's id",
                )
            made = target_campaign(platform, campaign_id, context.run_id)
        context.add_output_metadata({"campaign": campaign_id, **made.figures})

    @dg.job(
        name=NAME,
        executor_def=dg.in_process_executor,
        resource_defs={"platform": platform_resource(settings)},  # its sensor warns where it is bound later
        tags={"trigger": "ui", "source": settings.source},
        description="Gives one campaign made by hand its targets at once: the steps of a night, for the "
        f"campaign that the tag {CAMPAIGN_TAG} names.",
    )
    def target_campaign_job() -> None:
        target_campaign_step()

    return target_campaign_job


def figures_of(instance: dg.DagsterInstance, campaign_id: str) -> Mapping[str, object]:
    """What the newest run that gave the campaign targets came to; empty where there is none."""
    wanted = dg.RunsFilter(
        job_name=NAME, tags={CAMPAIGN_TAG: campaign_id}, statuses=[dg.DagsterRunStatus.SUCCESS]
    )
    for run in instance.get_runs(wanted, limit=1):
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT):
            metadata = entry.get_dagster_event().step_output_data.metadata
            found = {name: each.value for name, each in metadata.items()}
            refused = {
                name.removeprefix(_REFUSED): users
                for name, users in found.items()
                if name.startswith(_REFUSED)
            }
            return {
                "assigned_on": found["assigned_on"],
                "users_targeted": found["treatment"],
                "users_held_out": found["control"],
                "refused": refused,
            }
    return {}


def campaign_for_now(
    connection: "Connection", campaign_id: str, at: datetime, zone: "ZoneInfo"
) -> "Campaign":
    """The campaign, which can be given targets now.

    Raises:
        RequestError: there is none, it cannot be given any, or no night was ever published.
    """
    from marketing_assets.domain.targeting import refuse_now
    from marketing_assets.storage.repositories import campaigns, nights

    campaign = campaigns.one(connection, campaign_id)
    if campaign is None:
        raise RequestError(
            f"there is no campaign {campaign_id[:100]!r}", remedy="name one that the list of campaigns shows"
        )
    refuse_now(campaign, at, zone)
    if nights.newest_decided(connection) is None:
        raise RequestError(
            "no night was published yet, so that nothing is known of any user",
            remedy="run the first night (marketing run); it gives the campaign its targets",
        )
    return campaign


def target_campaign(platform: Platform, campaign_id: str, run_id: str) -> TargetedNow:
    """Decide the campaign for today, add its targets to what yesterday's night has, and publish them.

    Done again, or killed anywhere and done again, it ends the same.

    Raises:
        RequestError: the campaign cannot be given targets now, or they would cost too much.
    """
    from marketing_assets.storage.publish import publish_targets

    at = platform.now()
    day = day_of(at, platform.zone) - ONE_DAY
    refuse_overtaken(platform, day)
    holdout = _decide(platform, campaign_id, day, at)
    _refuse_cost(platform, campaign_id)
    _write(platform, campaign_id, day)
    publish_targets(
        platform.writer,
        platform.engine,
        platform.lake,
        day=day,
        campaign_id=campaign_id,
        run_id=run_id,
        policy_version=platform.policy.version,
        global_share=holdout.share,
        at=at,
    )
    return _counted(platform, campaign_id, day)


def _decide(platform: Platform, campaign_id: str, day: "date", at: datetime) -> "GlobalHoldout":
    """Make the relations `night_decisions`, and `decided_campaigns` with the campaign's own row."""
    from marketing_assets.domain.patterns import pattern_matches
    from marketing_assets.domain.targeting import open_campaigns
    from marketing_assets.orchestration.assets.campaigns import register_decisions
    from marketing_assets.orchestration.targeting import (
        budgets_of,
        decide,
        holdout_of,
        register_converted,
        register_opted_out,
        register_standing,
    )
    from marketing_assets.storage.datasets import USER_FEATURES
    from marketing_assets.storage.repositories import budgets, nights
    from marketing_assets.storage.repositories import campaigns as campaign_rows

    engine, policy, zone = platform.engine, platform.policy, platform.zone
    target_day = day + ONE_DAY
    begins = start_of(target_day, zone)
    with platform.database.connect() as connection:
        campaign = campaign_for_now(connection, campaign_id, at, zone)
        features = nights.newest_decided(connection)
        assert features is not None
        platform.lake.register(engine, "user_features", USER_FEATURES, [features])
        engine.create("qualified_users", pattern_matches([_pattern(campaign, policy)]))
        register_opted_out(platform, connection)
        open_now = [
            each
            for each in campaign_rows.not_over(connection, begins)
            if each.status == "active" and each.starts_at < end_of(target_day, zone) and each.ends_at > begins
        ]
        register_standing(platform, connection, day, open_now, [campaign])
        rows = budgets.of_campaigns(connection, [campaign_id])
        register_converted(platform, connection, [campaign])
        holdout = holdout_of(platform, connection, day)
    money = budgets_of(engine, [campaign], rows, begins)
    [opened] = open_campaigns([campaign], money, policy, target_day, zone)
    decide(engine, [replace(opened, valid_from=max(opened.valid_from, at))], holdout, policy)
    register_decisions(engine, "decided_campaigns", [_decision(platform, campaign, holdout, target_day)])
    return holdout


def _pattern(campaign: "Campaign", policy: "Policy") -> "Pattern":
    """Whom the campaign is for: those who meet its own criteria, or the policy's pattern of that name."""
    from marketing_assets.domain.campaigns import own_pattern

    known = {each.name: each for each in policy.patterns}
    pattern = own_pattern(campaign) or known.get(campaign.target_pattern)
    if pattern is None:
        raise RequestError(
            f"the policy no longer has the pattern {campaign.target_pattern}",
            remedy="put it back into the policy, or create a campaign for another one",
        )
    return pattern


def _decision(
    platform: Platform, campaign: "Campaign", holdout: "GlobalHoldout", target_day: "date"
) -> "CampaignDecision":
    """What a night would say of the campaign."""
    from marketing_assets.domain.campaigns import decide_campaigns
    from marketing_assets.orchestration.targeting import eligible_audiences

    users = platform.engine.fetch("select count(*) as users from qualified_users")[0]["users"]
    audiences = {campaign.target_pattern: int(str(users))}
    eligible = eligible_audiences(platform.engine, platform.policy, [campaign], holdout)
    decided = decide_campaigns([campaign], audiences, eligible, platform.policy, target_day, platform.zone)
    [mine] = [each for each in decided if each.campaign_id == campaign.campaign_id]
    return mine


def _refuse_cost(platform: Platform, campaign_id: str) -> None:
    """As the check `cost_in_proportion` does at night."""
    from marketing_assets.orchestration.targeting import audience_spend

    cost = Decimal(str(platform.engine.fetch(_COST)[0]["cost"] or 0))
    spend, share = audience_spend(platform.engine), platform.policy.limits.max_cost_share
    if cost > share * max(spend, Decimal(0)):
        raise RequestError(
            f"the targets of {campaign_id} are expected to cost {cost:.2f}, more than {share:.2%} of the "
            f"{spend:.2f} that its audience has spent",
            remedy="lower its offer or give it a budget, or raise limits.max_cost_share if it is meant so",
        )


def _write(platform: Platform, campaign_id: str, day: "date") -> None:
    """Add what was decided to the night's partitions, and take out what they say of the campaign.

    The partition of campaigns may not be there yet, or be that of a run that was killed.
    """
    from sqlglot import exp

    from marketing_assets.engine.base import sql
    from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, CAMPAIGNS, TARGETING_DECISIONS

    engine, lake = platform.engine, platform.lake
    others = exp.column("campaign_id").neq(campaign_id)
    if not lake.missing(CAMPAIGNS, [day]):
        lake.register(engine, "night_campaigns", CAMPAIGNS, [day])
        kept = exp.select(*CAMPAIGNS.column_names).from_("night_campaigns").where(others)
        engine.append("decided_campaigns", kept)
    engine.register_query("night_targets", sql("campaign_targets"))
    engine.create("decision_log", sql("targeting_decisions"), {"policy_version": platform.policy.version})
    refusals = exp.select(*TARGETING_DECISIONS.column_names).from_("kept_decisions")
    engine.append("decision_log", refusals.where(others, "outcome not in ('treatment', 'control')"))
    lake.write(engine, CAMPAIGNS, day, "decided_campaigns")
    lake.write(engine, CAMPAIGN_TARGETS, day, "night_targets")
    lake.write(engine, TARGETING_DECISIONS, day, "decision_log")


def _counted(platform: Platform, campaign_id: str, day: "date") -> TargetedNow:
    """Of the campaign's targets in the partition as it was published."""
    from sqlglot import exp

    from marketing_assets.storage.datasets import CAMPAIGN_TARGETS

    engine = platform.engine
    platform.lake.register(engine, "partition", CAMPAIGN_TARGETS, [day])
    mine = exp.select("arm", "count(*) as users").from_("partition").group_by("arm")
    rows = engine.fetch(mine.where(exp.column("campaign_id").eq(campaign_id)))
    arms = {str(row["arm"]): int(str(row["users"])) for row in rows}
    refused = {str(row["outcome"]): int(str(row["users"])) for row in engine.fetch(_REFUSALS)}
    return TargetedNow(day + ONE_DAY, arms.get("treatment", 0), arms.get("control", 0), refused)
