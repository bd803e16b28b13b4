"""The audit log: a chain that several writers at once keep whole."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Engine, text

from marketing_assets.storage import database
from marketing_assets.storage.repositories import audit
from marketing_assets.storage.repositories.audit import FIRST_HASH, Change, Entry

NOW = datetime(2026, 2, 11, 3, tzinfo=UTC)


def change(campaign: str, **after: object) -> Change:
    return Change("campaign_cleanup", "campaign.expired", f"campaign:{campaign}", {"status": "active"}, after)


def record(serving: Engine, *changes: Change) -> None:
    with serving.begin() as connection:
        audit.record(connection, changes, NOW)


def entries(serving: Engine, subject: str | None = None) -> list[Entry]:
    with serving.connect() as connection:
        return audit.entries(connection, subject)


def is_whole(found: list[Entry]) -> bool:
    hashes = [FIRST_HASH, *(entry.hash for entry in found)]
    numbered = [entry.entry_id for entry in found] == list(range(1, len(found) + 1))
    return numbered and [entry.previous_hash for entry in found] == hashes[:-1]


def test_an_entry_says_who_did_what_when_and_what_was_before(serving: Engine) -> None:
    record(serving, change("vip-2026-01-01", status="expired"))
    [entry] = entries(serving)
    assert entry == Entry(
        entry_id=1,
        at=NOW,
        actor="campaign_cleanup",
        action="campaign.expired",
        subject="campaign:vip-2026-01-01",
        before={"status": "active"},
        after={"status": "expired"},
        previous_hash=FIRST_HASH,
    )
    assert entry.hash == "d62048bfdcf8359eb64db650f70f6675002b4029f242cb490c74a6c0e86ec22f"


def test_each_entry_carries_the_hash_of_the_one_before(serving: Engine) -> None:
    record(serving, change("a", status="expired"), change("b", figures={"d": 0.1, "n": 1000, "of": None}))
    record(serving)
    record(serving, change("a", name="Zoë “quoted”"))
    found = entries(serving)
    assert len(found) == 3
    assert is_whole(found)
    assert [entry.entry_id for entry in entries(serving, "campaign:a")] == [1, 3]


def test_a_changed_or_missing_entry_breaks_the_chain(serving: Engine) -> None:
    record(serving, change("a"), change("b"), change("c"))
    found = entries(serving)
    assert not is_whole([found[0], replace(found[1], after={"status": "active"}), found[2]])
    assert not is_whole([found[0], found[2]])
    with serving.begin() as connection:
        connection.execute(text("update marketing.audit_log set actor = 'somebody' where entry_id = 2"))
    assert not is_whole(entries(serving))


def test_writers_at_once_keep_it_whole(url: str, serving: Engine) -> None:
    def write(name: str) -> None:
        engine = database.connect(url)
        for number in range(10):
            record(engine, change(f"{name}{number}"))
        engine.dispose()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = entries(serving)
    assert len(found) == 40
    assert is_whole(found)


def test_what_is_rolled_back_leaves_no_gap(serving: Engine) -> None:
    record(serving, change("a"))
    with serving.connect() as connection:
        audit.record(connection, [change("b")], NOW)
        connection.rollback()
    record(serving, change("c"))
    assert [(entry.entry_id, entry.subject) for entry in entries(serving)] == [
        (1, "campaign:a"),
        (2, "campaign:c"),
    ]
    assert is_whole(entries(serving))
