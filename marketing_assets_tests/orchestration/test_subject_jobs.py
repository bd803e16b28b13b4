"""Export and erasure as jobs: many users in one pass, cut off and gone on with, and late requests."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType

from marketing_assets.orchestration.jobs import NIGHTLY
from marketing_assets.orchestration.platform import Platform
from marketing_assets.orchestration.requests import REQUEST_TAG
from marketing_assets.storage import clock, erasure
from marketing_assets.storage.clock import SimulatedClock
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, DATASETS
from marketing_assets.storage.lake import Lake
from marketing_assets.storage.repositories import (
    audit,
    consent,
    erasures,
    exports,
    nights,
    requests,
    subjects,
)
from marketing_assets.storage.repositories.consent import Consent
from marketing_assets.storage.standing import register_published
from marketing_assets_tests.orchestration.daemon import Daemon
from marketing_assets_tests.storage.test_audit import is_whole
from marketing_assets_tests.world import DAY, ERASURE_KEY, FIRST, World, population

TODAY = DAY + timedelta(days=1)
DAWN = datetime(TODAY.year, TODAY.month, TODAY.day, 2, tzinfo=UTC)
OF_USERS = [name for name, dataset in DATASETS.items() if "user_id" in dataset.column_names]


@pytest.fixture
def now(decided_world: World) -> Iterator[SimulatedClock]:
    """The morning after the night of the decided world."""
    with clock.simulated(decided_world.database, "test") as simulated:
        simulated.set(DAWN)
        yield simulated


@pytest.fixture
def daemon(decided_world: World, now: SimulatedClock) -> Daemon:
    return Daemon(decided_world)


def next_night(world: World, now: SimulatedClock) -> None:
    """The night of today, at its hour."""
    now.set(DAWN + timedelta(days=1))
    assert world.run(NIGHTLY, TODAY).success


def ask_erasure(world: World, user: str) -> uuid.UUID:
    with world.database.begin() as connection:
        return erasures.ask(connection, user, ERASURE_KEY.encode(), DAWN)


def ask_export(world: World, user: str) -> uuid.UUID:
    with world.database.begin() as connection:
        return exports.ask(connection, user, DAWN)


def row(world: World, request: uuid.UUID) -> tuple[Any, ...]:
    [found] = world.rows(
        f"select status, run_id, result from marketing.requests where request_id = '{request}'"
    )
    return found


def opened(world: World) -> tuple[Platform, Lake]:
    platform = Platform(world.settings, "test")
    return platform, platform.lake


def held(world: World, *users: str) -> dict[str, dict[date, int]]:
    """Rows of each dataset that are of these users, by day."""
    platform, lake = opened(world)
    found = {}
    for name in OF_USERS:
        lake.register(platform.engine, "searched", DATASETS[name], lake.days(DATASETS[name]))
        platform.engine.register_rows("wanted", [("user_id", "varchar")], [[user] for user in users])
        rows = platform.engine.fetch(
            "select day, count(*) as rows from searched where user_id in (select user_id from wanted)"
            " group by day order by day"
        )
        if rows:
            found[name] = {date.fromisoformat(str(each["day"])): int(str(each["rows"])) for each in rows}
    platform.close()
    return found


def in_tables(world: World, user: str) -> dict[str, int]:
    counts = {
        table.name: world.rows(f"select count(*) from marketing.{table.name} where user_id = '{user}'")[0][0]
        for table in erasures.OF_USERS
    }
    return {name: rows for name, rows in counts.items() if rows}


def erased(daemon: Daemon) -> dg.ExecuteInProcessResult:
    """Run what the requests ask for, and let the daemon look again."""
    [wanted] = daemon.wanted("requests")
    assert wanted.job_name == "erasure"
    result = daemon.execute(wanted)
    assert daemon.wanted("requests") == []
    return result


def agrees(world: World) -> bool:
    """Whether the lake holds as many targets of each night as are published, and which."""
    platform, lake = opened(world)
    with world.database.begin() as connection:
        decided = nights.decided_targets(connection, FIRST)
        lake.register(platform.engine, "targets", CAMPAIGN_TARGETS, list(decided))
        counted = platform.engine.fetch("select day, count(*) as rows from targets group by day")
        register_published(connection, platform.engine, lake, "now", decided, [])
        published = platform.engine.fetch("select count(*) as rows from now_targets")[0]["rows"]
    platform.close()
    serving = world.rows("select count(*) from marketing.campaign_targets")[0][0]
    in_lake = {each["day"]: each["rows"] for each in counted}
    return {day: in_lake.get(day, 0) for day in decided} == decided and published == serving


def test_many_users_leave_everything_in_one_pass_and_no_other_file_is_touched(daemon: Daemon) -> None:
    world = daemon.world
    users = ["frequent0", "inactive3", "new4", "nobody"]
    before, files = held(world, *users), world.files()
    targets = world.rows(
        "select campaign_id, campaign_version, arm, count(*) from marketing.campaign_targets"
        " where user_id in ('frequent0', 'inactive3', 'new4') group by 1, 2, 3 order by 1, 2, 3"
    )
    asked = {user: ask_erasure(world, user) for user in users}
    result = erased(daemon)
    assert result.success
    assert held(world, *users) == {}
    for user in users:
        assert in_tables(world, user) == {}
    touched = {f"{name}/day={day}/part-0.parquet" for name, days in before.items() for day in days}
    assert {name for name, digest in world.files().items() if digest != files[name]} == touched
    assert world.files().keys() == files.keys()
    found = {user: row(world, request) for user, request in asked.items()}
    assert {(each[0], each[1]) for each in found.values()} == {("succeeded", result.run_id)}
    assert found["frequent0"][2] == {
        "erased_at": DAWN.isoformat(),
        "removed": {
            "lake": {
                "campaign_targets": 3,
                "targeting_decisions": 3,
                "transactions": 25,
                "user_features": 1,
                "user_patterns": 3,
            },
            "tables": {"campaign_targets": 3, "subject_keys": 1, "user_segments_a": 1},
        },
    }
    assert found["nobody"][2]["removed"] == {"lake": {}, "tables": {"subject_keys": 1}}
    columns = "campaign_id, campaign_version, arm, targets"
    counted = world.rows(f"select {columns} from marketing.erased_targets order by 1, 2, 3")
    assert counted == targets
    assert agrees(world)
    with world.database.connect() as connection:
        assert is_whole(audit.entries(connection))


@pytest.mark.verify
def test_a_removed_user_does_not_come_back_and_the_day_is_as_if_there_had_never_been_one(
    daemon: Daemon, now: SimulatedClock
) -> None:
    world = daemon.world
    world.write([*population(), "x1,frequent0,2026-02-10T12:00:00Z,ten,,", "x2,frequent0,,1.00,,"])
    world.ingest(DAY, DAY)
    assert held(world, "frequent0")["rejected_transactions"] == {DAY: 2}
    ask_erasure(world, "frequent0")
    assert erased(daemon).success
    files = world.files()
    again = world.run("ingest_range", FIRST, DAY)
    assert again.success
    assert world.files() == files
    made = again.asset_materializations_for_node("ingest")
    counts = {
        each.partition: each.metadata["erased"].value
        for each in made
        if each.asset_key == dg.AssetKey("transactions") and "erased" in each.metadata
    }
    assert counts[DAY.isoformat()] == 2  # the one that lies on no day belongs to none
    assert sum(int(str(each)) for each in counts.values()) == 26
    world.behaviour(DAY, DAY)
    assert held(world, "frequent0") == {}
    next_night(world, now)
    assert held(world, "frequent0") == {}
    assert in_tables(world, "frequent0") == {}
    assert agrees(world)


@pytest.mark.verify
def test_a_night_before_the_erasure_gives_the_user_no_new_target(daemon: Daemon, now: SimulatedClock) -> None:
    world = daemon.world
    kept = held(world, "new0")["campaign_targets"]
    days = [TODAY - timedelta(days=back) for back in range(25)]
    world.write([*population(), *(f"y{day},new0,{day}T10:00:00Z,1.00,Store 1,Food" for day in days)])
    world.ingest(days[-1], DAY)  # from now on they shop often, which is another campaign's pattern
    ask_erasure(world, "new0")
    next_night(world, now)
    assert held(world, "new0")["campaign_targets"] == kept
    outcomes = held(world, "new0")["targeting_decisions"]
    assert TODAY in outcomes
    assert erased(daemon).success
    assert held(world, "new0") == {}
    assert agrees(world)


POINTS = [("rename", number) for number in (0, 1, 27)] + [("remove", 0), ("finish", 0), ("committed", 0)]


@pytest.mark.verify
@pytest.mark.parametrize(("point", "after"), POINTS)
def test_cut_off_anywhere_it_goes_on_to_the_same_end(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, point: str, after: int
) -> None:
    world = daemon.world
    users = ["frequent0", "frequent1", "inactive3"]
    total = {user: {name: sum(days.values()) for name, days in held(world, user).items()} for user in users}
    asked = {user: ask_erasure(world, user) for user in users}
    [wanted] = daemon.wanted("requests")
    with monkeypatch.context() as patched:
        cut_at(patched, point, after)
        assert not daemon.execute(wanted).success
    if point == "committed":
        assert daemon.wanted("requests") == []
    else:
        # The row says so; what is asked again, or any other erasure, goes on.
        assert daemon.wanted("requests") == []
        assert {row(world, request)[0] for request in asked.values()} == {"failed"}
        asked = {user: ask_erasure(world, user) for user in users}
        assert erased(daemon).success
    assert held(world, *users) == {}
    for user, request in asked.items():
        status, _, result = row(world, request)
        assert status == "succeeded"
        assert result["removed"]["lake"] == total[user]
    assert agrees(world)
    [(number,)] = world.rows("select sum(targets) from marketing.erased_targets")
    assert number == sum(each["campaign_targets"] for each in total.values())
    assert [file for file in (world.settings.lake / ".scratch").rglob("*") if file.is_file()] == []


def cut_at(patched: pytest.MonkeyPatch, point: str, after: int) -> None:
    """Let the erasure end there as if its process had."""
    left = after

    def cutting(original: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            result = original(*arguments, **named)
            if left == 0:
                raise RuntimeError("gone")
            left -= 1
            return result

        return wrapped

    if point == "rename":
        patched.setattr(Lake, "_publish", cutting(Lake._publish))
    elif point == "committed":
        patched.setattr(erasure, "erase", cutting(erasure.erase))
    else:
        patched.setattr(erasures, point, cutting(getattr(erasures, point)))


def test_a_request_that_comes_during_an_erasure_gets_a_run_of_its_own(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = daemon.world
    first = ask_erasure(world, "frequent0")
    [wanted] = daemon.wanted("requests")
    run = daemon.submit(wanted)
    daemon.report(run, DagsterEventType.RUN_START)
    late: list[uuid.UUID] = []
    rewrite = erasure._rewrite

    def asked_meanwhile(*arguments: Any) -> None:
        if not late:
            late.append(ask_erasure(world, "frequent1"))
            assert daemon.wanted("requests") == []  # both follow the run that is under way
        rewrite(*arguments)

    monkeypatch.setattr(erasure, "_rewrite", asked_meanwhile)
    platform = Platform(world.settings, "test")
    platform.open(5, lambda _: None)
    done = erasure.erase(platform.writer, platform.engine, platform.lake, run.run_id, DAWN)
    platform.close()
    assert done.users == 1
    assert row(world, late[0])[:2] == ("running", run.run_id)
    daemon.report(run, DagsterEventType.RUN_SUCCESS)
    assert row(world, first)[:2] == ("succeeded", run.run_id)
    assert held(world, "frequent1") != {}
    [again] = daemon.wanted("requests")
    assert (again.run_key, again.tags[REQUEST_TAG]) == (f"erasure-{late[0]}", str(late[0]))
    assert daemon.execute(again).success
    assert row(world, late[0])[0] == "succeeded"
    assert held(world, "frequent0", "frequent1") == {}
    assert daemon.wanted("requests") == []


def test_nothing_is_done_where_nobody_asked(daemon: Daemon) -> None:
    world = daemon.world
    files, tables = world.files(), world.tables()
    for job in ("erasure", "export"):
        result = daemon.execute(dg.RunRequest(job_name=job))
        assert result.success
    assert (world.files(), world.tables()) == (files, tables)


@pytest.mark.parametrize("kind", ["erasure", "export"])
def test_a_payload_is_refused(daemon: Daemon, kind: str) -> None:
    with daemon.world.database.begin() as connection:
        request = requests.ask(connection, kind, {"user": "x"}, "somebody")
    assert daemon.wanted("requests") == []
    status, _, result = row(daemon.world, request)
    assert (status, result["error"]) == ("failed", f"an {kind} has no user")


def test_an_export_is_everything_that_is_held_and_nothing_of_others(daemon: Daemon) -> None:
    world = daemon.world
    with world.database.begin() as connection:
        consent.record(connection, Consent("frequent0", DAWN, ["push"], "app", DAWN))
        name = subjects.pseudonym(connection, "frequent0")
    both = {user: ask_export(world, user) for user in ("frequent0", "new4")}
    assert ask_export(world, "new4") == both["new4"]
    [wanted] = daemon.wanted("requests")
    assert wanted.job_name == "export"
    result = daemon.execute(wanted)
    assert result.success
    assert daemon.wanted("requests") == []
    status, run_id, said = row(world, both["frequent0"])
    assert (status, run_id) == ("succeeded", result.run_id)
    assert said == {
        "document": f"in the answer of GET /api/marketing/requests/{both['frequent0']}, for its author",
        "expires_at": (DAWN + timedelta(days=7)).isoformat(),
    }
    documents = dict(world.rows("select request_id, document from marketing.exports"))
    document = documents[both["frequent0"]]
    assert (document["user_id"], document["pseudonym"]) == ("frequent0", name)
    assert (document["made_at"], document["currency"]) == (DAWN.isoformat(), "USD")
    in_lake = {dataset: len(rows) for dataset, rows in document["lake"].items()}
    assert in_lake == {dataset: sum(days.values()) for dataset, days in held(world, "frequent0").items()}
    in_document = {table: len(rows) for table, rows in document["tables"].items()}
    held_in_tables = in_tables(world, "frequent0")
    for apart in ("subject_keys", "exports"):
        del held_in_tables[apart]
    assert in_document == {**held_in_tables, "requests": 1, "audit_log": 2}
    assert document["lake"]["transactions"][0] == {
        "day": "2026-01-17",
        "bucket": document["lake"]["transactions"][0]["bucket"],
        "user_id": "frequent0",
        "transaction_id": "frequent0-2026-01-17",
        "occurred_at": "2026-01-17T12:00:00+00:00",
        "amount": "10.00",
        "merchant": None,
        "location": "Store 0",
        "category": "Food",
        "updated_at": None,
    }
    [said_of_consent] = document["tables"]["user_consent"]
    assert said_of_consent == {
        "user_id": "frequent0",
        "opted_out_at": DAWN.isoformat(),
        "channels": ["push"],
        "source": "app",
        "updated_at": DAWN.isoformat(),
    }
    assert "new4" not in json.dumps(document)
    assert "frequent0" not in json.dumps(documents[both["new4"]])
    events = [str(each) for each in world.instance.all_logs(result.run_id)]
    assert events
    assert not [each for each in events if "frequent0" in each or "new4" in each]


def test_who_asked_to_be_erased_is_not_exported(daemon: Daemon) -> None:
    world = daemon.world
    export = ask_export(world, "frequent0")
    ask_erasure(world, "frequent0")
    wanted = {each.job_name: each for each in daemon.wanted("requests")}
    assert daemon.execute(wanted["export"]).success
    status, _, result = row(world, export)
    assert (status, result["error"]) == ("failed", "the user is erased, or asked to be")
    assert world.rows("select count(*) from marketing.exports") == [(0,)]
