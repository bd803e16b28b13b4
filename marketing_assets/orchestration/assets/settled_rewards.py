"""`settled_rewards`: what the night confirmed by the ledger, or released, of the rewards that were promised.

The first step that changes what the app reads, before the night decides: so that its budgets know the money.
A night that is not decided now yields nothing here, and the steps after it are skipped.
"""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.attempts import attempt
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.checks.results import checks_not_run
from marketing_assets.orchestration.deciding import is_decided_now
from marketing_assets.orchestration.metadata import (
    Results,
    Stopwatch,
    column_lineage,
    dataset_spec,
    partition_metadata,
)
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import SETTLED_REWARDS, TRANSACTIONS

if TYPE_CHECKING:
    from marketing_assets.engine.base import Value

_FIGURES = (
    "select count(*) filter (where state = 'spent') as confirmed,"
    " count(*) filter (where state = 'released') as released, coalesce(sum(amount), 0) as spent"
    " from night_settlements"
)


def build(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The step that settles the rewards of one night."""
    spec = dataset_spec(
        SETTLED_REWARDS,
        group="measurement",
        description="Rewards that the app's users were promised, settled by the night: paid where the ledger "
        "has the purchase, else released to the campaign's budget.",
        rule="a purchase of the user with the claimed id, while the offer lived and where it holds: the "
        "reward of the ledger's amount, at most what was reserved; none `reward_release_days` of the "
        "policy (7) after the claim, with every day since ingested: released; else it waits",
        readers="the measurement; the budgets of `campaigns` and `campaign_targets` of the same night",
        deps=[dg.AssetDep(TRANSACTIONS.name)],
        partitions=partitions,
    )

    @dg.multi_asset(
        name=SETTLED_REWARDS.name,
        specs=[spec.replace_attributes(skippable=True)],
        check_specs=dataset_check_specs(SETTLED_REWARDS),
    )
    def settled_rewards_step(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Results:
        from marketing_assets.storage.settlement import settle_rewards, write_settled

        watch = Stopwatch()
        day = date.fromisoformat(context.partition_key)
        with attempt(context, platform):
            if not is_decided_now(context, platform, day):
                note = "the night was not decided, nothing was settled"
                yield from checks_not_run(dataset_check_specs(SETTLED_REWARDS), note)
                return
            waiting = settle_rewards(
                platform.writer,
                platform.engine,
                platform.lake,
                day=day,
                policy=platform.policy,
                zone=platform.zone,
                at=platform.now(),
            )
            written = write_settled(platform.writer, platform.engine, platform.lake, day)
            yield dg.MaterializeResult(
                asset_key=SETTLED_REWARDS.name,
                metadata={
                    **partition_metadata(written, **_figures(platform, day)),
                    "waiting": waiting.rewards,
                    "reserved": float(waiting.reserved),
                    "seconds": watch.seconds,
                    "dagster/column_lineage": column_lineage(SETTLED_REWARDS),
                },
            )
            yield from check_dataset(platform, SETTLED_REWARDS, [day])

    return settled_rewards_step


def _figures(platform: Platform, day: date) -> "dict[str, Value]":
    """Rewards that the night has confirmed and released, in whichever run, and the money that is paid."""
    platform.lake.register(platform.engine, "night_settlements", SETTLED_REWARDS, [day])
    [row] = platform.engine.fetch(_FIGURES)
    platform.engine.drop("night_settlements")
    return row
