"""A disk that is full: one clear error, what stood there stands, nothing temporary stays; and a rerun."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from marketing_assets_tests.conftest import copied_world
from marketing_assets_tests.end_to_end.daemon import wait_for
from marketing_assets_tests.end_to_end.shell import NEXT, Shell, shell_on
from marketing_assets_tests.end_to_end.small_disk import SmallDisk, small_disk
from marketing_assets_tests.world import World

pytestmark = pytest.mark.verify

STEPS = {
    "hold:transactions": "ingest",
    "hold:user_features": "user features",
    "hold:segment_summary": "user patterns",
    "hold:settled_rewards": "settled rewards",
    "hold:campaigns": "campaigns",
    "hold:targeting_decisions": "campaign targets",
    "wait:targeting_decisions": "published night",
}
"""Where the disk fills up, and the step that then cannot write."""


@pytest.fixture
def disk(decided_world: World) -> Iterator[SmallDisk]:
    """The decided world's lake, moved to a disk of its own."""
    lake = decided_world.settings.lake
    original = lake.rename(lake.with_name("original"))
    lake.mkdir()
    with small_disk(lake, 8) as made:
        shutil.copytree(original, lake, dirs_exist_ok=True)
        yield made


@pytest.fixture
def shell(decided_world: World, disk: SmallDisk, dagster_url: str) -> Iterator[Shell]:
    with shell_on(decided_world, dagster_url) as made:
        yield made


def temporary(world: World) -> list[Path]:
    return [file for file in (world.settings.lake / ".scratch").rglob("*") if file.is_file()]


def night_on_full_disk(shell: Shell, disk: SmallDisk, point: str) -> tuple[int, str]:
    """Run the night; at that point the disk fills up."""
    process = shell.start("run", "--day", NEXT.isoformat(), point=point)
    when, dataset = point.split(":")
    home = shell.world.settings.home
    said, until = (f"waiting-{dataset}", f"go-{dataset}") if when == "hold" else ("waiting", "go")
    wait_for("write", (home / said).exists)
    disk.fill(process)
    (home / until).touch()
    output, _ = process.communicate(timeout=120)
    return process.returncode, " ".join(output.split())


@pytest.mark.parametrize("point", STEPS)
def test_a_disk_that_fills_up_in_any_step(
    shell: Shell, disk: SmallDisk, undisturbed: dict[str, Any], point: str, record_property: Any
) -> None:
    world = shell.world
    tables = world.tables()
    before = world.files()
    code, said = night_on_full_disk(shell, disk, point)
    assert code == 1
    assert f"the night of {NEXT} failed: " in said
    assert "cannot be written: " in said
    assert ("No space left on device" in said) is disk.mounted, said
    assert (
        "what to do: free space on that disk or make the directory writable, then run the day again" in said
    )
    assert world.tables() == tables
    assert before.items() <= world.files().items() <= undisturbed.items()
    assert temporary(world) == []
    disk.free()
    freed = time.monotonic()
    assert shell.night() == 0
    record_property("measured", f"whole again {time.monotonic() - freed:.1f} s after there was room")
    assert world.snapshot() == undisturbed
    assert temporary(world) == []


@pytest.mark.parametrize("point", ["hold:transactions", "hold:targeting_decisions"])
def test_a_partition_that_is_made_again_on_a_full_disk_keeps_what_it_had(
    shell: Shell, disk: SmallDisk, undisturbed: dict[str, Any], point: str
) -> None:
    world = shell.world
    assert shell.night() == 0
    code, said = night_on_full_disk(shell, disk, point)
    assert code == 1
    assert "what was there before is untouched" in said
    assert world.snapshot() == undisturbed
    assert temporary(world) == []
    disk.free()
    assert shell.night() == 0
    assert world.snapshot() == undisturbed


@dataclass
class SmallDatabase:
    """A world whose database lies on a small disk; where none can be mounted, the server refuses writes."""

    world: World
    disk: SmallDisk
    server: psycopg.Connection

    @property
    def reason(self) -> str:
        """What the server then says."""
        return "No space left on device" if self.disk.mounted else "in a read-only transaction"

    def refuse(self, process: subprocess.Popen[str]) -> None:
        if self.disk.mounted:
            self.disk.fill(process)
        else:
            self._read_only("on")

    def accept(self) -> None:
        self.disk.free()
        self._read_only("off")

    def _read_only(self, value: str) -> None:
        self.server.execute(
            sql.SQL("alter system set default_transaction_read_only = {}").format(sql.Literal(value))
        )
        self.server.execute("select pg_reload_conf()")


@pytest.fixture
def small_database(
    decided_template: tuple[Path, str], postgres_server: str, tmp_path: Path
) -> Iterator[SmallDatabase]:
    """A copy of the decided world, its database moved to a tablespace on the small disk."""
    with psycopg.connect(postgres_server, autocommit=True) as server:
        [data] = server.execute("show data_directory").fetchone() or [""]
        # Not below pytest's directory: the server may run as another user.
        root = Path(str(data)).with_name("tablespace")
        root.mkdir()
        with (
            small_disk(root, 64) as disk,
            copied_world(decided_template, postgres_server, tmp_path / "w") as w,
        ):
            place = root / "space"
            place.mkdir(mode=0o700)
            owner = Path(str(data)).stat()
            os.chown(place, owner.st_uid, owner.st_gid)
            name = sql.Identifier(str(w.database.url.database))
            w.database.dispose()
            server.execute(sql.SQL("create tablespace small location {}").format(sql.Literal(str(place))))
            server.execute(sql.SQL("alter database {} set tablespace small").format(name))
            made = SmallDatabase(w, disk, server)
            yield made
            made.accept()
            w.database.dispose()
            server.execute(sql.SQL("alter database {} set tablespace pg_default").format(name))
            server.execute("drop tablespace small")
        shutil.rmtree(root)


def test_a_database_without_room_publishes_nothing_and_says_so(
    small_database: SmallDatabase, dagster_url: str, undisturbed: dict[str, Any], record_property: Any
) -> None:
    world = small_database.world
    with shell_on(world, dagster_url) as shell:
        tables = world.tables()
        process = shell.start("run", "--day", NEXT.isoformat(), point="wait:targeting_decisions")
        wait_for("write", (world.settings.home / "waiting").exists)
        small_database.refuse(process)
        (world.settings.home / "go").touch()
        output, _ = process.communicate(timeout=120)
        said = " ".join(output.split())
        assert process.returncode == 1, said
        assert f"publishing the night of {NEXT} failed: " in said
        assert small_database.reason in said
        assert (
            "what to do: see that the database is up and has free disk space, then run the day again" in said
        )
        assert "Trying again" not in said
        assert world.tables() == tables
        small_database.accept()
        freed = time.monotonic()
        assert shell.night() == 0
        record_property("measured", f"whole again {time.monotonic() - freed:.1f} s after there was room")
        assert world.snapshot() == undisturbed


def test_the_small_disk_is_a_real_one_where_mounting_is_allowed(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    with small_disk(root, 1) as disk, subprocess.Popen(["sleep", "60"], text=True) as process:
        try:
            disk.fill(process)
            if disk.mounted:
                assert shutil.disk_usage(root).free == 0
                disk.free()
                assert shutil.disk_usage(root).free > 1_000_000
        finally:
            process.kill()
