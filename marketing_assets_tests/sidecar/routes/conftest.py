"""Fixtures of the routes' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marketing_assets_tests.sidecar.nearby import Nearby, nearby


@pytest.fixture
def app(database_url: str, tmp_path: Path) -> Iterator[Nearby]:
    """The app in this process, on a database of the test's own."""
    with nearby(database_url, tmp_path) as made:
        yield made
