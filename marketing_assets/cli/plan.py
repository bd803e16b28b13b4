"""`marketing policy plan`: what a policy would do over past nights, as tables, JSON and one HTML page."""

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from marketing_assets.errors import LakeError
from marketing_assets.orchestration.planning import plan
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from marketing_assets.domain.plans import Plan
    from marketing_assets.policy.model import Policy


def planned(
    settings: Settings, policy: "Policy", days: Sequence[date], progress: Callable[[str], None]
) -> "Plan":
    """The plan of `policy` beside the one in force; holds no lock, since it writes nothing.

    Raises:
        MarketingError: the lake has no features of a day, or the database cannot be reached.
    """
    platform = Platform(settings, "marketing policy plan")
    try:
        return plan(platform, policy, days, progress)
    finally:
        platform.close()


def print_plan(console: Console, found: "Plan", currency: str) -> None:
    """Print a plan: users of each pattern, then each template under both policies, then who shares users."""
    nights = (
        f"Night of {found.first}" if found.first == found.last else f"Nights of {found.first} to {found.last}"
    )
    current, proposed = found.current, found.proposed
    console.print(
        f"[bold]{nights}[/bold]: policy {current.policy_version} (in force) beside "
        f"{proposed.policy_version}. Nothing was published.",
        soft_wrap=True,
    )
    patterns = Table("pattern", *_right("users", "proposed", "change"))
    for name in dict.fromkeys([*current.patterns, *proposed.patterns]):
        before, after = current.patterns.get(name, 0), proposed.patterns.get(name, 0)
        patterns.add_row(escape(name), f"{before:,}", f"{after:,}", _signed(after - before))
    console.print(patterns)
    templates = Table(
        "template", *_right("targets", "proposed", f"cost {currency}", "proposed", "users gain", "users lose")
    )
    for each in found.changes:
        mine, other = current.of_template(each.template), proposed.of_template(each.template)
        templates.add_row(
            escape(each.template),
            *(f"{sum(one.targets for one in side):,}" for side in (mine, other)),
            *(f"{sum(one.expected_cost for one in side):,.2f}" for side in (mine, other)),
            f"{each.gain:,}",
            f"{each.lose:,}",
        )
    templates.add_section()
    templates.add_row(
        "all (users: any)",
        f"{current.targets:,}",
        f"{proposed.targets:,}",
        f"{current.expected_cost:,.2f}",
        f"{proposed.expected_cost:,.2f}",
        f"{found.users.gain:,}",
        f"{found.users.lose:,}",
    )
    console.print(templates)
    if found.overlaps:
        overlaps = Table("users in both", "and", *_right("users", "proposed"))
        for overlap in found.overlaps:
            overlaps.add_row(*overlap.templates, f"{overlap.current:,}", f"{overlap.proposed:,}")
        console.print(overlaps)
    _print_openings(console, found)


def _print_openings(console: Console, found: "Plan") -> None:
    for title, course in (("In force", found.current), ("Proposed", found.proposed)):
        opened = [each.campaign_id for each in course.campaigns.values() if each.outcome == "opened"]
        console.print(f"[bold]{title}[/bold] opens: {escape(', '.join(opened)) or 'nothing'}", soft_wrap=True)
        for template, reason in course.not_opened.items():
            console.print(f"  not {escape(template)}: {escape(reason)}", soft_wrap=True)
        for night in course.nights:
            if night.refused:
                console.print(
                    f"  [red]night of {night.day} would be refused[/red]: its targets are expected to cost "
                    f"{night.cost:,.2f}, over {night.limit:.1%} of the {night.spend:,.2f} its audience spent "
                    "(limits.max_cost_share)",
                    soft_wrap=True,
                )


def write_page(found: "Plan", currency: str, file: Path) -> None:
    """Write the page of the plan.

    Raises:
        LakeError: the file cannot be written.
    """
    from marketing_assets.reports.plan_page import plan_page

    try:
        file.write_text(plan_page(found, currency), encoding="utf-8")
    except OSError as error:
        raise LakeError(
            f"{file} cannot be written: {error.strerror or error}",
            remedy="name a file in a directory that exists and is yours: --html plan.html",
        ) from error


def as_json(found: "Plan") -> str:
    """The plan as JSON text."""
    from marketing_assets.domain.plans import plan_as_json

    return json.dumps(plan_as_json(found), indent=2) + "\n"


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _signed(change: int) -> str:
    return f"{change:+,}" if change else ""
