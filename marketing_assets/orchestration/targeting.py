"""The targeting steps of one night, over relations: who is refused and why, who is drawn into which arm.

A night and a plan differ in where the relations come from, and not in what is done with them here. Which
campaigns take targets is decided before; what stands is read by `storage/standing.py`.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from marketing_assets.domain.days import start_of
from marketing_assets.engine.base import Engine, Value, sql
from marketing_assets.orchestration.platform import Platform

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from marketing_assets.domain.campaigns import Campaign
    from marketing_assets.domain.targeting import Budget, OpenCampaign
    from marketing_assets.policy.model import Pattern, Policy
    from marketing_assets.storage.repositories.budgets import Budget as BudgetRow

_OPEN_CAMPAIGNS = (
    ("campaign_id", "varchar"),
    ("campaign_version", "integer"),
    ("target_pattern", "varchar"),
    ("place", "integer"),
    ("round", "integer"),
    ("control_below", "varchar"),
    ("offer_at", "varchar"),
    ("cooldown_days", "integer"),
    ("days_left", "integer"),
    ("days_needed", "integer"),
    ("reward_fixed", "decimal(14,2)"),
    ("reward_rate", "decimal(18,8)"),
    ("reward_cap", "decimal(14,2)"),
    ("cost_share", "decimal(14,12)"),
    ("budget", "decimal(14,2)"),
    ("committed", "decimal(38,6)"),
    ("assigned_on", "date"),
    ("valid_from", "timestamp with time zone"),
    ("valid_until", "timestamp with time zone"),
)
"""The fields of `OpenCampaign` as a relation."""

_OF_POLICY = "select user_id, pattern, reason from user_patterns"
_OF_CAMPAIGNS = "select user_id, pattern, reason from own_patterns"
_DRAWN = (
    "select n.user_id from night_decisions n join open_campaigns c on c.place = n.place"
    " where c.round = $round and n.outcome in ('treatment', 'control')"
)


@dataclass(frozen=True)
class GlobalHoldout:
    """Who is outside all marketing: the salt of the year, and the share of all users."""

    salt: str
    share: Decimal

    @property
    def parameters(self) -> dict[str, Value]:
        """As the SQL takes it."""
        from marketing_assets.domain.assignment import share_bound

        return {"global_salt": self.salt, "global_below": share_bound(self.share)}


def global_holdout(assigned_on: date, share: Decimal) -> GlobalHoldout:
    """The global group of the year in which targets are assigned."""
    return GlobalHoldout(f"global:{assigned_on.year}", share)


def register_opted_out(platform: Platform, connection: "Connection") -> None:
    """Name as `opted_out` the users who have opted out by now."""
    from marketing_assets.storage.repositories import consent

    file = platform.lake.scratch / "opted-out.csv"
    consent.export_opted_out(connection, file)
    platform.engine.register_csv("opted_out_ids", [file], ["user_id"])
    platform.engine.create("opted_out", "select user_id from opted_out_ids")
    platform.engine.drop("opted_out_ids")
    file.unlink()


def holdout_of(platform: Platform, connection: "Connection", day: date) -> GlobalHoldout:
    """The global control group of the night: its share stands for a year, as its first night had it."""
    from marketing_assets.storage.repositories import holdouts

    assigned_on = day + timedelta(days=1)
    frozen = holdouts.frozen_share(connection, assigned_on.year, day if platform.rebuild else None)
    return global_holdout(
        assigned_on, platform.policy.limits.global_holdout_share if frozen is None else frozen
    )


def register_converted(platform: Platform, connection: "Connection", campaigns: "Sequence[Campaign]") -> None:
    """Name as `converted_targets` those targets of campaigns with a budget whose reward is no expectation."""
    from marketing_assets.storage.repositories import budgets

    file = platform.lake.scratch / "converted.csv"
    budgets.export_converted(connection, [each.campaign_id for each in campaigns], file)
    platform.engine.register_csv("converted_csv", [file], ["campaign_id", "user_id"])
    platform.engine.create("converted_targets", "select campaign_id, user_id from converted_csv")
    platform.engine.drop("converted_csv")
    file.unlink()


def register_standing(
    platform: Platform,
    connection: "Connection",
    day: date,
    open_now: "Sequence[Campaign]",
    taking: "Sequence[Campaign]",
) -> None:
    """Name what stands before the night: targets, slots of the campaigns `open_now`, and who rests."""
    from marketing_assets.domain.targeting import resting
    from marketing_assets.storage import standing
    from marketing_assets.storage.repositories import campaigns as campaign_rows

    zone, target_day = platform.zone, day + timedelta(days=1)
    ended = campaign_rows.ended(connection, start_of(target_day, zone), rebuild=platform.rebuild)
    rests = {each.campaign_id: resting(each, ended, platform.policy, target_day, zone) for each in taking}
    since = standing.register_resting(platform.engine, rests, zone)
    standing.register_standing(
        connection, platform.engine, platform.lake, day, open_now, zone, since=since, rebuild=platform.rebuild
    )
    platform.engine.create("cooling_users", sql("cooling_users"))


def budgets_of(
    engine: Engine, campaigns: "Sequence[Campaign]", rows: "Sequence[BudgetRow]", begins: datetime
) -> "dict[str, Budget]":
    """The money of the campaigns that have a budget, with what their open targets may still cost.

    One that is not published yet has the budget of its template. Reads `earlier_targets`, `kept_targets` and
    `converted_targets`; `begins` is the start of the target day.
    """
    from marketing_assets.domain.targeting import Budget
    from marketing_assets.policy.model import frozen_terms

    known = {row.campaign_id: row for row in rows}
    found = {}
    for campaign in campaigns:
        row = known.get(campaign.campaign_id)
        budget = frozen_terms(campaign.settings).budget if row is None else row.budget
        if budget is not None:
            found[campaign.campaign_id] = (budget, Decimal(0) if row is None else row.spent + row.reserved)
    if not found:
        return {}
    costs = {
        str(each["campaign_id"]): Decimal(str(each["expected_cost"] or 0))
        for each in engine.fetch(sql("open_costs"), {"begins": begins})
    }
    return {
        name: Budget(budget, paid + costs.get(name, Decimal(0))) for name, (budget, paid) in found.items()
    }


def register_qualified(engine: Engine, own: "Sequence[Pattern]") -> dict[str, int]:
    """Name as `qualified_users` who has which pattern: of the policy, and `own` ones of campaigns by hand.

    Reads `user_patterns` and `user_features`.

    Returns:
        The users of each own pattern.
    """
    from marketing_assets.domain.patterns import pattern_matches

    if not own:
        engine.register_query("qualified_users", _OF_POLICY)
        return {}
    engine.create("own_patterns", pattern_matches(own))
    engine.register_query("qualified_users", _OF_POLICY + " union all " + _OF_CAMPAIGNS)
    counts = engine.fetch("select pattern, count(*) as users from own_patterns group by pattern")
    found = {str(row["pattern"]): int(str(row["users"])) for row in counts}
    return {pattern.name: found.get(pattern.name, 0) for pattern in own}


def eligible_audiences(
    engine: Engine, policy: "Policy", existing: "Sequence[Campaign]", holdout: GlobalHoldout
) -> dict[str, int]:
    """Users whom a campaign of each template could reach, of the policy and of campaigns by hand.

    They have the pattern, what the offer is filled in with, have not opted out and are not in the global
    holdout. Reads `qualified_users`, `user_features` and `opted_out`.
    """
    from marketing_assets.policy.model import frozen_terms

    templates = [
        *policy.campaigns,
        *(frozen_terms(each.settings) for each in existing if each.origin == "manual"),
    ]
    schema = [("template", "varchar"), ("pattern", "varchar"), ("offer_at", "varchar")]
    rows: list[list[Value]] = [[each.template, each.pattern, each.offer.at] for each in templates]
    engine.register_rows("templates", schema, rows)
    found = engine.fetch(sql("eligible_audiences"), holdout.parameters)
    engine.drop("templates")
    return {str(row["template"]): int(str(row["users"])) for row in found}


def audience_spend(engine: Engine) -> Decimal:
    """What the users with the pattern of a campaign that takes targets have spent in the window.

    Reads `open_campaigns`, `qualified_users` and `user_features`.
    """
    return Decimal(str(engine.fetch(sql("audience_spend"))[0]["spend"]))


def decide(
    engine: Engine, campaigns: "Sequence[OpenCampaign]", holdout: GlobalHoldout, policy: "Policy"
) -> None:
    """Make the relation `night_decisions`: one row a pair of open campaign (by `place`) and user.

    Reads `qualified_users`, `user_features`, `opted_out`, `cooling_users` and `standing_targets`; see the
    headers of `targeting_*.sql`. Campaigns up to one with a budget are decided together, since whom it
    refuses takes no slot.
    """
    engine.register_rows("open_campaigns", _OPEN_CAMPAIGNS, [list(astuple(each)) for each in campaigns])
    engine.create("targeting_pairs", sql("targeting_pairs"), holdout.parameters)
    engine.create("taken_slots", "select user_id from standing_targets")
    engine.create("night_decisions", sql("targeting_refusals"))
    slots = policy.limits.max_active_campaigns
    rounds = sorted({each.round for each in campaigns})
    for number in rounds:
        parameters: dict[str, Value] = {"round": number, "max_active_campaigns": slots}
        engine.append("night_decisions", sql("targeting_round"), parameters)
        if number != rounds[-1]:
            engine.append("taken_slots", _DRAWN, {"round": number})
    engine.drop("targeting_pairs", "taken_slots")
