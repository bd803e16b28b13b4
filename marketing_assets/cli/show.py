"""What the command prints: tables of a night's patterns and campaigns, step times, and the status."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Column, Table

from marketing_assets.cli.nights import NightRun
from marketing_assets.cli.report import CampaignLine, NightReport, Status
from marketing_assets.policy.words import offer_text

_STYLES = {"opened": "green", "kept": "cyan", "not_opened": "dim", "ended": "dim", "paused": "yellow"}
_T = TypeVar("_T")


def print_night(console: Console, report: NightReport, zone: ZoneInfo) -> None:
    """Print one night: its patterns, then every campaign and template with what became of it."""
    console.print(f"\n[bold]Night of {report.day}[/bold], campaigns for {report.target_day}")
    patterns = Table("pattern", "shown as", *_right("users", "share", "primary", "spend"))
    for line in report.patterns:
        patterns.add_row(
            line.pattern,
            line.label,
            f"{line.users:,}",
            f"{line.share:.1%}",
            f"{line.primary_users:,}",
            f"{line.spend:,.2f}",
        )
    console.print(patterns)
    campaigns = Table(
        Column("campaign", no_wrap=True), "what became of it", Column("runs", no_wrap=True), "offer", *_arms()
    )
    for each in report.campaigns:
        style = _STYLES.get(each.outcome, "")
        campaigns.add_row(
            each.template,
            f"[{style}]{_became(each)}[/{style}]" if style else _became(each),
            _dates(each, zone),
            offer_text(each.offer) if each.offer else "",
            "" if each.treatment is None else f"{each.treatment:,}",
            "" if each.control is None else f"{each.control:,}",
        )
    console.print(campaigns)


def summary(report: NightReport) -> str:
    """One night in a line: `opened 6, kept 0, not opened 1 campaigns; 5,383 new targets`."""
    counts = {
        outcome: sum(each.outcome == outcome for each in report.campaigns)
        for outcome in ("opened", "kept", "ended", "not_opened")
    }
    said = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count)
    return f"campaigns: {said or 'none'}; {report.new_targets:,} new targets"


def print_times(console: Console, runs: Sequence[NightRun]) -> None:
    """Print the seconds that each step of each run took."""
    steps = list(dict.fromkeys(step.step for run in runs for step in run.night.steps))
    table = Table("seconds", *_right(*(f"night of {run.day}" for run in runs)))
    for step in steps:
        by_run = [{each.step: each.seconds for each in run.night.steps} for run in runs]
        table.add_row(step, *(f"{times[step]:.2f}" if step in times else "" for times in by_run))
    ingests = [sum(step.seconds for step in run.ingest.steps) if run.ingest else 0.0 for run in runs]
    if any(ingests):
        table.add_row("missing days of the window", *(f"{each:.2f}" if each else "" for each in ingests))
    console.print(table)


def print_status(console: Console, status: Status) -> None:
    """Print what is installed, where, and how far the nights have come."""
    table = Table(show_header=False, box=None)
    for name, value in (
        ("version", status.version),
        ("database", status.database),
        ("Dagster's database", status.dagster_database),
        ("lake", status.lake),
        ("source", status.source),
        ("time zone", status.timezone),
        ("it is", f"{status.now}{' (simulated)' if status.simulated else ''}"),
        ("newest night", _or_none(status.newest_night)),
        ("next night", status.next_night),
        ("rewards that wait", f"{status.rewards_waiting:,} ({status.rewards_reserved})"),
    ):
        table.add_row(f"[bold]{name}[/bold]", value)
    console.print(table)
    campaigns = Table("campaign", "status", "pattern", "ends", *_arms())
    for each in status.campaigns:
        campaigns.add_row(
            each.campaign_id,
            each.status,
            each.target_pattern,
            each.ends_at,
            f"{each.treatment:,}",
            f"{each.control:,}",
        )
    console.print(campaigns if status.campaigns else "No campaign is open.")


def _became(line: CampaignLine) -> str:
    outcome = line.outcome.replace("_", " ")
    return outcome if line.outcome == "kept" else f"{outcome}: {line.reason}"


def _dates(line: CampaignLine, zone: ZoneInfo) -> str:
    if line.starts_at is None or line.ends_at is None:
        return ""
    last = line.ends_at - timedelta(microseconds=1)
    return f"{_day(line.starts_at, zone)} to {_day(last, zone)}"


def _day(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).strftime("%Y-%m-%d")


def _or_none(value: _T | None) -> str:
    return "none yet" if value is None else str(value)


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right", no_wrap=True) for name in names]


def _arms() -> list[Column]:
    return _right("treatment", "control")
