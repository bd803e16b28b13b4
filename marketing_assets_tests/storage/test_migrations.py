"""A database of an earlier version is upgraded with what it holds, and can be taken back."""

import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from marketing_assets.storage import migrations
from marketing_assets.storage.tables import metadata

OWN_SCHEMA = {
    "include_schemas": True,
    "include_name": lambda name, kind, _: kind != "schema" or name == "marketing",
    "version_table_schema": "marketing",
}
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


def test_a_campaign_that_is_there_gets_the_budget_that_its_newest_version_froze(fresh_database: str) -> None:
    migrate(fresh_database, "0001")
    ask(
        fresh_database,
        CAMPAIGN,
        CAMPAIGN.replace("c-2026-01-01", "unlimited"),
        CAMPAIGN.replace("c-2026-01-01", "without-version"),
        "update marketing.marketing_campaigns set version = 2 where campaign_id = 'c-2026-01-01'",
        "insert into marketing.campaign_versions (campaign_id, version, settings) values"
        """ ('c-2026-01-01', 1, '{"budget": "70"}'), ('c-2026-01-01', 2, '{"budget": "1234.5"}'),"""
        """ ('unlimited', 1, '{"budget": null}')""",
    )
    for _ in range(2):
        migrate(fresh_database, "0005")
        assert ask(fresh_database, "select * from marketing.campaign_budgets order by 1") == [
            ("c-2026-01-01", Decimal("1234.50"), Decimal(0), Decimal(0)),
            ("unlimited", None, Decimal(0), Decimal(0)),
            ("without-version", None, Decimal(0), Decimal(0)),
        ]
        assert ask(fresh_database, "select distinct ended_by_hand_at from marketing.marketing_campaigns") == [
            (None,)
        ]
        migrate(fresh_database, "0004", back=True)
        assert ask(fresh_database, "select to_regclass('marketing.campaign_budgets')") == [(None,)]
        assert len(ask(fresh_database, "select campaign_id from marketing.marketing_campaigns")) == 3


def test_what_makes_no_sense_of_budgets_pauses_and_shares_is_refused(fresh_database: str) -> None:
    migrate(fresh_database, "0005")
    ask(fresh_database, CAMPAIGN.replace("now(), now())", "now(), now(), null)"))
    ask(fresh_database, "insert into marketing.campaign_budgets values ('c-2026-01-01', 10, 4, 6)")
    ask(
        fresh_database,
        "insert into marketing.campaign_pauses values ('c-2026-01-01', '2026-01-02', '2026-01-03'),"
        " ('c-2026-01-01', '2026-01-04', null)",
    )
    for refused in (
        "update marketing.campaign_budgets set budget = 9.99",
        "update marketing.campaign_budgets set reserved = 4.01",
        "update marketing.campaign_budgets set budget = null, reserved = -0.01",
        "update marketing.campaign_budgets set spent = -0.01",
        "update marketing.campaign_budgets set budget = -1, spent = 0, reserved = 0",
        "update marketing.campaign_pauses set resumed_at = '2026-01-01'",
        "insert into marketing.global_holdouts values (2026, 1.01, '2026-01-01', 'p')",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            ask(fresh_database, refused)
    with pytest.raises(psycopg.errors.UniqueViolation):
        ask(fresh_database, "insert into marketing.campaign_pauses values ('c-2026-01-01', '2026-01-05')")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        ask(fresh_database, "insert into marketing.campaign_budgets values ('nobody', 10)")


def test_the_newest_revision_is_the_schema_that_tables_describe(fresh_database: str) -> None:
    migrate(fresh_database, migrations.REVISION)
    engine = create_engine(fresh_database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=OWN_SCHEMA)
        assert compare_metadata(context, metadata) == []
    engine.dispose()
