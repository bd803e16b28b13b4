"""`marketing explain`: why a user was or was not targeted, from the log of decisions alone."""

import json
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.markup import escape

from marketing_assets.domain.explanation import LoggedDecision, explained
from marketing_assets.domain.identity import stored_id
from marketing_assets.engine.base import Row
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import LakeError
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import TARGETING_DECISIONS
from marketing_assets.storage.keys import pseudonym_key
from marketing_assets.storage.lake import Lake

_LOG = "select * from decision_log where user_id = $user order by day desc, campaign_id"


def logged(settings: Settings, user: str, day: date) -> list[LoggedDecision]:
    """What the log says of the user until the night of `day`, the last row of each campaign, newest first.

    `user` is the id as the source has it.

    Raises:
        LakeError: the night has no log, or is older than what the lake keeps.
    """
    lake = Lake(settings.lake)
    kept = lake.days(TARGETING_DECISIONS)
    days = [each for each in kept if each <= day]
    if day not in kept:
        span = f"nights are logged from {kept[0]} to {kept[-1]}" if kept else "no night is logged yet"
        raise LakeError(
            f"the night of {day} has no log of decisions in {settings.lake}",
            remedy=f"{span}; a night that was skipped decided nothing",
        )
    with TemporaryDirectory(prefix="marketing-explain-") as spill:
        engine = DuckDBEngine(
            memory_limit=settings.memory_limit, threads=settings.threads, temp_directory=Path(spill)
        )
        try:
            lake.register(engine, "decision_log", TARGETING_DECISIONS, days)
            rows = engine.fetch(_LOG, {"user": stored_id(pseudonym_key(settings), user)})
        finally:
            engine.close()
    newest: dict[str, LoggedDecision] = {}
    for row in rows:
        decision = _decision(row)
        newest.setdefault(decision.campaign_id, decision)
    return list(newest.values())


def _decision(row: Row) -> LoggedDecision:
    day = row["day"]
    assert isinstance(day, date)
    return LoggedDecision(
        day=day,
        campaign_id=str(row["campaign_id"]),
        outcome=str(row["outcome"]),
        reason=json.loads(str(row["reason"]), parse_float=str),
        detail=json.loads(str(row["detail"] or "{}"), parse_float=str),
        bucket_digits=None if row["bucket_digits"] is None else str(row["bucket_digits"]),
        policy_version=str(row["policy_version"]),
    )


def print_explanation(console: Console, user: str, day: date, decisions: list[LoggedDecision]) -> None:
    """Print what the night decided, then what stood from earlier nights."""
    # In the order in which slots were taken, then who was refused.
    decisions = sorted(decisions, key=lambda each: (int(str(each.detail.get("slot", 99))), each.campaign_id))
    tonight = [each for each in decisions if each.day == day]
    before = [each for each in decisions if each.day != day]
    shown = escape(repr(user))
    if not decisions:
        console.print(
            f"Nothing is logged of user {shown} until the night of {day}: no purchase in the window, or no "
            "pattern of a campaign that took targets."
        )
    for title, found in (
        (f"Decided in the night of {day} on user {shown}:", tonight),
        ("Decided in earlier nights; it stood, or the campaign was over:", before),
    ):
        if found:
            console.print(f"[bold]{title}[/bold]")
        for each in found:
            when = "" if each.day == day else f", night of {each.day}"
            console.print(f"  [bold]{escape(each.campaign_id)}[/bold] (policy {each.policy_version}{when})")
            console.print(f"    {escape(explained(each))}", soft_wrap=True)
