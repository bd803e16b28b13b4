"""Targeting as nights run it: consent, the yearly holdout, cooldown, budgets, and policies that change."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest

from marketing_assets.domain.assignment import bucket_digits, held_out
from marketing_assets_tests.end_to_end.test_nightly import GLOBAL_HOLDOUT, NEXT
from marketing_assets_tests.world import DAY, World, population, purchases

DEFAULT = resources.files("marketing_assets.policy").joinpath("default.yaml").read_text(encoding="utf-8")


def write_policy(world: World, **changes: tuple[str, str]) -> None:
    """The default policy with some text replaced, in force from the next night on."""
    text = DEFAULT
    for old, new in changes.values():
        assert old in text, old
        text = text.replace(old, new)
    file = world.root / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    world.settings = world.settings.model_copy(update={"policy": file})


def targets_of(world: World, campaign: str) -> set[str]:
    rows = world.rows(f"select user_id from marketing.campaign_targets where campaign_id = '{campaign}'")
    return {user for (user,) in rows}


def log_of(world: World, day: date) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The log of a night by campaign and user."""
    import duckdb

    file = world.settings.lake / "targeting_decisions" / f"day={day}" / "part-0.parquet"
    with duckdb.connect() as connection:
        found = connection.execute(f"select * from '{file}'")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {(row["campaign_id"], row["user_id"]): row for row in rows}


def prepared(world: World, *newcomers: str) -> None:
    """The source of the night after, with users who buy for the first time on it."""
    world.write([*population(), *(line for user in newcomers for line in purchases(user, [NEXT]))])


def opt_out(world: World, user: str) -> None:
    change(
        world,
        "insert into marketing.user_consent (user_id, opted_out_at, channels, source, updated_at)"
        f" values ('{user}', now(), '{{}}', 'test', now())",
    )


def change(world: World, statement: str) -> None:
    import psycopg

    with psycopg.connect(world.urls.product.replace("+psycopg", "")) as connection:
        connection.execute(statement.encode())


def test_who_has_opted_out_is_targeted_by_nobody_and_the_log_says_so(decided_world: World) -> None:
    world = decided_world
    prepared(world, "yes", "no")
    opt_out(world, "no")
    opt_out(world, "frequent0")  # a target already: keeps its rows, and gets no new ones
    before = world.rows("select * from marketing.campaign_targets where user_id = 'frequent0'")
    assert world.night(NEXT).success
    assert "yes" in targets_of(world, "welcome-bonus-2026-02-11")
    assert world.rows("select count(*) from marketing.campaign_targets where user_id = 'no'") == [(0,)]
    assert world.rows("select * from marketing.campaign_targets where user_id = 'frequent0'") == before
    log = log_of(world, NEXT)
    refused = {outcome["outcome"] for (_, user), outcome in log.items() if user == "no"}
    assert refused == {"opted_out"}


@pytest.mark.verify
def test_the_global_holdout_is_outside_of_all_campaigns_and_its_share_stands_for_a_year(
    decided_world: World,
) -> None:
    world = decided_world
    log = log_of(world, DAY)
    assert {user for (_, user), row in log.items() if row["outcome"] == "global_holdout"} == GLOBAL_HOLDOUT
    user = next(iter(GLOBAL_HOLDOUT))
    assert (
        f'"digits": "{bucket_digits("global:2026", user)}"'
        in log["category-focus-2026-02-11", user]["detail"]
    )
    assert world.rows("select year, share, frozen_on from marketing.global_holdouts") == [
        (2026, Decimal("0.05000000"), DAY)
    ]
    newcomers = [f"later{number}" for number in range(40)]
    prepared(world, *newcomers)
    write_policy(world, share=("global_holdout_share: 0.05", "global_holdout_share: 0.5"))
    assert world.night(NEXT).success
    held = {user for user in newcomers if held_out("global:2026", user, Decimal("0.05"))}
    assert targets_of(world, "welcome-bonus-2026-02-11") & set(newcomers) == set(newcomers) - held
    assert world.rows("select share from marketing.global_holdouts") == [(Decimal("0.05000000"),)]


@pytest.mark.verify
def test_targets_of_a_campaign_that_ended_rest_before_the_next_of_its_template(decided_world: World) -> None:
    world = decided_world
    # Its campaign ends early, so that the next night opens another one.
    change(
        world,
        "update marketing.marketing_campaigns set status = 'expired', ends_at = '2026-02-12'"
        " where campaign_id = 'welcome-bonus-2026-02-11'",
    )
    prepared(world, "newcomer")
    assert world.night(NEXT).success
    opened = "welcome-bonus-2026-02-12"
    log = log_of(world, NEXT)
    rested = {user for (name, user), row in log.items() if name == opened and row["outcome"] == "cooling_off"}
    assert rested == {f"new{number}" for number in range(25)}  # the others have left the window
    assert rested < targets_of(world, "welcome-bonus-2026-02-11")
    assert targets_of(world, opened) == {"newcomer"} - GLOBAL_HOLDOUT
    row = log[opened, next(iter(rested))]
    assert row["detail"] == (
        '{"earlier_campaign": "welcome-bonus-2026-02-11", "ended_on": "2026-02-12", "cooldown_days": 365}'
    )


@pytest.mark.verify
def test_a_budget_pays_for_those_who_spend_most_and_a_rerun_counts_them_first(world: World) -> None:
    # 25 % of 8.00 is 2.00, expected 0.05 x 0.9 of the time: 0.09 a target. Of 105, 94 can be drawn.
    lines = [
        *population(),
        *(line for number in range(5) for line in purchases(f"rich{number}", [DAY], amount="80.00")),
    ]
    world.write(lines)
    write_policy(
        world,
        budget=("    cooldown_days: 365\n", "    cooldown_days: 365\n    budget: 26.00\n"),
        limit=("max_active_campaigns: 3", "max_active_campaigns: 7"),
    )
    world.ingest(date(2026, 1, 1), DAY - timedelta(days=1))
    assert world.night(DAY).success
    name = "welcome-bonus-2026-02-11"
    log = log_of(world, DAY)
    outcomes = {user: row["outcome"] for (campaign, user), row in log.items() if campaign == name}
    drawn = {user for user, outcome in outcomes.items() if outcome in ("treatment", "control")}
    assert all(outcomes[f"rich{number}"] != "budget" for number in range(5))
    assert set(outcomes.values()) <= {"treatment", "control", "global_holdout"}  # all of 26 fit
    before = world.snapshot()
    assert world.night(DAY).success
    assert world.snapshot() == before
    # What the app has spent meanwhile leaves nothing for the next night's newcomers.
    change(
        world,
        f"update marketing.campaign_budgets set spent = 25, reserved = 0.5 where campaign_id = '{name}'",
    )
    world.write([*lines, *purchases("next", [NEXT], amount="90.00")])
    assert world.night(NEXT).success
    assert log_of(world, NEXT)[name, "next"]["outcome"] == "budget"
    assert targets_of(world, name) == drawn


@pytest.mark.verify
@pytest.mark.parametrize(
    ("change_to", "outcome"),
    [
        (("  - template: welcome-bonus", "  - template: hello\n    renamed_from: welcome-bonus"), "kept"),
        (("  - template: welcome-bonus", "  - template: hello"), "orphaned"),
        (("transactions, below: 5}", "transactions, below: 1000}"), "kept"),
        (("    days: 21", "    days: 30"), "kept"),
    ],
)
def test_a_policy_changed_between_two_nights(
    decided_world: World, change_to: tuple[str, str], outcome: str
) -> None:
    world = decided_world
    name = "welcome-bonus-2026-02-11"
    before = targets_of(world, name)
    ends = world.rows(f"select ends_at from marketing.marketing_campaigns where campaign_id = '{name}'")
    prepared(world, "newcomer")
    write_policy(world, changed=change_to)
    assert world.night(NEXT).success
    after = targets_of(world, name)
    assert before <= after
    assert ("newcomer" in after) == (outcome == "kept")
    assert (
        world.rows(f"select ends_at from marketing.marketing_campaigns where campaign_id = '{name}'") == ends
    )
    (row,) = lake_rows(world, "campaigns", f"select outcome from {{}} where campaign_id = '{name}'")
    assert row == (outcome,)
    # An orphan keeps its slots: whoever has it is no freer than before.
    counts = world.rows(
        "select max(n) from (select count(*) n from marketing.campaign_targets group by user_id)"
    )
    assert counts == [(3,)]


def lake_rows(world: World, dataset: str, statement: str, day: date = NEXT) -> list[tuple[Any, ...]]:
    import duckdb

    file = world.settings.lake / dataset / f"day={day}" / "part-0.parquet"
    with duckdb.connect() as connection:
        return connection.execute(statement.format(f"'{file}'")).fetchall()


@pytest.mark.verify
def test_a_policy_that_promises_too_much_of_the_spend_stops_the_night(world: World) -> None:
    world.write(population())
    write_policy(
        world,
        offer=(
            "offer: {type: discount, value: 10, unit: percentage, at: top_category}",
            "offer: {type: discount, value: 100, unit: percentage, at: top_category}",
        ),
        expected=(
            "    cooldown_days: 0\n    attribution_days: 14\n\n# What",
            "    cooldown_days: 0\n    attribution_days: 14\n    expected_conversion: 0.9\n\n# What",
        ),
        slots=("max_active_campaigns: 3", "max_active_campaigns: 7"),
    )
    world.ingest(date(2026, 1, 1), DAY - timedelta(days=1))
    result = world.night(DAY)
    assert not result.success
    (check,) = [
        each for each in result.get_asset_check_evaluations() if each.check_name == "cost_in_proportion"
    ]
    assert not check.passed
    observed = check.metadata["observed"].value
    assert isinstance(observed, float)
    assert observed > 0.05
    assert "max_cost_share" in str(check.metadata["remedy"].value)
    assert world.rows("select count(*) from marketing.campaign_targets") == [(0,)]


@pytest.mark.verify
def test_old_partitions_without_the_newer_columns_still_stand(decided_world: World) -> None:
    """A lake of an earlier version: what it holds is read, and its costs are unknown."""
    import duckdb

    world = decided_world
    for dataset, gone in (("campaign_targets", "spend, expected_cost"), ("targeting_decisions", "detail")):
        file = world.settings.lake / dataset / f"day={DAY}" / "part-0.parquet"
        other = file.with_name("rewritten")
        with duckdb.connect() as connection:
            connection.execute(
                f"copy (select * exclude ({gone}) from read_parquet('{file}', hive_partitioning = false)) "
                f"to '{other}' (format parquet)"
            )
        other.replace(file)
    prepared(world, "newcomer")
    before = world.rows("select user_id, campaign_id, arm from marketing.campaign_targets")
    assert world.night(NEXT).success
    assert set(before) <= set(world.rows("select user_id, campaign_id, arm from marketing.campaign_targets"))
    assert "newcomer" in targets_of(world, "welcome-bonus-2026-02-11")
    assert isinstance(world.rows("select min(valid_from) from marketing.campaign_targets")[0][0], datetime)
