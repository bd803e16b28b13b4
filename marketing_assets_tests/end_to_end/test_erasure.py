"""Nothing that the system keeps names an erased user: every file, table, log and audit row is searched."""

import hashlib
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from marketing_assets.domain.days import days_between
from marketing_assets.domain.identity import stored_id
from marketing_assets.orchestration.jobs import INGEST_RANGE, NIGHTLY
from marketing_assets.storage import clock
from marketing_assets.storage.clock import SimulatedClock
from marketing_assets.storage.repositories import audit, consent, erasures, exports, subjects
from marketing_assets.storage.repositories.consent import Consent
from marketing_assets_tests.conftest import copied_world
from marketing_assets_tests.end_to_end.dagster_home import dagster_home_of
from marketing_assets_tests.end_to_end.erasing import POINTS
from marketing_assets_tests.end_to_end.searching import in_database, in_files
from marketing_assets_tests.end_to_end.shell import Shell
from marketing_assets_tests.orchestration.daemon import Daemon
from marketing_assets_tests.storage.test_audit import is_whole
from marketing_assets_tests.world import DAY, ERASURE_KEY, FIRST, World

pytestmark = pytest.mark.verify

KEY = "a pseudonym key of these tests, long enough"
SHOPPER, SLEEPER = "Shopper Nr. 4700", "Sleeper Nr. 4706"
"""Neither is in a control group, whichever way their ids are stored."""
OVER = date(2026, 4, 5)
"""By this day the campaign of those who stay away is archived, and others are still to be."""


def at(day: date, hour: int = 2) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def bought(user: str, days: Sequence[date], location: str = "Store 1") -> list[str]:
    """Purchases whose ids do not hold the user's."""
    ids = {day: hashlib.md5(f"{user} {day}".encode()).hexdigest() for day in days}
    return [f"{ids[day]},{user},{day}T12:00:00+00:00,10.00,{location},Food" for day in days]


def lines() -> list[str]:
    often = days_between(DAY - timedelta(days=24), DAY)
    shoppers = [SHOPPER, *(f"frequent{number}" for number in range(49))]
    sleepers = [SLEEPER, *(f"inactive{number}" for number in range(29))]
    return [
        *(line for user in shoppers for line in bought(user, often)),
        *(line for user in sleepers for line in bought(user, [DAY - timedelta(days=30)])),
        *(line for number in range(25) for line in bought(f"new{number}", [DAY])),
        # Not kept: no number, no time, and the older of two.
        f"r1,{SHOPPER},{DAY}T13:00:00+00:00,ten,,",
        f"r2,{SHOPPER},,1.00,,",
        f"r3,{SHOPPER},{DAY}T13:00:00+00:00,1.00,,",
        f"r3,{SHOPPER},{DAY}T13:00:00+00:00,2.00,,",
    ]


@contextmanager
def simulated(world: World, instant: datetime) -> Iterator[SimulatedClock]:
    with clock.simulated(world.database, "test") as now:
        now.set(instant)
        yield now


def report(world: World, user: str) -> None:
    """What the app would have written for a user, in every table that has them."""
    [campaign] = world.rows(
        "select campaign_id from marketing.campaign_targets"
        f" where user_id = '{user}' order by campaign_id limit 1"
    )[0]
    event = uuid.uuid4()
    with world.database.begin() as connection:
        consent.record(connection, Consent(user, None, ["push"], "app", at(DAY)))
        name = subjects.pseudonym(connection, user)
        execute = connection.exec_driver_sql
        execute(
            "insert into marketing.campaign_events (user_id, event_id, campaign_id, kind, occurred_at,"
            " received_at, claimed_at, sent_at, amount, body_hash)"
            " values (%s, %s, %s, 'conversion', now(), now(), now(), now(), 20, 'h')",
            (user, event, campaign),
        )
        execute(
            "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed, amount,"
            " state, occurred_at, decided_at) values (%s, %s, %s, 't', 20, 4, 'reserved', now(), now())",
            (user, event, campaign),
        )
        execute(
            "update marketing.campaign_budgets set reserved = reserved + 4 where campaign_id = %s",
            (campaign,),
        )
        execute(
            "insert into marketing.idempotency_keys values (%s, 'k', 'h', 202, '{}', null, now())", (name,)
        )


@dataclass
class Kept:
    """All that a world and its Dagster keep, and all that was said; `roots` may not be there yet."""

    world: World
    dagster_url: str
    caplog: pytest.LogCaptureFixture
    capfd: pytest.CaptureFixture[str]
    said: list[str] = field(default_factory=list)

    def naming(self, *texts: str) -> list[str]:
        """Where any of the texts is found."""
        self.said.extend([*self.capfd.readouterr(), self.caplog.text])
        settings = self.world.settings
        roots = [root for root in (settings.lake, settings.home) if root.exists()]
        return [
            *(f"a log: {text}" for text in texts if any(text in each for each in self.said)),
            *in_files(roots, texts),
            *in_database(self.world.urls.product, texts),
            *in_database(self.dagster_url, texts),
        ]


@pytest.fixture(params=[None, KEY], ids=["real ids", "pseudonyms"])
def key(request: pytest.FixtureRequest) -> str | None:
    """The pseudonym key."""
    found: str | None = request.param
    return found


@pytest.fixture
def kept(
    key: str | None,
    tmp_path: Path,
    fresh_database: str,
    own_dagster_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Kept]:
    """A world whose Dagster keeps its runs in PostgreSQL, with one night behind it."""
    root = tmp_path / "world"
    root.mkdir()
    keyed = {} if key is None else {"MARKETING_PSEUDONYM_KEY": key}
    world = World(root, fresh_database, **keyed)
    with dagster_home_of(Shell(world, own_dagster_url), monkeypatch) as home:
        world.instance.dispose()
        world.instance = home.instance
        world.write(lines())
        world.ingest(FIRST, DAY - timedelta(days=1))
        assert world.night(DAY).success
        yield Kept(world, own_dagster_url, caplog, capfd)
    world.database.dispose()


def test_nothing_that_is_kept_names_an_erased_user(kept: Kept, key: str | None) -> None:
    world, daemon = kept.world, Daemon(kept.world)
    stored = [stored_id(None if key is None else key.encode(), user) for user in (SHOPPER, SLEEPER)]
    for user in stored:
        report(world, user)
    with simulated(world, at(OVER, 3)) as now:
        assert world.clean_up().success
        ask(world, stored, exports.ask)
        carried_out(daemon)
        assert_it_is_found_where_it_is(kept, stored)
        if key is not None:
            assert kept.naming(SHOPPER, SLEEPER) == []

        ask(world, stored, lambda *asked: erasures.ask(asked[0], asked[1], ERASURE_KEY.encode(), asked[2]))
        carried_out(daemon)
        assert kept.naming(SHOPPER, SLEEPER, *stored) == []
        with world.database.connect() as connection:
            assert is_whole(audit.entries(connection))
        assert world.rows("select sum(reserved) from marketing.campaign_budgets") == [(Decimal(0),)]

        # Neither do they come back: not by old days, nor by what is computed from them.
        assert world.run(INGEST_RANGE, FIRST, DAY).success
        world.behaviour(DAY, DAY)
        now.set(at(DAY + timedelta(days=2)))
        assert world.run(NIGHTLY, DAY + timedelta(days=1)).success
        assert kept.naming(SHOPPER, SLEEPER, *stored) == []


def ask(world: World, users: Sequence[str], asking: Callable[[Connection, str, datetime], uuid.UUID]) -> None:
    with world.database.begin() as connection:
        for user in users:
            asking(connection, user, at(OVER))


def carried_out(daemon: Daemon) -> None:
    """Run what the requests ask for, and let the daemon look again."""
    [wanted] = daemon.wanted("requests")
    assert daemon.execute(wanted).success
    assert daemon.wanted("requests") == []
    assert daemon.world.rows("select from marketing.requests where status <> 'succeeded'") == []


def assert_it_is_found_where_it_is(kept: Kept, users: Sequence[str]) -> None:
    """The search finds the users in everything that has them; no log and no table of Dagster's does."""
    found = kept.naming(*users)
    for dataset in ("transactions", "rejected_transactions", "campaign_targets", "archived_targets"):
        assert any(f"/{dataset}/day=" in each for each in found), dataset
    for table in erasures.OF_USERS:
        assert table.name.startswith("user_segments") or any(
            each.startswith(f"marketing.{table.name}:") for each in found
        ), table.name
    assert not [each for each in found if "/lake/" not in each and not each.startswith("marketing.")]


@pytest.fixture(scope="session")
def undisturbed(
    decided_template: tuple[Path, str], postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Every row and file after an undisturbed erasure, apart from what names the request."""
    root = tmp_path_factory.mktemp("erased") / "world"
    with copied_world(decided_template, postgres_server, root) as world, simulated(world, at(OVER)):
        asked(world)
        assert killed(world, "none:none") == 0
        return compared(world)


def asked(world: World) -> None:
    """Two users who have asked, rows that were rejected, and a campaign that is archived."""
    with_rejected = world.csv.read_text() + "r1,frequent0,2026-02-10T13:00:00+00:00,ten,,\n"
    world.csv.write_text(with_rejected)
    world.ingest(DAY, DAY)
    assert world.clean_up().success
    with world.database.begin() as connection:
        for user in ("frequent0", "inactive3"):
            erasures.ask(connection, user, ERASURE_KEY.encode(), at(OVER))


def killed(world: World, point: str) -> int:
    """The exit code of an erasure in a process of its own."""
    command = [sys.executable, "-m", "marketing_assets_tests.end_to_end.erasing", point]
    environment = Shell(world, str(world.settings.database_url)).environment
    done = subprocess.run(command, env=environment, cwd=world.root, capture_output=True, check=False)
    return done.returncode


def compared(world: World) -> dict[str, Any]:
    """All that must be the same after a kill; of requests the receipts, of the audit log what was done."""
    tables = world.tables()
    for name in ("requests", "audit_log", "audit_head", "erased_users"):
        tables.pop(name)
    receipts = world.rows("select result::text from marketing.requests where status = 'succeeded'")
    done = world.rows("select action from marketing.audit_log order by entry_id")
    return {**tables, **world.files(), "receipts": sorted(receipts), "audit": done}


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_it_goes_on_to_the_same_end(
    decided_world: World, point: str, undisturbed: dict[str, Any]
) -> None:
    world = decided_world
    with simulated(world, at(OVER)):
        asked(world)
        assert killed(world, point) == -9
        assert killed(world, "none:none") == 0
        assert compared(world) == undisturbed
        assert killed(world, "none:none") == 0
        assert compared(world) == undisturbed
    assert [each for each in (world.settings.lake / ".scratch").rglob("*") if each.is_file()] == []
