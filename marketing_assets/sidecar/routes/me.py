"""What users decide about themselves: consent, everything that is held about them, and being forgotten.

Export and erasure are requests that jobs carry out; the erasure counts for the app from the answer on.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.openapi import COMMON, PREFIX
from marketing_assets.sidecar.problems import documented
from marketing_assets.sidecar.schemas import AcceptedRequest, ConsentGiven, ConsentHeld
from marketing_assets.sidecar.security import Caller, caller_with, erased
from marketing_assets.storage import clock
from marketing_assets.storage.database import brief
from marketing_assets.storage.keys import erasure_key
from marketing_assets.storage.repositories import consent, erasures, exports, subjects
from marketing_assets.storage.repositories.consent import Consent

router = APIRouter(prefix=PREFIX, tags=["me"], responses=COMMON)

SOURCE = "app"
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {
            "Location": {
                "description": "the request, to be looked at later",
                "schema": {
                    "type": "string",
                    "examples": [f"{PREFIX}/requests/7d5f2b1c-0d57-4f35-9d53-0b6f7c1f7a54"],
                },
            }
        }
    }
}


@router.put("/consent", responses=documented(400, 410, 413, 422))
def put_consent(request: Request, given: ConsentGiven) -> ConsentHeld:
    """Opt in or out of all offers, and say by which channels; holds from the next read on."""
    caller = caller_with(request, "mobile")
    with _of_user(request, caller) as connection:
        now = clock.now(connection)
        before = consent.said(connection, caller.user_id)
        channels = given.channels
        if channels is None:
            channels = [] if before is None else list(before.channels)
        opted_out_at = now if given.opted_out else None
        consent.record(connection, Consent(caller.user_id, opted_out_at, channels, SOURCE, now))
        held = consent.said(connection, caller.user_id)
    assert held is not None
    return ConsentHeld(
        opted_out=held.opted_out_at is not None,
        opted_out_at=held.opted_out_at,
        channels=list(held.channels),
        updated_at=held.updated_at,
    )


@router.post("/me/export", status_code=202, responses={**_ACCEPTED, **documented(410)})
def export_me(request: Request, response: Response) -> AcceptedRequest:
    """Ask for everything that is held about the caller; the request's answer has it when it is made."""
    caller = caller_with(request, "mobile")
    with _of_user(request, caller) as connection:
        request_id = exports.ask(connection, caller.user_id, clock.now(connection))
    return _accepted(response, request_id, exports.KIND)


@router.delete("/me", status_code=202, responses=_ACCEPTED)
def erase_me(request: Request, response: Response) -> AcceptedRequest:
    """Ask to be forgotten: every other call answers 410 from now on; asking again gives the same request."""
    caller = caller_with(request, "mobile")
    context: Context = request.app.state.context
    with brief(context.engine) as connection:
        now = clock.now(connection)
        request_id = erasures.ask(connection, caller.user_id, erasure_key(context.settings), now)
    return _accepted(response, request_id, erasures.KIND)


@contextmanager
def _of_user(request: Request, caller: Caller) -> Iterator[Connection]:
    """A transaction that writes for the caller.

    Raises:
        Problem: 410, the caller has asked to be erased.
    """
    context: Context = request.app.state.context
    with brief(context.engine) as connection:
        subjects.held(connection, caller.user_id)  # an erasure waits, and finds what is written
        if erasures.tombstone(connection, caller.user_hash) is not None:
            raise erased()
        yield connection


def _accepted(response: Response, request_id: uuid.UUID, kind: str) -> AcceptedRequest:
    response.headers["Location"] = f"{PREFIX}/requests/{request_id}"
    return AcceptedRequest(request_id=request_id, kind=kind)
