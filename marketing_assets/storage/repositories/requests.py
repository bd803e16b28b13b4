"""Requests: what the app or a person asks to be run, and what became of it.

Whoever asks inserts a row; the dispatcher alone changes it, and never one that has come to its end.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from marketing_assets.storage.tables import requests

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
