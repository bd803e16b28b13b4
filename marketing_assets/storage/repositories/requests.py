"""Requests: what the app or a person asks to be run, and what became of it.

Whoever asks inserts a row; the dispatcher alone changes it, and never one that has come to its end.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, insert, select, text, update

from marketing_assets.storage.tables import erased_users, exports, requests, subject_keys

OPEN = ("queued", "running")

_COLUMNS = (
    requests.c.request_id,
    requests.c.kind,
    requests.c.payload,
    requests.c.requested_at,
    requests.c.status,
    requests.c.run_id,
)


@dataclass(frozen=True)
class Request:
    """One row of `requests`, as the dispatcher sees it; the payload is whatever JSON was given."""

    request_id: uuid.UUID
    kind: str
    payload: object
    requested_at: datetime
    status: str
    run_id: str | None


def ask(connection: Connection, kind: str, payload: Mapping[str, object], requested_by: str) -> uuid.UUID:
    """Insert a request; `requested_by` is a role or a pseudonym, never a user id."""
    request_id = uuid.uuid4()
    values = {"request_id": request_id, "kind": kind, "payload": payload, "requested_by": requested_by}
    connection.execute(insert(requests).values(values))
    return request_id


@dataclass(frozen=True)
class Outcome:
    """How far a request is, for the one who asked; `document` is what an export has made."""

    request_id: uuid.UUID
    kind: str
    status: str
    requested_at: datetime
    finished_at: datetime | None
    result: Mapping[str, object] | None
    document: object


def ask_for_analysis(connection: Connection, day: date, today: date, requested_by: str) -> Outcome:
    """Ask for the night of `day`, unless this author does already and it has not come to its end.

    What others have asked for, they alone can look up; the dispatcher gives all of them one run.
    """
    author = {"what": f"analysis {day} {requested_by}"}
    connection.execute(text("select pg_advisory_xact_lock(hashtextextended(:what, 0))"), author)
    asked_for = func.coalesce(requests.c.payload["day"].astext, (today - timedelta(days=1)).isoformat())
    mine = (requests.c.kind == "analysis") & (requests.c.requested_by == requested_by)
    waiting = (
        select(requests.c.request_id)
        .where(mine, requests.c.status.in_(OPEN), asked_for == day.isoformat())
        .order_by(requests.c.requested_at, requests.c.request_id)
        .limit(1)
    )
    found = connection.execute(waiting).scalar()
    request_id = found or ask(connection, "analysis", {"day": day.isoformat()}, requested_by)
    return _outcome(connection, requests.c.request_id == request_id)


def erasure_of(connection: Connection, user_hash: str) -> uuid.UUID | None:
    """The request by which the user of this hash asked to be erased; None where they did not."""
    statement = select(erased_users.c.request_id).where(erased_users.c.user_hash == user_hash)
    return connection.execute(statement).scalar()


def of_author(connection: Connection, request_id: uuid.UUID, user_id: str, user_hash: str) -> Outcome | None:
    """The request as its author sees it; None where there is none, or it is somebody else's.

    Who asked to be erased has no key any more, and is known by the hash that the erasure left.
    """
    pseudonym = select(subject_keys.c.pseudonym).where(subject_keys.c.user_id == user_id).scalar_subquery()
    erasure = select(erased_users.c.request_id).where(erased_users.c.user_hash == user_hash)
    mine = (requests.c.requested_by == pseudonym) | requests.c.request_id.in_(erasure)
    return _outcome_or_none(connection, (requests.c.request_id == request_id) & mine)


def _outcome(connection: Connection, which: ColumnElement[bool]) -> Outcome:
    found = _outcome_or_none(connection, which)
    assert found is not None
    return found


def _outcome_or_none(connection: Connection, which: ColumnElement[bool]) -> Outcome | None:
    columns = (requests.c[name] for name in ("request_id", "kind", "status", "requested_at"))
    statement = (
        select(*columns, requests.c.finished_at, requests.c.result, exports.c.document)
        .outerjoin(exports, exports.c.request_id == requests.c.request_id)
        .where(which)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else Outcome(**row._mapping)


def unfinished(connection: Connection, limit: int) -> list[Request]:
    """The oldest requests that have not come to their end."""
    statement = (
        select(*_COLUMNS)
        .where(requests.c.status.in_(OPEN))
        .order_by(requests.c.requested_at, requests.c.request_id)
        .limit(limit)
    )
    return [Request(**row._mapping) for row in connection.execute(statement)]


def is_open(connection: Connection, request_id: uuid.UUID) -> bool:
    """Whether the request has not come to its end, by now."""
    mine = (requests.c.request_id == request_id) & requests.c.status.in_(OPEN)
    return connection.execute(select(requests.c.request_id).where(mine)).first() is not None


def note_payload(connection: Connection, request_id: uuid.UUID, payload: Mapping[str, object]) -> None:
    """Write what the request was understood as, so that it means the same at every later look."""
    _change(connection, request_id, {"payload": payload})


def note_run(connection: Connection, request_id: uuid.UUID, run_id: str, status: str) -> None:
    """Write which run works for the request, and whether that run is queued or running."""
    _change(connection, request_id, {"run_id": run_id, "status": status})


def succeed(connection: Connection, request_id: uuid.UUID, run_id: str, result: Mapping[str, object]) -> None:
    """Write the end of a request that was done, with what it came to."""
    ended = {"run_id": run_id, "result": result, "status": "succeeded", "finished_at": func.now()}
    _change(connection, request_id, ended)


def fail(
    connection: Connection, request_id: uuid.UUID, error: str, remedy: str, run_id: str | None = None
) -> None:
    """Write the end of a request that was not done, with the reason and what to do."""
    ended: dict[str, object] = {
        "result": {"error": error, "remedy": remedy},
        "status": "failed",
        "finished_at": func.now(),
    }
    _change(connection, request_id, ended if run_id is None else {**ended, "run_id": run_id})


def _change(connection: Connection, request_id: uuid.UUID, values: Mapping[str, object]) -> None:
    mine = (requests.c.request_id == request_id) & requests.c.status.in_(OPEN)
    connection.execute(update(requests).where(mine).values(**values))
