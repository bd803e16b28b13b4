"""Fixtures of the storage tests: an upgraded database, and sessions beside the one under test."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine

from marketing_assets.settings import Settings
from marketing_assets.storage import database
from marketing_assets_tests.storage.nights import NightMaker, night_maker
from marketing_assets_tests.storage.offers import Offers

Kill = Callable[[str], int]


@pytest.fixture(scope="session")
def upgraded_template(postgres_server: str) -> str:
    """Name of a database with the newest schema and no rows."""
    name = f"template_{uuid.uuid4().hex}"
    url = postgres_server.replace("/postgres?", f"/{name}?")
    database.prepare(database.locate(Settings(_env_file=None, MARKETING_DATABASE_URL=url)))
    return name


@pytest.fixture
def database_url(postgres_server: str, upgraded_template: str) -> Iterator[str]:
    """URL, as libpq knows it, of a copy of that database."""
    name = f"test_{uuid.uuid4().hex}"
    create = sql.SQL("create database {} template {}")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(upgraded_template)))
        yield postgres_server.replace("/postgres?", f"/{name}?")
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def url(database_url: str) -> str:
    """The same as SQLAlchemy knows it."""
    return database_url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def serving(url: str) -> Iterator[Engine]:
    """An engine on that database."""
    made = database.connect(url)
    yield made
    made.dispose()


@pytest.fixture
def kill(database_url: str) -> Kill:
    """Ends the sessions of an application, as a restart of the database would; returns how many."""

    def end(application: str) -> int:
        with psycopg.connect(database_url) as connection:
            return connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
                "where application_name = %s and datname = current_database()",
                [application],
            ).rowcount

    return end


@pytest.fixture
def maker(tmp_path: Path, url: str) -> Iterator[NightMaker]:
    """Makes nights in a lake of the test's own and publishes them in its database."""
    made = night_maker(tmp_path, url)
    yield made
    made.engine.close()
    made.lock.release()


@pytest.fixture
def reader(database_url: str) -> Iterator[psycopg.Connection]:
    """Another session on that database, as the app has it: each statement on its own."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def offers_database(postgres_server: str, upgraded_template: str) -> str:
    """URL of one more copy, for tests that need rows of few tables: emptying them is quicker than a copy."""
    name = f"offers_{uuid.uuid4().hex}"
    create = sql.SQL("create database {} template {}")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(upgraded_template)))
    return postgres_server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def offers(offers_database: str) -> Iterator[Offers]:
    """Campaigns and targets without a night; none at first."""
    engine = database.connect(offers_database.replace("postgresql://", "postgresql+psycopg://"))
    with psycopg.connect(offers_database, autocommit=True) as connection:
        made = Offers(engine, connection, offers_database)
        made.clear()
        yield made
    engine.dispose()
