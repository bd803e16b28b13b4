"""`--rebuild` decides nights again, each at its own time, and comes to the same rows."""

from datetime import timedelta

import pytest

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
