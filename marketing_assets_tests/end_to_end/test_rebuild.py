"""`--rebuild` decides nights again, each at its own time, and comes to the same rows."""

import signal
import time
from datetime import timedelta

import pytest
from sqlalchemy import text

from marketing_assets_tests.end_to_end.shell import NEXT, Shell
from marketing_assets_tests.world import DAY, World


@pytest.mark.verify
def test_rebuilding_the_newest_nights(decided_world: World, dagster_url: str) -> None:
    shell = Shell(decided_world, dagster_url)
    before = decided_world.snapshot()
    code, output = shell.call("run", "--from", str(DAY), "--to", str(NEXT), "--rebuild")
    assert code == 0, output
    assert f"Night of {NEXT}, campaigns for {NEXT + timedelta(days=1)}" in output
    after = decided_world.snapshot()
    assert {name: after[name] for name in before if f"day={DAY}" in name} == {
        name: digest for name, digest in before.items() if f"day={DAY}" in name
    }
    assert decided_world.rows("select day, status from marketing.published_nights order by day") == [
        (DAY, "published"),
        (NEXT, "published"),
    ]

    code, output = shell.call("run", "--day", str(DAY), "--rebuild")
    assert code == 1
    assert f"nights after {DAY} are decided already, the newest is {NEXT}" in output
    assert decided_world.snapshot() == after


@pytest.mark.verify
def test_a_rebuild_that_fails_or_is_killed_leaves_what_was_published(
    decided_world: World, dagster_url: str
) -> None:
    shell = Shell(decided_world, dagster_url)
    before = decided_world.snapshot()
    for arguments in (
        ["run", "--from", str(DAY), "--to", "2099-01-01", "--rebuild"],
        ["run", "--from", "2020-01-01", "--to", str(DAY), "--rebuild"],
    ):
        assert shell.call(*arguments)[0] == 1
        assert decided_world.snapshot() == before
    killed, _ = shell.call("run", "--day", str(DAY), "--rebuild", point="publish:_record")
    assert killed == -9
    assert decided_world.tables() == {name: before[name] for name in decided_world.tables()}
    code, output = shell.call("run", "--day", str(DAY), "--rebuild")
    assert code == 0, output
    assert decided_world.snapshot() == before


@pytest.mark.verify
def test_nights_that_the_app_has_reported_of_are_not_rebuilt(decided_world: World, dagster_url: str) -> None:
    with decided_world.database.begin() as connection:
        connection.execute(
            text(
                "insert into marketing.campaign_events (user_id, event_id, campaign_id, kind, occurred_at,"
                " received_at, claimed_at, sent_at, body_hash) select user_id, gen_random_uuid(),"
                " campaign_id, 'view', valid_from, valid_from, valid_from, valid_from, ''"
                " from marketing.campaign_targets where arm = 'treatment' order by 1, 3 limit 1"
            )
        )
    before = decided_world.snapshot()
    code, output = Shell(decided_world, dagster_url).call("run", "--day", str(DAY), "--rebuild")
    assert code == 1
    assert f"nights from {DAY} on cannot be decided again" in " ".join(output.split())
    assert decided_world.snapshot() == before


@pytest.mark.verify
def test_ctrl_c_says_that_it_stopped(decided_world: World, dagster_url: str) -> None:
    shell = Shell(decided_world, dagster_url)
    process = shell.start("run", "--day", str(DAY), "--rebuild", point="wait:user_features")
    waiting = decided_world.settings.home / "waiting"
    deadline = time.monotonic() + 60
    while not waiting.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Stopped. What was published stands" in output
