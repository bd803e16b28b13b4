"""A clean-up killed with SIGKILL at any point loses nothing and archives nothing twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from marketing_assets.storage import clock
from marketing_assets.storage.datasets import ARCHIVED_EVENTS, ARCHIVED_REWARDS
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.conftest import copied_world
from marketing_assets_tests.end_to_end.killer import CLEANUP_POINTS
from marketing_assets_tests.end_to_end.shell import Shell
from marketing_assets_tests.end_to_end.test_targeting import change
from marketing_assets_tests.world import DAY, World

KILLED = -9
OVER = date(2026, 3, 13)
"""By this day campaigns of 14, 21 and 30 days are over; the first two are archived 21 days later."""

ARCHIVED_ON = OVER + timedelta(days=21)


_EVENTS = (
    "insert into marketing.campaign_events (user_id, event_id, campaign_id, kind, occurred_at, received_at,"
    " claimed_at, sent_at, amount, transaction_id, body_hash)"
    " select user_id, cast(md5(user_id || campaign_id) as uuid), campaign_id, 'conversion', valid_from,"
    " valid_from, valid_from, valid_from, 8, user_id, 'hash' from marketing.campaign_targets"
    " where arm = 'treatment' and campaign_id like 'welcome-bonus%'"
)
_REWARDS = (
    "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed, amount, state,"
    " occurred_at, decided_at) select user_id, event_id, campaign_id, transaction_id, 8, 2, 'spent',"
    " occurred_at, occurred_at from marketing.campaign_events"
)


@contextmanager
def at_three(world: World, day: date) -> Iterator[None]:
    with clock.simulated(world.database, "test") as simulated:
        simulated.set(datetime(day.year, day.month, day.day, 3, tzinfo=UTC))
        yield


def prepared(world: World) -> World:
    """Features that are past their time, and campaigns that expired, with events and rewards."""
    change(world, _EVENTS)
    change(world, _REWARDS)
    world.behaviour(DAY - timedelta(days=5), DAY - timedelta(days=1))
    with at_three(world, OVER):
        assert world.clean_up().success
    return world


@pytest.fixture(scope="session")
def undisturbed(
    decided_template: tuple[Path, str], postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Every row and file after one clean-up, undisturbed."""
    root = tmp_path_factory.mktemp("cleaned") / "world"
    with (
        copied_world(decided_template, postgres_server, root) as world,
        at_three(prepared(world), ARCHIVED_ON),
    ):
        assert world.clean_up().success
        statuses = dict(world.rows("select template, status from marketing.marketing_campaigns"))
        assert statuses == {
            "loyalty-bonus": "active",
            "welcome-bonus": "archived",
            "re-engagement": "archived",
            "location-promo": "expired",
            "category-focus": "expired",
        }
        lake = Lake(world.settings.lake)
        assert len(lake.days(ARCHIVED_EVENTS)) == len(lake.days(ARCHIVED_REWARDS)) == 1
        return world.snapshot()


def killed_and_run_again(world: World, dagster_url: str, point: str, undisturbed: dict[str, Any]) -> None:
    with at_three(prepared(world), ARCHIVED_ON):
        shell = Shell(world, dagster_url)
        assert shell.call("cleanup", point=point)[0] == KILLED
        code, said = shell.call("cleanup")
        assert code == 0, said
        assert world.snapshot() == undisturbed
        code, said = shell.call("cleanup")
        assert code == 0, said
        assert "Archived 0 campaigns with 0 targets." in said
        assert world.snapshot() == undisturbed
    assert not [file for file in (world.settings.lake / ".scratch").rglob("*") if file.is_file()]


@pytest.mark.verify
@pytest.mark.parametrize("point", CLEANUP_POINTS)
def test_killed_anywhere_and_run_again(
    decided_world: World, dagster_url: str, point: str, undisturbed: dict[str, Any]
) -> None:
    killed_and_run_again(decided_world, dagster_url, point, undisturbed)


@pytest.mark.verify
def test_nights_with_an_archived_campaign_are_not_rebuilt(decided_world: World, dagster_url: str) -> None:
    world = prepared(decided_world)
    with at_three(world, ARCHIVED_ON):
        assert world.clean_up().success
    before = world.snapshot()
    code, said = Shell(world, dagster_url).call("run", "--day", str(DAY), "--rebuild")
    assert code == 1
    assert f"a campaign that was open after {DAY} is archived: the nights cannot be decided again" in said
    assert world.snapshot() == before
