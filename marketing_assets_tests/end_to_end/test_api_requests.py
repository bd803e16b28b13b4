"""What an admin asks of the sidecar becomes a run of a real daemon, and the sidecar says what came of it."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from marketing_assets_tests.end_to_end.daemon import DaemonProcess, daemon_on, wait_for
from marketing_assets_tests.end_to_end.shell import NEXT, shell_on
from marketing_assets_tests.end_to_end.test_nightly import GLOBAL_HOLDOUT
from marketing_assets_tests.end_to_end.test_targeting import targets_of, write_policy
from marketing_assets_tests.sidecar.service import running
from marketing_assets_tests.world import World

pytestmark = pytest.mark.verify

INACTIVE = {f"inactive{number}" for number in range(30)}


@pytest.fixture
def daemon(decided_world: World, postgres_server: str) -> Iterator[DaemonProcess]:
    """The daemon on the decided world, in the night of `NEXT`, with a policy of five slots."""
    write_policy(decided_world, slots=("max_active_campaigns: 3", "max_active_campaigns: 5"))
    dagster_url = postgres_server.replace("/postgres?", f"/dagster_{uuid.uuid4().hex}?")
    policy = {"MARKETING_POLICY": str(decided_world.settings.policy)}
    with shell_on(decided_world, dagster_url) as shell, daemon_on(shell, policy) as made:
        yield made


@pytest.fixture
def ann(daemon: DaemonProcess) -> Iterator[httpx.Client]:
    """An admin who calls a sidecar on the database of that world."""
    world = daemon.shell.world
    with (
        running(str(world.settings.database_url), world.root / "sidecar") as service,
        service.client("ann", "admin") as client,
    ):
        yield client


def ended(ann: httpx.Client, place: str) -> Any:
    """The request when it has come to its end."""

    def state() -> Any:
        answer = ann.get(place)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.json()["finished_at"] else None

    return wait_for("end", state)


def test_targets_at_once_and_then_the_analysis_of_the_night(daemon: DaemonProcess, ann: httpx.Client) -> None:
    world = daemon.shell.world
    # The night of yesterday is not published yet: the features of the night before count.
    made = ann.post(
        "/api/marketing/campaigns/manual",
        json={
            "name": "Come back",
            "description": "{offer} off, today.",
            "offer": {"type": "discount", "value": "10", "unit": "percentage"},
            "pattern": "inactive",
            "ends_at": "2026-03-01T00:00:00Z",
            "holdout_share": "0",
            "target_now": True,
        },
    )
    assert made.status_code == 201, made.text
    campaign = made.json()["campaign_id"]
    targeted = ended(ann, f"/api/marketing/requests/{made.json()['request_id']}")
    assert (targeted["status"], targeted["reason"]) == ("succeeded", None), daemon.log.read_text()
    reached = INACTIVE - GLOBAL_HOLDOUT
    assert targeted["result"] == {
        "campaign_id": campaign,
        "assigned_on": "2026-02-12",
        "users_targeted": len(reached),
        "users_held_out": 0,
        "refused": {"global_holdout": len(INACTIVE & GLOBAL_HOLDOUT)},
    }
    assert targets_of(world, campaign) == reached

    asked = ann.post("/api/marketing/analysis/run-now")
    assert (asked.status_code, asked.json()["status"]) == (202, "queued")
    assert (
        ann.post("/api/marketing/analysis/run-now", json={"day": NEXT.isoformat()}).json()["request_id"]
        == (asked.json()["request_id"])
    )
    analysed = ended(ann, asked.headers["location"])
    assert (analysed["status"], analysed["reason"]) == ("succeeded", None), daemon.log.read_text()
    result = analysed["result"]
    assert (result["day"], result["night"], result["users"]) == (NEXT.isoformat(), "published", 105)
    assert (result["patterns"]["general"], result["patterns"]["new_shopper"]) == (105, 55)
    # Of thirty who are new two are in the global holdout; those who have come back have their targets.
    assert (result["campaigns_opened"], result["users_targeted"]) == (0, 28 + len(reached))
    assert targets_of(world, campaign) == reached
    assert daemon.rows("select count(*) from runs where status = 'SUCCESS'") == [(2,)]
