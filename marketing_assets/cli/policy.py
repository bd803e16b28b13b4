"""`marketing policy`: show, check and compare policies. Nothing is changed, and no database is touched."""

import dataclasses
import json
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.markup import escape

from marketing_assets.cli.console import Progress, err, out, parsed_day
from marketing_assets.errors import PolicyError
from marketing_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from marketing_assets.policy.model import Policy

policy_app = typer.Typer(
    help="Show, check and compare policies: what marketing decides.", no_args_is_help=True
)

_WHICH = "A file, 'default' for the packaged policy, or 'current' for the one in force."
_AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")]


class NamedPolicy(NamedTuple):
    """A policy and where it comes from."""

    policy: "Policy"
    source: str

    @property
    def identity(self) -> dict[str, str]:
        """What a program is told of it."""
        return {"source": self.source, "version": self.policy.version}


def read_policy(name: str, settings: Settings) -> NamedPolicy:
    """The policy that a command names: `default`, `current`, or a file.

    Raises:
        PolicyError: the file cannot be read, or with one line for each mistake in it.
    """
    from marketing_assets.policy.load import DEFAULT_NAME, load_policy

    path = {"default": None, "current": settings.policy}.get(name, Path(name))
    policy = load_policy(path, settings.window_days)
    if path is None:
        return NamedPolicy(policy, f"the packaged default, {DEFAULT_NAME}")
    return NamedPolicy(policy, f"MARKETING_POLICY={path}" if name == "current" else str(path))


@policy_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="FILE", help=_WHICH)] = "current",
    as_json: _AsJson = False,
) -> None:
    """Show a policy, without FILE the one that the next night decides by."""
    from marketing_assets.cli.policy_tables import print_policy

    found = read_policy(name, load_settings())
    if as_json:
        _print_json({**found.identity, "policy": found.policy.model_dump(mode="json")})
    else:
        print_policy(out, found.policy, found.source)


@policy_app.command()
def check(file: Annotated[str, typer.Argument(metavar="FILE", help=_WHICH)]) -> None:
    """Check a policy: its version, or every mistake with its line, column and what is allowed."""
    settings = load_settings()
    try:
        policy, source = read_policy(file, settings)
    except PolicyError as error:
        # Without "error:" before them, so that editors find the place.
        err.print(escape(error.message))
        err.print(f"  [bold]what to do:[/bold] {escape(error.remedy)}")
        raise typer.Exit(1) from None
    budgets = sum(template.budget is not None for template in policy.campaigns)
    out.print(f"{escape(source)} is sound: version [bold]{policy.version}[/bold].", soft_wrap=True)
    out.print(
        f"{len(policy.patterns)} patterns, {len(policy.campaigns)} campaigns ({budgets} with a budget), "
        f"for a window of {settings.window_days} days."
    )


@policy_app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=_WHICH)],
    after: Annotated[str, typer.Argument(metavar="B", help=_WHICH)],
    as_json: _AsJson = False,
) -> None:
    """Show what changes from policy A to policy B, and whom each change reaches."""
    from marketing_assets.cli.policy_tables import print_changes
    from marketing_assets.policy.diff import changes

    settings = load_settings()
    old, new = read_policy(before, settings), read_policy(after, settings)
    found = changes(old.policy, new.policy)
    if as_json:
        told = [dataclasses.asdict(change) for change in found]
        _print_json({"before": old.identity, "after": new.identity, "changes": told})
    else:
        print_changes(out, old.identity, new.identity, found)


@policy_app.command()
def plan(
    file: Annotated[str, typer.Argument(metavar="FILE", help=_WHICH)],
    day: Annotated[
        date, typer.Option(parser=parsed_day, metavar="YYYY-MM-DD", help="The last night to plan.")
    ],
    days: Annotated[
        int, typer.Option(min=1, max=366, help="How many nights, the last one that of --day.")
    ] = 1,
    html: Annotated[Path | None, typer.Option(help="Also write the charts to this file.")] = None,
    as_json: _AsJson = False,
) -> None:
    """Run a policy over past nights beside the one in force; nothing is published."""
    from marketing_assets.cli import plan as planning
    from marketing_assets.domain.days import days_between

    settings = load_settings()
    policy = read_policy(file, settings).policy
    progress = Progress("plan", err)
    with progress.showing():
        found = planning.planned(
            settings, policy, days_between(day - timedelta(days=days - 1), day), progress
        )
    if as_json:
        sys.stdout.write(planning.as_json(found))
    else:
        planning.print_plan(out, found, settings.currency)
    if html is not None:
        planning.write_page(found, settings.currency, html)
        err.print(f"The charts are in [bold]{escape(str(html))}[/bold].", soft_wrap=True)


@policy_app.command()
def schema() -> None:
    """Print the JSON Schema of the file, with which an editor completes and checks while one types."""
    from marketing_assets.policy.schema import schema_text

    sys.stdout.write(schema_text())


def _print_json(content: object) -> None:
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
