"""A database of an earlier version is upgraded with what it holds, and can be taken back."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from marketing_assets.storage import migrations

CAMPAIGN = (
    "insert into marketing.marketing_campaigns values ('c-2026-01-01', 'c', 'C', 'welcome', '', 'discount', "
    "5, 'percentage', 'general', '{}', 'active', 1, '2026-01-01', '2026-02-01', 0.1, 7, 'policy', 'p', 1, 1, "
    "null, 'policy', now(), now())"
)
TARGET = (
    "insert into marketing.campaign_targets (target_id, campaign_id, campaign_version, user_id, arm, reason, "
    "context, assigned_on, valid_from, valid_until) values (cast(md5('c-2026-01-01:ann') as uuid), "
    "'c-2026-01-01', 1, 'ann', 'control', '{}', '{}', '2026-01-01', '2026-01-01', '2026-01-08')"
)
SEGMENT = (
    "insert into marketing.user_segments values ('ann', 'general', array['general'], 5, 1, null, null, "
    "'2026-01-01')"
)
FOUND = (
    "select t.user_id, t.arm, s.primary_pattern "
    "from marketing.campaign_targets t natural join marketing.user_segments s"
)


@pytest.fixture
def role(postgres_server: str, fresh_database: str) -> Iterator[str]:
    """A role that may read the segments; it goes with the test."""
    name = f"app_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"create role {name}".encode())
        yield name
        ask(fresh_database, f"drop owned by {name}")
        connection.execute(f"drop role {name}".encode())


def migrate(url: str, revision: str, *, back: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, revision)
        connection.commit()
    engine.dispose()


def ask(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        for statement in statements[:-1]:
            connection.execute(statement.encode())
        cursor = connection.execute(statements[-1].encode())
        return cursor.fetchall() if cursor.description else []


def test_what_the_first_version_published_is_there_after_the_upgrade_and_back(
    fresh_database: str, role: str
) -> None:
    migrate(fresh_database, "0001")
    ask(fresh_database, CAMPAIGN, TARGET, SEGMENT, f"grant select on marketing.user_segments to {role}")
    may = f"select has_table_privilege('{role}', 'marketing.user_segments', 'select')"
    for _ in range(2):
        migrate(fresh_database, "0002")
        assert ask(fresh_database, FOUND) == [("ann", "control", "general")]
        assert ask(fresh_database, "select slot, cast(as_of as text) from marketing.live_segments") == [
            ("a", "2026-01-01")
        ]
        assert ask(fresh_database, may) == [(True,)]
        migrate(fresh_database, "0001", back=True)
        assert ask(fresh_database, FOUND) == [("ann", "control", "general")]
        assert ask(fresh_database, may) == [(True,)]
        with pytest.raises(psycopg.errors.UniqueViolation):
            ask(fresh_database, TARGET)


def test_an_empty_database_has_no_live_slot_after_the_upgrade(fresh_database: str) -> None:
    migrate(fresh_database, "0001")
    migrate(fresh_database, "0002")
    assert ask(fresh_database, "select * from marketing.live_segments") == []
    assert ask(fresh_database, "select * from marketing.user_segments") == []


def test_requests_are_there_after_the_upgrade_and_gone_on_the_way_back(fresh_database: str) -> None:
    migrate(fresh_database, "0002")
    for _ in range(2):
        migrate(fresh_database, "0003")
        ask(fresh_database, "insert into marketing.requests (kind, requested_by) values ('analysis', 'app')")
        assert ask(fresh_database, "select kind, payload, status, run_id from marketing.requests") == [
            ("analysis", {}, "queued", None)
        ]
        with pytest.raises(psycopg.errors.CheckViolation):
            ask(fresh_database, "update marketing.requests set status = 'succeeded'")
        migrate(fresh_database, "0002", back=True)
        assert ask(fresh_database, "select to_regclass('marketing.requests')") == [(None,)]
