"""The commands and their options; each loads what it needs when it is called."""

import dataclasses
import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from marketing_assets.cli.audit import audit_app
from marketing_assets.cli.console import Progress, err, out, parsed_day, say_error
from marketing_assets.cli.policy import policy_app
from marketing_assets.errors import MarketingError, SettingsError
from marketing_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from marketing_assets.cli.nights import NightRun, Nights

app = typer.Typer(
    help="Marketing that runs itself: nightly patterns, campaigns and targets from transactions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
db_app = typer.Typer(help="Upgrade the databases, print their address, stop them.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(policy_app, name="policy")
app.add_typer(audit_app, name="audit")


_INTERRUPTED = 130

Day = Annotated[
    date | None, typer.Option(parser=parsed_day, metavar="YYYY-MM-DD", help="The one night to run.")
]
_USER = Annotated[str, typer.Option(help="The user's id, as the source names them.")]
_FIRST = "First day of a range."
_LAST = "Last day of the range, which is included."


@app.command()
def demo(
    nights: Annotated[
        int, typer.Option(min=1, max=60, help="How many nights, the last one yesterday's.")
    ] = 3,
    source: Annotated[
        str | None,
        typer.Option(help="Another source (simulated, files, postgres), in a lake and database of its own."),
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=100, help="With --source simulated: how many users.")
    ] = None,
) -> None:
    """Run the nightly job on real purchases and print the campaigns it made."""
    from marketing_assets.cli.nights import Nights
    from marketing_assets.cli.show import print_times
    from marketing_assets.domain.days import day_of, days_between

    settings = _demo_settings(source, users)
    progress = Progress("demo")
    with progress.showing():
        runner = Nights(settings, progress)
        try:
            yesterday = day_of(datetime.now(UTC), settings.zone) - timedelta(days=1)
            first = max(yesterday - timedelta(days=nights - 1), runner.record.start_date)
            runs = _run(runner, days_between(first, yesterday), trigger="demo", simulate=True)
            _print_night(runner, yesterday)
        finally:
            runner.close()
    print_times(out, runs)
    lake = f"MARKETING_LAKE={settings.lake} "
    prefix = "" if source is None else lake + f"MARKETING_HOME={settings.home} MARKETING_SOURCE={source} "
    if users is not None:
        prefix += f"MARKETING_SIMULATED_USERS={users} "
    out.print(f"\nDone in {progress.seconds:.0f} s. Everything is in {settings.home.resolve()}.")
    out.print(f"To see it in Dagster's UI and let it run every night: [bold]{prefix}make up[/bold]")
    out.print(f"How it stands: [bold]{prefix}.venv/bin/marketing status[/bold]")


@app.command()
def run(
    day: Day = None,
    first: Annotated[
        date | None, typer.Option("--from", parser=parsed_day, metavar="YYYY-MM-DD", help=_FIRST)
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", parser=parsed_day, metavar="YYYY-MM-DD", help=_LAST)
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Decide the nights again, as if it were the night after each.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --from and --to: also the nights that need not run again.")
    ] = False,
) -> None:
    """Run one night (--day), or a range of nights oldest first (--from, --to).

    Days of the window that are missing are ingested first.

    Of a range, nights that stay as they were decided are left out, and an interrupted one goes on.
    """
    from marketing_assets.cli.nights import Nights
    from marketing_assets.cli.show import print_times

    if (day is None) == (first is None and last is None) or (first is None) != (last is None):
        raise typer.BadParameter("give either --day D, or both --from D and --to D")
    days = [day] if day is not None else _range(first or date.min, last or date.min)
    progress = Progress("run")
    with progress.showing():
        runner = Nights(load_settings(), progress)
        try:
            left = days if again or day is not None else runner.left_of(days, rebuild=rebuild)
            if len(left) < len(days):
                out.print(f"{len(days) - len(left)} of {len(days)} nights need not run again (--again: all).")
            trigger = "rebuild" if rebuild else "command"
            runs = (
                _run(runner, left, trigger=trigger, simulate=rebuild, rebuild=rebuild, asked=days)
                if left
                else []
            )
            _print_night(runner, days[-1])
        finally:
            runner.close()
    if runs:
        print_times(out, runs[-3:])


@app.command()
def backfill(
    first: Annotated[date, typer.Option("--from", parser=parsed_day, metavar="YYYY-MM-DD", help=_FIRST)],
    last: Annotated[date, typer.Option("--to", parser=parsed_day, metavar="YYYY-MM-DD", help=_LAST)],
    again: Annotated[
        bool, typer.Option("--again", help="Also what is there already, from the source on.")
    ] = False,
) -> None:
    """Make transactions, features and patterns of a range of days where they are missing; decide nothing."""
    from marketing_assets.cli.backfill import backfill as backfilled
    from marketing_assets.cli.nights import Nights

    days = _range(first, last)
    progress = Progress("backfill")
    with progress.showing():
        runner = Nights(load_settings(), progress)
        try:
            done = False
            for piece, report in backfilled(runner, days, again=again):
                done = True
                took = sum(step.seconds for step in report.steps)
                out.print(
                    f"{piece.what} of {piece.days[0]} to {piece.days[-1]} ({len(piece.days)} days): "
                    f"{took:.1f} s in its steps, run {report.run_id[:8]}"
                )
        finally:
            runner.close()
    everything = f"Features and patterns of {first} to {last} are there"
    out.print(f"{everything}." if done else f"{everything} already; --again makes them anew.")


@app.command()
def cleanup() -> None:
    """Do now what the clean-up does each night: expire and archive campaigns, remove what is old."""
    from marketing_assets.cli.cleanup import clean_up

    progress = Progress("cleanup")
    with progress.showing():
        said = clean_up(load_settings(), progress)
    for line in said:
        out.print(line)


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster's UI.")] = 3000,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the app's API.")] = 8000,
) -> None:
    """Serve everything until Ctrl-C: PostgreSQL, Dagster's UI and daemon, and the API that the app calls."""
    from marketing_assets.cli.serve import serve

    settings = load_settings()
    out.print(f"Starting. The UI will be at [bold]http://127.0.0.1:{port}[/bold]; Ctrl-C stops it.")
    out.print(f"The app's API will be at [bold]http://127.0.0.1:{api_port}/api/marketing[/bold].")
    serve(settings, port, api_port)
    out.print("Stopped. PostgreSQL keeps running; end it with: marketing db stop")


@app.command()
def token(
    user: _USER,
    role: Annotated[
        list[str] | None, typer.Option(help="mobile (default) or admin; may be given twice.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="How long it is valid.")] = 12,
) -> None:
    """Print a token for calling the app's API as this user, on a machine without a login service."""
    from marketing_assets.cli.token import token_for

    sys.stdout.write(token_for(load_settings(), user, role or ["mobile"], hours) + "\n")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")] = False,
) -> None:
    """Show what is installed, where, the newest night and the campaigns."""
    from marketing_assets.cli.report import system_status
    from marketing_assets.cli.show import print_status

    found = system_status(load_settings())
    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    else:
        print_status(out, found)


@app.command("sql")
def sql_command(
    statement: Annotated[str, typer.Argument(help="Select statements over files of the lake.")],
    rows: Annotated[int, typer.Option(min=1, help="How many rows of each are shown.")] = 100,
) -> None:
    """Run SQL that reads the lake's files, such as what a failed check shows, and print the rows."""
    from marketing_assets.cli.query import print_rows, rows_of

    for found in rows_of(load_settings(), statement, rows):
        print_rows(out, found, rows)


@app.command()
def explain(
    user: _USER,
    day: Annotated[date, typer.Option(parser=parsed_day, metavar="YYYY-MM-DD", help="The night to explain.")],
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON list, for programs.")] = False,
) -> None:
    """Say why a user was or was not targeted in a night, from the log of decisions."""
    from marketing_assets.cli.explain import logged, print_explanation
    from marketing_assets.domain.explanation import explained

    decisions = logged(load_settings(), user, day)
    if as_json:
        rows = [{**vars(each), "day": str(each.day), "explanation": explained(each)} for each in decisions]
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    else:
        print_explanation(out, user, day, decisions)


@app.command()
def export(user: _USER) -> None:
    """Ask for everything that is held about a user, as one JSON document; says the request's id."""
    from marketing_assets.cli.subjects import ask_to_export

    request = ask_to_export(load_settings(), user)
    out.print(f"Asked: request [bold]{request}[/bold]. The document will be in the table exports for 7 days.")


@app.command()
def erase(user: _USER) -> None:
    """Ask to erase a user: hidden from the app at once, removed by a job; says the request's id."""
    from marketing_assets.cli.subjects import ask_to_erase

    request = ask_to_erase(load_settings(), user)
    out.print(f"Asked: request [bold]{request}[/bold]. Its row in the table requests becomes the receipt.")


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Make the databases where they are missing and bring the schema to the newest revision.

    Dagster's own file is put into DAGSTER_HOME where there is none.
    """
    from marketing_assets.orchestration.running import prepare_instance
    from marketing_assets.storage import database
    from marketing_assets.storage.migrations import REVISION

    urls = prepare_instance(load_settings())
    out.print(f"{database.described(urls.product)} is at revision {REVISION}.", soft_wrap=True)


@db_app.command("url")
def db_url(
    dagster: Annotated[bool, typer.Option("--dagster", help="Dagster's database instead.")] = False,
) -> None:
    """Print the URL of the product's database, for psql and other clients."""
    from marketing_assets.storage import database

    urls = database.locate(load_settings())
    url = urls.dagster if dagster else urls.product
    sys.stdout.write(url.replace("+psycopg2://", "://").replace("+psycopg://", "://") + "\n")


@db_app.command("stop")
def db_stop() -> None:
    """Stop the embedded PostgreSQL."""
    from marketing_assets.storage import embedded

    settings = load_settings()
    stopped = embedded.stop(settings.embedded_database)
    out.print("PostgreSQL stopped." if stopped else "No embedded PostgreSQL is running here.")


def _range(first: date, last: date) -> list[date]:
    from marketing_assets.domain.days import days_between

    days = days_between(first, last)
    if not days:
        raise typer.BadParameter(f"--from {first} lies after --to {last}")
    return days


def _demo_settings(source: str | None, users: int | None) -> Settings:
    if users is not None and source != "simulated":
        raise typer.BadParameter("--users needs --source simulated; other sources have the users they have")
    settings = load_settings()
    if source is None:
        if settings.source != "complete_journey":
            raise SettingsError(
                f"MARKETING_SOURCE={settings.source} is not for a demo, which decides past nights",
                remedy="run marketing demo --source complete_journey (in a lake and database of its own), "
                "or the real night: marketing run --day D",
            )
        return settings
    allowed = ("complete_journey", "simulated", "files", "postgres")
    if source not in allowed:
        raise SettingsError(f"--source {source} is not known", remedy=f"use one of {', '.join(allowed)}")
    own: dict[str, object] = {"source": source, "home": settings.home / source}
    if users is not None:
        own["simulated_users"] = users
    own |= dict.fromkeys(("lake_path", "dagster_home_path", "database_url", "dagster_database_url"))
    return settings.model_copy(update=own)


def _run(
    runner: "Nights",
    days: list[date],
    *,
    trigger: str,
    simulate: bool,
    rebuild: bool = False,
    asked: list[date] | None = None,
) -> "list[NightRun]":
    from marketing_assets.cli.report import night_report
    from marketing_assets.cli.show import summary

    runs = []
    for done in runner.run(days, trigger=trigger, simulate=simulate, rebuild=rebuild, asked=asked):
        runs.append(done)
        report = night_report(runner.settings, runner.database, done.day)
        took = sum(step.seconds for each in (done.ingest, done.night) if each for step in each.steps)
        what = "not decided" if report is None else summary(report)
        out.print(f"Night of {done.day}: {what}; {took:.1f} s in its steps, run {done.night.run_id[:8]}")
    return runs


def _print_night(runner: "Nights", day: date) -> None:
    from marketing_assets.cli.report import night_report
    from marketing_assets.cli.show import print_night

    report = night_report(runner.settings, runner.database, day)
    if report is None:
        out.print(f"The night of {day} is not decided (see the run's log in the UI).")
    else:
        print_night(out, report, runner.settings.zone)


def main() -> None:
    """Entry of the `marketing` command: errors in two lines, Ctrl-C in one."""
    sys.exit(_guarded(app))


def _guarded(command: Callable[[], None]) -> int:
    try:
        command()
    except MarketingError as error:
        say_error(error)
        return 1
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except SystemExit as exit_:  # Typer ends every command this way, Ctrl-C too
        code = exit_.code if isinstance(exit_.code, int) else 1
    else:
        code = 0
    if code == _INTERRUPTED:
        err.print("Stopped. What was published stands; run the same command again to go on.")
    return code
