"""`marketing policy`: what it shows, what it refuses, and that it needs nothing but the file."""

import json
import re
import subprocess
import sys
import textwrap
from importlib import resources
from io import StringIO
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console
from typer.testing import CliRunner

from marketing_assets.cli import policy_tables
from marketing_assets.cli.app import app
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.schema import policy_schema
from marketing_assets.settings import Settings

DEFAULT = resources.files("marketing_assets.policy").joinpath("default.yaml").read_text("utf-8")
VERSION = load_policy(None).version


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A policy of one's own in the working directory: dearer cashback, a budget, a template renamed."""
    text = DEFAULT
    for old, new in (
        ("cashback, value: 5", "cashback, value: 7"),
        ("max_reward: 250\n", "max_reward: 250\n    budget: 10000\n"),
        ("template: welcome-bonus", "template: hello\n    renamed_from: welcome-bonus"),
        ("at_least: 5000}\n\n", "at_least: 6000}\n\n"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["policy", *arguments])
    return result.exit_code, result.stdout, result.stderr


def said(*arguments: str) -> str:
    code, stdout, stderr = run(*arguments)
    assert (code, stderr) == (0, "")
    return stdout


@pytest.mark.usefixtures("mine")
def test_the_policy_in_force_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = said("show")
    assert shown.startswith(f"Policy {VERSION}: the packaged default, marketing_assets/policy/default.yaml\n")
    assert "spend at least 5000" in shown
    assert "every purchase, up to 250 a user" in shown
    assert "location-promo: Your Local Favourite. Save {offer} on your next purchase at {location}." in shown
    assert "3  campaigns that one user can be in at a time (max_active_campaigns)" in shown
    assert said("show", "default") == shown
    monkeypatch.setenv("MARKETING_POLICY", "mine.yaml")
    current = said("show")
    assert current.startswith("Policy ")
    assert "MARKETING_POLICY=mine.yaml" in current.splitlines()[0]
    assert said("show", "current") == current
    assert said("show", "default") == shown
    rows = [line for line in current.splitlines() if "hello" in line or "cashback 7%" in line]
    assert "10,000" in rows[0]
    assert len(rows) >= 2


def test_a_policy_is_shown_to_programs(mine: Path) -> None:
    shown = json.loads(said("show", "mine.yaml", "--json"))
    policy = load_policy(mine)
    assert (shown["version"], shown["source"]) == (policy.version, "mine.yaml")
    assert shown["policy"] == policy.model_dump(mode="json")


def test_a_sound_policy_is_checked(mine: Path) -> None:
    version = load_policy(mine).version
    assert said("check", "mine.yaml").splitlines() == [
        f"mine.yaml is sound: version {version}.",
        "7 patterns, 7 campaigns (1 with a budget), for a window of 90 days.",
    ]


def test_every_mistake_is_one_line_that_editors_understand(mine: Path) -> None:
    text = mine.read_text("utf-8")
    for old, new in (
        ("spend, at_least: 6000", "spend, at_leats: 6000"),
        ("purchase at {location}.", "purchase at {locaton}."),
    ):
        text = text.replace(old, new)
    mine.write_text(text, encoding="utf-8")
    lines = {word: text[: text.index(word)].count("\n") + 1 for word in ("at_leats", "{locaton}")}
    code, stdout, stderr = run("check", "mine.yaml")
    assert (code, stdout) == (1, "")
    first, second, remedy = stderr.splitlines()
    assert first == (
        f"mine.yaml:{lines['at_leats']}:26: patterns[0].rule[0].at_leats: is not known; did you mean "
        "at_least? (allowed: feature, at_least, at_most, above, below, equals, top_percent)"
    )
    assert second == (
        f"mine.yaml:{lines['{locaton}']}:18: campaigns[5].description: {{locaton}} is not known; did "
        "you mean {location}? (allowed: {offer}, {location}, {max_reward}, {currency})"
    )
    assert remedy.startswith("  what to do: Correct these lines and run again")


def test_a_policy_is_checked_for_the_window_in_force(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = mine.read_text("utf-8").replace("days_since_last, at_least: 30", "days_since_last, at_least: 60")
    mine.write_text(text, encoding="utf-8")
    assert run("check", "mine.yaml")[0] == 0
    monkeypatch.setenv("MARKETING_WINDOW_DAYS", "60")
    code, _, stderr = run("check", "mine.yaml")
    assert code == 1
    assert "days_since_last lies between 0 and 59 in a window of 60 days, 60 does not" in stderr


def test_a_file_that_is_not_there() -> None:
    code, _, stderr = run("check", "missing.yaml")
    assert code == 1
    assert stderr.splitlines()[0] == (
        "The policy file missing.yaml cannot be read: No such file or directory."
    )


@pytest.mark.usefixtures("mine")
def test_changes_stand_under_whom_they_reach() -> None:
    shown = [line.rstrip() for line in said("diff", "default", "mine.yaml").splitlines()]
    assert shown[0].startswith(f"- {VERSION}  the packaged default")
    assert shown[1] == f"+ {load_policy(Path('mine.yaml')).version}  mine.yaml"
    assert shown[3:] == [
        "4 changes. None reaches the terms of a campaign that is open.",
        "",
        "Campaigns that open from the next night on; open ones keep the terms they opened with:",
        "  campaigns.vip-rewards.offer",
        "    what each target is promised: cashback 5% → cashback 7%",
        "  campaigns.vip-rewards.budget",
        "    money per campaign: no limit → 10000",
        "  campaigns.hello",
        "    template renamed: welcome-bonus → hello; rest, pauses and what is open carry over",
        "",
        "Who joins from the next night on, also open campaigns; whoever is in stays in:",
        "  patterns.high_spender.rule",
        "    who has it: spend at least 5000 → spend at least 6000",
    ]


@pytest.mark.usefixtures("mine")
def test_changes_are_told_to_programs() -> None:
    told = json.loads(said("diff", "default", "mine.yaml", "--json"))
    assert told["before"]["version"] == VERSION
    assert told["after"]["source"] == "mine.yaml"
    budget = next(each for each in told["changes"] if each["path"] == "campaigns.vip-rewards.budget")
    assert budget == {
        "path": "campaigns.vip-rewards.budget",
        "kind": "changed",
        "what": "money per campaign",
        "reach": "new",
        "before": None,
        "after": "10000",
        "before_text": "no limit",
        "after_text": "10000",
    }


@pytest.mark.usefixtures("mine")
def test_no_change_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said("diff", "default", "current").splitlines()[-1] == "They say the same."
    monkeypatch.setenv("MARKETING_POLICY", "mine.yaml")
    assert said("diff", "mine.yaml", "current").splitlines()[-1] == "They say the same."
    assert json.loads(said("diff", "mine.yaml", "current", "--json"))["changes"] == []
    removed = said("diff", "mine.yaml", "default")
    assert "campaign removed; what is open for it stays and adds nobody. It was: discount 25% for" in removed
    assert "new campaign: discount 25% for new_shopper, 21 days" in removed


def test_the_schema_is_printed_as_it_is_packaged() -> None:
    packaged = resources.files("marketing_assets.policy").joinpath("schema.json").read_text("utf-8")
    printed = said("schema")
    assert printed == packaged
    Draft202012Validator.check_schema(json.loads(printed))
    assert json.loads(printed) == policy_schema()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["show"], "without FILE the one that the next night decides by"),
        (["check"], "every mistake with its line, column and what is allowed"),
        (["diff"], "whom each change reaches"),
        (["schema"], "with which an editor completes and checks while one types"),
    ],
)
def test_help(command: list[str], says: str) -> None:
    assert says in " ".join(said(*command, "--help").replace("│", " ").split())


def test_the_guide_shows_what_the_commands_print(mine: Path, tmp_path: Path) -> None:
    wrong = mine.read_text("utf-8")
    for old, new in (
        ("spend, at_least: 6000", "spend, at_leats: 6000"),
        ("days: 21", "days: 400"),
        ("purchase at {location}", "purchase at {place}"),
    ):
        wrong = wrong.replace(old, new)
    (tmp_path / "wrong.yaml").write_text(wrong, encoding="utf-8")
    guide = console_blocks((Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8"))
    shown = [command for block in guide for command in block.split("$ marketing policy ")[1:]]
    assert len(shown) == 4
    for each in shown:
        command, _, expected = each.partition("\n")
        _, stdout, stderr = run(*command.split())
        printed = "\n".join(line.rstrip() for line in (stdout + stderr).splitlines())
        # Versions change with any setting that is added; a line of three dots stands for what is left out.
        expected, printed = (re.sub(r"\b[0-9a-f]{12}\b", "version", text) for text in (expected, printed))
        parts = [re.escape(part.strip("\n")) for part in f"\n{expected}\n".split("\n...\n")]
        assert re.fullmatch(r"\n(?:.*\n)*?".join(parts), printed), command


def console_blocks(text: str) -> list[str]:
    """The console blocks of a page, those inside of lists too."""
    return [textwrap.dedent(found) for found in re.findall(r"```console\n(.*?)\n *```", text, re.DOTALL)]


def test_tables_fit_a_narrow_terminal(mine: Path) -> None:
    shown = StringIO()
    policy_tables.print_policy(Console(width=80, file=shown), load_policy(mine), "mine.yaml")
    text = shown.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for whole in ("location_cluster", "milestone-reward", "for frequent_shopper", "10,000"):
        assert whole in text


def test_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys; from marketing_assets.cli.app import app; "
        "from typer.testing import CliRunner; "
        "result = CliRunner().invoke(app, ['policy', 'show']); assert result.exit_code == 0, result; "
        "heavy = {'dagster', 'duckdb', 'sqlalchemy', 'sqlglot', 'pandas'}; print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
