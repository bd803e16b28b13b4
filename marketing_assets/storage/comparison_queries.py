"""Queries that compare a night with what was expected of it.

Each reads the relation `checked` (with its `day`), and `other_<dataset>` for what it is compared with. Those
that need only a dataset's description stand in `dataset_queries.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from sqlglot import exp

from marketing_assets.domain.patterns import reason_holds
from marketing_assets.policy.model import Pattern


def everything() -> exp.Query:
    """Every row."""
    return exp.select("*").from_("checked")


def rows_by_day(days: Sequence[date] = ()) -> exp.Query:
    """Rows of each day (of `days`, where some are given), as `rows`."""
    query = exp.select("day", "count(*) as rows").from_("checked").group_by("day").order_by("day")
    return _of_days(query, days)


def shares_by_day(days: Sequence[date] = ()) -> exp.Query:
    """Users and share of each pattern and day, by rank."""
    query = exp.select("day", "pattern", "users", "share").from_("checked").order_by("day", "rank")
    return _of_days(query, days)


def arms() -> exp.Query:
    """New targets of each campaign, those in control, and the share that was to be there."""
    control = exp.Filter(
        this=exp.Count(this=exp.Star()), expression=exp.Where(this=exp.condition("arm = 'control'"))
    )
    counts = (
        exp.select("campaign_id", "count(*) as targets", exp.alias_(control, "control"))
        .from_("checked")
        .group_by("campaign_id")
    )
    return (
        exp.select("a.campaign_id", "a.targets", "a.control", "c.holdout_share")
        .from_(counts.subquery("a"))
        .join("other_campaigns as c", on="c.campaign_id = a.campaign_id", join_type="inner")
        .order_by("a.campaign_id")
    )


def untrue_reasons(patterns: Mapping[str, Pattern], exempt: str | None = None) -> exp.Query:
    """Targets whose reason does not satisfy the rule of their campaign's pattern.

    `patterns` gives the pattern of each campaign. Targets with a key in the relation `exempt` need not.
    """
    true = [
        exp.and_(
            exp.column("campaign_id", "c").eq(campaign_id),
            reason_holds(pattern.rule, exp.column("reason", "c"), "other_user_features"),
        )
        for campaign_id, pattern in patterns.items()
    ]
    query = exp.select("c.*").from_("checked as c").where(exp.not_(exp.or_(*true) if true else exp.false()))
    return _without(query, exempt)


def opted_out_targets(exempt: str | None = None) -> exp.Query:
    """Targets who are in the relation `opted_out`, apart from those with a key in the relation `exempt`."""
    query = exp.select("c.*").from_("checked as c").join("opted_out as o", on="o.user_id = c.user_id")
    return _without(query, exempt)


def expected_cost(exempt: str | None = None) -> exp.Query:
    """Expected cost of the targets, apart from those with a key in the relation `exempt`, as `cost`."""
    return _without(exp.select("sum(c.expected_cost) as cost").from_("checked as c"), exempt)


def costs_by_campaign() -> exp.Query:
    """New targets, expected cost and spend of their users for each campaign, the dearest first."""
    return (
        exp.select("campaign_id", "count(*) as targets", "sum(expected_cost) as cost", "sum(spend) as spend")
        .from_("checked")
        .group_by("campaign_id")
        .order_by("cost desc")
    )


def _without(query: exp.Select, exempt: str | None) -> exp.Select:
    if exempt is None:
        return query
    stands = exp.select("1").from_(exp.to_table(exempt).as_("e"))
    return query.where(
        exp.not_(exp.Exists(this=stands.where("e.campaign_id = c.campaign_id and e.user_id = c.user_id")))
    )


def _of_days(query: exp.Select, days: Sequence[date]) -> exp.Select:
    wanted = [exp.cast(exp.Literal.string(day.isoformat()), "date") for day in days]
    return query.where(exp.column("day").isin(*wanted)) if wanted else query
