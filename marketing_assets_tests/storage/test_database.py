"""The two databases: made where they are missing, upgraded by any number at once, one clear error else."""

import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Engine, text

from marketing_assets.errors import DatabaseError
from marketing_assets.settings import Settings
from marketing_assets.storage import database, migrations
from marketing_assets.storage.database import DatabaseUrls
from marketing_assets.storage.migrations import REVISION
from marketing_assets.storage.tables import SCHEMA, metadata

TABLES = sorted(table.name for table in metadata.sorted_tables)


def located(url: str, dagster: str | None = None) -> DatabaseUrls:
    return database.locate(
        Settings(_env_file=None, MARKETING_DATABASE_URL=url, MARKETING_DAGSTER_DATABASE_URL=dagster)
    )


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(re.sub(r"\+psycopg2?", "", url)) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.fixture
def missing(postgres_server: str) -> Iterator[str]:
    """URL of a database that does not exist; what a test makes of it is dropped."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for each in (name, f"{name}_dagster"):
            statement = sql.SQL("drop database if exists {} with (force)")
            connection.execute(statement.format(sql.Identifier(each)))


def test_addresses_get_the_driver_that_each_side_needs() -> None:
    urls = located("postgresql://app:p%40ss@db.example:5433/shop?sslmode=require")
    assert urls.product == "postgresql+psycopg://app:p%40ss@db.example:5433/shop?sslmode=require"
    assert urls.dagster == "postgresql+psycopg2://app:p%40ss@db.example:5433/shop_dagster?sslmode=require"
    assert located("postgres://host/a", "postgresql://other/b") == DatabaseUrls(
        "postgresql+psycopg://host/a", "postgresql+psycopg2://other/b"
    )
    assert database.described(urls.product) == (
        "postgresql+psycopg://app:***@db.example:5433/shop?sslmode=require"
    )


def test_both_databases_are_made_and_the_products_gets_its_schema(missing: str) -> None:
    urls = located(missing)
    database.prepare(urls)
    made = rows(urls.product, "select tablename from pg_tables where schemaname = 'marketing' order by 1")
    assert made == [(name,) for name in ["alembic_version", *TABLES]]
    assert rows(urls.product, "select version_num from marketing.alembic_version") == [(REVISION,)]
    assert rows(urls.dagster, "select count(*) from pg_tables where schemaname = 'marketing'") == [(0,)]


def test_preparing_again_keeps_what_is_there(url: str, serving: Engine) -> None:
    with serving.begin() as connection:
        connection.execute(
            text("insert into marketing.simulated_clock (instant, set_by) values (now(), 'x')")
        )
    database.prepare(DatabaseUrls(url, url))
    with serving.connect() as connection:
        assert connection.execute(text("select set_by from marketing.simulated_clock")).scalar() == "x"


def test_four_at_once_make_and_upgrade_without_harm(missing: str) -> None:
    urls = located(missing)
    errors: list[BaseException] = []
    together = threading.Barrier(4)

    def prepare() -> None:
        try:
            together.wait()
            database.prepare(urls)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert rows(urls.product, "select version_num from marketing.alembic_version") == [(REVISION,)]


def test_the_tables_are_what_the_migrations_make(serving: Engine) -> None:
    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
        return not (kind == "table" and name == "alembic_version")

    with serving.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
                "include_object": ours,
                "compare_type": True,
                "compare_server_default": True,
                "version_table_schema": SCHEMA,
            },
        )
        assert compare_metadata(context, metadata) == []
        # Alembic does not compare checks; their names are enough, as each is made from its table's.
        found = connection.execute(
            text(
                "select conname from pg_constraint c join pg_namespace n on n.oid = c.connamespace "
                "where n.nspname = 'marketing' and contype in ('c', 'p', 'u', 'f') order by 1"
            )
        ).scalars()
        named = {str(constraint.name) for table in metadata.sorted_tables for constraint in table.constraints}
        assert {name for name in found if "alembic" not in name} == named


def test_the_newest_revision_is_the_one_named() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_a_schema_newer_than_the_code_is_refused_and_kept(url: str, serving: Engine) -> None:
    with serving.begin() as connection:
        connection.execute(text("update marketing.alembic_version set version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"not one this version knows.*9999") as refused:
        database.prepare(DatabaseUrls(url, url))
    assert "upgrade marketing_assets" in refused.value.remedy
    assert rows(url, "select version_num from marketing.alembic_version") == [("9999",)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:hunter2@127.0.0.1:1/marketing",
        "postgresql://app:hunter2@no-such-host.invalid/marketing",
        "postgresql://app:hunter2@/marketing?host=/nowhere",
    ],
)
def test_a_server_that_is_not_there_is_one_error_without_the_password(url: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        database.prepare(located(url))
    assert refused.value.message.startswith("PostgreSQL cannot be reached at postgresql+psycopg://app:***@")
    assert "\n" not in refused.value.message
    assert "hunter2" not in str(refused.value)
    assert "MARKETING_DATABASE_URL" in refused.value.remedy


def test_an_unknown_user_is_one_error(postgres_server: str) -> None:
    with pytest.raises(DatabaseError, match='role "nobody" does not exist'):
        database.prepare(located(postgres_server.replace("postgres@", "nobody:hunter2@")))


def test_an_unknown_user_is_one_error_where_the_database_is_missing_too(missing: str) -> None:
    with pytest.raises(DatabaseError, match='role "nobody" does not exist') as refused:
        database.prepare(located(missing.replace("postgres@", "nobody:hunter2@")))
    assert "hunter2" not in str(refused.value)


def test_a_database_that_may_not_be_made_says_who_can(missing: str, postgres_server: str) -> None:
    role = f"app_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        try:
            with pytest.raises(DatabaseError, match="permission denied") as refused:
                database.prepare(located(missing.replace("postgres@", f"{role}:hunter2@")))
        finally:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    assert "create database test_" in refused.value.remedy
    assert "hunter2" not in str(refused.value)


def test_a_role_that_may_not_make_the_schema_is_one_error(fresh_database: str, postgres_server: str) -> None:
    role = f"app_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        try:
            url = fresh_database.replace("postgres@", f"{role}:hunter2@")
            with pytest.raises(DatabaseError, match="permission denied") as refused:
                database.prepare(located(url, url))
        finally:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    assert "hunter2" not in str(refused.value)


@dataclass
class OldServer:
    """What `_ensure_exists` reads of a connection."""

    server_version: int

    @property
    def info(self) -> "OldServer":
        return self

    def __enter__(self) -> "OldServer":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_server_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg, "connect", lambda *_args, **_options: OldServer(130011))
    with pytest.raises(DatabaseError, match=r"PostgreSQL 13 at .* is too old") as refused:
        database.prepare(located("postgresql://app:hunter2@host/db"))
    assert refused.value.remedy == "use PostgreSQL 14 or newer"
    assert "hunter2" not in str(refused.value)
