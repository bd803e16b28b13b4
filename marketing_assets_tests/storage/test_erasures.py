"""Asking to be erased: once, by a hash that outlives the user, and what goes from the tables."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine

from marketing_assets.domain.identity import fingerprint, keyed_hash
from marketing_assets.errors import DatabaseError, SettingsError
from marketing_assets.storage import database
from marketing_assets.storage.repositories import audit, consent, erasures, requests, subjects
from marketing_assets.storage.repositories.consent import Consent
from marketing_assets.storage.repositories.erasures import Found, Targets
from marketing_assets.storage.tables import metadata
from marketing_assets_tests.storage.test_audit import is_whole

KEY = b"erasure key of these tests, long enough"
NOW = datetime(2026, 2, 11, 9, tzinfo=UTC)


def ask(serving: Engine, user: str, key: bytes = KEY) -> uuid.UUID:
    with serving.begin() as connection:
        return erasures.ask(connection, user, key, NOW)


def status(reader: psycopg.Connection, request: uuid.UUID) -> tuple[Any, ...]:
    found = reader.execute(
        "select kind, status, payload, result from marketing.requests where request_id = %s", [request]
    ).fetchone()
    assert found is not None
    return found


def test_asking_leaves_a_request_a_tombstone_and_an_entry_that_do_not_name_the_user(
    serving: Engine, reader: psycopg.Connection
) -> None:
    request = ask(serving, "ann")
    assert status(reader, request) == ("erasure", "queued", {}, None)
    with serving.connect() as connection:
        stone = erasures.tombstone(connection, keyed_hash(KEY, "ann"))
        assert erasures.tombstone(connection, keyed_hash(KEY, "bob")) is None
        name = subjects.pseudonym(connection, "ann")
        [entry] = audit.entries(connection)
        [pending] = erasures.pending(connection)
    assert stone == erasures.Tombstone(request, NOW, None)
    assert (entry.actor, entry.action, entry.subject) == (name, "user.erasure_requested", f"user:{name}")
    assert entry.after == {"request_id": str(request)}
    assert pending == erasures.Pending(request, "ann", name, None)


def test_asking_again_is_the_same_request_until_it_fails(serving: Engine, reader: psycopg.Connection) -> None:
    request = ask(serving, "ann")
    assert ask(serving, "ann") == request
    with serving.begin() as connection:
        requests.fail(connection, request, "the disk is full", "free space")
    again = ask(serving, "ann")
    assert again != request
    assert ask(serving, "ann") == again
    with serving.begin() as connection:
        [pending] = erasures.pending(connection)
        assert pending.request_id == again
        erasures.remove(connection, [pending])
        erasures.finish(connection, {again: {"removed": {}}}, "run", NOW)
    assert ask(serving, "ann") == again
    assert status(reader, again) == ("erasure", "succeeded", {}, {"removed": {}})
    with serving.connect() as connection:
        assert erasures.pending(connection) == []


def test_of_many_who_ask_at_once_for_one_user_each_gets_the_same_request(serving: Engine, url: str) -> None:
    found: list[uuid.UUID] = []

    def one() -> None:
        own = database.connect(url)
        found.append(ask(own, "ann"))
        own.dispose()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    with serving.connect() as connection:
        entries = audit.entries(connection)
    assert len(entries) == 1


def test_another_erasure_key_is_refused(serving: Engine) -> None:
    ask(serving, "ann")
    with pytest.raises(SettingsError) as refused:
        ask(serving, "bob", b"another key")
    assert refused.value.message == (
        "MARKETING_ERASURE_KEY is not the key that erased users are known by (fingerprint "
        f"{fingerprint(b'another key')}, not {fingerprint(KEY)})"
    )


def test_every_table_with_a_user_id_is_emptied_of_the_user_and_the_key_goes_last() -> None:
    named = {table.name for table in metadata.tables.values() if "user_id" in table.c}
    assert [table.name for table in erasures.OF_USERS][-1] == "subject_keys"
    assert {table.name for table in erasures.OF_USERS} == named
    assert {"campaign_targets", "campaign_events", "rewards", "exports", "user_segments_b"} <= named


def test_what_is_frozen_stays_counted_and_money_that_was_promised_is_released(
    serving: Engine, reader: psycopg.Connection
) -> None:
    campaigns = ("a-2026-02-11", "b-2026-02-11")
    for campaign in campaigns:
        reader.execute(
            "insert into marketing.marketing_campaigns (campaign_id, template, campaign_name, campaign_type,"
            " description, offer_type, offer_value, offer_unit, target_pattern, qualifying_criteria, status,"
            " priority, starts_at, ends_at, holdout_share, attribution_days, origin, policy_version,"
            " created_by) values (%s, 'a', 'A', 'vip', '', 'bonus', 5, 'fixed', 'general', '{}', 'active', 1,"
            " now(), now() + interval '9 days', 0.1, 7, 'policy', 'v', 'test')",
            [campaign],
        )
        reader.execute("insert into marketing.campaign_budgets values (%s, 100, 12, 5)", [campaign])
    for user, campaign, arm in (
        ("ann", campaigns[0], "treatment"),
        ("ann", campaigns[1], "control"),
        ("bob", campaigns[0], "treatment"),
        ("eve", campaigns[0], "treatment"),
    ):
        reader.execute(
            "insert into marketing.campaign_targets (campaign_id, campaign_version, user_id, arm, reason,"
            " context, assigned_on, valid_from, valid_until)"
            " values (%s, 1, %s, %s, '{}', '{}', '2026-02-11', now(), now() + interval '9 days')",
            [campaign, user, arm],
        )
    for user, state, amount in (("ann", "reserved", 5), ("ann", "spent", 5), ("bob", "reserved", 4)):
        reader.execute(
            "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed, amount,"
            " state, occurred_at, decided_at) values (%s, gen_random_uuid(), %s, gen_random_uuid()::text, 50,"
            " %s, %s, now(), now())",
            [user, campaigns[0], amount, state],
        )
    requests_of = {user: ask(serving, user) for user in ("ann", "bob")}
    with serving.begin() as connection:
        name = subjects.pseudonym(connection, "ann")
        pending = erasures.pending(connection)
        archived = [Targets(campaigns[0], 1, "treatment", 1), Targets(campaigns[0], 2, "control", 1)]
        erasures.note_found(connection, {requests_of["ann"]: Found({"user_features": 3}, archived)})
        noted = erasures.pending(connection)
    assert [each.found for each in pending] == [None, None]
    assert {each.user_id: each.found for each in noted} == {
        "ann": Found({"user_features": 3}, archived),
        "bob": None,
    }
    reader.execute(
        "insert into marketing.idempotency_keys values (%s, 'k', 'h', 202, '{}', null, now())", [name]
    )
    with serving.begin() as connection:
        gone = erasures.remove(connection, noted)
        receipts: dict[uuid.UUID, dict[str, object]] = {each.request_id: {} for each in noted}
        erasures.finish(connection, receipts, "run", NOW + timedelta(hours=1))
        erasures.record_erased(connection, noted, NOW)
    assert gone == {
        "ann": {"idempotency_keys": 1, "campaign_targets": 2, "rewards": 2, "subject_keys": 1},
        "bob": {"campaign_targets": 1, "rewards": 1, "subject_keys": 1},
    }
    targets = "select campaign_id, campaign_version, arm, targets from marketing.erased_targets order by 1, 2"
    assert reader.execute(targets).fetchall() == [
        (campaigns[0], 1, "treatment", 3),
        (campaigns[0], 2, "control", 1),
        (campaigns[1], 1, "control", 1),
    ]
    budgets = reader.execute(
        "select reserved, spent from marketing.campaign_budgets order by campaign_id"
    ).fetchall()
    assert budgets == [(3, 5), (12, 5)]
    left = reader.execute("select user_id from marketing.campaign_targets").fetchall()
    assert left == [("eve",)]
    stones = reader.execute("select found, erased_at from marketing.erased_users").fetchall()
    assert stones == [(None, NOW + timedelta(hours=1))] * 2
    with serving.connect() as connection:
        assert is_whole(audit.entries(connection))
        assert subjects.user_of(connection, name) is None


def waiting(reader: psycopg.Connection) -> int:
    """How many sessions of this database wait for a lock."""
    row = reader.execute(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
    ).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def beside(work: Callable[[], object], reader: psycopg.Connection) -> Iterator[list[object]]:
    """Something done beside the block, which begins when it waits for a lock; what it gave or raised."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while waiting(reader) == 0 and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thread.is_alive(), found
    yield found
    thread.join()


def erase_all(serving: Engine) -> list[str]:
    """Everybody who asked leaves the tables; who that was."""
    with serving.begin() as connection:
        users = erasures.pending(connection)
        erasures.remove(connection, users)
        erasures.finish(connection, {each.request_id: {} for each in users}, "run", NOW)
        return [each.user_id for each in users]


def test_a_conversion_under_way_finishes_first_and_what_it_reserved_is_released(
    serving: Engine, reader: psycopg.Connection, database_url: str
) -> None:
    reader.execute(
        "insert into marketing.marketing_campaigns (campaign_id, template, campaign_name, campaign_type,"
        " description, offer_type, offer_value, offer_unit, target_pattern, qualifying_criteria, status,"
        " priority, starts_at, ends_at, holdout_share, attribution_days, origin, policy_version,"
        " created_by) values ('a', 'a', 'A', 'vip', '', 'bonus', 5, 'fixed', 'general', '{}', 'active', 1,"
        " now(), now() + interval '9 days', 0.1, 7, 'policy', 'v', 'test')"
    )
    reader.execute("insert into marketing.campaign_budgets values ('a', 100, 4, 0)")
    reader.execute(
        "insert into marketing.campaign_targets (campaign_id, campaign_version, user_id, arm, reason,"
        " context, assigned_on, valid_from, valid_until)"
        " values ('a', 1, 'ann', 'treatment', '{}', '{}', '2026-02-11', now(), now() + interval '9 days')"
    )
    reward = (
        "insert into marketing.rewards (user_id, event_id, campaign_id, transaction_id, claimed, amount,"
        " state, occurred_at, decided_at) values ('ann', gen_random_uuid(), 'a', %s, 50, %s, 'reserved',"
        " now(), now())"
    )
    reader.execute(reward, ["t1", 4])
    ask(serving, "ann")
    with psycopg.connect(database_url) as conversion:
        conversion.execute("select from marketing.campaign_targets where user_id = 'ann' for no key update")
        with beside(lambda: erase_all(serving), reader) as erased:
            conversion.execute("set local statement_timeout = '5s'")
            conversion.execute("update marketing.campaign_budgets set reserved = reserved + 3")
            conversion.execute(reward, ["t2", 3])
            conversion.commit()
    assert erased == [["ann"]]
    assert reader.execute("select reserved from marketing.campaign_budgets").fetchone() == (0,)
    assert reader.execute("select count(*) from marketing.rewards").fetchone() == (0,)


def test_what_a_user_says_while_being_erased_does_not_bring_them_back(
    serving: Engine, reader: psycopg.Connection, url: str
) -> None:
    ask(serving, "ann")
    own = database.connect(url)

    def say(connection: Connection) -> None:
        consent.record(connection, Consent("ann", NOW, [], "app", NOW))

    with own.begin() as connection:
        subjects.held(connection, "ann")
        with beside(lambda: erase_all(serving), reader) as erased:
            say(connection)
            connection.commit()
    own.dispose()
    assert erased == [["ann"]]
    assert reader.execute("select user_id from marketing.user_consent").fetchall() == []
    assert reader.execute("select user_id from marketing.subject_keys").fetchall() == []


def test_who_asks_again_after_a_failure_while_it_is_carried_out_is_erased_by_the_next_attempt(
    serving: Engine, reader: psycopg.Connection
) -> None:
    request = ask(serving, "ann")
    with serving.begin() as connection:
        requests.fail(connection, request, "the disk is full", "free space")
    again = ask(serving, "ann")
    with (
        serving.connect() as connection,
        pytest.raises(DatabaseError, match="asked again while it was carried out") as refused,
    ):
        erasures.finish(connection, {request: {}}, "run", NOW)  # of the request that it began with
    assert refused.value.transient
    assert erase_all(serving) == ["ann"]
    assert status(reader, again)[1] == "succeeded"
    assert ask(serving, "ann") == again
