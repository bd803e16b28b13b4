"""`marketing up`: Dagster's webserver and daemon and the sidecar, until Ctrl-C; only the database stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from marketing_assets.errors import ServeError
from marketing_assets.orchestration.running import copy_packaged, prepare_instance
from marketing_assets.settings import Settings, export_environment

_STOP_SECONDS = 15.0


def serve(settings: Settings, port: int, api_port: int) -> None:
    """Run the services until Ctrl-C or a request to terminate.

    Raises:
        DatabaseError: the databases cannot be started.
        ServeError: a service ended by itself.
    """
    prepare_instance(settings)
    if "ui_url" not in settings.model_fields_set:
        export_environment({"MARKETING_UI_URL": f"http://127.0.0.1:{port}"})
    workspace = settings.dagster_home / "workspace.yaml"
    copy_packaged("workspace.yaml", workspace)
    location = ["-w", str(workspace)]
    quiet = ["--dagster-log-level", "warning"]
    services = {
        "the webserver": ["dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *quiet, *location],
        "the daemon": ["dagster._daemon", "run", "--log-level", "warning", *location],
        "the sidecar": ["marketing_assets.sidecar", "--port", str(api_port)],
    }
    other_port = {"the webserver": f"--port {port + 1}", "the sidecar": f"--api-port {api_port + 1}"}
    # Also where this command runs in the background, where a shell has the signal ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Groups of their own, so that Ctrl-C reaches this process alone, which then ends each group whole.
    processes = {name: _start(command) for name, command in services.items()}
    try:
        _watch(processes, other_port)
    except KeyboardInterrupt:
        return
    finally:
        _end(list(processes.values()))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", *command], start_new_session=True)


def _watch(processes: dict[str, subprocess.Popen[bytes]], other_port: dict[str, str]) -> None:
    while True:
        for name, process in processes.items():
            code = process.poll()
            if code is not None:
                remedy = "read its last lines above"
                if name in other_port:
                    remedy += f"; if the port is taken: marketing up {other_port[name]}"
                raise ServeError(f"{name} ended by itself with code {code}", remedy=remedy)
        time.sleep(0.5)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask every group to stop, wait, and kill what is left of it."""
    for process in processes:
        _signal(process, signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
