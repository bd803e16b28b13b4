"""The systemd units and the Compose file, read as their programs read them, and started as processes."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
PROGRAMS = "/opt/marketing-assets/.venv/bin/"
INSTALLED = "/opt/marketing-assets/"
SERVICES = ("code", "daemon", "webserver", "viewer", "sidecar")


def unit(name: str) -> ConfigParser:
    parsed = ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read(DEPLOY / "systemd" / f"marketing-{name}.service", encoding="utf-8")
    return parsed


def command(name: str, environment: Mapping[str, str]) -> list[str]:
    """The words of ExecStart with the variables of the environment in their place."""
    words = shlex.split(unit(name)["Service"]["ExecStart"])
    return [re.sub(r"\$\{(\w+)}", lambda found: environment[found[1]], word) for word in words]


def here(words: list[str]) -> list[str]:
    """The command with the programs and files of this clone instead of the installed ones."""
    programs = str(Path(sys.executable).parent) + "/"
    return [word.replace(PROGRAMS, programs).replace(INSTALLED, f"{REPOSITORY}/") for word in words]


def environment_example() -> dict[str, str]:
    lines = (DEPLOY / "environment.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started(environment: Mapping[str, str], directory: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Everything that the units start: `prepare` to its end, then the services until the block ends."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MARKETING_", "DAGSTER", "CAMPAIGN_", "VIRTUAL_ENV"))
    }
    # A unit's PATH knows nothing of the virtual environment.
    given = {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
    prepare = here(command("prepare", environment))
    subprocess.run(prepare, env=given, cwd=directory, check=True, timeout=60, capture_output=True)
    with ExitStack() as stack:
        processes = {}
        for name in SERVICES:
            log = stack.enter_context((directory / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                here(command(name, environment)),
                env=given,
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(_end, process)
            processes[name] = process
        yield processes


def _end(process: subprocess.Popen[bytes]) -> None:
    """As systemd ends a unit: asked first, then killed with all that it started."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(20)
