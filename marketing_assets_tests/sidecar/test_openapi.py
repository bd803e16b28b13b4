"""The OpenAPI is exact: schemathesis, with all its checks, calls the server process and finds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marketing_assets_tests.sidecar.service import Service, token
from marketing_assets_tests.sidecar.shop import Shop

_SEED = "20261122"


def schemathesis(service: Service, directory: Path, who: str, role: str, *options: str) -> None:
    """Run it as this caller; it must find nothing."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {token(who, role, seconds=3600)}"),
        *("--checks", "all", "--mode", "all", "--seed", _SEED, "--no-color"),
        *("--generation-database", "none", "--suppress-health-check", "all"),
        *("--continue-on-failure", "--request-timeout", "20"),
        *options,
    ]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "COLUMNS": "150"}
    run = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.verify
def test_what_the_app_calls_is_as_the_openapi_says(service: Service, shop: Shop, tmp_path: Path) -> None:
    user = shop.user()
    for template in ("vip-rewards", "welcome-bonus"):
        shop.offer(user, template)
    shop.segment(user)
    schemathesis(service, tmp_path, user, "mobile", "--max-examples", "40", "--exclude-operation-id", "x")


@pytest.mark.verify
def test_what_admins_call_is_as_the_openapi_says(service: Service, shop: Shop, tmp_path: Path) -> None:
    schemathesis(service, tmp_path, "boss", "admin", "--max-examples", "40")
