"""A night of the schedule whose run is killed with SIGKILL in any step, with schedule and sensors on.

It is found dead, tried again by itself, and the night is published once.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketing_assets_tests.alert_service import alert_service
from marketing_assets_tests.end_to_end.daemon import daemon_on, faults_at_night, quick_home, wait_for
from marketing_assets_tests.end_to_end.shell import NEXT, Shell, shell_on
from marketing_assets_tests.world import World

pytestmark = pytest.mark.verify

STEPS = {
    "ingest": "before:rejected_transactions",
    "user_features": "before:user_features",
    "user_patterns": "before:segment_summary",
    "settled_rewards": "before:settled_rewards",
    "campaigns": "before:campaigns",
    "campaign_targets": "before:targeting_decisions",
    "published_night": "publish:_record",
}
"""Half way through each step."""


@pytest.fixture
def shell(decided_world: World, own_dagster_url: str) -> Iterator[Shell]:
    with shell_on(decided_world, own_dagster_url) as made:
        yield made


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_any_step_the_night_is_published_once(
    shell: Shell, undisturbed: dict[str, Any], tmp_path: Path, step: str, record_property: Any
) -> None:
    world = shell.world
    tables = world.tables()
    killed = tmp_path / "killed"
    faults = faults_at_night(tmp_path, TEST_POINT=STEPS[step])
    with (
        alert_service() as service,
        daemon_on(shell, {"MARKETING_ALERT_URLS": service.url}, faults) as daemon,
    ):
        daemon.until_schedules_are_known()
        (tmp_path / "dawn").touch()
        wait_for("kill", killed.exists)
        died = time.monotonic()
        assert world.tables() == tables
        found = "select run_id from runs where status = 'FAILURE'"
        wait_for("run found dead", lambda: daemon.rows(found))
        noticed = time.monotonic() - died
        night = f"select status, run_id from marketing.published_nights where day = '{NEXT}'"
        wait_for("published night", lambda: world.rows(night), 120)
        whole = time.monotonic() - died
        wait_for("end of every run", lambda: daemon.unfinished() == 0)
        [(first, _), (second, _)] = runs = daemon.rows("select run_id, status from runs order by id")
        assert [status for _, status in runs] == ["FAILURE", "SUCCESS"]
        assert world.rows(night) == [("published", second)]
        assert last_step(daemon.rows, first) == step
        # The next try begins where the first died: what was done before is not done again.
        assert first_step(daemon.rows, second) == step
        said = daemon.rows(
            f"select event from event_logs where run_id = '{first}' and event like '%SIGKILL%'"
        )
        assert said
        # It is tried again by itself, so nobody is woken.
        assert [title for title in service.titles if "failed" in title] == []
        record_property("measured", f"found dead after {noticed:.1f} s, published after {whole:.1f} s")
    assert world.snapshot() == undisturbed
    assert not [file for file in (world.settings.lake / ".scratch").rglob("*") if file.is_file()]


def test_a_machine_that_goes_down_in_mid_run_loses_nothing(
    shell: Shell, undisturbed: dict[str, Any], tmp_path: Path, record_property: Any
) -> None:
    # Daemon, code server and run at once: nobody is left to see the run's end.
    world = shell.world
    faults = faults_at_night(tmp_path, TEST_POINT="hold:campaign_targets")
    with daemon_on(shell, quick_home(tmp_path / "dagster"), faults) as daemon:
        daemon.until_schedules_are_known()
        (tmp_path / "dawn").touch()
        wait_for("write", (world.settings.home / "waiting-campaign_targets").exists)
        daemon.kill_all()
        died = time.monotonic()
        (world.settings.home / "go-campaign_targets").touch()
        assert daemon.rows("select status from runs") == [("STARTED",)]
        daemon.start()
        night = f"select status from marketing.published_nights where day = '{NEXT}'"
        wait_for("published night", lambda: world.rows(night), 120)
        record_property("measured", f"published {time.monotonic() - died:.1f} s after the machine went down")
        wait_for("end of every run", lambda: daemon.unfinished() == 0)
        assert daemon.rows("select status from runs order by id") == [("FAILURE",), ("SUCCESS",)]
        said = "%its process is gone: for%it has had no session on the serving database%"
        assert daemon.rows(f"select 1 from event_logs where event like '{said}' limit 1")
    assert world.snapshot() == undisturbed


def last_step(rows: Any, run_id: object) -> object:
    return _started(rows, run_id)[-1]


def first_step(rows: Any, run_id: object) -> object:
    return _started(rows, run_id)[0]


def _started(rows: Any, run_id: object) -> list[object]:
    found = rows(
        f"select step_key from event_logs where run_id = '{run_id}' and dagster_event_type = 'STEP_START'"
        " order by id"
    )
    return [step for (step,) in found]
