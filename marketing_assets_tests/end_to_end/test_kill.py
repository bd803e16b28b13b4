"""A run killed with SIGKILL at any point loses nothing, shows nothing half done, and can be run again."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketing_assets_tests.end_to_end.killer import POINTS
from marketing_assets_tests.end_to_end.shell import NEXT, Shell, shell_on
from marketing_assets_tests.world import World

KILLED = -9


@pytest.fixture
def shell(decided_world: World, dagster_url: str) -> Iterator[Shell]:
    with shell_on(decided_world, dagster_url) as made:
        yield made


def partitions_of(world: World) -> dict[str, str]:
    """The new night's partitions and their digests."""
    return {name: digest for name, digest in world.files().items() if f"day={NEXT}" in name}


def test_killed_while_publishing_and_run_again(shell: Shell, undisturbed: dict[str, Any]) -> None:
    killed_and_run_again(shell, "publish:_record", undisturbed)
    assert str(NEXT.day) in str(undisturbed["published_nights"])


@pytest.mark.verify
@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_and_run_again(shell: Shell, point: str, undisturbed: dict[str, Any]) -> None:
    killed_and_run_again(shell, point, undisturbed)


def killed_and_run_again(shell: Shell, point: str, undisturbed: dict[str, Any]) -> None:
    world = shell.world
    before = world.tables()
    assert shell.night(point) == KILLED
    assert world.tables() == before
    assert partitions_of(world).items() <= undisturbed.items()
    assert shell.night() == 0
    assert world.snapshot() == undisturbed
    assert not [file for file in (world.settings.lake / ".scratch").rglob("*") if file.is_file()]


@pytest.mark.verify
def test_two_runs_at_once_wait_for_each_other(shell: Shell) -> None:
    world = shell.world
    first = shell.start("run", "--day", NEXT.isoformat(), point="wait:user_features")
    waiting = world.settings.home / "waiting"
    deadline = time.monotonic() + 60
    while not waiting.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second = shell.start("run", "--day", NEXT.isoformat())
    time.sleep(8)
    assert second.poll() is None
    Path(waiting.with_name("go")).touch()
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "waiting for another writer: marketing_assets run" in outputs[1]
    assert world.rows("select count(*) from marketing.published_nights where status = 'published'") == [(2,)]
