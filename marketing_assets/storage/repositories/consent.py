"""Consent: what users said about being offered things; one without a row has not opted out.

Every change is in the audit log, made by the user and about the user, both as pseudonym.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, case, func, select
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.storage.copying import copy_query
from marketing_assets.storage.repositories import audit, subjects
from marketing_assets.storage.repositories.erasures import PENDING_SQL
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
    """Write what the user says now, in the caller's transaction, with an entry in the audit log.

    Who opts out again keeps the instant since when that holds; who says the same again changes nothing there.
    """
    before = said(connection, consent.user_id)
    statement = insert(user_consent).values({**vars(consent), "channels": list(consent.channels)})
    new = statement.excluded
    since = func.coalesce(user_consent.c.opted_out_at, new.opted_out_at)
    changed = {
        "opted_out_at": case((new.opted_out_at.is_not(None), since)),
        "channels": new.channels,
        "source": new.source,
        "updated_at": new.updated_at,
    }
    connection.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=changed))
    was, now = (_shown(each) for each in (before, consent))
    if was != now:
        name = subjects.pseudonym(connection, consent.user_id)
        change = audit.Change(name, "consent.changed", f"user:{name}", was, now)
        audit.record(connection, [change], consent.updated_at)


def said(connection: Connection, user_id: str) -> Consent | None:
    """What the user said last, held until the transaction ends; None where nothing was ever said."""
    statement = select(user_consent).where(user_consent.c.user_id == user_id).with_for_update()
    row = connection.execute(statement).one_or_none()
    return None if row is None else Consent(**row._mapping)


def export_opted_out(connection: Connection, file: Path) -> None:
    """Write the ids of all users who must not be offered anything: a CSV of user_id.

    They have opted out, or asked to be erased and are not yet.
    """
    opted_out = "select user_id from marketing.user_consent where opted_out_at is not null"
    copy_query(connection, opted_out + " union " + PENDING_SQL, [], file)


def _shown(consent: Consent | None) -> dict[str, object]:
    """As the audit log has it; nothing said is no opt-out and no channel."""
    if consent is None:
        return {"opted_out": False, "channels": []}
    return {"opted_out": consent.opted_out_at is not None, "channels": sorted(consent.channels)}
