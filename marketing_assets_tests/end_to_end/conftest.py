"""Fixtures of the end-to-end tests."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from marketing_assets_tests.conftest import copied_world
from marketing_assets_tests.end_to_end.shell import NEXT, late_population


@pytest.fixture(scope="session")
def dagster_url(postgres_server: str) -> str:
    """A database for Dagster, made by the first command; it goes with the session's server."""
    return postgres_server.replace("/postgres?", f"/dagster_{uuid.uuid4().hex}?")


@pytest.fixture
def own_dagster_url(postgres_server: str) -> str:
    """The same for one test alone, where daemons look at every run."""
    return postgres_server.replace("/postgres?", f"/dagster_{uuid.uuid4().hex}?")


@pytest.fixture(scope="session")
def undisturbed(
    decided_template: tuple[Path, str], postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Every row and file after the night of `NEXT` ran once, undisturbed."""
    root = tmp_path_factory.mktemp("undisturbed") / "world"
    with copied_world(decided_template, postgres_server, root) as world:
        world.write(late_population())
        assert world.night(NEXT).success
        return world.snapshot()
