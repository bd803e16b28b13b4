"""Fixtures of the end-to-end tests."""

import uuid

import pytest


@pytest.fixture(scope="session")
def dagster_url(postgres_server: str) -> str:
    """A database for Dagster, made by the first command; it goes with the session's server."""
    return postgres_server.replace("/postgres?", f"/dagster_{uuid.uuid4().hex}?")
