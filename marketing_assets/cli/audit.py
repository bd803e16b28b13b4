"""`marketing audit`: whether the log of changes is what was written. Nothing is changed."""

import re
from typing import Annotated

import typer

from marketing_assets.cli.console import out
from marketing_assets.settings import load_settings

audit_app = typer.Typer(help="Verify the log of who changed what.", no_args_is_help=True)


def _hash(text: str) -> str:
    """A SHA-256 as an option says it."""
    if not re.fullmatch("[0-9a-f]{64}", text.lower()):
        raise typer.BadParameter(f"{text!r} is not a hash of 64 hex digits, as marketing audit verify prints")
    return text.lower()


@audit_app.callback()
def audit() -> None:
    """Verify the log of who changed what."""


@audit_app.command()
def verify(
    expected: Annotated[
        str | None,
        typer.Option(
            "--expect", parser=_hash, metavar="HASH", help="Hash of an entry that the log must still hold."
        ),
    ] = None,
) -> None:
    """Follow the chain of hashes through the whole log; the first entry that breaks it is named.

    Who can write every table can write the whole chain anew: note the newest hash down elsewhere, and give
    it to --expect the next time.
    """
    from marketing_assets.storage import database
    from marketing_assets.storage.repositories import audit as audit_rows

    urls = database.locate(load_settings())
    database.prepare(urls)
    serving = database.connect(urls.product)
    try:
        found = audit_rows.verify(serving, expected)
    finally:
        serving.dispose()
    out.print(f"{found.entries:,} entries, each as it was written. Newest hash:")
    out.print(found.newest_hash, soft_wrap=True)
    if expected is not None:
        out.print(f"The expected hash is that of entry {found.expected}.")
    if not found.is_complete:
        out.print("Whether entries are missing at the end is known from the next entry on.")
