"""Fixtures of the sidecar's tests: a server process on a database, and nights that it can show."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from marketing_assets.storage import database
from marketing_assets_tests.sidecar.service import Service, running
from marketing_assets_tests.sidecar.shop import Shop
from marketing_assets_tests.storage.conftest import (  # noqa: F401 - fixtures
    database_url,
    maker,
    offers,
    offers_database,
    reader,
    serving,
    upgraded_template,
    url,
)


@pytest.fixture
def sidecar(database_url: str, tmp_path: Path) -> Iterator[Service]:  # noqa: F811
    """A sidecar on a database of the test's own."""
    with running(database_url, tmp_path / "sidecar") as service:
        yield service


@pytest.fixture(scope="session")
def shared_database(postgres_server: str, upgraded_template: str) -> str:  # noqa: F811
    """URL of a database that many tests use, each with users of its own."""
    name = f"shared_{uuid.uuid4().hex}"
    create = sql.SQL("create database {} template {}")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(upgraded_template)))
    return postgres_server.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def service(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A sidecar on that database, one process for many tests."""
    with running(shared_database, tmp_path_factory.mktemp("service")) as made:
        yield made


@pytest.fixture(scope="session")
def shop(shared_database: str) -> Iterator[Shop]:
    """Its campaigns and targets."""
    engine = database.connect(shared_database.replace("postgresql://", "postgresql+psycopg://"))
    with psycopg.connect(shared_database, autocommit=True) as connection:
        yield Shop(engine, connection)
    engine.dispose()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """Calls of that sidecar; each says as whom (`headers=bearer(user)`)."""
    with service.client() as made:
        yield made
