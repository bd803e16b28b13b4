"""A policy planned over past nights: what it says is what nights under it then do."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from marketing_assets.cli.plan import print_plan
from marketing_assets.domain.plans import Plan
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.planning import plan
from marketing_assets.orchestration.platform import Platform
from marketing_assets.policy.load import load_policy
from marketing_assets_tests.end_to_end.test_nightly import GLOBAL_HOLDOUT, NEXT
from marketing_assets_tests.end_to_end.test_targeting import DEFAULT, opt_out
from marketing_assets_tests.world import DAY, World, population, purchases


@pytest.fixture
def ready(decided_world: World) -> World:
    """The decided world, with features of the night after it and somebody new."""
    world = decided_world
    world.write([*population(), *purchases("late", [NEXT]), *purchases("no", [NEXT])])
    world.behaviour(NEXT, NEXT)
    opt_out(world, "no")
    return world


def policy_file(world: World, *changes: tuple[str, str]) -> Path:
    text = DEFAULT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = world.root / "proposed.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def planned(world: World, file: Path, first: Any, last: Any = None) -> Plan:
    platform = Platform(world.settings, "test")
    days = [first] if last is None else [first, last]
    try:
        return plan(platform, load_policy(file), days)
    finally:
        platform.close()


def test_a_plan_says_what_the_night_then_does(ready: World) -> None:
    found = planned(ready, policy_file(ready, ("transactions, below: 5}", "transactions, below: 2}")), NEXT)
    assert ready.night(NEXT).success
    rows = ready.rows(
        "select campaign_id, arm, count(*) from marketing.campaign_targets"
        f" where assigned_on = '{NEXT + timedelta(days=1)}' group by 1, 2"
    )
    drawn = {(name, arm): users for name, arm, users in rows}
    for each in found.current.campaigns.values():
        assert each.treatment == drawn.get((each.campaign_id, "treatment"), 0)
        assert each.control == drawn.get((each.campaign_id, "control"), 0)
    assert found.current.targets == sum(drawn.values()) > 0
    assert found.current.patterns["new_shopper"] == 27
    assert found.proposed.patterns["new_shopper"] == 27  # whoever buys five times has left the window


def test_a_plan_of_the_first_night_is_that_night_and_leaves_no_trace(ready: World) -> None:
    before = ready.snapshot()
    found = planned(ready, policy_file(ready, ("max_active_campaigns: 3", "max_active_campaigns: 1")), DAY)
    assert ready.snapshot() == before
    reached = 105 - len(GLOBAL_HOLDOUT)
    assert (found.current.targets, found.proposed.targets) == (3 * reached, reached)
    assert (found.users.current, found.users.proposed) == (reached, reached)
    assert (found.users.gain, found.users.lose) == (0, 0)
    assert all(each.proposed == 0 for each in found.overlaps)
    lost = {each.template: each.lose for each in found.changes}
    assert sum(lost.values()) == 2 * reached
    cost = {each.template: each.expected_cost for each in found.current.campaigns.values()}
    # 30 inactive users in all, 25 percent of 7.00 and 8.00: 1.75 and 2.00, expected 0.045 times.
    inactive, new = (30 - sum(user.startswith("inactive") for user in GLOBAL_HOLDOUT)), 25
    assert cost["welcome-bonus"] == (inactive * Decimal("1.75") + new * Decimal("2.00")) * Decimal("0.045")


@pytest.mark.verify
def test_two_nights_go_on_from_each_other(ready: World) -> None:
    week = ("days: 21", "days: 7")
    rest = "\n    priority: 6\n    reward_for: first_purchase\n    max_reward: 25\n    cooldown_days: "
    day_long = (
        f"days: 30{rest}0\n    attribution_days: 14",
        f"days: 1{rest}9\n    attribution_days: 1",
    )
    found = planned(ready, policy_file(ready, week, day_long), DAY, NEXT)
    assert [night.day for night in found.proposed.nights] == [DAY, NEXT]
    welcome = found.proposed.campaigns["welcome-bonus-2026-02-11"]
    assert welcome.outcome == "opened"
    assert welcome.targets == 55 - sum(user.startswith(("inactive", "new")) for user in GLOBAL_HOLDOUT)
    # Who was in the campaign of one day rests on the night that opens the next one.
    assert found.proposed.campaigns["location-promo-2026-02-11"].targets > 0
    successor = found.proposed.campaigns["location-promo-2026-02-12"]
    assert (successor.outcome, successor.targets) == ("opened", 1)
    # On the second night six of its seven days are left, so that who is new then comes too late.
    assert found.current.campaigns["welcome-bonus-2026-02-11"].targets == welcome.targets + 1


def test_a_plan_shows_a_policy_that_a_night_would_refuse(ready: World) -> None:
    file = policy_file(ready, ("max_cost_share: 0.05", "max_cost_share: 0.0001"))
    found = planned(ready, file, DAY)
    assert (found.current.nights[0].refused, found.proposed.nights[0].refused) == (False, True)
    shown = StringIO()
    print_plan(Console(file=shown, width=118), found, "USD")
    assert f"night of {DAY} would be refused" in shown.getvalue()


def command(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it, on the world's lake and database."""
    settings = world.settings
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MARKETING_")},
        "MARKETING_HOME": str(settings.home),
        "MARKETING_DATABASE_URL": world.urls.product,
        "MARKETING_SOURCE": "files",
        "MARKETING_SOURCE_URL": str(world.csv),
        "MARKETING_WINDOW_DAYS": "31",
        "MARKETING_START_DATE": "2026-01-01",
    }
    return subprocess.run(
        [Path(sys.executable).with_name("marketing"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=world.root,
        check=False,
    )


@pytest.mark.verify
def test_the_command_prints_tables_json_and_a_page(ready: World) -> None:
    file = policy_file(ready, ("max_active_campaigns: 3", "max_active_campaigns: 1"))
    page = ready.root / "plan.html"
    told = command(ready, "policy", "plan", str(file), "--day", str(DAY), "--json", "--html", str(page))
    assert told.returncode == 0, told.stderr
    read = json.loads(told.stdout)
    assert read["current"]["targets"] == 3 * (105 - len(GLOBAL_HOLDOUT))
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert read["proposed"]["policy_version"] in html
    assert "http-equiv" not in html
    assert "frequent1" not in html
    shown = command(ready, "policy", "plan", str(file), "--day", str(DAY))
    assert shown.returncode == 0, shown.stderr
    assert "all (users: any)" in shown.stdout
    assert "Proposed opens: loyalty-bonus-2026-02-11" in shown.stdout


def test_a_day_without_features_is_named_with_what_to_do(ready: World) -> None:
    file = policy_file(ready)
    told = command(ready, "policy", "plan", str(file), "--day", "2026-01-20")
    assert told.returncode == 1
    assert "user_features has no partition for 2026-01-20" in told.stderr
    assert "marketing backfill --from 2026-01-20" in told.stderr


def test_the_job_shows_the_same_as_metadata(ready: World) -> None:
    file = policy_file(ready, ("max_active_campaigns: 3", "max_active_campaigns: 1"))
    job = build_definitions(ready.settings).resolve_job_def("policy_plan")
    config = {"ops": {"plan_policy": {"config": {"policy": str(file), "day": str(DAY)}}}}
    result = job.execute_in_process(instance=ready.instance, run_config=config, raise_on_error=False)
    assert result.success
    (event,) = [each for each in result.all_events if each.event_type_value == "STEP_OUTPUT"]
    metadata = event.step_output_data.metadata
    reached = 105 - len(GLOBAL_HOLDOUT)
    assert metadata["targets"].value == reached
    assert "| loyalty-bonus |" in str(metadata["templates"].value)
    assert Path(str(metadata["page"].value)).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_job_for_a_day_that_is_none_says_what_to_give(ready: World) -> None:
    job = build_definitions(ready.settings).resolve_job_def("policy_plan")
    config = {"ops": {"plan_policy": {"config": {"policy": str(policy_file(ready)), "day": "yesterday"}}}}
    result = job.execute_in_process(instance=ready.instance, run_config=config, raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("plan_policy")
    assert failure is not None
    assert "'yesterday' is not a day" in str(failure.user_failure_data or failure.error)


@pytest.mark.verify
def test_a_user_is_explained_from_the_log(ready: World) -> None:
    assert ready.night(NEXT).success
    told = command(ready, "explain", "--user", "late", "--day", str(NEXT))
    assert told.returncode == 0, told.stderr
    assert f"Decided in the night of {NEXT} on user 'late':" in told.stdout
    assert "welcome-bonus-2026-02-11" in told.stdout
    assert "Qualified with transactions 1." in told.stdout
    refused = command(ready, "explain", "--user", "no", "--day", str(NEXT), "--json")
    assert {each["outcome"] for each in json.loads(refused.stdout)} == {"opted_out"}
    stood = command(ready, "explain", "--user", "inactive3", "--day", str(NEXT))
    assert "Decided in earlier nights" in stood.stdout
    unknown = command(ready, "explain", "--user", "nobody [bold]", "--day", str(NEXT))
    assert "Nothing is logged of user 'nobody [bold]'" in unknown.stdout
    none = command(ready, "explain", "--user", "late", "--day", "2026-01-15")
    assert none.returncode == 1
    assert f"nights are logged from {DAY} to {NEXT}" in none.stderr
