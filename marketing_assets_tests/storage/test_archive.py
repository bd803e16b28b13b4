"""Campaigns that are over: expired, then moved to the lake, whole or not at all, and never twice."""

import os
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import Engine as DatabaseEngine
from sqlalchemy.exc import InvalidRequestError

from marketing_assets.engine.base import Engine
from marketing_assets.errors import ArchiveError, DatabaseError, WriterLockError
from marketing_assets.storage import archive as archiving
from marketing_assets.storage.archive import ARCHIVED, Archived, archive, expire
from marketing_assets.storage.datasets import (
    ARCHIVED_EVENTS,
    ARCHIVED_REWARDS,
    ARCHIVED_TARGETS,
    Dataset,
)
from marketing_assets.storage.lake import Lake, Written
from marketing_assets.storage.repositories import audit
from marketing_assets.storage.repositories import campaigns as campaign_rows
from marketing_assets_tests.storage.conftest import Kill
from marketing_assets_tests.storage.nights import CAMPAIGN, D, NightMaker, at, campaign

LAST = date(2026, 3, 3)
"""Last day of the welcome-bonus that opens on the day after D."""

OVER = at(LAST + timedelta(days=1))
LATE = OVER + timedelta(days=30)
OTHER = "location-promo-2026-02-02"
"""A campaign of 30 days that ends with it."""


def due(serving: DatabaseEngine, now: datetime = LATE) -> list[campaign_rows.Ended]:
    with serving.connect() as connection:
        return campaign_rows.archivable(connection, now - timedelta(days=30), now - timedelta(hours=48))


def run(maker: NightMaker, serving: DatabaseEngine, now: datetime = LATE) -> list[Archived]:
    return list(archive(maker.lock, maker.engine, maker.lake, due(serving, now), ZoneInfo("UTC"), now))


def statuses(reader: psycopg.Connection) -> dict[str, str]:
    return dict(
        reader.execute("select campaign_id, status from marketing.marketing_campaigns order by 1").fetchall()
    )


def targets(reader: psycopg.Connection) -> list[tuple[str, str]]:
    return reader.execute(
        "select campaign_id, user_id from marketing.campaign_targets order by 1, 2"
    ).fetchall()


def archived(maker: NightMaker) -> list[tuple[object, ...]]:
    """Every archived row, whatever its partition, as day, campaign, user, status and context."""
    maker.lake.register(maker.engine, "found", ARCHIVED_TARGETS, Lake(maker.lake.root).days(ARCHIVED_TARGETS))
    rows = maker.engine.fetch(
        "select day, campaign_id, user_id, status, context from found order by day, campaign_id, user_id"
    )
    return [tuple(row.values()) for row in rows]


@pytest.fixture
def over(maker: NightMaker) -> NightMaker:
    """A welcome-bonus with two targets that ended with LAST and is expired."""
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    assert expire(maker.lock, OVER) == [CAMPAIGN]
    return maker


ANN = (LAST, CAMPAIGN, "ann", "eligible", '{"location": "Store 1"}')
BOB = (LAST, CAMPAIGN, "bob", "eligible", '{"location": "Store 1"}')


def test_what_is_over_expires_once_and_is_audited(
    maker: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign(), campaign("vip-rewards"), campaign("re-engagement")])
    reader.execute(
        "update marketing.marketing_campaigns set status = 'paused' where template = 're-engagement'"
    )
    just_before = OVER - timedelta(microseconds=1)
    assert expire(maker.lock, just_before) == ["re-engagement-2026-02-11"]
    assert expire(maker.lock, OVER) == [CAMPAIGN]
    assert expire(maker.lock, OVER) == []
    assert statuses(reader) == {
        "re-engagement-2026-02-11": "expired",
        "vip-rewards-2026-02-11": "active",
        CAMPAIGN: "expired",
    }
    with serving.connect() as connection:
        found = audit.entries(connection)
    assert [(e.at, e.actor, e.action, e.subject, e.before, e.after) for e in found] == [
        (
            just_before,
            "campaign_cleanup",
            "campaign.expired",
            "campaign:re-engagement-2026-02-11",
            {"status": "paused"},
            {"status": "expired"},
        ),
        (
            OVER,
            "campaign_cleanup",
            "campaign.expired",
            f"campaign:{CAMPAIGN}",
            {"status": "active"},
            {"status": "expired"},
        ),
    ]
    revisions = reader.execute("select template, revision from marketing.marketing_campaigns").fetchall()
    assert dict(revisions) == {"vip-rewards": 1, "re-engagement": 2, "welcome-bonus": 2}


def test_a_campaign_that_was_over_long_enough_moves_to_the_lake(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    assert due(serving, LATE - timedelta(seconds=1)) == []
    reader.execute(
        "update marketing.campaign_targets set status = 'viewed', viewed_at = '2026-02-12 10:00:00.25+03'"
        " where user_id = 'bob'"
    )
    [moved] = run(over, serving)
    assert (moved.day, moved.campaigns) == (LAST, [CAMPAIGN])
    assert moved.rows == {"archived_targets": 2, "archived_events": 0, "archived_rewards": 0}
    assert moved.bytes["archived_targets"] == over.lake.path(ARCHIVED_TARGETS, LAST).stat().st_size
    assert targets(reader) == []
    assert statuses(reader) == {CAMPAIGN: "archived"}
    assert archived(over) == [ANN, (LAST, CAMPAIGN, "bob", "viewed", '{"location": "Store 1"}')]
    assert over.engine.fetch(
        "select valid_from, valid_until, viewed_at, converted_at, reason, created_at from found"
        " where user_id = 'bob'"
    ) == [
        {
            "valid_from": at(D + timedelta(days=1)),
            "valid_until": OVER,
            "viewed_at": at(date(2026, 2, 12), 7) + timedelta(milliseconds=250),
            "converted_at": None,
            "reason": '{"transactions":1}',
            "created_at": at(D + timedelta(days=1), 2),
        }
    ]
    with serving.connect() as connection:
        newest = audit.entries(connection, f"campaign:{CAMPAIGN}")[-1]
    assert (newest.action, newest.at) == ("campaign.archived", LATE)
    assert (newest.before, newest.after) == ({"status": "expired"}, {"status": "archived"})
    assert run(over, serving) == []
    assert list(over.lake.scratch.iterdir()) == []


def test_a_target_that_is_not_settled_keeps_its_campaign(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    reader.execute("update marketing.campaign_targets set valid_until = %s where user_id = 'bob'", [LATE])
    assert run(over, serving, LATE + timedelta(hours=47)) == []
    assert len(run(over, serving, LATE + timedelta(hours=48))) == 1


def test_campaigns_that_end_together_share_a_partition_and_one_archived_later_joins_it(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    run(over, serving)
    before = date(2026, 2, 1)
    over.write(before, ["ann", "cid"], OTHER)
    over.publish(before, [campaign("location-promo", date(2026, 2, 2))])
    expire(over.lock, OVER)
    [moved] = run(over, serving)
    assert (moved.day, moved.campaigns, moved.rows["archived_targets"]) == (LAST, [OTHER], 2)
    assert archived(over) == [
        (LAST, OTHER, "ann", "eligible", '{"location": "Store 1"}'),
        (LAST, OTHER, "cid", "eligible", '{"location": "Store 1"}'),
        ANN,
        BOB,
    ]
    assert targets(reader) == []


def test_a_campaign_without_targets_is_archived_without_a_partition(
    maker: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    maker.write(D, [])
    maker.publish(D, [campaign()])
    expire(maker.lock, OVER)
    [moved] = run(maker, serving)
    assert (moved.day, moved.campaigns) == (LAST, [CAMPAIGN])
    assert {*moved.rows.values(), *moved.bytes.values()} == {0}
    assert statuses(reader) == {CAMPAIGN: "archived"}
    assert maker.lake.days(ARCHIVED_TARGETS) == []


def test_ids_and_texts_of_every_kind_arrive_as_they_were(
    maker: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    users = ["", " ", '"', "\\.", "\\N", "a,b", "Zoë 🛒", "line\nbreak", "null"]
    maker.location = 'Store "1", \\ Straße\n2'
    maker.write(D, users)
    maker.publish(D, [campaign()])
    expire(maker.lock, OVER)
    context = reader.execute("select context::text from marketing.campaign_targets limit 1").fetchone()
    assert context is not None
    run(maker, serving)
    assert [row[2] for row in archived(maker)] == sorted(users)
    assert {row[4] for row in archived(maker)} == {context[0]}


EVENT = UUID(int=7)


def claim(reader: psycopg.Connection, state: str = "spent") -> None:
    """A view and a conversion of ann, and what became of its reward."""
    reader.execute(
        "insert into marketing.campaign_events (user_id, event_id, campaign_id, kind, occurred_at,"
        " received_at, claimed_at, sent_at, amount, items, transaction_id, body_hash) values"
        " ('ann', gen_random_uuid(), %(campaign)s, 'view', %(at)s, %(at)s, %(at)s, %(at)s,"
        " null, null, null, 'v'),"
        " ('ann', %(event)s, %(campaign)s, 'conversion', %(at)s, %(at)s, %(at)s, %(at)s, 40.10,"
        """ '[{"sku": "ü, \\\\"}]', '', 'c')""",
        {"campaign": CAMPAIGN, "event": EVENT, "at": at(LAST, 12)},
    )
    reader.execute(
        "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed, amount,"
        " state, reason, occurred_at, decided_at, settled_on) values"
        " ('ann', %(event)s, %(campaign)s, '', 40.10, 10.00, %(state)s, null, %(at)s, %(at)s, %(day)s)",
        {"campaign": CAMPAIGN, "event": EVENT, "at": at(LAST, 12), "day": LAST, "state": state},
    )


def rows_of(maker: NightMaker, dataset: Dataset) -> list[dict[str, object]]:
    maker.lake.register(maker.engine, "found", dataset, [LAST])
    found = maker.engine.fetch("select * exclude day from found order by amount nulls first")
    return [dict(row) for row in found]


def test_events_and_rewards_leave_with_the_targets_of_their_campaign(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    claim(reader)
    [moved] = run(over, serving)
    assert moved.rows == {"archived_targets": 2, "archived_events": 2, "archived_rewards": 1}
    for table in ("campaign_targets", "campaign_events", "rewards"):
        assert reader.execute(f"select from marketing.{table}".encode()).fetchall() == []
    noon = at(LAST, 12)
    view, conversion = rows_of(over, ARCHIVED_EVENTS)
    assert (view["kind"], view["amount"], view["items"], view["transaction_id"]) == ("view", None, None, None)
    assert conversion == {
        "user_id": "ann",
        "event_id": str(EVENT),
        "campaign_id": CAMPAIGN,
        "kind": "conversion",
        "occurred_at": noon,
        "received_at": noon,
        "claimed_at": noon,
        "sent_at": noon,
        "amount": Decimal("40.10"),
        "items": '[{"sku": "ü, \\\\"}]',
        "transaction_id": "",
        "body_hash": "c",
    }
    assert rows_of(over, ARCHIVED_REWARDS) == [
        {
            "user_id": "ann",
            "event_id": str(EVENT),
            "campaign_id": CAMPAIGN,
            "transaction_id": "",
            "claimed": Decimal("40.10"),
            "amount": Decimal("10.00"),
            "state": "spent",
            "reason": None,
            "occurred_at": noon,
            "decided_at": noon,
            "settled_on": LAST,
        }
    ]


def test_a_reward_that_waits_or_was_just_settled_keeps_its_campaign(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection
) -> None:
    claim(reader, "reserved")
    assert due(serving, LATE + timedelta(days=100)) == []
    reader.execute("update marketing.rewards set state = 'spent', decided_at = %s", [LATE])
    assert due(serving, LATE + timedelta(hours=47)) == []
    assert [each.campaign_id for each in due(serving, LATE + timedelta(hours=48))] == [CAMPAIGN]


@pytest.mark.parametrize("table", ["campaign_events", "rewards"])
def test_an_event_or_reward_that_changes_while_it_is_archived_keeps_all_of_its_campaign(
    over: NightMaker,
    serving: DatabaseEngine,
    reader: psycopg.Connection,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim(reader)
    statement = f"update marketing.{table} set transaction_id = 'other' where event_id = '{EVENT}'"
    with monkeypatch.context() as patched:
        original = campaign_rows.set_status

        def changed_before(*arguments: Any) -> int:
            reader.execute(statement.encode())
            return original(*arguments)

        patched.setattr(campaign_rows, "set_status", changed_before)
        with pytest.raises(ArchiveError, match=rf"rows of marketing\.{table} changed while"):
            run(over, serving)
    assert len(targets(reader)) == 2
    assert statuses(reader) == {CAMPAIGN: "expired"}
    [moved] = run(over, serving)
    assert moved.rows == {"archived_targets": 2, "archived_events": 2, "archived_rewards": 1}


def after(function: str, then: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something right after a step of archiving."""
    original = getattr(archiving, function)

    def wrapped(*arguments: object) -> object:
        result = original(*arguments)
        then()
        return result

    monkeypatch.setattr(archiving, function, wrapped)


def test_a_row_that_changes_while_it_is_archived_stays_and_is_archived_the_next_time(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        view = "update marketing.campaign_targets set status = 'viewed' where user_id = 'ann'"
        after("_compare", lambda: reader.execute(view), patched)
        with pytest.raises(ArchiveError, match=r"rows of marketing\.campaign_targets changed while"):
            run(over, serving)
    assert targets(reader) == [(CAMPAIGN, "ann"), (CAMPAIGN, "bob")]
    assert statuses(reader) == {CAMPAIGN: "expired"}
    run(over, serving)
    assert archived(over) == [(LAST, CAMPAIGN, "ann", "viewed", '{"location": "Store 1"}'), BOB]
    assert targets(reader) == []


def test_a_campaign_that_changes_while_it_is_archived_stays(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(
        "_compare",
        lambda: reader.execute("update marketing.marketing_campaigns set status = 'draft'"),
        monkeypatch,
    )
    with pytest.raises(ArchiveError, match="the campaigns changed while"):
        run(over, serving)
    assert len(targets(reader)) == 2


def test_a_partition_that_is_not_what_was_copied_removes_nothing(
    over: NightMaker, serving: DatabaseEngine, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Lake.write

    def write_less(lake: Lake, engine: Engine, dataset: Dataset, day: date, relation: str) -> Written:
        engine.create("archive_less", f"select * from {relation} where user_id <> 'ann'")
        return write(lake, engine, dataset, day, "archive_less")

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "write", write_less)
        with pytest.raises(ArchiveError, match="1 rows instead of 2, 1 missing, 0 that were never there"):
            run(over, serving)
    assert targets(reader) == [(CAMPAIGN, "ann"), (CAMPAIGN, "bob")]
    run(over, serving)
    assert archived(over) == [ANN, BOB]


@pytest.mark.parametrize("function", ["_export", "_register", "_compare", "_remove"])
def test_ended_anywhere_and_run_again_nothing_is_lost_or_there_twice(
    over: NightMaker,
    serving: DatabaseEngine,
    reader: psycopg.Connection,
    function: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        after(function, stop, patched)
        with pytest.raises(KeyboardInterrupt):
            run(over, serving)
    assert targets(reader) == [(CAMPAIGN, "ann"), (CAMPAIGN, "bob")]
    assert statuses(reader) == {CAMPAIGN: "expired"}
    run(over, serving, LATE + timedelta(days=1))
    assert archived(over) == [ANN, BOB]
    assert targets(reader) == []
    with serving.connect() as connection:
        assert [e.action for e in audit.entries(connection)] == ["campaign.expired", "campaign.archived"]


def test_a_writer_that_lost_the_lock_removes_nothing(
    over: NightMaker,
    serving: DatabaseEngine,
    reader: psycopg.Connection,
    kill: Kill,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    after("_register", lambda: kill("run under test"), monkeypatch)
    with pytest.raises(WriterLockError, match="the writer lock was lost"):
        run(over, serving)
    assert len(targets(reader)) == 2
    assert over.lake.days(ARCHIVED_TARGETS) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            psycopg.errors.InvalidTextRepresentation('invalid input syntax for type integer: "ann"'),
            "expiring campaigns failed: InvalidTextRepresentation, SQLSTATE 22P02",
        ),
        (InvalidRequestError("ann"), "expiring campaigns failed: InvalidRequestError"),
    ],
)
def test_what_the_database_refuses_is_named_without_the_values_that_it_quotes(
    maker: NightMaker, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(campaign_rows, "over", refused)
    with pytest.raises(DatabaseError) as raised:
        expire(maker.lock, OVER)
    assert raised.value.message == said


def test_every_archived_table_has_its_columns_in_its_dataset(reader: psycopg.Connection) -> None:
    for each in ARCHIVED:
        assert {c.name for c in each.table.columns} == set(each.dataset.column_names)
        nullable = {c.name for c in each.table.columns if c.nullable}
        assert nullable == {c.name for c in each.dataset.columns if c.nullable}


def test_partitions_that_are_removed_are_gone_whole(over: NightMaker) -> None:
    path = over.lake.path(ARCHIVED_TARGETS, D)
    over.put(ARCHIVED_TARGETS, D, [])
    size = path.stat().st_size
    assert over.lake.remove(ARCHIVED_TARGETS, D) == size
    assert not path.parent.exists()
    assert over.lake.remove(ARCHIVED_TARGETS, D) == 0
    # What a kill between the two steps of it leaves is no partition.
    os.mkdir(path.parent)
    assert over.lake.days(ARCHIVED_TARGETS) == []
    assert re.search(r"day=2026-02-10$", str(path.parent))
