"""A PostgreSQL of a test's own, which can be killed, with the decided world in it."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from marketing_assets.errors import DatabaseError
from marketing_assets.storage import embedded
from marketing_assets_tests.conftest import copied_world
from marketing_assets_tests.end_to_end.shell import NEXT, late_population
from marketing_assets_tests.world import DAY, FIRST, World, population

_STARTS = 6
_TEMPLATE = "template_world"


@dataclass
class OwnServer:
    """The server, its address, and the decided world that worlds are copied from."""

    data: Path
    url: str
    template: tuple[Path, str]

    def kill(self) -> None:
        """End the postmaster as `kill -9` would; its sessions see that and go."""
        process = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(process, signal.SIGKILL)

    def start(self) -> None:
        """Start it again on its data, as whoever looks after the machine would; recovery may take a while."""
        for _ in range(_STARTS):
            try:
                embedded.start(self.data)
            except DatabaseError as error:
                if not error.transient:
                    raise
            else:
                return
        raise AssertionError(f"the server does not come back: {(self.data / 'log').read_text()[-2000:]}")

    @contextmanager
    def world(self, root: Path) -> Iterator[World]:
        """A copy of the decided world with one more day of purchases, at the time of the night of `NEXT`.

        Its simulated clock is no session's, so that it outlives the server.
        """
        with copied_world(self.template, self.url, root) as world:
            world.write(late_population())
            instant = datetime(NEXT.year, NEXT.month, NEXT.day, 2, tzinfo=UTC) + timedelta(days=1)
            with world.database.begin() as connection:
                connection.exec_driver_sql(
                    "insert into marketing.simulated_clock (instant, set_by) values (%s, 'test')", (instant,)
                )
            world.database.dispose()
            yield world
            world.database.dispose()


@contextmanager
def own_server_below(temporary: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """The server, up while the block runs; whoever killed it has started it again."""
    # Not pytest's own directory: the path of a unix socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="marketing-pg-"))
    data = directory / "data"
    host = embedded.start(data)
    url = f"postgresql://postgres@/postgres?host={host}"
    try:
        root = temporary.mktemp("decided") / "world"
        root.mkdir()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"create database {_TEMPLATE}".encode())
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"alter system set {setting} = off".encode())
            connection.execute("select pg_reload_conf()")
        made = World(root, url.replace("/postgres?", f"/{_TEMPLATE}?"))
        made.write(population())
        made.ingest(FIRST, DAY - timedelta(days=1))
        assert made.night(DAY).success
        made.close()
        yield OwnServer(data, url, (root, _TEMPLATE))
    finally:
        embedded.stop(data)
        shutil.rmtree(directory, ignore_errors=True)


def down_for(server: OwnServer, seconds: float) -> float:
    """Kill the server and start it again after so long; returns when it was killed, as `time.monotonic`."""
    killed = time.monotonic()
    server.kill()
    time.sleep(seconds)
    server.start()
    return killed
