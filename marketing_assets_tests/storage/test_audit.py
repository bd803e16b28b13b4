"""The audit log: a chain that several writers at once keep whole."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, text

from marketing_assets.errors import AuditError
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


def tamper(serving: Engine, statement: str) -> None:
    with serving.begin() as connection:
        connection.execute(text(statement))


def broken(serving: Engine, expected: str | None = None) -> str:
    with pytest.raises(AuditError) as raised:
        audit.verify(serving, expected)
    assert "compare marketing.audit_log with a backup" in raised.value.remedy
    return raised.value.message


def test_a_log_that_is_whole_says_how_long_it_is_and_its_newest_hash(serving: Engine) -> None:
    assert audit.verify(serving) == audit.Verified(0, FIRST_HASH, is_complete=True, expected=None)
    record(serving, change("a"), change("b"))
    record(serving, change("c"))
    found = entries(serving)
    assert audit.verify(serving) == audit.Verified(3, found[-1].hash, is_complete=True, expected=None)
    assert audit.verify(serving, found[1].hash).expected == 2
    assert audit.verify(serving, found[-1].hash).expected == 3


def test_a_hash_that_no_entry_has_is_missed(serving: Engine) -> None:
    record(serving, change("a"), change("b"))
    noted = entries(serving)[-1].hash
    tamper(serving, "truncate marketing.audit_log, marketing.audit_head")
    record(serving, change("a"), change("c"), change("d"))
    assert audit.verify(serving).entries == 3
    assert broken(serving, noted).startswith(f"none of the 3 entries of audit_log has the hash {noted}")
    assert broken(serving, FIRST_HASH).startswith("none of the 3 entries")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "update marketing.audit_log set after = '{}' where entry_id = 3",
            "entry 3 of audit_log is not what was written: entry 4 carries another hash of it",
        ),
        (
            "update marketing.audit_log set actor = 'somebody' where entry_id = 1",
            "entry 1 of audit_log is not what was written: entry 2 carries another hash of it",
        ),
        (
            "update marketing.audit_log set at = at + interval '1 microsecond' where entry_id = 5",
            "entry 5 of audit_log is not what was written: audit_head carries another hash of it",
        ),
        (
            "update marketing.audit_log set previous_hash = repeat('1', 64) where entry_id = 1",
            "entry 1 of audit_log is not what was written: entry 1 carries another hash of it",
        ),
        (
            "delete from marketing.audit_log where entry_id in (2, 3)",
            "entries 2 to 3 are missing in audit_log: removed after it was written",
        ),
        (
            "delete from marketing.audit_log where entry_id = 1",
            "entry 1 is missing in audit_log: removed after it was written",
        ),
        (
            "delete from marketing.audit_log where entry_id > 3",
            "entries 4 to 5 are missing in audit_log: removed after it was written",
        ),
        (
            "delete from marketing.audit_log",
            "entries 1 to 5 are missing in audit_log: removed after it was written",
        ),
        (
            "delete from marketing.audit_log where entry_id = 3;"
            " update marketing.audit_log set entry_id = entry_id - 1 where entry_id > 3",
            "entry 2 of audit_log is not what was written: entry 3 carries another hash of it",
        ),
        (
            "update marketing.audit_log set entry_id = 0 where entry_id = 1",
            "entry 0 of audit_log was not written by marketing: entries are numbered from 1 on",
        ),
        (
            "update marketing.audit_head set entry_id = 4",
            "entry 5 of audit_log was not written by marketing: audit_head ends with entry 4",
        ),
    ],
)
def test_what_is_done_to_the_log_by_sql_is_found_and_the_first_entry_named(
    serving: Engine, statement: str, message: str
) -> None:
    record(serving, *(change(name, status="expired") for name in "abcde"))
    tamper(serving, statement)
    assert broken(serving) == message


def test_an_end_that_was_removed_is_missed_also_after_more_entries(serving: Engine) -> None:
    record(serving, *(change(name) for name in "abc"))
    tamper(serving, "delete from marketing.audit_log where entry_id = 3")
    record(serving, change("d"))
    assert [entry.entry_id for entry in entries(serving)] == [1, 2, 4]
    assert broken(serving) == "entry 3 is missing in audit_log: removed after it was written"


def test_a_log_from_before_the_head_gets_it_with_its_next_entry(serving: Engine) -> None:
    record(serving, change("a"), change("b"))
    tamper(serving, "delete from marketing.audit_head")
    assert audit.verify(serving) == audit.Verified(
        2, entries(serving)[-1].hash, is_complete=False, expected=None
    )
    record(serving, change("c"))
    assert audit.verify(serving).is_complete
    assert is_whole(entries(serving))


def test_the_hash_is_of_what_the_database_stores(serving: Engine) -> None:
    """The numbers of JSON, texts and instants come back in another form than they were given."""
    after = {
        "floats": [0.1, 1.10, 1e20, 1e-7, -0.0, 123456789012.34, 2.5e300],
        "money": "10.50",
        "nested": {"z": None, "a": [None, {"b": None, "ü": []}], "": {}},
        "text": 'Zoë 🛒 “quoted” \\ " \n \u2028',
        "long": 12345678901234567890123,
        "true": True,
    }
    with serving.begin() as connection:
        changes = [change("a", **after), change("b", **after), change("c", n=1e16)]
        audit.record(connection, changes, NOW + timedelta(microseconds=123457))
    record(serving, change("d"))
    assert is_whole(entries(serving))
    assert audit.verify(serving).entries == 4


def test_many_entries_are_written_with_a_few_statements(serving: Engine) -> None:
    record(serving, change("a"))
    seen = []
    event.listen(serving, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    record(serving, *(change(str(number)) for number in range(3000)))
    assert len(seen) < 10
    assert audit.verify(serving).entries == 3001
    assert is_whole(entries(serving))
