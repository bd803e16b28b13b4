"""A deployment by environment alone: units and Compose say the same, and what they start works."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import ValidationError

from marketing_assets.settings import Settings
from marketing_assets.storage import keys
from marketing_assets.storage.migrations import REVISION
from marketing_assets_tests.deploy import units
from marketing_assets_tests.deploy.units import INSTALLED, PROGRAMS, SERVICES
from marketing_assets_tests.sidecar.service import SECRET, bearer
from marketing_assets_tests.world import HEADER

LAUNCH = """
mutation {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "marketing_assets.definitions", repositoryName: "__repository__",
               jobName: "campaign_cleanup"},
    runConfigData: {}
  }) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
HEALTH = """
{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError { ... on Workspace {
    locationEntries { name loadStatus locationOrLoadError { __typename } }
  } }
}
"""


def ask(port: int, query: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["data"]


def problems(port: int) -> list[str]:
    """What is not yet as it must be, as one webserver sees it."""
    try:
        seen = ask(port, HEALTH)
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        return [str(error)]
    daemons = seen["instance"]["daemonHealth"]["allDaemonStatuses"]
    entries = seen["workspaceOrError"]["locationEntries"]
    loaded = [
        (entry["name"], entry["loadStatus"], (entry["locationOrLoadError"] or {}).get("__typename"))
        for entry in entries
    ]
    found = [each["daemonType"] for each in daemons if each["required"] and not each["healthy"]]
    if loaded != [("marketing_assets.definitions", "LOADED", "RepositoryLocation")]:
        found.append(str(loaded))
    return found


def api_answer(port: int) -> tuple[int, str]:
    """What the app hears of an unknown user's offers, once the API is ready."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["schema_revision"]) == (200, REVISION)
        answer = client.get("/api/marketing/campaigns", headers=bearer("ann"))
        return answer.status_code, answer.text


def wait_until_whole(ports: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(found := {port: problems(port) for port in ports}.values()):
        assert time.monotonic() < deadline, found
        time.sleep(1)


def status_of(port: int, run: str) -> str:
    seen = ask(port, f'{{ runOrError(runId: "{run}") {{ ... on Run {{ status }} }} }}')
    return str(seen["runOrError"]["status"])


@pytest.mark.verify
def test_what_the_units_start_comes_up_runs_a_job_and_lets_viewers_only_look(
    tmp_path: Path, fresh_database: str
) -> None:
    (tmp_path / "transactions.csv").write_text(HEADER + "\n", encoding="utf-8")
    name = fresh_database.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    dagster = fresh_database.replace(f"/{name}?", f"/{name}_dagster?")
    environment = units.environment_example() | {
        "MARKETING_HOME": str(tmp_path / "home"),
        "MARKETING_ERASURE_KEY": "a key of this deployment's own, 32 bytes",
        "DAGSTER_HOME": str(tmp_path / "home" / "dagster"),
        "MARKETING_DATABASE_URL": fresh_database,
        "MARKETING_DAGSTER_DATABASE_URL": dagster.replace("postgresql://", "postgresql+psycopg2://"),
        "MARKETING_SOURCE": "files",
        "MARKETING_SOURCE_URL": str(tmp_path / "transactions.csv"),
        "MARKETING_SOURCE_MAPPING": "",
        "MARKETING_CODE_PORT": str(units.free_port()),
        "MARKETING_WEBSERVER_PORT": str(units.free_port()),
        "MARKETING_VIEWER_PORT": str(units.free_port()),
        "MARKETING_API_PORT": str(units.free_port()),
        "MARKETING_JWT_KEYS": "",
        "MARKETING_JWT_ISSUER": "",
        "MARKETING_JWT_SECRET": SECRET,
    }
    webserver, viewer = (int(environment[f"MARKETING_{name}_PORT"]) for name in ("WEBSERVER", "VIEWER"))
    with units.started(environment, tmp_path) as processes:
        wait_until_whole([webserver, viewer], 90)
        assert {name: process.poll() for name, process in processes.items()} == dict.fromkeys(SERVICES)

        assert api_answer(int(environment["MARKETING_API_PORT"])) == (200, '{"items":[],"next_cursor":null}')

        assert ask(viewer, LAUNCH) == {"launchRun": {"__typename": "UnauthorizedError"}}
        with psycopg.connect(dagster) as connection:
            assert connection.execute("select count(*) from runs").fetchone() == (0,)

        launched = ask(webserver, LAUNCH)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess"
        run = launched["run"]["runId"]
        deadline = time.monotonic() + 90
        while status_of(viewer, run) not in ("SUCCESS", "FAILURE", "CANCELED"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert status_of(viewer, run) == "SUCCESS"
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute(f'drop database "{name}_dagster" with (force)'.encode())


def test_units_and_compose_start_the_same_processes() -> None:
    environment = units.environment_example() | {"MARKETING_CODE_HOST": "code"}
    services = units.compose()["services"]
    assert set(services) == {"postgres", "prepare", *SERVICES}
    for name in ("prepare", *SERVICES):
        of_unit = [word.removeprefix(PROGRAMS) for word in units.command(name, environment)]
        # In a container a service listens to the others, not to itself.
        in_container = [word.replace("code", "0.0.0.0") if word == "code" else word for word in of_unit]
        in_container = ["0.0.0.0" if word == "127.0.0.1" else word for word in in_container]
        assert services[name]["command"] == in_container, name


def test_every_process_is_given_the_same_environment() -> None:
    example = set(units.environment_example())
    settings = {str(field.validation_alias) for field in Settings.model_fields.values()}
    own = {
        "MARKETING_CODE_HOST",
        "MARKETING_CODE_PORT",
        "MARKETING_WEBSERVER_PORT",
        "MARKETING_VIEWER_PORT",
        "MARKETING_API_PORT",
    }
    assert example - settings == own
    for name in ("prepare", *SERVICES):
        service = units.unit(name)["Service"]
        assert service["EnvironmentFile"] == "/etc/marketing-assets/environment"
        assert service["User"] == "marketing"
        in_compose = units.compose()["services"][name]
        assert in_compose["env_file"] == "environment"
        assert set(in_compose["environment"]) <= example
        assert in_compose["volumes"] == ["home:/var/lib/marketing-assets"]


def test_files_that_the_units_name_are_there() -> None:
    for name in SERVICES:
        for word in units.command(name, units.environment_example()):
            if word.startswith(INSTALLED) and not word.startswith(PROGRAMS):
                assert (units.REPOSITORY / word.removeprefix(INSTALLED)).is_file(), word


def test_a_deployment_with_the_example_and_a_key_of_its_own_has_settings_that_count() -> None:
    example = units.environment_example()
    with pytest.raises(ValidationError, match="not that of an example"):
        Settings.model_validate(example)
    settings = Settings.model_validate({**example, "MARKETING_ERASURE_KEY": "k" * 32})
    assert settings.jwt_keys == "https://login.bank.example/.well-known/jwks.json"
    assert len(keys.erasure_key(settings)) >= 32


def test_the_image_holds_what_the_commands_need() -> None:
    copied = {
        word
        for line in (units.DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY")
        for word in line.split()[1:-1]
    }
    allowed = (units.DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied <= {line.removeprefix("!") for line in allowed if line.startswith("!")}
    assert {path for path in copied if not (units.REPOSITORY / path).exists()} == set()
    assert {"deploy/workspace.yaml", "dagster.yaml", "workspace.yaml", "marketing_assets"} <= copied
