"""Consent: what users say, and who must not be offered anything."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import Engine

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.repositories import consent
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
