"""The night as Dagster runs it, on a real PostgreSQL and a small source whose answers are known."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg

from marketing_assets.domain.assignment import held_out
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.datasets import USER_FEATURES
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.world import DAY, World, population, purchases

NEXT = DAY + timedelta(days=1)
GLOBAL_HOLDOUT = {
    user
    for kind, users in (("frequent", 50), ("inactive", 30), ("new", 25))
    for user in (f"{kind}{number}" for number in range(users))
    if held_out("global:2026", user, Decimal("0.05"))
}


def test_a_first_night_opens_campaigns_and_publishes_them_whole(decided_world: World) -> None:
    world = decided_world
    campaigns = world.rows(
        "select campaign_id, status, target_pattern from marketing.marketing_campaigns order by priority"
    )
    assert campaigns == [
        ("loyalty-bonus-2026-02-11", "active", "frequent_shopper"),
        ("welcome-bonus-2026-02-11", "active", "new_shopper"),
        ("re-engagement-2026-02-11", "active", "inactive"),
        ("location-promo-2026-02-11", "active", "location_cluster"),
        ("category-focus-2026-02-11", "active", "general"),
    ]
    assert world.rows("select day, status, targets, reason from marketing.published_nights") == [
        (DAY, "published", 3 * (50 + 30 + 25 - len(GLOBAL_HOLDOUT)), None)
    ]
    assert world.rows(
        "select primary_pattern, patterns, spend, transactions, top_location, as_of "
        "from marketing.user_segments where user_id = 'inactive3'"
    ) == [
        (
            "inactive",
            ["inactive", "new_shopper", "location_cluster", "general"],
            Decimal("7.00"),
            1,
            "Store 1",
            DAY,
        )
    ]
    assert dict(world.rows("select pattern, users from marketing.segment_summary")) == {
        "high_spender": 0,
        "inactive": 30,
        "new_shopper": 55,
        "seasonal": 0,
        "frequent_shopper": 50,
        "location_cluster": 105,
        "general": 105,
    }


def test_a_user_gets_the_three_campaigns_of_best_priority(decided_world: World) -> None:
    world = decided_world
    by_user = world.rows(
        "select campaign_id from marketing.campaign_targets where user_id = 'inactive3' order by campaign_id"
    )
    assert [name for (name,) in by_user] == [
        "location-promo-2026-02-11",
        "re-engagement-2026-02-11",
        "welcome-bonus-2026-02-11",
    ]
    counts = world.rows("select count(*) from marketing.campaign_targets group by user_id")
    assert Counter(counts) == {(3,): 105 - len(GLOBAL_HOLDOUT)}
    targets = world.rows("select user_id from marketing.campaign_targets")
    assert not GLOBAL_HOLDOUT & {user for (user,) in targets}


def test_arms_are_the_assignment_function_of_campaign_and_user(decided_world: World) -> None:
    world = decided_world
    targets = world.rows("select campaign_id, user_id, arm from marketing.campaign_targets")
    assert targets
    assert {arm for _, _, arm in targets} == {"treatment", "control"}
    for campaign_id, user_id, arm in targets:
        assert (arm == "control") == held_out(campaign_id, user_id, Decimal("0.1"))


def test_a_target_keeps_why_and_what_the_offer_is_filled_in_with(decided_world: World) -> None:
    world = decided_world
    assert world.rows(
        "select reason, context, assigned_on, valid_from, valid_until, status "
        "from marketing.campaign_targets "
        "where user_id = 'frequent1' and campaign_id = 'location-promo-2026-02-11'"
    ) == [
        (
            {"locations": 1},
            {"location": "Store 1"},
            NEXT,
            datetime(2026, 2, 11, tzinfo=UTC),
            datetime(2026, 3, 13, tzinfo=UTC),
            "eligible",
        )
    ]


def test_the_next_night_keeps_campaigns_and_adds_who_newly_qualifies(decided_world: World) -> None:
    world = decided_world
    before = set(world.rows("select user_id, campaign_id, arm from marketing.campaign_targets"))
    world.write([*population(), *purchases("late", [NEXT])])
    assert world.night(NEXT).success
    after = world.rows("select user_id, campaign_id, arm from marketing.campaign_targets")
    assert before <= set(after)
    assert {row[1] for row in after if row[0] == "late"} == {
        "welcome-bonus-2026-02-11",
        "location-promo-2026-02-11",
        "category-focus-2026-02-11",
    }
    assert world.rows("select count(*) from marketing.marketing_campaigns") == [(5,)]
    assert world.rows("select targets from marketing.published_nights order by day desc limit 1") == [(3,)]


def test_running_a_night_twice_changes_nothing(decided_world: World) -> None:
    world = decided_world
    before = world.snapshot()
    assert world.night(DAY).success
    assert world.snapshot() == before


def test_a_rerun_keeps_targets_whose_user_has_left_the_window(decided_world: World) -> None:
    world = decided_world
    targets = world.rows("select user_id, campaign_id, arm from marketing.campaign_targets order by 1, 2")
    world.write([line for line in population() if not line.startswith("new3-")])
    assert world.night(DAY).success
    assert (
        world.rows("select user_id, campaign_id, arm from marketing.campaign_targets order by 1, 2")
        == targets
    )
    assert world.rows("select count(*) from marketing.user_segments where user_id = 'new3'") == [(0,)]


def test_days_measured_again_in_any_order_are_the_same(decided_world: World) -> None:
    world = decided_world
    before = DAY - timedelta(days=1)
    world.behaviour(before, before)
    once = world.files()
    world.behaviour(DAY, DAY)
    world.behaviour(before, DAY)
    assert world.files() == once


def test_an_older_night_stays_as_it_was_decided(decided_world: World) -> None:
    world = decided_world
    assert world.night(NEXT).success
    before = world.snapshot()
    assert world.night(DAY, at=datetime(2026, 2, 12, 3, tzinfo=UTC)).success
    assert world.snapshot() == before


def test_a_night_found_too_late_is_recorded_as_missed_and_not_decided(decided_world: World) -> None:
    world = decided_world
    world.write([*population(), *purchases("late", [NEXT])])
    assert world.night(NEXT, at=datetime(2026, 2, 13, tzinfo=UTC)).success
    assert world.rows("select day, status, reason from marketing.published_nights order by day") == [
        (DAY, "published", None),
        (NEXT, "skipped", "missed"),
    ]
    assert world.rows("select count(*) from marketing.campaign_targets where user_id = 'late'") == [(0,)]
    assert (world.settings.lake / "user_patterns" / f"day={NEXT}" / "part-0.parquet").exists()
    for name in ("settled_rewards", "campaigns"):
        assert not (world.settings.lake / name / f"day={NEXT}").exists()


def test_nights_between_two_decided_ones_are_recorded_as_missed(decided_world: World) -> None:
    world = decided_world
    world.ingest(NEXT, NEXT + timedelta(days=1))
    assert world.night(DAY + timedelta(days=3)).success
    assert world.rows("select day, status from marketing.published_nights order by day") == [
        (DAY, "published"),
        (DAY + timedelta(days=1), "skipped"),
        (DAY + timedelta(days=2), "skipped"),
        (DAY + timedelta(days=3), "published"),
    ]


def test_a_missing_day_of_the_window_stops_the_run_with_a_remedy(world: World) -> None:
    world.write(population())
    result = world.night(DAY)
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data.user_failure_data
    assert failure is not None
    assert "transactions has no partition for 2026-01-11, 2026-01-12, 2026-01-13 and 27 more days" in str(
        failure.description
    )
    assert "marketing backfill --from 2026-01-11 --to 2026-02-09" in str(failure.description)


def test_a_day_that_is_not_over_is_refused(decided_world: World) -> None:
    result = decided_world.night(NEXT, at=datetime(2026, 2, 11, 23, tzinfo=UTC))
    assert not result.success
    assert decided_world.rows("select day from marketing.published_nights") == [(DAY,)]


def test_an_empty_day_gives_an_empty_partition_and_a_warning(decided_world: World) -> None:
    result = decided_world.night(NEXT)
    assert result.success
    (empty,) = (e for e in result.get_asset_check_evaluations() if e.check_name == "day_not_empty")
    assert not empty.passed
    assert decided_world.rows("select status from marketing.published_nights order by day") == [
        ("published",),
        ("published",),
    ]


def test_too_many_rejected_rows_stop_the_night_and_can_be_listed(decided_world: World) -> None:
    world = decided_world
    before = world.tables()
    broken = [f"bad{n},,{NEXT}T12:00:00+00:00,5.00,Store 1,Food" for n in range(3)]
    world.write([*population(), *purchases("good", [NEXT]), *broken])
    result = world.night(NEXT)
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data.user_failure_data
    assert failure is not None
    assert "missing_user_id" in str(failure.description)
    assert "MARKETING_MAX_REJECTED" in str(failure.description)
    assert world.tables() == before
    lake = world.settings.lake
    assert (lake / "rejected_transactions" / f"day={NEXT}" / "part-0.parquet").exists()
    assert not (lake / "transactions" / f"day={NEXT}" / "part-0.parquet").exists()


def test_max_users_keeps_the_most_recently_active(decided_world: World) -> None:
    world = decided_world
    world.settings = world.settings.model_copy(update={"max_users": 76})
    world.behaviour(DAY, DAY)
    lake = Lake(world.settings.lake)
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=lake.scratch)
    lake.register(engine, "features", USER_FEATURES, [DAY])
    users = {str(row["user_id"]) for row in engine.fetch("select user_id from features")}
    engine.close()
    active = {f"frequent{number}" for number in range(50)} | {f"new{number}" for number in range(25)}
    assert users == active | {"inactive0"}


LAKE_ASSETS = {
    "transactions",
    "rejected_transactions",
    "user_features",
    "user_patterns",
    "segment_summary",
    "settled_rewards",
    "campaigns",
    "campaign_targets",
    "targeting_decisions",
}


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """What each asset's materialisation of the run shows."""
    return {
        event.asset_key.to_user_string(): {
            name: shown.value
            for name, shown in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key is not None
    }


def test_every_asset_shows_the_same_numbers_each_run(decided_world: World) -> None:
    world = decided_world
    world.write([*population(), *purchases("late", [NEXT])])
    first = metadata_of(world.night(NEXT))
    second = metadata_of(world.night(NEXT))
    assert {name: set(shown) for name, shown in first.items()} == {
        name: set(shown) for name, shown in second.items()
    }
    for name in LAKE_ASSETS:
        assert {"rows", "bytes", "digest", "seconds", "dagster/partition_row_count"} <= set(first[name]), name
    for name in LAKE_ASSETS - {"transactions", "rejected_transactions"}:
        assert "dagster/column_lineage" in first[name], name
    for name in ("transactions", "user_features", "user_patterns", "segment_summary", "campaign_targets"):
        assert "users" in first[name], name
    assert first["transactions"]["spend"] == 10.0
    assert {"rows", "users", "seconds"} <= set(first["published_night"])
    tables = {name: shown for name, shown in first.items() if name.startswith("marketing/")}
    assert {name: shown["rows"] for name, shown in tables.items() if "rows" in shown} == {
        "marketing/marketing_campaigns": 0,
        "marketing/campaign_targets": 3,
        "marketing/user_segments": 76,
        "marketing/published_nights": 1,
    }
    for shown in tables.values():
        assert shown["dagster/column_schema"].columns


def test_people_see_segments_and_the_funnel_as_tables(decided_world: World) -> None:
    shown = metadata_of(decided_world.night(DAY))
    segments = str(shown["user_patterns"]["segments"])
    assert segments.startswith("| pattern | users | share | primary | spend |")
    assert "| inactive | 30 | 28.6% | 30 |" in segments
    funnel = str(shown["campaign_targets"]["funnel"]).splitlines()
    assert funnel[0] == (
        "| campaign | eligible | no context | opted out | global holdout | cooling off | too late "
        "| over limit | over budget | held out | targeted | expected cost |"
    )
    assert [line.split(" | ")[0].strip("| ") for line in funnel[2:]] == [
        "loyalty-bonus-2026-02-11",
        "welcome-bonus-2026-02-11",
        "re-engagement-2026-02-11",
        "location-promo-2026-02-11",
        "category-focus-2026-02-11",
    ]


def test_a_run_says_whether_its_night_was_decided(decided_world: World) -> None:
    world = decided_world
    runs = {
        "decide": world.night(NEXT),
        "stays": world.night(DAY, at=datetime(2026, 2, 12, 3, tzinfo=UTC)),
        "missed": world.night(NEXT + timedelta(days=1), at=datetime(2026, 2, 15, tzinfo=UTC)),
    }
    for stand, result in runs.items():
        run = world.instance.get_run_by_id(result.run_id)
        assert run is not None
        assert {"marketing/night": stand, "source": "files", "trigger": "ui"}.items() <= run.tags.items()


def test_every_check_of_a_night_says_what_it_saw_and_what_is_allowed(decided_world: World) -> None:
    evaluations = decided_world.night(DAY).get_asset_check_evaluations()
    assert len(evaluations) == 48
    for each in evaluations:
        name = f"{each.asset_key.to_user_string()}: {each.check_name}"
        assert each.passed, name
        assert {"observed", "limit"} <= set(each.metadata), name
        assert {"how_to_list", "note"} & set(each.metadata), name
        assert "frequent1" not in str(each.metadata)
