"""`campaigns`: what is open on the target day, kept, opened, ended or not opened, and why.

A night that is not decided now (too late, or decided long ago) yields nothing here, and the steps after it
are skipped.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import start_of
from marketing_assets.engine.base import Engine, Value
from marketing_assets.orchestration.attempts import attempt
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.checks.results import checks_not_run
from marketing_assets.orchestration.deciding import is_decided_now
from marketing_assets.orchestration.freshness import published_every_night
from marketing_assets.orchestration.metadata import (
    Metadata,
    Results,
    Stopwatch,
    column_lineage,
    dataset_spec,
    markdown_table,
    partition_metadata,
)
from marketing_assets.orchestration.platform import Platform
from marketing_assets.orchestration.targeting import (
    GlobalHoldout,
    eligible_audiences,
    holdout_of,
    register_opted_out,
    register_qualified,
)
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import (
    CAMPAIGNS,
    SEGMENT_SUMMARY,
    SETTLED_REWARDS,
    USER_FEATURES,
    USER_PATTERNS,
)

if TYPE_CHECKING:
    from marketing_assets.domain.campaigns import Campaign, CampaignDecision


def build(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The step that decides the campaigns of one night."""
    spec = dataset_spec(
        CAMPAIGNS,
        group="campaigns",
        description="Campaigns of the target day D + 1: kept, opened, ended, and templates that got none, "
        "with the reason.",
        rule="an open campaign is kept; else its template opens one where its pattern has users enough and "
        "nothing suppresses it; a night that comes too late is not decided",
        readers="`campaign_targets` and `published_night`",
        freshness=published_every_night(settings),
        deps=[
            dg.AssetDep(each.name)
            for each in (USER_PATTERNS, SEGMENT_SUMMARY, USER_FEATURES, SETTLED_REWARDS)
        ],
        partitions=partitions,
    )

    @dg.multi_asset(
        name=CAMPAIGNS.name,
        specs=[spec.replace_attributes(skippable=True)],
        check_specs=dataset_check_specs(CAMPAIGNS),
    )
    def campaigns_step(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Results:
        watch = Stopwatch()
        day = date.fromisoformat(context.partition_key)
        with attempt(context, platform):
            if not is_decided_now(context, platform, day):
                note = "the night was not decided, nothing was written"
                yield from checks_not_run(dataset_check_specs(CAMPAIGNS), note)
                return
            decisions = _decide(platform, day)
            register_decisions(platform.engine, "decided_campaigns", decisions)
            written = platform.lake.write(platform.engine, CAMPAIGNS, day, "decided_campaigns")
            platform.engine.drop("decided_campaigns")
            yield dg.MaterializeResult(
                asset_key=CAMPAIGNS.name, metadata=_metadata(decisions, partition_metadata(written), watch)
            )
            yield from check_dataset(platform, CAMPAIGNS, [day])

    return campaigns_step


def _decide(platform: Platform, day: date) -> "list[CampaignDecision]":
    from marketing_assets.domain.campaigns import decide_campaigns, stood_before
    from marketing_assets.storage.repositories import campaigns as campaign_rows

    target_day = day + timedelta(days=1)
    with platform.database.connect() as connection:
        existing = campaign_rows.not_over(connection, start_of(day, platform.zone))
        if platform.rebuild:
            existing = stood_before(existing, start_of(target_day, platform.zone))
        register_opted_out(platform, connection)
        holdout = holdout_of(platform, connection, day)
    audiences, eligible = _audiences(platform, day, existing, holdout)
    return decide_campaigns(existing, audiences, eligible, platform.policy, target_day, platform.zone)


def _audiences(
    platform: Platform, day: date, existing: "Sequence[Campaign]", holdout: GlobalHoldout
) -> tuple[dict[str, int], dict[str, int]]:
    """Users of each pattern, and those whom a campaign of each template could reach."""
    from marketing_assets.domain.campaigns import own_pattern

    engine, lake = platform.engine, platform.lake
    for relation, dataset in (("user_patterns", USER_PATTERNS), ("user_features", USER_FEATURES)):
        lake.register(engine, relation, dataset, [day])
    own = [pattern for each in existing if (pattern := own_pattern(each))]
    audiences = register_qualified(engine, own)
    eligible = eligible_audiences(engine, platform.policy, existing, holdout)
    lake.register(engine, "segments", SEGMENT_SUMMARY, [day])
    segments = engine.fetch("select pattern, users from segments")
    engine.drop("segments", "qualified_users", "own_patterns", "opted_out", "user_patterns", "user_features")
    return {**audiences, **{str(row["pattern"]): int(str(row["users"])) for row in segments}}, eligible


def register_decisions(engine: Engine, relation: str, decisions: "Sequence[CampaignDecision]") -> None:
    """Name the rows of `CAMPAIGNS` that say what was decided."""
    schema = [(column.name, column.type) for column in CAMPAIGNS.columns]
    engine.register_rows(relation, schema, [_row(decision) for decision in decisions])


def _row(decision: "CampaignDecision") -> list[Value]:
    """The decision in the order of `CAMPAIGNS.columns`."""
    campaign = decision.campaign
    frozen: list[Value] = [None] * 7
    if campaign is not None:
        frozen = [
            campaign.status,
            campaign.version,
            campaign.starts_at,
            campaign.ends_at,
            campaign.holdout_share,
            campaign.settings,
            campaign.policy_version,
        ]
    return [
        decision.campaign_id,
        decision.template,
        decision.outcome,
        decision.outcome_reason,
        decision.target_pattern,
        decision.audience,
        decision.eligible,
        decision.priority,
        *frozen,
    ]


def _metadata(decisions: "Sequence[CampaignDecision]", written: Metadata, watch: Stopwatch) -> Metadata:
    outcomes = ("opened", "kept", "paused", "ended", "orphaned", "not_opened")
    counts = {name: sum(decision.outcome == name for decision in decisions) for name in outcomes}
    table = markdown_table(
        ["campaign", "outcome", "why", "audience"],
        [(d.campaign_id, d.outcome, d.outcome_reason, f"{d.audience:,}") for d in decisions],
    )
    return {
        **written,
        **counts,
        "seconds": watch.seconds,
        "campaigns": table,
        "dagster/column_lineage": column_lineage(CAMPAIGNS),
    }
