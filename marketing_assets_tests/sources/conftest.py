"""Fixtures for the tests of sources: an engine and an empty lake."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.lake import Lake


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine(memory_limit="512MiB", threads=2, temp_directory=tmp_path / "spill")
    yield engine
    engine.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")
