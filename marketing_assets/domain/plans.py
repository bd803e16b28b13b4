"""What a policy would do over past nights beside the one in force: figures, without any user.

Pure: made from counts of users by the templates they would be drawn for. Who computes the counts is
`orchestration/planning.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import combinations


@dataclass
class PlannedCampaign:
    """One campaign over the planned nights; targets are drawn in them, in either arm. Cost is money."""

    campaign_id: str
    template: str
    outcome: str
    outcome_reason: str
    audience: int
    treatment: int = 0
    control: int = 0
    refused: int = 0
    expected_cost: Decimal = Decimal(0)

    @property
    def targets(self) -> int:
        """Both arms."""
        return self.treatment + self.control


@dataclass(frozen=True)
class NightCost:
    """What a night's targets are expected to cost, and what they have spent in the window."""

    day: date
    cost: Decimal
    spend: Decimal
    limit: Decimal

    @property
    def refused(self) -> bool:
        """Whether the check `cost_in_proportion` would stop the night."""
        return self.cost > self.limit * max(self.spend, Decimal(0))


@dataclass
class Course:
    """What one policy would do: users of each pattern on the last day, campaigns, cost of each night."""

    policy_version: str
    patterns: dict[str, int] = field(default_factory=dict)
    campaigns: dict[str, PlannedCampaign] = field(default_factory=dict)
    nights: list[NightCost] = field(default_factory=list)
    not_opened: dict[str, str] = field(default_factory=dict)
    """Templates without a campaign on the last night, and why."""

    @property
    def targets(self) -> int:
        """Targets of all campaigns, both arms."""
        return sum(each.targets for each in self.campaigns.values())

    @property
    def expected_cost(self) -> Decimal:
        """Of all targets, in money."""
        return sum((each.expected_cost for each in self.campaigns.values()), Decimal(0))

    def of_template(self, template: str) -> list[PlannedCampaign]:
        """Its campaigns, oldest first."""
        return [each for each in self.campaigns.values() if each.template == template]


@dataclass(frozen=True)
class Change:
    """Users of one template under both policies: drawn under either, only the new, only the current one."""

    template: str
    current: int
    proposed: int
    gain: int
    lose: int


@dataclass(frozen=True)
class Overlap:
    """Users who are drawn for both of two templates, under each policy."""

    templates: tuple[str, str]
    current: int
    proposed: int


@dataclass(frozen=True)
class Plan:
    """Two policies over the same nights, `first` to `last`, from the same state."""

    first: date
    last: date
    current: Course
    proposed: Course
    users: Change
    """Of any campaign; its template is empty."""
    changes: list[Change]
    overlaps: list[Overlap]


@dataclass(frozen=True)
class Combination:
    """Users who would be drawn for exactly these templates under each policy."""

    current: frozenset[str]
    proposed: frozenset[str]
    users: int


def changes(templates: Iterable[str], found: Sequence[Combination]) -> list[Change]:
    """Who would gain and lose, template by template."""
    return [
        Change(
            template,
            current=sum(each.users for each in found if template in each.current),
            proposed=sum(each.users for each in found if template in each.proposed),
            gain=sum(each.users for each in found if template in each.proposed - each.current),
            lose=sum(each.users for each in found if template in each.current - each.proposed),
        )
        for template in templates
    ]


def change_of_any(found: Sequence[Combination]) -> Change:
    """Who would become a target at all, or no longer be one."""
    return Change(
        "",
        current=sum(each.users for each in found if each.current),
        proposed=sum(each.users for each in found if each.proposed),
        gain=sum(each.users for each in found if each.proposed and not each.current),
        lose=sum(each.users for each in found if each.current and not each.proposed),
    )


def overlaps(templates: Sequence[str], found: Sequence[Combination]) -> list[Overlap]:
    """Users of each pair of templates that shares some, under either policy."""
    pairs = []
    for one, other in combinations(templates, 2):
        both = {one, other}
        current = sum(each.users for each in found if both <= each.current)
        proposed = sum(each.users for each in found if both <= each.proposed)
        if current or proposed:
            pairs.append(Overlap((one, other), current, proposed))
    return pairs


def plan_as_json(plan: Plan) -> Mapping[str, object]:
    """The plan as JSON can say it; money is text."""
    return {
        "first": plan.first.isoformat(),
        "last": plan.last.isoformat(),
        "current": _course(plan.current),
        "proposed": _course(plan.proposed),
        "users": _change(plan.users),
        "templates": {each.template: _change(each) for each in plan.changes},
        "overlaps": [
            {"templates": list(each.templates), "current": each.current, "proposed": each.proposed}
            for each in plan.overlaps
        ],
    }


def _course(course: Course) -> Mapping[str, object]:
    return {
        "policy_version": course.policy_version,
        "patterns": course.patterns,
        "campaigns": [
            {**vars(each), "expected_cost": str(each.expected_cost), "targets": each.targets}
            for each in course.campaigns.values()
        ],
        "not_opened": course.not_opened,
        "nights": [
            {
                "day": each.day.isoformat(),
                "expected_cost": str(each.cost),
                "spend": str(each.spend),
                "refused": each.refused,
            }
            for each in course.nights
        ],
        "targets": course.targets,
        "expected_cost": str(course.expected_cost),
    }


def _change(change: Change) -> Mapping[str, int]:
    return {name: value for name, value in vars(change).items() if isinstance(value, int)}
