"""Consent: what users say, and who must not be offered anything."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import Engine

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.repositories import audit, consent, erasures, subjects
from marketing_assets.storage.repositories.consent import Consent

NOW = datetime(2026, 2, 11, 9, tzinfo=UTC)
LATER = datetime(2026, 2, 12, 9, tzinfo=UTC)
ANN = Consent("ann", NOW, [], "app", NOW)


def opted_out(serving: Engine, directory: Path) -> list[str]:
    file = directory / "opted-out.csv"
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=directory / "spill")
    with serving.connect() as connection:
        consent.export_opted_out(connection, file)
    engine.register_csv("opted_out", [file], ["user_id"])
    found = [str(row["user_id"]) for row in engine.fetch("select user_id from opted_out")]
    engine.close()
    return found


def test_who_has_opted_out_is_written_whatever_the_id(serving: Engine, tmp_path: Path) -> None:
    assert opted_out(serving, tmp_path) == []
    users = ["", " ", '"', "a,b", "Zoë 🛒", "line\nbreak", "\\.", "NULL"]
    with serving.begin() as connection:
        for user in users:
            consent.record(connection, replace(ANN, user_id=user))
        consent.record(connection, replace(ANN, user_id="stays", opted_out_at=None))
    assert sorted(opted_out(serving, tmp_path)) == sorted(users)


def test_what_a_user_says_last_counts_and_since_when(
    serving: Engine, reader: psycopg.Connection, tmp_path: Path
) -> None:
    row = "select opted_out_at, channels, source, updated_at from marketing.user_consent"
    later = replace(ANN, opted_out_at=LATER, channels=["push"], source="staff", updated_at=LATER)
    with serving.begin() as connection:
        consent.record(connection, ANN)
        consent.record(connection, later)
    assert reader.execute(row).fetchall() == [(NOW, ["push"], "staff", LATER)]
    with serving.begin() as connection:
        consent.record(connection, replace(later, opted_out_at=None))
    assert reader.execute(row).fetchall() == [(None, ["push"], "staff", LATER)]
    assert opted_out(serving, tmp_path) == []
    with serving.begin() as connection:
        consent.record(connection, later)
    assert reader.execute(row).fetchall() == [(LATER, ["push"], "staff", LATER)]


def test_every_change_is_in_the_audit_log_by_a_name_that_is_not_the_users(serving: Engine) -> None:
    again = replace(ANN, opted_out_at=LATER, updated_at=LATER)
    with serving.begin() as connection:
        consent.record(connection, replace(ANN, opted_out_at=None))  # as if nothing had been said
        consent.record(connection, ANN)
        consent.record(connection, again)
        consent.record(connection, replace(again, opted_out_at=None, channels=["push", "mail"]))
        name = subjects.pseudonym(connection, "ann")
        found = audit.entries(connection)
    nothing: dict[str, object] = {"opted_out": False, "channels": []}
    out = {**nothing, "opted_out": True}
    assert [(each.at, each.before, each.after) for each in found] == [
        (NOW, nothing, out),
        (LATER, out, {"opted_out": False, "channels": ["mail", "push"]}),
    ]
    assert {(each.actor, each.action, each.subject) for each in found} == {
        (name, "consent.changed", f"user:{name}")
    }


def test_who_asked_to_be_erased_is_offered_nothing_until_then(serving: Engine, tmp_path: Path) -> None:
    with serving.begin() as connection:
        consent.record(connection, ANN)
        for user in ("ann", "bob"):
            erasures.ask(connection, user, b"key", NOW)
    assert sorted(opted_out(serving, tmp_path)) == ["ann", "bob"]
