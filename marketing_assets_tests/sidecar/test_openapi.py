"""The OpenAPI is exact: schemathesis, with all its checks, calls the server process and finds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marketing_assets_tests.sidecar.service import Service, token
from marketing_assets_tests.sidecar.shop import Shop

_SEED = "20261122"
_EXAMPLES = "40"

# One check cannot know what holds between values, which JSON Schema cannot say: that a request which fits the
# schema is accepted. It may also be answered
#   analytics: 422, the range has more than 400 days;
#   run-now and manual: 422, the Idempotency-Key was sent with another body, the day is not over, the campaign
#     ends before it starts, a text has a placeholder that its offer does not fill;
#   PATCH and DELETE of a campaign: 412 and 428, there is no If-Match, or the revision is another one; 422 as
#     above.
_DESIGN = """
[[operations]]
include-name = "GET /api/marketing/analytics"
checks.positive_data_acceptance.expected-statuses = [{accepted}, 422]

[[operations]]
include-name = ["POST /api/marketing/analysis/run-now", "POST /api/marketing/campaigns/manual"]
checks.positive_data_acceptance.expected-statuses = [{accepted}, 422]

[[operations]]
include-name = [
    "PATCH /api/marketing/campaigns/{{campaign_id}}",
    "DELETE /api/marketing/campaigns/{{campaign_id}}",
]
checks.positive_data_acceptance.expected-statuses = [{accepted}, 412, 422, 428]
""".format(accepted='"2xx", 401, 403, 404, 409, 429')


def schemathesis(service: Service, directory: Path, who: str, role: str, *options: str) -> None:
    """Run it as this caller; it must find nothing, and leave nothing of it in the log."""
    (directory / "schemathesis.toml").write_text(_DESIGN, encoding="utf-8")
    sent = token(who, role, seconds=3600)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {sent}"),
        *("--checks", "all", "--mode", "all", "--seed", _SEED, "--max-examples", _EXAMPLES),
        *("--generation-database", "none", "--suppress-health-check", "all", "--no-color"),
        *("--continue-on-failure", "--request-timeout", "20"),
        *options,
    ]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "COLUMNS": "150"}
    run = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    written = service.log.read_text(encoding="utf-8")
    assert '"error"' not in written
    for secret in (sent, who, "127.0.0.1"):
        assert secret not in written


@pytest.fixture
def user(shop: Shop) -> str:
    """A user with two offers and patterns."""
    made = shop.user()
    for template in ("vip-rewards", "welcome-bonus"):
        shop.offer(made, template)
    shop.segment(made)
    return made


@pytest.mark.verify
def test_what_the_app_calls_is_as_the_openapi_says(service: Service, user: str, tmp_path: Path) -> None:
    schemathesis(service, tmp_path, user, "mobile", "--exclude-name", "DELETE /api/marketing/me")


@pytest.mark.verify
def test_being_forgotten_is_as_the_openapi_says(service: Service, user: str, tmp_path: Path) -> None:
    schemathesis(service, tmp_path, user, "mobile", "--include-name", "DELETE /api/marketing/me")


@pytest.mark.verify
def test_what_admins_call_is_as_the_openapi_says(service: Service, user: str, tmp_path: Path) -> None:
    schemathesis(service, tmp_path, "boss-of-marketing", "admin")
