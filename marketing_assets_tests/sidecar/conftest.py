"""Fixtures of the sidecar's tests: a server process on a database, and nights that it can show."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marketing_assets_tests.sidecar.service import Service, running
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
