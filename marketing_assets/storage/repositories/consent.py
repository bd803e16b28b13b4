"""Consent: what users said about being offered things; one without a row has not opted out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, case, func
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.storage.copying import copy_query
from marketing_assets.storage.tables import user_consent


@dataclass(frozen=True)
class Consent:
    """One row of `user_consent`; `opted_out_at` None = has not opted out."""

    user_id: str
    opted_out_at: datetime | None
    channels: Sequence[str]
    source: str
    updated_at: datetime


def record(connection: Connection, consent: Consent) -> None:
    """Write what the user says now, in the caller's transaction.

    Who opts out again keeps the instant since when that holds.
    """
    statement = insert(user_consent).values({**vars(consent), "channels": list(consent.channels)})
    said = statement.excluded
    since = func.coalesce(user_consent.c.opted_out_at, said.opted_out_at)
    changed = {
        "opted_out_at": case((said.opted_out_at.is_not(None), since)),
        "channels": said.channels,
        "source": said.source,
        "updated_at": said.updated_at,
    }
    connection.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=changed))


def export_opted_out(connection: Connection, file: Path) -> None:
    """Write the ids of all users who have opted out: a CSV of user_id."""
    copy_query(
        connection, "select user_id from marketing.user_consent where opted_out_at is not null", [], file
    )
