"""A policy tried over past nights of the lake, beside the one in force; nothing is written or published.

Both policies start from what stood before the first night, as it was published, and go their own way from
there: each night opens campaigns and draws targets as a real one would. Events are not foreseen, so budgets
count what targets are expected to cost; consent is that of now.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal

from sqlglot import exp

from marketing_assets.domain.campaigns import (
    Campaign,
    CampaignDecision,
    decide_campaigns,
    own_pattern,
    stood_before,
)
from marketing_assets.domain.days import day_of, start_of
from marketing_assets.domain.patterns import pattern_matches
from marketing_assets.domain.plans import (
    Combination,
    Course,
    NightCost,
    Plan,
    PlannedCampaign,
    change_of_any,
    changes,
    overlaps,
)
from marketing_assets.domain.targeting import EndedCampaign, open_campaigns, resting
from marketing_assets.engine.base import Engine, Value, sql
from marketing_assets.errors import PolicyError
from marketing_assets.orchestration.platform import Platform, prepare_once
from marketing_assets.orchestration.targeting import (
    audience_spend,
    budgets_of,
    decide,
    eligible_audiences,
    global_holdout,
    register_converted,
    register_opted_out,
    register_qualified,
)
from marketing_assets.policy.model import Policy, frozen_terms
from marketing_assets.storage import standing
from marketing_assets.storage.datasets import USER_FEATURES
from marketing_assets.storage.repositories import budgets, holdouts, nights
from marketing_assets.storage.repositories import campaigns as campaign_rows

_MOST_TEMPLATES = 62
_TARGETS = (
    ("campaign_id", "varchar"),
    ("user_id", "varchar"),
    ("expected_cost", "decimal(18,6)"),
    ("valid_until", "timestamp with time zone"),
)
_DRAWN = (
    "select c.campaign_id, n.user_id, n.expected_cost, c.valid_until from night_decisions n"
    " join open_campaigns c on c.place = n.place where n.outcome in ('treatment', 'control')"
)
_COUNTS = (
    "select c.campaign_id, n.outcome, count(*) as users, sum(n.expected_cost) as cost"
    " from night_decisions n join open_campaigns c on c.place = n.place group by c.campaign_id, n.outcome"
)
_COST = "select sum(expected_cost) as cost from night_decisions where outcome in ('treatment', 'control')"


def plan(
    platform: Platform,
    proposed: Policy,
    days: Sequence[date],
    progress: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Run both policies over `days`, consecutive and ascending.

    Args:
        platform: the lake and the databases; needs no lock, since nothing is written.
        proposed: the policy to try.
        days: nights whose features are in the lake.
        progress: is told what is being worked on.

    Raises:
        DatabaseError: the database cannot be reached or upgraded.
        MissingPartitionError: the lake has no features of a day.
        PolicyError: the two policies have too many templates to compare.
    """
    progress("what stood before")
    prepare_once(platform.urls)
    planning = _Planning(platform, days, (platform.policy, proposed))
    current = _Course(planning, "current", platform.policy)
    other = _Course(planning, "proposed", proposed)
    for day in days:
        progress(f"night of {day}")
        platform.lake.register(platform.engine, "user_features", USER_FEATURES, [day])
        current.night(day)
        other.night(day, same_patterns=proposed.patterns == platform.policy.patterns)
    progress("who would gain and lose")
    courses = (current.course, other.course)
    planned = [each for course in courses for each in course.campaigns.values()]
    templates = list(dict.fromkeys(each.template for each in planned))
    if len(templates) > _MOST_TEMPLATES:
        raise PolicyError(
            f"the two policies have {len(templates)} templates with a campaign in these nights",
            remedy=f"a plan compares at most {_MOST_TEMPLATES}: leave what does not change out of both files",
        )
    found = _combinations(platform.engine, templates, courses)
    return Plan(
        days[0],
        days[-1],
        *courses,
        users=change_of_any(found),
        changes=changes(templates, found),
        overlaps=overlaps(templates, found),
    )


class _Planning:
    """What both courses start from."""

    def __init__(self, platform: Platform, days: Sequence[date], policies: Sequence[Policy]) -> None:
        self.platform, zone = platform, platform.zone
        begins = start_of(days[0] + timedelta(days=1), zone)
        with platform.database.connect() as connection:
            existing = campaign_rows.not_over(connection, start_of(days[0], zone))
            self.existing = stood_before(existing, begins)
            self.ended = campaign_rows.ended(connection, begins, rebuild=True)
            register_opted_out(platform, connection)
            register_converted(platform, connection, self.existing)
            years = {(day + timedelta(days=1)).year for day in days}
            frozen = {year: holdouts.frozen_share(connection, year, days[0]) for year in years}
            self.frozen_shares = {year: share for year, share in frozen.items() if share is not None}
            self.budgets = budgets.of_campaigns(connection, [each.campaign_id for each in self.existing])
            terms = [each for policy in policies for each in policy.campaigns]
            terms += [frozen_terms(each.settings) for each in self.existing]
            rests = max((each.cooldown_days for each in terms), default=0)
            since = start_of(days[0] - timedelta(days=rests), zone)
            drew = [each.starts_at for each in self.existing]
            drew += [each.starts_at for each in self.ended if each.ends_at > since]
            starts = [day_of(starts_at, zone) - timedelta(days=1) for starts_at in drew]
            decided = nights.decided_targets(connection, min([*starts, days[0]]))
            before = {day: targets for day, targets in decided.items() if day < days[0]}
            standing.register_published(connection, platform.engine, platform.lake, "published", before, [])
        platform.engine.register_rows("kept_targets", _TARGETS, [])


class _Course:
    """One policy going its way, night after night; its targets are the relation `<name>_targets`."""

    def __init__(self, planning: _Planning, name: str, policy: Policy) -> None:
        self.course = Course(policy.version)
        self._planning, self._policy, self._name = planning, policy, name
        self._existing = list(planning.existing)
        self._ended = list(planning.ended)
        planning.platform.engine.register_rows(f"{name}_targets", _TARGETS, [])

    def night(self, day: date, *, same_patterns: bool = False) -> None:
        """Decide one night; `same_patterns` where the relation `user_patterns` is right already."""
        engine, zone = self._planning.platform.engine, self._planning.platform.zone
        target_day = day + timedelta(days=1)
        begins = start_of(target_day, zone)
        if not same_patterns:
            engine.create("user_patterns", pattern_matches(self._policy.patterns))
        own = [pattern for each in self._existing if (pattern := own_pattern(each))]
        audiences = {**_users_by_pattern(engine), **register_qualified(engine, own)}
        self.course.patterns = {each.name: audiences.get(each.name, 0) for each in self._policy.patterns}
        shares = self._planning.frozen_shares
        share = shares.get(target_day.year, self._policy.limits.global_holdout_share)
        holdout = global_holdout(target_day, share)
        eligible = eligible_audiences(engine, self._policy, self._existing, holdout)
        decisions = decide_campaigns(self._existing, audiences, eligible, self._policy, target_day, zone)
        taking = [each.campaign for each in decisions if each.takes_targets and each.campaign]
        over = [each.campaign for each in decisions if each.outcome == "ended" and each.campaign]
        self._ended += [
            EndedCampaign(each.campaign_id, each.template, each.starts_at, each.ends_at) for each in over
        ]
        self._register_standing([each.campaign for each in decisions if each.is_open and each.campaign])
        self._register_resting(taking, target_day)
        money = budgets_of(engine, taking, self._planning.budgets, begins)
        opened = open_campaigns(taking, money, self._policy, target_day, zone)
        decide(engine, opened, holdout, self._policy)
        engine.append(f"{self._name}_targets", _DRAWN)
        self._record(day, decisions)
        self._go_on(decisions)

    def _register_standing(self, open_now: Sequence[Campaign]) -> None:
        engine = self._planning.platform.engine
        own = exp.select(*(name for name, _ in _TARGETS)).from_(f"{self._name}_targets")
        published = exp.select(*(name for name, _ in _TARGETS)).from_("published_targets")
        engine.register_query("earlier_targets", exp.union(published, own, distinct=False))
        standing.register_slots(engine, open_now)

    def _register_resting(self, taking: Sequence[Campaign], target_day: date) -> None:
        engine, zone = self._planning.platform.engine, self._planning.platform.zone
        rests = {
            each.campaign_id: resting(each, self._ended, self._policy, target_day, zone) for each in taking
        }
        standing.register_resting(engine, rests, zone)
        engine.create("cooling_users", sql("cooling_users"))

    def _record(self, day: date, decisions: Sequence[CampaignDecision]) -> None:
        engine, course = self._planning.platform.engine, self.course
        for each in decisions:
            if each.campaign is not None:
                planned = course.campaigns.setdefault(each.campaign_id, _planned(each))
                planned.audience = each.audience
        course.not_opened = {
            each.template: each.outcome_reason for each in decisions if each.outcome == "not_opened"
        }
        for row in engine.fetch(_COUNTS):
            planned, users = course.campaigns[str(row["campaign_id"])], int(str(row["users"]))
            if row["outcome"] in ("treatment", "control"):
                setattr(planned, str(row["outcome"]), getattr(planned, str(row["outcome"])) + users)
                planned.expected_cost += Decimal(str(row["cost"]))
            else:
                planned.refused += users
        cost = Decimal(str(engine.fetch(_COST)[0]["cost"] or 0))
        limit = self._policy.limits.max_cost_share
        course.nights.append(NightCost(day, cost, audience_spend(engine), limit))

    def _go_on(self, decisions: Sequence[CampaignDecision]) -> None:
        known = {each.campaign_id for each in self._existing}
        opened = [each.campaign for each in decisions if each.campaign and each.campaign_id not in known]
        over = {each.campaign_id for each in decisions if each.outcome == "ended"}
        self._existing = [each for each in self._existing if each.campaign_id not in over] + opened


def _planned(decision: CampaignDecision) -> PlannedCampaign:
    return PlannedCampaign(
        decision.campaign_id, decision.template, decision.outcome, decision.outcome_reason, decision.audience
    )


def _users_by_pattern(engine: Engine) -> dict[str, int]:
    counts = engine.fetch("select pattern, count(*) as users from user_patterns group by pattern")
    return {str(row["pattern"]): int(str(row["users"])) for row in counts}


def _combinations(engine: Engine, templates: Sequence[str], courses: Sequence[Course]) -> list[Combination]:
    bits = {template: 1 << number for number, template in enumerate(templates)}
    units: dict[str, int] = {
        name: bits[each.template] for course in courses for name, each in course.campaigns.items()
    }
    rows: list[list[Value]] = [[name, bit] for name, bit in units.items()]
    engine.register_rows("plan_units", [("campaign_id", "varchar"), ("template_bit", "bigint")], rows)

    def named(value: Value) -> frozenset[str]:
        return frozenset(template for template, bit in bits.items() if int(str(value)) & bit)

    return [
        Combination(named(row["current_templates"]), named(row["proposed_templates"]), int(str(row["users"])))
        for row in engine.fetch(sql("plan_users"))
    ]
