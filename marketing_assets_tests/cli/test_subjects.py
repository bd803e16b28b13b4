"""`marketing export`, `erase` and `explain`: they take the id as the source has it, whatever is stored."""

from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketing_assets.cli.explain import logged
from marketing_assets.cli.subjects import ask_to_erase, ask_to_export
from marketing_assets.domain.identity import keyed_hash, stored_id
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import RequestError, SettingsError
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import TARGETING_DECISIONS
from marketing_assets.storage.lake import Lake

KEY = "a pseudonym key of these tests, long enough"
ERASURE_KEY = "an erasure key of these tests, long enough"
DAY = date(2026, 2, 10)

pytestmark = pytest.mark.parametrize("key", [None, KEY], ids=["real ids", "pseudonyms"])


def settings(tmp_path: Path, database_url: str, key: str | None, erasure_key: str | None) -> Settings:
    values: dict[str, Any] = {
        "MARKETING_HOME": tmp_path,
        "MARKETING_DATABASE_URL": database_url,
        "MARKETING_PSEUDONYM_KEY": key,
        "MARKETING_ERASURE_KEY": erasure_key,
    }
    return Settings(_env_file=None, **values)


def stored(key: str | None) -> str:
    return stored_id(None if key is None else key.encode(), "ann")


def test_requests_are_of_the_stored_id(tmp_path: Path, fresh_database: str, key: str | None) -> None:
    made = settings(tmp_path, fresh_database, key, ERASURE_KEY)
    asked = [(ask_to_export(made, "ann"), "export"), (ask_to_erase(made, "ann"), "erasure")]
    with psycopg.connect(fresh_database) as connection:
        rows = connection.execute(
            "select r.request_id, r.kind, r.status, s.user_id from marketing.requests r"
            " join marketing.subject_keys s on s.pseudonym = r.requested_by"
        ).fetchall()
        stones = connection.execute("select user_hash from marketing.erased_users").fetchall()
    assert sorted(rows, key=lambda each: str(each[1])) == [
        (request_id, kind, "queued", stored(key)) for request_id, kind in reversed(asked)
    ]
    assert stones == [(keyed_hash(ERASURE_KEY.encode(), stored(key)),)]


def test_an_export_does_not_bring_an_erased_user_back(
    tmp_path: Path, fresh_database: str, key: str | None
) -> None:
    made = settings(tmp_path, fresh_database, key, ERASURE_KEY)
    ask_to_erase(made, "ann")
    ask_to_export(made, "bob")
    with psycopg.connect(fresh_database) as connection:
        connection.execute("delete from marketing.subject_keys where user_id = %s", [stored(key)])
    with pytest.raises(RequestError, match="the user is erased, or asked to be"):
        ask_to_export(made, "ann")
    with psycopg.connect(fresh_database) as connection:
        [(user_id,)] = connection.execute("select user_id from marketing.subject_keys").fetchall()
    assert user_id != stored(key)


def test_without_an_erasure_key_nobody_is_asked_for(
    tmp_path: Path, fresh_database: str, key: str | None
) -> None:
    with pytest.raises(SettingsError) as refused:
        ask_to_erase(settings(tmp_path, fresh_database, key, None), "ann")
    assert refused.value.message == "MARKETING_ERASURE_KEY is not set"


def test_a_user_is_explained_by_the_id_of_the_source(
    tmp_path: Path, fresh_database: str, key: str | None
) -> None:
    made = settings(tmp_path, fresh_database, key, ERASURE_KEY)
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=tmp_path / "spill")
    columns = [(column.name, column.type) for column in TARGETING_DECISIONS.columns]
    rows = [
        ["welcome-bonus-2026-02-11", user, outcome, "{}", "{}", "0123abcd", "p"]
        for user, outcome in ((stored(key), "treatment"), ("bob", "limit"))
    ]
    engine.register_rows("by_hand", columns, rows)
    Lake(made.lake).write(engine, TARGETING_DECISIONS, DAY, "by_hand")
    engine.close()
    assert [each.outcome for each in logged(made, "ann", DAY)] == ["treatment"]
