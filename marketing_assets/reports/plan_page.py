"""The page of a plan: two policies side by side in charts, with the tables below them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from marketing_assets.domain.plans import Change, Course, Plan
from marketing_assets.reports.page import Section, page

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_COLOURS = {"current": "#8c9aa8", "proposed": "#1f6feb", "gain": "#2e8b57", "lose": "#c0392b"}


def plan_page(plan: Plan, currency: str) -> str:
    """The whole page as HTML, with the charting library inside it."""
    nights = f"night of {plan.first}" if plan.first == plan.last else f"nights of {plan.first} to {plan.last}"
    current, proposed = plan.current.policy_version, plan.proposed.policy_version
    return page(
        title=f"Plan of policy {proposed}",
        lead=f"The {nights}: what policy {proposed} would do beside the one in force, {current}. Both start "
        "from what was published before; nothing was published. Targets are of both arms.",
        facts=_facts(plan, currency),
        sections=[
            Section(
                "Users of each pattern",
                _pair(_patterns(plan), [_of(plan.current.patterns, plan), _of(plan.proposed.patterns, plan)]),
            ),
            Section(
                "Targets of each template",
                _pair(
                    [each.template for each in plan.changes],
                    [[_targets(course, each) for each in plan.changes] for course in _courses(plan)],
                ),
            ),
            Section(
                f"Expected cost of each template, {currency}",
                _pair(
                    [each.template for each in plan.changes],
                    [[_cost(course, each) for each in plan.changes] for course in _courses(plan)],
                ),
            ),
            Section("Users who would gain or lose an offer", _gain_and_lose(plan.changes)),
            Section("Users in two campaigns at once", table=_overlaps(plan)),
            Section("Campaigns", table=_campaigns(plan, currency)),
        ],
    )


def _courses(plan: Plan) -> tuple[Course, Course]:
    return plan.current, plan.proposed


def _facts(plan: Plan, currency: str) -> list[tuple[str, str]]:
    users, current, proposed = plan.users, plan.current, plan.proposed
    facts = [
        ("users with a target", f"{users.current:,} → {users.proposed:,}"),
        ("users who gain one / lose all", f"{users.gain:,} / {users.lose:,}"),
        ("targets", f"{current.targets:,} → {proposed.targets:,}"),
        (f"expected cost, {currency}", f"{current.expected_cost:,.2f} → {proposed.expected_cost:,.2f}"),
    ]
    refused = [str(night.day) for night in proposed.nights if night.refused]
    if refused:
        facts.append(("would be refused: costs too much of the spend", ", ".join(refused)))
    return facts


def _patterns(plan: Plan) -> list[str]:
    return list(dict.fromkeys([*plan.current.patterns, *plan.proposed.patterns]))


def _of(found: dict[str, int], plan: Plan) -> list[float]:
    return [found.get(name, 0) for name in _patterns(plan)]


def _targets(course: Course, change: Change) -> float:
    return sum(each.targets for each in course.of_template(change.template))


def _cost(course: Course, change: Change) -> float:
    return float(sum(each.expected_cost for each in course.of_template(change.template)))


def _pair(names: Sequence[str], values: Sequence[Sequence[float]]) -> "Figure":
    """Two bars beside each other for each name, the first at the top."""
    from plotly import graph_objects as go

    return go.Figure(
        [
            go.Bar(y=names, x=each, name=name, orientation="h", marker_color=_COLOURS[name])
            for name, each in zip(("current", "proposed"), values, strict=True)
        ]
    )


def _gain_and_lose(changes: Sequence[Change]) -> "Figure":
    """What is gained to the right, what is lost to the left."""
    from plotly import graph_objects as go

    names = [each.template for each in changes]
    bars = {"gain": [each.gain for each in changes], "lose": [-each.lose for each in changes]}
    return go.Figure(
        [
            go.Bar(y=names, x=values, name=name, orientation="h", marker_color=_COLOURS[name])
            for name, values in bars.items()
        ],
        layout={"barmode": "relative"},
    )


def _overlaps(plan: Plan) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("template", "and", "current", "proposed")]
    for each in plan.overlaps:
        rows.append((*each.templates, f"{each.current:,}", f"{each.proposed:,}"))
    return rows


def _campaigns(plan: Plan, currency: str) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        ("policy", "campaign", "what became of it", "audience", "treatment", "control", f"cost, {currency}")
    ]
    for policy, course in (("current", plan.current), ("proposed", plan.proposed)):
        for each in course.campaigns.values():
            rows.append(
                (
                    policy,
                    each.campaign_id,
                    each.outcome.replace("_", " "),
                    f"{each.audience:,}",
                    f"{each.treatment:,}",
                    f"{each.control:,}",
                    f"{each.expected_cost:,.2f}",
                )
            )
        for template, reason in course.not_opened.items():
            rows.append((policy, template, f"not opened: {reason}", "", "", "", ""))
    return rows
