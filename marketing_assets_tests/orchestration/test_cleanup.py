"""The clean-up as Dagster runs it, on a decided world: what expires, is archived and goes."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from marketing_assets.storage import clock
from marketing_assets.storage.datasets import (
    ARCHIVED_EVENTS,
    ARCHIVED_REWARDS,
    ARCHIVED_TARGETS,
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    TARGETING_DECISIONS,
    TRANSACTIONS,
    USER_FEATURES,
    USER_PATTERNS,
)
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.end_to_end.test_targeting import change
from marketing_assets_tests.world import DAY, FIRST, World

NEXT = DAY + timedelta(days=1)
OVER = date(2026, 2, 25)
"""The re-engagement of 14 days that opened on NEXT is over on this day."""


def clean_up(world: World, day: date, hour: int = 3) -> dict[str, dict[str, Any]]:
    """Run the job at 03:00 of a day; the numbers of each asset."""
    with clock.simulated(world.database, "test") as simulated:
        simulated.set(datetime(day.year, day.month, day.day, hour, tzinfo=UTC))
        result = world.clean_up()
    assert result.success
    return {
        event.asset_key.to_user_string(): {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }


def statuses(world: World) -> dict[str, str]:
    return dict(world.rows("select template, status from marketing.marketing_campaigns"))


def test_before_anything_is_over_nothing_changes(decided_world: World) -> None:
    before = decided_world.snapshot()
    figures = clean_up(decided_world, NEXT)
    assert decided_world.snapshot() == before
    assert {name: set(values) for name, values in figures.items()} == {
        "expired_campaigns": {"expired", "campaigns", "seconds"},
        "archived_targets": {"archived", "rows", "bytes", "campaigns", "seconds"},
        "archived_events": {"archived", "rows", "bytes", "campaigns", "seconds"},
        "archived_rewards": {"archived", "rows", "bytes", "campaigns", "seconds"},
        "forgotten_answers": {"exports", "idempotency_keys", "seconds"},
        "lake_retention": {"partitions_removed", "bytes", "removed", "first_kept", "seconds"},
        "vacuumed_tables": {"tables", "bytes", "vacuumed", "seconds"},
        "dagster_storage": {"events_purged", "ticks_purged", "bytes", "complete", "seconds"},
    }
    assert figures["expired_campaigns"]["expired"] == 0
    assert figures["lake_retention"]["partitions_removed"] == 0


def test_a_campaign_expires_and_is_archived_after_30_days(decided_world: World) -> None:
    world = decided_world
    [(own,)] = world.rows(
        "select count(*) from marketing.campaign_targets where campaign_id = 're-engagement-2026-02-11'"
    )
    [(everybody,)] = world.rows("select count(*) from marketing.campaign_targets")
    assert clean_up(world, OVER)["expired_campaigns"]["expired"] == 1
    assert statuses(world)["re-engagement"] == "expired"
    assert clean_up(world, OVER)["expired_campaigns"]["expired"] == 0

    before_its_time = clean_up(world, OVER + timedelta(days=29))
    assert before_its_time["archived_targets"]["archived"] == 0
    figures = clean_up(world, OVER + timedelta(days=30))["archived_targets"]
    assert (figures["archived"], figures["rows"]) == (1, own)
    assert statuses(world)["re-engagement"] == "archived"
    assert world.rows("select count(*) from marketing.campaign_targets") == [(everybody - own,)]
    assert Lake(world.settings.lake).days(ARCHIVED_TARGETS) == [OVER - timedelta(days=1)]
    after = world.snapshot()
    assert clean_up(world, OVER + timedelta(days=30))["archived_targets"]["archived"] == 0
    assert world.snapshot() == after


def test_old_partitions_go_and_what_the_newest_night_needs_stays(decided_world: World) -> None:
    world = decided_world
    world.behaviour(DAY - timedelta(days=5), DAY - timedelta(days=1))
    lake = Lake(world.settings.lake)
    assert lake.days(TRANSACTIONS)[0] == FIRST
    # Long after the last night: features are all past their time, the window of the night is 31 days.
    later = DAY + timedelta(days=350)
    figures = clean_up(world, later)["lake_retention"]
    assert lake.days(USER_FEATURES) == [DAY - timedelta(days=1), DAY]
    assert lake.days(USER_PATTERNS) == [DAY - timedelta(days=1), DAY]
    assert lake.days(TRANSACTIONS)[0] == FIRST
    assert figures["partitions_removed"] == 3 * 4
    later = DAY + timedelta(days=450)
    figures = clean_up(world, later)["lake_retention"]
    assert lake.days(TRANSACTIONS)[0] == DAY - timedelta(days=30)
    assert lake.days(TRANSACTIONS)[-1] == DAY
    assert (DAY - timedelta(days=30) - FIRST).days * 2 == figures["partitions_removed"]
    assert "| transactions | 10 | 2026-01-01 | 2026-01-10 |" in figures["removed"]
    # Not before the cooldown of a year, the campaign and 30 days more; and the newest night stays whole.
    for dataset in (CAMPAIGN_TARGETS, CAMPAIGNS, TARGETING_DECISIONS):
        assert lake.days(dataset) == [DAY]


@pytest.mark.verify
def test_the_night_after_a_clean_up_is_what_it_would_have_been(decided_world: World) -> None:
    """The night of the day on which a campaign ended, run again after it was marked as expired."""
    world = decided_world
    last = OVER - timedelta(days=1)
    world.ingest(NEXT, last - timedelta(days=1))
    assert world.night(last).success
    before = world.snapshot()
    assert clean_up(world, OVER)["expired_campaigns"]["expired"] == 1
    expired = world.snapshot()
    assert world.night(last).success
    assert world.snapshot() == expired
    assert {name: digest for name, digest in expired.items() if name.startswith("campaigns/")} == {
        name: digest for name, digest in before.items() if name.startswith("campaigns/")
    }


@pytest.mark.verify
def test_nights_go_on_after_targets_were_archived(decided_world: World) -> None:
    """The opened campaigns of 60 days stand while those of 14 are archived; reruns change nothing."""
    world = decided_world
    day = OVER + timedelta(days=30)
    world.ingest(NEXT, day - timedelta(days=2))
    clean_up(world, OVER)
    assert world.night(day - timedelta(days=1)).success
    assert clean_up(world, day)["archived_targets"]["archived"] == 1
    before = world.snapshot()
    assert world.night(
        day - timedelta(days=1), at=datetime(day.year, day.month, day.day, 5, tzinfo=UTC)
    ).success
    assert world.snapshot() == before
    assert world.night(day).success
    assert world.rows("select status from marketing.published_nights order by day desc limit 1") == [
        ("published",)
    ]


def test_a_step_that_fails_stops_none_that_does_not_need_it(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketing_assets.storage import archive

    monkeypatch.setattr(archive, "expire", lambda *_: 1 / 0)
    result = decided_world.clean_up()
    assert not result.success
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    assert made == {dg.AssetKey(name) for name in ("lake_retention", "forgotten_answers", "dagster_storage")}


def test_answers_are_forgotten_after_a_week(decided_world: World) -> None:
    world = decided_world
    at_three = datetime(NEXT.year, NEXT.month, NEXT.day, 3, tzinfo=UTC)
    for number, age in enumerate((timedelta(days=7), timedelta(days=7, microseconds=1))):
        change(
            world,
            f"with asked as (insert into marketing.requests (kind, status, requested_by, finished_at)"
            f" values ('export', 'succeeded', 'pseudonym', now()) returning request_id)"
            f" insert into marketing.exports"
            f" select request_id, 'ann{number}', '{{}}', '{at_three - age}' from asked;"
            f" insert into marketing.idempotency_keys (caller, key, body_hash, status, answer, created_at)"
            f" values ('ops', 'key{number}', 'hash', 201, '{{}}', '{at_three - age}')",
        )
    figures = clean_up(world, NEXT)["forgotten_answers"]
    assert (figures["exports"], figures["idempotency_keys"]) == (1, 1)
    assert world.rows("select user_id from marketing.exports") == [("ann0",)]
    assert world.rows("select key from marketing.idempotency_keys") == [("key0",)]
    assert world.rows("select count(*) from marketing.requests where kind = 'export'") == [(2,)]


def test_events_and_rewards_are_archived_and_checked_with_their_campaign(decided_world: World) -> None:
    world = decided_world
    name = "re-engagement-2026-02-11"
    clean_up(world, OVER)
    event = (
        f"select user_id, gen_random_uuid(), campaign_id, 'view', valid_from, valid_from, valid_from,"
        f" valid_from, 'h' from marketing.campaign_targets where campaign_id = '{name}' and arm = 'treatment'"
    )
    change(
        world,
        "insert into marketing.campaign_events (user_id, event_id, campaign_id, kind, occurred_at,"
        f" received_at, claimed_at, sent_at, body_hash) {event}",
    )
    [(events,)] = world.rows("select count(*) from marketing.campaign_events")
    figures = clean_up(world, OVER + timedelta(days=30))
    assert events > 20
    assert figures["archived_events"]["rows"] == events
    assert f"| {OVER - timedelta(days=1)} | {name} | {events} |" in figures["archived_events"]["campaigns"]
    assert figures["archived_rewards"]["rows"] == 0
    lake = Lake(world.settings.lake)
    assert lake.days(ARCHIVED_EVENTS) == [OVER - timedelta(days=1)]
    assert lake.days(ARCHIVED_REWARDS) == []
