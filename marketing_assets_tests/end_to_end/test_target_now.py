"""Targets at once for a campaign made by hand: who, from when on, and what nights make of it afterwards."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from marketing_assets.domain.assignment import held_out
from marketing_assets.domain.edits import NewCampaign
from marketing_assets.orchestration import target_job
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Offer
from marketing_assets.storage import clock
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import campaign_edits, nights, requests
from marketing_assets.storage.repositories.campaign_edits import Editor, Rest
from marketing_assets_tests.end_to_end.shell import Shell
from marketing_assets_tests.end_to_end.test_nightly import GLOBAL_HOLDOUT, NEXT
from marketing_assets_tests.end_to_end.test_targeting import (
    change,
    lake_rows,
    log_of,
    opt_out,
    prepared,
    targets_of,
    write_policy,
)
from marketing_assets_tests.orchestration.daemon import Daemon
from marketing_assets_tests.world import DAY, World

NOW = datetime(2026, 2, 11, 10, tzinfo=UTC)
POLICY = load_policy(None)
SALE = "manual-sale-2026-02-11"
INACTIVE = {f"inactive{number}" for number in range(30)}


@contextmanager
def it_is(world: World, instant: datetime) -> Iterator[None]:
    with clock.simulated(world.database, "test") as simulated:
        simulated.set(instant)
        yield


def create(world: World, at: datetime = NOW, **given: object) -> str:
    values: dict[str, object] = {
        "name": "Sale",
        "description": "Ten percent.",
        "offer": Offer(type="discount", value=Decimal(10), unit="percentage"),
        "pattern": "inactive",
        "ends_at": at + timedelta(days=20),
        "holdout_share": Decimal("0.5"),
        **given,
    }
    new = NewCampaign.model_validate(values)
    with world.database.begin() as connection:
        made = campaign_edits.create_manual(connection, new, POLICY, world.settings.zone, Editor("ann", at))
    return made.campaign_id


def run_now(world: World, campaign: str, at: datetime = NOW) -> dg.ExecuteInProcessResult:
    job = build_definitions(world.settings).resolve_job_def(target_job.NAME)
    with it_is(world, at):
        return job.execute_in_process(
            instance=world.instance, tags={target_job.CAMPAIGN_TAG: campaign}, raise_on_error=False
        )


def error_of(result: dg.ExecuteInProcessResult) -> str:
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data is not None
    return str(failure.step_failure_data.user_failure_data.description)


def free_slots(world: World) -> None:
    """Room for two more campaigns a user: the nights so far have taken all three."""
    write_policy(world, slots=("max_active_campaigns: 3", "max_active_campaigns: 5"))


def nights_of(world: World) -> list[tuple[Any, ...]]:
    return world.rows("select day, status, targets from marketing.published_nights order by day")


def rows_in_lake(world: World, dataset: str, day: Any = DAY) -> int:
    return int(lake_rows(world, dataset, "select count(*) from {}", day)[0][0])


def control_of(campaign: str, users: set[str], share: str = "0.5") -> set[str]:
    return {user for user in users if held_out(campaign, user, Decimal(share))}


@pytest.mark.verify
def test_users_are_drawn_as_at_night_and_shown_from_that_instant_on(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    opt_out(world, "inactive7")
    before, (night,) = world.rows("select count(*) from marketing.campaign_targets"), nights_of(world)
    assert before == [(night[2],)]
    assert create(world) == SALE
    assert run_now(world, SALE).success
    expected = INACTIVE - GLOBAL_HOLDOUT - {"inactive7"}
    rows = world.rows(
        "select user_id, arm, campaign_version, assigned_on, valid_from, valid_until, reason, created_at"
        f" from marketing.campaign_targets where campaign_id = '{SALE}'"
    )
    assert {user for user, *_ in rows} == expected
    assert {user for user, arm, *_ in rows if arm == "control"} == control_of(SALE, expected)
    [shared] = {row[2:6] for row in rows}
    assert shared == (1, NOW.date(), NOW, NOW + timedelta(days=20))
    assert {row[7] for row in rows} == {NOW}
    assert rows[0][6] == {"days_since_last": 30}
    # The night of yesterday has them now, and says so.
    targets = before[0][0] + len(expected)
    assert nights_of(world) == [(DAY, "published", targets)]
    assert rows_in_lake(world, "campaign_targets") == targets
    log = {user: row for (name, user), row in log_of(world, DAY).items() if name == SALE}
    assert {user for user, row in log.items() if row["outcome"] in ("treatment", "control")} == expected
    assert log["inactive7"]["outcome"] == "opted_out"
    assert {user for user, row in log.items() if row["outcome"] == "global_holdout"} == (
        INACTIVE & GLOBAL_HOLDOUT
    )
    user, arm = rows[0][:2]
    digits = hashlib.md5(f"{SALE}:{user}".encode()).hexdigest()[:8]
    assert (log[user]["outcome"], log[user]["bucket_digits"]) == (arm, digits)
    found = lake_rows(
        world, "campaigns", f"select outcome, audience, eligible from {{}} where campaign_id = '{SALE}'", DAY
    )
    assert found == [("kept", 30, len(expected))]


@pytest.mark.verify
def test_slots_that_the_night_took_are_taken(decided_world: World) -> None:
    world = decided_world
    create(world, pattern="general", priority=1)
    before = world.files()
    assert run_now(world, SALE).success
    # Whoever the night gave fewer than three campaigns has room.
    taken = dict(world.rows("select user_id, count(*) from marketing.campaign_targets group by 1"))
    assert max(taken.values()) == 3
    log = {user: row for (name, user), row in log_of(world, DAY).items() if name == SALE}
    limited = {user for user, row in log.items() if row["outcome"] == "limit"}
    assert limited == {user for user, count in taken.items() if count == 3} - targets_of(world, SALE)
    assert limited
    assert {user for user, count in taken.items() if count < 3} <= targets_of(world, SALE)
    changed = {name for name, digest in world.files().items() if before.get(name) != digest}
    assert {name.split("/")[0] for name in changed} == {
        "campaigns",
        "targeting_decisions",
        *(["campaign_targets"] if targets_of(world, SALE) else []),
    }


@pytest.mark.verify
def test_a_paused_campaign_gives_its_slots_back(decided_world: World) -> None:
    world = decided_world
    rest = Rest(30, world.settings.zone)
    with world.database.begin() as connection:
        campaign_edits.pause(connection, "re-engagement-2026-02-11", 1, rest, Editor("ann", NOW))
    create(world)
    assert run_now(world, SALE).success
    assert targets_of(world, SALE) == INACTIVE - GLOBAL_HOLDOUT


def test_asked_again_and_decided_again_the_night_stays_byte_for_byte(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    create(world)
    # The policy in force has more slots than the night knew of: bring the night up to it first.
    assert world.night(DAY, NOW - timedelta(hours=1)).success
    left = {user for user in INACTIVE if user not in targets_of(world, SALE)}
    assert left == INACTIVE & GLOBAL_HOLDOUT
    other = create(world, name="Other", pattern="new_shopper")
    assert run_now(world, other).success
    before = world.snapshot()
    assert len(targets_of(world, other)) > 0
    assert run_now(world, other, NOW + timedelta(hours=1)).success
    assert world.snapshot() == before
    assert world.night(DAY, NOW + timedelta(hours=2)).success
    assert world.snapshot() == before


@pytest.mark.verify
def test_the_night_after_finds_them_published(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    create(world, pattern="new_shopper")
    assert run_now(world, SALE).success
    before = world.rows(f"select * from marketing.campaign_targets where campaign_id = '{SALE}' order by 3")
    prepared(world, "newcomer")
    assert world.night(NEXT).success
    kept = world.rows(
        f"select * from marketing.campaign_targets where campaign_id = '{SALE}' and user_id <> 'newcomer'"
        " order by 3"
    )
    assert kept == before
    assert "newcomer" in targets_of(world, SALE)
    log = {user for (name, user), _ in log_of(world, NEXT).items() if name == SALE}
    assert log == {
        "newcomer"
    }  # those targeted are not decided again, refusals that did not change not logged
    # Their slots are counted: nobody has more than the five of the policy.
    counts = world.rows(
        "select max(n) from (select count(*) n from marketing.campaign_targets group by user_id)"
    )
    assert counts[0][0] <= 5


@pytest.mark.verify
def test_before_the_night_of_yesterday_the_newest_published_features_count(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    prepared(world, "newcomer")
    early = datetime(2026, 2, 12, 0, 30, tzinfo=UTC)  # the night of the 11th comes at two o'clock
    name = create(world, early, pattern="new_shopper", holdout_share=Decimal(0))
    published = nights_of(world)
    assert run_now(world, name, early).success
    expected = {f"new{number}" for number in range(25)} | INACTIVE
    assert targets_of(world, name) == expected - GLOBAL_HOLDOUT  # as of the 10th: no newcomer yet
    assert nights_of(world) == [*published, (NEXT, "targeted", len(expected - GLOBAL_HOLDOUT))]
    assert world.rows(
        "select distinct assigned_on, valid_from from marketing.campaign_targets"
        f" where campaign_id = '{name}'"
    ) == [(early.date(), early)]
    assert rows_in_lake(world, "campaign_targets", NEXT) == len(expected - GLOBAL_HOLDOUT)
    again = world.snapshot()
    assert run_now(world, name, early + timedelta(minutes=10)).success
    assert world.snapshot() == again
    # The night keeps them, draws nobody again, and adds whom it finds in its own features.
    before = world.rows(f"select * from marketing.campaign_targets where campaign_id = '{name}'")
    result = world.night(NEXT)
    assert result.success
    kept = world.rows(f"select * from marketing.campaign_targets where campaign_id = '{name}'")
    assert set(map(str, before)) < set(map(str, kept))
    assert targets_of(world, name) == (expected | {"newcomer"}) - GLOBAL_HOLDOUT
    [_, night] = nights_of(world)
    assert night[:2] == (NEXT, "published")
    assert night[2] == rows_in_lake(world, "campaign_targets", NEXT)
    stays = world.snapshot()
    assert world.night(NEXT).success
    assert world.snapshot() == stays


@pytest.mark.verify
@pytest.mark.parametrize("place", ["campaigns", "campaign_targets", "targeting_decisions", "publish"])
@pytest.mark.parametrize("published", [True, False])
def test_stopped_between_lake_and_database_and_asked_again_it_ends_the_same(
    decided_world: World, monkeypatch: pytest.MonkeyPatch, place: str, published: bool
) -> None:
    world = decided_world
    free_slots(world)
    at = NOW if published else datetime(2026, 2, 12, 0, 30, tzinfo=UTC)
    day = DAY if published else NEXT
    name = create(world, at)
    before = world.tables()
    with monkeypatch.context() as patched:
        stop_after(patched, place)
        assert not run_now(world, name, at).success
    assert world.tables() == before
    assert run_now(world, name, at).success
    found = world.snapshot()
    # As in a world where nothing ever stopped it.
    assert targets_of(world, name) == INACTIVE - GLOBAL_HOLDOUT
    assert nights_of(world)[-1][2] == rows_in_lake(world, "campaign_targets", day)
    assert run_now(world, name, at).success
    assert world.snapshot() == found


def stop_after(patched: pytest.MonkeyPatch, place: str) -> None:
    """Fail once that partition is written, or in the publishing transaction before its commit."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyError("stopped here")

    if place == "publish":
        patched.setattr(nights, "record_targeted", stopped)
        return
    write = Lake.write

    def written(self: Lake, engine: Any, dataset: Any, *arguments: Any, **named: Any) -> Any:
        found = write(self, engine, dataset, *arguments, **named)
        if dataset.name == place:
            stopped()
        return found

    patched.setattr(Lake, "write", written)


_KILLED = """
import sys
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.settings import load_settings
from marketing_assets_tests.end_to_end import killer
point, campaign = sys.argv[1:]
killer.install(point)
job = build_definitions(load_settings()).resolve_job_def("target_campaign")
job.execute_in_process(tags={"marketing/campaign": campaign})
"""


@pytest.mark.verify
@pytest.mark.parametrize(
    "point",
    [
        "before:campaigns",
        "after:campaigns",
        "after:campaign_targets",
        "after:targeting_decisions",
        "publish:insert_targets",
    ],
)
def test_killed_anywhere_and_asked_again(decided_world: World, own_dagster_url: str, point: str) -> None:
    world = decided_world
    free = write_policy_file(world)
    create(world)
    before = world.tables()
    with it_is(world, NOW):
        environment = {**Shell(world, own_dagster_url).environment, "MARKETING_POLICY": free}
        command = [sys.executable, "-c", _KILLED, point, SALE]
        killed = subprocess.run(command, env=environment, cwd=world.root, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert world.tables() == before
    assert run_now(world, SALE).success
    assert targets_of(world, SALE) == INACTIVE - GLOBAL_HOLDOUT
    stays = world.snapshot()
    assert world.night(DAY, NOW + timedelta(hours=1)).success
    assert world.snapshot().keys() == stays.keys()
    # The night's own campaigns take the slots that it did not have before; nothing of the sale changes.
    assert targets_of(world, SALE) == INACTIVE - GLOBAL_HOLDOUT


def write_policy_file(world: World) -> str:
    free_slots(world)
    return str(world.settings.policy)


@pytest.mark.verify
def test_what_a_stopped_one_left_in_the_lake_is_nothing_to_the_night(
    decided_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = decided_world
    create(world)
    with monkeypatch.context() as patched:
        stop_after(patched, "publish")
        patched.setattr(target_job, "_refuse_cost", lambda *_: None)
        free_slots(world)
        assert not run_now(world, SALE).success
    world.settings = world.settings.model_copy(update={"policy": None})
    assert rows_in_lake(world, "campaign_targets") > nights_of(world)[0][2]
    prepared(world)
    assert world.night(NEXT).success
    # With three slots each, all taken by published targets, the sale reaches nobody of these.
    assert targets_of(world, SALE) == set()


@pytest.mark.verify
def test_a_night_that_never_came_leaves_its_targets_to_the_nights_after(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    early = datetime(2026, 2, 12, 0, 30, tzinfo=UTC)
    name = create(world, early, pattern="new_shopper")
    assert run_now(world, name, early).success
    before = targets_of(world, name)
    prepared(world)
    following = NEXT + timedelta(days=1)
    world.ingest(NEXT, NEXT)
    assert world.night(following).success
    assert nights_of(world)[1] == (NEXT, "skipped", len(before))
    assert world.rows(f"select reason from marketing.published_nights where day = '{NEXT}'") == [("missed",)]
    assert targets_of(world, name) == before
    assert not [
        user
        for (campaign, user), _ in log_of(world, following).items()
        if campaign == name and user in before
    ]


@pytest.mark.verify
@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("update marketing.marketing_campaigns set origin = 'policy'", f"{SALE} was not made by hand"),
        ("update marketing.marketing_campaigns set status = 'paused'", f"{SALE} is paused"),
        ("update marketing.marketing_campaigns set status = 'expired'", f"{SALE} is over"),
        (
            "update marketing.marketing_campaigns"
            " set starts_at = '2026-02-11 01:00Z', ends_at = '2026-02-11 09:59Z'",
            f"{SALE} is over",
        ),
        (
            "update marketing.marketing_campaigns set starts_at = '2026-02-12'",
            f"{SALE} is not open yet: it starts on 2026-02-12, and it is 2026-02-11 in UTC",
        ),
        ("update marketing.published_nights set status = 'skipped'; select 1", "no night was published yet"),
    ],
)
def test_what_cannot_be_targeted_now_is_refused_and_nothing_changes(
    decided_world: World, statement: str, error: str
) -> None:
    world = decided_world
    create(world)
    where = f" where campaign_id = '{SALE}'" if "campaigns" in statement else ""
    change(world, statement + where)
    before = world.snapshot()
    result = run_now(world, SALE)
    assert not result.success
    assert error_of(result).startswith(error)
    assert world.snapshot() == before
    # The request says the same at the first look, and no run is started.
    said = answered(world, {"campaign_id": SALE})
    assert said["error"].startswith(error)
    assert said["remedy"]


def answered(world: World, payload: Mapping[str, object]) -> Mapping[str, Any]:
    with world.database.begin() as connection:
        requests.ask(connection, "target_campaign", payload, "test")
    with it_is(world, NOW):
        assert Daemon(world).wanted("requests") == []
    [(status, said)] = world.rows("select status, result from marketing.requests")
    assert status == "failed"
    return dict(said)


@pytest.mark.verify
@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({}, "it has to say which campaign, and nothing else"),
        ({"campaign_id": 7}, "it has to say which campaign, and nothing else"),
        ({"campaign_id": SALE, "day": "2026-02-11"}, "it has to say which campaign, and nothing else"),
        ({"campaign_id": "nobody"}, "there is no campaign 'nobody'"),
    ],
)
def test_a_payload_that_makes_no_sense_fails_the_row(
    decided_world: World, payload: Mapping[str, object], error: str
) -> None:
    assert answered(decided_world, payload)["error"] == error


@pytest.mark.verify
def test_one_that_starts_later_today_is_shown_from_then_on(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    evening = NOW.replace(hour=18)
    create(world, starts_at=evening)
    assert run_now(world, SALE).success
    assert world.rows(
        "select distinct valid_from, assigned_on from marketing.campaign_targets"
        f" where campaign_id = '{SALE}'"
    ) == [(evening, NOW.date())]


@pytest.mark.verify
def test_what_would_cost_too_much_is_refused(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    create(world, offer=Offer(type="bonus", value=Decimal(5000), unit="fixed"), holdout_share=Decimal(0))
    before = world.snapshot()
    result = run_now(world, SALE)
    assert re.match(
        rf"the targets of {SALE} are expected to cost \d+\.\d\d, more than 5\.00% of the", error_of(result)
    )
    assert world.snapshot() == before


@pytest.mark.verify
def test_a_budget_stops_it_where_it_is_used_up(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    # 10 % of 7.00 is 0.70, expected 0.05 x 1 of the time: 0.035 a target; ten fit.
    create(world, holdout_share=Decimal(0))
    change(world, f"update marketing.campaign_budgets set budget = 0.35 where campaign_id = '{SALE}'")
    assert run_now(world, SALE).success
    first = sorted(INACTIVE - GLOBAL_HOLDOUT)[:10]  # all spend the same: by id
    assert sorted(targets_of(world, SALE)) == first
    before = world.snapshot()
    assert run_now(world, SALE).success
    assert world.snapshot() == before


@pytest.mark.verify
def test_a_request_becomes_one_run_and_learns_what_came_of_it(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    opt_out(world, "inactive7")
    create(world)
    daemon = Daemon(world)
    with world.database.begin() as connection:
        both = [requests.ask(connection, "target_campaign", {"campaign_id": SALE}, "test") for _ in range(2)]
    with it_is(world, NOW):
        [wanted] = daemon.wanted("requests")
        assert (wanted.job_name, wanted.partition_key) == ("target_campaign", None)
        assert wanted.tags["marketing/campaign"] == SALE
        assert daemon.execute(wanted).success
        assert daemon.wanted("requests") == []
    drawn = INACTIVE - GLOBAL_HOLDOUT - {"inactive7"}
    control = control_of(SALE, drawn)
    found = world.rows("select request_id, status, result from marketing.requests")
    assert {row[0] for row in found} == set(both)
    assert [row[1:] for row in found] == [
        (
            "succeeded",
            {
                "campaign_id": SALE,
                "assigned_on": "2026-02-11",
                "users_targeted": len(drawn - control),
                "users_held_out": len(control),
                "refused": {"global_holdout": len(INACTIVE & GLOBAL_HOLDOUT), "opted_out": 1},
            },
        )
    ] * 2
    # Asked again it comes to the same.
    with world.database.begin() as connection:
        requests.ask(connection, "target_campaign", {"campaign_id": SALE}, "again")
    with it_is(world, NOW + timedelta(hours=1)):
        [wanted] = daemon.wanted("requests")
        assert daemon.execute(wanted).success
        daemon.wanted("requests")
    [(said,)] = world.rows("select result from marketing.requests where requested_by = 'again'")
    assert said["users_targeted"] + said["users_held_out"] == len(drawn)
    assert said["refused"] == {"global_holdout": len(INACTIVE & GLOBAL_HOLDOUT), "opted_out": 1}


@pytest.mark.verify
def test_the_global_share_of_a_year_is_frozen_by_whoever_draws_first(decided_world: World) -> None:
    world = decided_world
    free_slots(world)
    change(world, "delete from marketing.global_holdouts")
    create(world)
    assert run_now(world, SALE).success
    assert world.rows("select year, share, frozen_on from marketing.global_holdouts") == [
        (2026, Decimal("0.05000000"), DAY)
    ]


@pytest.mark.verify
def test_checks_of_the_night_exempt_what_was_published_and_nothing_else(decided_world: World) -> None:
    world = decided_world
    early = datetime(2026, 2, 12, 0, 30, tzinfo=UTC)
    free_slots(world)
    name = create(world, early)
    assert run_now(world, name, early).success
    # Nothing may cost anything any more: the kept targets stand, whoever is new stops the night.
    write_policy(world, cost=("max_cost_share: 0.05", "max_cost_share: 0.000001"))
    prepared(world)
    assert world.night(NEXT).success
    before = world.tables()
    prepared(world, *(f"newcomer{number}" for number in range(10)))
    result = world.night(NEXT)
    failed = {each.check_name for each in result.get_asset_check_evaluations() if not each.passed}
    assert "cost_in_proportion" in failed
    assert not result.success
    assert world.tables() == before
