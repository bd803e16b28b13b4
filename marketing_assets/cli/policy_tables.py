"""How `marketing policy` prints a policy and the changes between two."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Column, Table

from marketing_assets.domain.offers import plain
from marketing_assets.policy.diff import REACHES, Change
from marketing_assets.policy.model import CampaignTemplate, Policy
from marketing_assets.policy.words import offer_text, percent, rule_text, value_text


def print_policy(console: Console, policy: Policy, source: str) -> None:
    """Print patterns and campaigns as tables, the texts of the offers as they stand, and all settings."""
    console.print(f"[bold]Policy {policy.version}[/bold]: {escape(source)}", soft_wrap=True)
    console.print(_patterns(policy), _campaigns(policy), sep="\n")
    console.print("\n[bold]What users read[/bold]; {placeholders} are filled in for each user")
    for template in policy.campaigns:
        said = f"[bold]{template.template}[/bold]: {escape(template.name)}. {escape(template.description)}"
        console.print(Padding(said, (0, 0, 0, 2)))
    for title, settings in (
        ("Limits", policy.limits),
        ("Campaigns created by hand", policy.manual_defaults),
        ("Worth a warning", policy.checks),
    ):
        console.print(f"\n[bold]{title}[/bold]")
        console.print(_settings(settings))
    console.print(f"\nOne point costs {plain(policy.point_value)} in currency.")


def _patterns(policy: Policy) -> Table:
    table = Table(Column("rank", justify="right"), Column("pattern", no_wrap=True), "shown as", "who has it")
    for pattern in policy.patterns:
        rule = escape(rule_text(pattern.rule))
        table.add_row(str(pattern.rank), pattern.name, escape(pattern.label), rule)
    return table


def _campaigns(policy: Policy) -> Table:
    table = Table(
        Column("campaign", no_wrap=True),
        "offer and rules",
        *(Column(name, justify="right", no_wrap=True) for name in ("days", "control", "budget")),
        show_lines=True,
    )
    for template in policy.campaigns:
        table.add_row(
            f"[bold]{template.template}[/bold]\nfor {template.pattern}",
            _rules(template),
            str(template.days),
            percent(template.holdout_share),
            "no limit" if template.budget is None else f"{template.budget:,f}",
        )
    return table


def _rules(template: CampaignTemplate) -> str:
    """The offer, then what one user can earn, then what is unlike the usual."""
    reward = value_text("reward_for", template.reward_for)
    most = "" if template.max_reward is None else f", up to {plain(template.max_reward)} a user"
    rules = [f"{reward}{most}; result after {template.attribution_days} days"]
    if template.cooldown_days:
        rules.append(f"rest of {template.cooldown_days} days")
    if template.min_audience is not None:
        rules.append(f"opens for {template.min_audience} users or more")
    if not template.pause_when_losing:
        rules.append("never pauses by itself")
    if template.renamed_from:
        rules.append(f"was called {template.renamed_from}")
    return f"[bold]{offer_text(template.offer)}[/bold]\n{'; '.join(rules)}"


def _settings(settings: BaseModel) -> Table:
    table = Table(Column(justify="right", no_wrap=True), "", show_header=False, box=None, padding=(0, 1))
    for name, field in type(settings).model_fields.items():
        table.add_row(value_text(name, getattr(settings, name)), f"{field.description} [dim]({name})[/dim]")
    return table


def print_changes(
    console: Console, before: Mapping[str, str], after: Mapping[str, str], found: Sequence[Change]
) -> None:
    """Print changes by whom they reach, each with its place and both values in words."""
    for mark, side in (("-", before), ("+", after)):
        console.print(f"{mark} {side['version']}  {escape(side['source'])}", soft_wrap=True)
    if not found:
        console.print("\nThey say the same.")
        return
    count = "1 change" if len(found) == 1 else f"{len(found)} changes"
    console.print(f"\n{count}. None reaches the terms of a campaign that is open.")
    for reach, whom in REACHES.items():
        reached = [change for change in found if change.reach == reach]
        if reached:
            console.print(f"\n[bold]{whom}:[/bold]")
        for change in reached:
            console.print(f"  [cyan]{escape(change.path)}[/cyan]", soft_wrap=True)
            console.print(Padding(escape(_said(change)), (0, 0, 0, 4)))


def _said(change: Change) -> str:
    if change.kind == "added":
        return f"new {change.what}: {change.after_text}"
    if change.kind == "removed":
        return (
            f"{change.what} removed; what is open for it stays and adds nobody. It was: {change.before_text}"
        )
    if change.kind == "renamed":
        names = f"{change.before_text} → {change.after_text}"
        return f"{change.what} renamed: {names}; rest, pauses and what is open carry over"
    return f"{change.what}: {change.before_text} → {change.after_text}"
