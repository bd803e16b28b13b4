"""The `marketing` command: what it prints, how it fails, and what it exits with."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from marketing_assets import __version__
from marketing_assets.cli import app as cli
from marketing_assets.cli.app import app
from marketing_assets.settings import Settings
from marketing_assets.storage import database
from marketing_assets.storage.migrations import REVISION
from marketing_assets.storage.repositories import audit

runner = CliRunner()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting from outside; the working directory is the test's. What a command exports is undone."""
    before = dict(os.environ)
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


def run(
    *arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Exit code and both outputs of the command, as its entry gives them."""
    monkeypatch.setattr(sys, "argv", ["marketing", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return code, said.out, said.err


class Command:
    """The command's entry in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        return run(*arguments, capsys=self._capsys, monkeypatch=self._monkeypatch)

    def fails(self, *arguments: str) -> tuple[str, str]:
        """Message and remedy of a command that must fail, in two lines and nothing else."""
        code, _, err = self(*arguments)
        assert code == 1
        lines = err.splitlines()
        assert len(lines) == 2, err
        assert lines[0].startswith("error: ")
        assert lines[1].startswith("  what to do: ")
        return lines[0].removeprefix("error: "), lines[1].removeprefix("  what to do: ")


@pytest.fixture
def marketing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_database: str) -> None:
    """A lake and a database of the test's own, in the environment."""
    (tmp_path / "transactions.csv").write_text(
        "transaction_id,user_id,occurred_at,amount\n", encoding="utf-8"
    )
    for name, value in {
        "MARKETING_HOME": str(tmp_path / "home"),
        "MARKETING_DATABASE_URL": fresh_database,
        "MARKETING_DAGSTER_DATABASE_URL": fresh_database,
        "MARKETING_SOURCE": "files",
        "MARKETING_SOURCE_URL": str(tmp_path / "transactions.csv"),
        "MARKETING_WINDOW_DAYS": "31",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ([], "Marketing that runs itself"),
        (["demo"], "Run the nightly job on real purchases"),
        (["run"], "Run one night (--day), or a range of nights oldest first"),
        (["cleanup"], "Do now what the clean-up does each night"),
        (["backfill"], "where they are missing; decide nothing"),
        (["sql"], "such as what a failed check shows"),
        (["up"], "Serve everything until Ctrl-C"),
        (["token"], "Print a token for calling the app's API as this user"),
        (["export"], "Ask for everything that is held about a user"),
        (["erase"], "Ask to erase a user: hidden from the app at once"),
        (["status"], "the newest night and the campaigns"),
        (["policy"], "Show, check and compare policies"),
        (["audit"], "Verify the log of who changed what"),
        (["audit", "verify"], "the first entry that breaks it is named"),
        (["db"], "Upgrade the databases, print their address, stop them"),
        (["db", "upgrade"], "bring the schema to the newest revision"),
        (["db", "url"], "for psql and other clients"),
        (["db", "stop"], "Stop the embedded PostgreSQL"),
    ],
)
def test_help_says_what_each_command_is_for(command: list[str], says: str) -> None:
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert says in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "give either --day D, or both --from D and --to D"),
        (["run", "--from", "2026-02-01"], "give either --day D, or both --from D and --to D"),
        (["run", "--to", "2026-02-01"], "give either --day D, or both --from D and --to D"),
        (["run", "--day", "2026-02-01", "--to", "2026-02-01"], "give either --day D, or both"),
        (
            ["run", "--from", "2026-02-02", "--to", "2026-02-01"],
            "--from 2026-02-02 lies after --to 2026-02-01",
        ),
        (["run", "--day", "yesterday"], "'yesterday' is not a day; write it as 2026-11-21"),
        (["run", "--day", "2026-02-30"], "'2026-02-30' is not a day"),
        (["demo", "--nights", "0"], "should be greater than or equal to 1"),
        (["up", "--port", "http"], "unable to parse string as an integer"),
        (["up", "--api-port", "70000"], "should be less than or equal to 65535"),
        (["token", "--user", ""], "--user is 1 to 200 characters"),
        (["token", "--user", "u" * 201], "--user is 1 to 200 characters"),
        (["token", "--user", "u", "--role", "root"], "--role root is not known; use mobile or admin"),
        (["token", "--user", "u", "--hours", "0"], "should be greater than or equal to 0.01"),
        (["token"], "Missing option '--user'"),
        (["backfill", "--from", "2026-02-01"], "Missing option '--to'"),
        (
            ["backfill", "--from", "2026-02-02", "--to", "2026-02-01"],
            "--from 2026-02-02 lies after --to 2026-02-01",
        ),
        (["frobnicate"], "No such command"),
        (["demo", "--users", "500"], "--users needs --source simulated"),
        (["demo", "--source", "simulated", "--users", "5"], "greater than or equal to 100"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_starts(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_sql_prints_rows_narrow_ones_as_a_table(marketing: Command, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("n,name\n1,[red]one\n2,\n3,three\n", encoding="utf-8")
    code, out, err = marketing(
        "sql", "select * from 'x.csv' order by n; select 1 as n limit 0", "--rows", "2"
    )
    assert (code, err) == (0, "")
    assert "│ 1 │ [red]one │" in out
    assert "three" not in out
    assert "There are more than 2 rows; --rows shows more." in out
    assert out.endswith("No rows.\n")
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_sql_prints_wide_rows_one_column_a_line(marketing: Command) -> None:
    columns = ", ".join(f"{number} as column_{number}" for number in range(9))
    code, out, _ = marketing("sql", f"select {columns}")
    assert code == 0
    assert out.splitlines()[:3] == ["row 1", "  column_0: 0", "  column_1: 1"]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("drop table x", "only select statements are run, not: DROP TABLE x"),
        ("copy (select 1) to 'x'", "only select statements are run, not: COPY (SELECT 1) TO 'x'"),
        ("select 1; delete from x", "only select statements are run, not: DELETE FROM x"),
        ("selec t", "only select statements are run, not: selec"),
        ("select (", "this is not SQL: "),
        (" ", "there is no statement"),
        ("select * from nowhere", "the statement cannot be run: Catalog Error: Table with name nowhere"),
    ],
)
def test_sql_reads_and_does_nothing_else(
    marketing: Command, statement: str, says: str, tmp_path: Path
) -> None:
    message, remedy = marketing.fails("sql", statement)
    assert message.startswith(says)
    assert remedy == "write one or more select statements, with a semicolon between two"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_source_is_refused(marketing: Command) -> None:
    message, remedy = marketing.fails("demo", "--source", "oracle")
    assert message == "--source oracle is not known"
    assert remedy == "use one of complete_journey, simulated, files, postgres"


def test_a_wrong_setting_is_refused_by_every_command(
    marketing: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETING_TIMEZONE", "Mars/Olympus")
    for command in (
        ["status"],
        ["demo"],
        ["run", "--day", "2026-02-01"],
        ["up"],
        ["db", "url"],
        ["db", "stop"],
    ):
        message, remedy = marketing.fails(*command)
        assert message.startswith("MARKETING_TIMEZONE='Mars/Olympus' is not allowed: a name of the IANA")
        assert "MARKETING_TIMEZONE" in remedy


def test_markup_in_a_value_is_shown_as_it_is(marketing: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETING_SOURCE", "[red]files[/red]")
    assert "MARKETING_SOURCE='[red]files[/red]' is not allowed" in marketing.fails("status")[0]


def test_a_database_that_is_down_is_one_error_in_every_command(
    marketing: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETING_DATABASE_URL", "postgresql://app:hunter2@127.0.0.1:1/marketing")
    for command in (["status"], ["demo"], ["run", "--day", "2026-02-01"], ["up"], ["db", "upgrade"]):
        message, remedy = marketing.fails(*command)
        assert message.startswith("PostgreSQL cannot be reached at postgresql+psycopg://app:***@127.0.0.1:1/")
        assert "hunter2" not in message
        assert "MARKETING_DATABASE_URL" in remedy


def test_db_stop_where_none_runs(marketing: Command) -> None:
    assert marketing("db", "stop") == (0, "No embedded PostgreSQL is running here.\n", "")


def test_db_url_is_what_psql_takes(marketing: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETING_DATABASE_URL", "postgresql://app:p%40ss@host/shop")
    assert marketing("db", "url") == (0, "postgresql://app:p%40ss@host/shop\n", "")
    assert marketing("db", "url", "--dagster") == (0, "postgresql://app:p%40ss@host/shop_dagster\n", "")


@pytest.mark.usefixtures("settings_of")
def test_db_upgrade_and_status_of_an_empty_system(marketing: Command, tmp_path: Path) -> None:
    code, out, err = marketing("db", "upgrade")
    assert (code, err) == (0, "")
    assert f"is at revision {REVISION}." in " ".join(out.split())
    code, out, err = marketing("status")
    assert (code, err) == (0, "")
    assert "none yet" in out
    assert "No campaign is open." in out
    code, out, err = marketing("status", "--json")
    assert (code, err) == (0, "")
    status = json.loads(out)
    assert status["version"] == __version__
    assert status["lake"] == str(tmp_path / "home" / "lake")
    assert (status["source"], status["timezone"]) == ("files", "UTC")
    assert (status["newest_night"], status["campaigns"], status["simulated"]) == (None, [], False)
    assert (status["rewards_waiting"], status["rewards_reserved"]) == (0, "0.00 USD")
    assert datetime.fromisoformat(status["next_night"]) > datetime.fromisoformat(status["now"])


@pytest.mark.usefixtures("settings_of")
def test_days_outside_the_lake_are_refused(marketing: Command) -> None:
    today = datetime.now(UTC).date()
    message, remedy = marketing.fails("run", "--day", str(today))
    assert message == f"{today} is not over yet in UTC"
    assert remedy == f"the newest day that can be run is {today - timedelta(days=1)}"
    long_ago = today - timedelta(days=500)
    message, remedy = marketing.fails("run", "--from", str(long_ago), "--to", str(today - timedelta(days=1)))
    assert message == f"{long_ago} lies before the lake's first day, {today - timedelta(days=400)}"
    assert "MARKETING_START_DATE" in remedy
    assert "MARKETING_LAKE" in remedy


@pytest.mark.usefixtures("settings_of")
def test_a_lake_made_with_another_zone_is_refused(
    marketing: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=400)
    marketing.fails("run", "--day", str(yesterday - timedelta(days=100)))
    monkeypatch.setenv("MARKETING_TIMEZONE", "Asia/Tokyo")
    message, remedy = marketing.fails("run", "--day", str(yesterday))
    assert "was made with MARKETING_TIMEZONE=UTC, not Asia/Tokyo" in message
    assert "set MARKETING_TIMEZONE=UTC" in remedy


@pytest.mark.usefixtures("settings_of")
def test_a_policy_with_an_unknown_feature_is_refused_at_its_place_before_anything_starts(
    marketing: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "patterns:\n"
        "  - {name: big, label: Big, rank: 1, rule: [{feature: spent, at_least: 5}]}\n"
        "campaigns: []\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("MARKETING_POLICY", str(policy))
    for command in (["run", "--day", "2026-02-10", "--rebuild"], ["run", "--day", "2026-02-10"]):
        message, remedy = marketing.fails(*command)
        assert message.startswith(f"{policy}:2:55: patterns[0].rule[0].feature: 'spent' is not known")
        assert "spend" in message
        assert "default.yaml" in remedy
    assert not (tmp_path / "home").exists()


def test_the_installed_command_is_this_one(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MARKETING_")}
    command = str(Path(sys.executable).with_name("marketing"))
    done = subprocess.run(
        [command, "status"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env={**kept, "MARKETING_DATABASE_URL": "postgresql://app:hunter2@127.0.0.1:1/marketing"},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "  what to do"]
    assert "hunter2" not in done.stderr


@pytest.mark.usefixtures("settings_of")
def test_audit_verify_says_whether_the_log_is_whole_and_holds_a_hash_noted_down_elsewhere(
    marketing: Command, fresh_database: str
) -> None:
    code, said, _ = marketing("audit", "verify")
    assert code == 0
    assert said.splitlines() == ["0 entries, each as it was written. Newest hash:", audit.FIRST_HASH]
    serving = database.connect(fresh_database.replace("postgresql://", "postgresql+psycopg://"))
    changes = [audit.Change("ops", "campaign.paused", f"campaign:{name}", {}, {}) for name in "abc"]
    with serving.begin() as connection:
        audit.record(connection, changes, datetime(2026, 2, 11, tzinfo=UTC))
        hashes = [entry.hash for entry in audit.entries(connection)]
    code, said, _ = marketing("audit", "verify", "--expect", hashes[1].upper())
    assert code == 0
    assert said.splitlines() == [
        "3 entries, each as it was written. Newest hash:",
        hashes[2],
        "The expected hash is that of entry 2.",
    ]
    error, remedy = marketing.fails("audit", "verify", "--expect", "0" * 64)
    assert error.startswith(f"none of the 3 entries of audit_log has the hash {'0' * 64}")
    code, _, said = marketing("audit", "verify", "--expect", "123")
    assert code == 2
    assert "is not a hash of 64 hex digits" in " ".join(said.replace("│", " ").split())
    with serving.begin() as connection:
        connection.execute(text("delete from marketing.audit_head"))
    _, said, _ = marketing("audit", "verify")
    assert said.splitlines()[-1] == "Whether entries are missing at the end is known from the next entry on."
    with serving.begin() as connection:
        connection.execute(text("update marketing.audit_log set actor = 'nobody' where entry_id = 2"))
    serving.dispose()
    error, remedy = marketing.fails("audit", "verify")
    assert error == "entry 2 of audit_log is not what was written: entry 3 carries another hash of it"
    assert remedy.startswith("compare marketing.audit_log with a backup")
