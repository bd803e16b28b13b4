"""Exports: who asked for what is held about them, what the tables hold, and the document that came of it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Table, insert, or_, select, text

from marketing_assets.storage.repositories import audit, requests, subjects
from marketing_assets.storage.repositories import erasures as erasure_rows
from marketing_assets.storage.tables import (
    audit_log,
    exports,
    idempotency_keys,
    subject_keys,
)
from marketing_assets.storage.tables import requests as request_table

KIND = "export"
KEPT_FOR = timedelta(days=7)
"""How long a document stays before the clean-up removes it."""

_HELD = tuple(table for table in erasure_rows.OF_USERS if table not in (exports, subject_keys))

_ASKED = text(
    "select r.request_id, r.requested_by as pseudonym, s.user_id from marketing.requests r"
    " left join marketing.subject_keys s on s.pseudonym = r.requested_by and not exists"
    " (select from marketing.erased_users e join marketing.requests x on x.request_id = e.request_id"
    " where x.requested_by = r.requested_by)"
    " where r.kind = :kind and r.status = any(:open) order by r.requested_at, r.request_id"
)


@dataclass(frozen=True)
class Asked:
    """An open request; `user_id` None: the user is erased, or asked to be since."""

    request_id: uuid.UUID
    pseudonym: str
    user_id: str | None


def ask(connection: Connection, user_id: str, at: datetime) -> uuid.UUID:
    """Ask, in the caller's transaction, for everything that is held about the user.

    Who has asked already and has no answer yet gets that request.
    """
    name = subjects.held(connection, user_id)  # one at a time: two that ask at once get the same
    mine = (request_table.c.kind == KIND) & (request_table.c.requested_by == name)
    open_one = select(request_table.c.request_id).where(mine, request_table.c.status.in_(requests.OPEN))
    standing: uuid.UUID | None = connection.execute(open_one.limit(1)).scalar()
    if standing is not None:
        return standing
    request_id = requests.ask(connection, KIND, {}, name)
    asked = audit.Change(name, "user.export_requested", f"user:{name}", {}, {"request_id": str(request_id)})
    audit.record(connection, [asked], at)
    return request_id


def asked(connection: Connection) -> list[Asked]:
    """The open requests, oldest first."""
    found = connection.execute(_ASKED, {"kind": KIND, "open": list(requests.OPEN)})
    return [Asked(**row._mapping) for row in found]


def rows_of(
    connection: Connection, users: Mapping[str, str]
) -> dict[str, dict[str, list[dict[str, object]]]]:
    """What the tables hold of users (by id; each with its pseudonym), by user and table.

    Of what is known by the pseudonym: requests, calls that may be sent twice, and the audit log.
    """
    held: dict[str, dict[str, list[dict[str, object]]]] = {user_id: {} for user_id in users}
    by_pseudonym = {name: user_id for user_id, name in users.items()}
    for table in _HELD:
        for row in _rows(connection, table, table.c.user_id.in_(users)):
            held[str(row["user_id"])].setdefault(table.name, []).append(row)
    for table, column in ((request_table, "requested_by"), (idempotency_keys, "caller")):
        for row in _rows(connection, table, table.c[column].in_(by_pseudonym)):
            held[by_pseudonym[str(row[column])]].setdefault(table.name, []).append(row)
    named = {f"user:{name}": user_id for name, user_id in by_pseudonym.items()}
    about = or_(audit_log.c.subject.in_(named), audit_log.c.actor.in_(by_pseudonym))
    for row in _rows(connection, audit_log, about):
        concerned = {named.get(str(row["subject"])), by_pseudonym.get(str(row["actor"]))} - {None}
        for each in concerned:
            held[str(each)].setdefault(audit_log.name, []).append(row)
    return held


def keep(
    connection: Connection, user: Asked, document: Mapping[str, object], run_id: str, at: datetime
) -> None:
    """Keep a document, in the caller's transaction, and write that its request is done and where it is."""
    row = {"request_id": user.request_id, "user_id": user.user_id, "document": document, "made_at": at}
    connection.execute(insert(exports).values(**row))
    said = {
        "document": f"in the answer of GET /api/marketing/requests/{user.request_id}, for its author",
        "expires_at": (at + KEPT_FOR).isoformat(),
    }
    requests.succeed(connection, user.request_id, run_id, said)


def refuse(connection: Connection, user: Asked, run_id: str) -> None:
    """Write that there is nothing to be exported any more."""
    requests.fail(
        connection,
        user.request_id,
        "the user is erased, or asked to be",
        "nothing can be done: nothing is held about them, or will be",
        run_id,
    )


def _rows(connection: Connection, table: Table, where: object) -> list[dict[str, object]]:
    statement = select(table).where(where).order_by(*table.primary_key)  # type: ignore[arg-type]
    return [dict(row._mapping) for row in connection.execute(statement)]
