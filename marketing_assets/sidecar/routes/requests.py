"""Requests: the analysis that an admin asks for, and how far any request of the caller's is."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from marketing_assets.domain.days import day_of
from marketing_assets.sidecar.answers import ETAG, NOT_MODIFIED, answer
from marketing_assets.sidecar.asked import AnalysisAsked, RequestAccepted, RequestState
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.once import Call, Done, IdempotencyKey, once
from marketing_assets.sidecar.openapi import COMMON, PREFIX
from marketing_assets.sidecar.problems import FieldError, Problem, documented
from marketing_assets.sidecar.security import AdminCaller, Caller, caller_with, erased
from marketing_assets.storage import clock
from marketing_assets.storage.database import brief
from marketing_assets.storage.repositories import requests
from marketing_assets.storage.repositories.requests import Outcome

router = APIRouter(prefix=PREFIX, tags=["requests"], responses=COMMON)

_LOCATION = {"Location": {"description": "where it says how far it is", "schema": {"type": "string"}}}
_ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"headers": _LOCATION}}
_FOUND: dict[int | str, dict[str, Any]] = {200: {"headers": ETAG}}


async def _also_erased(request: Request) -> Caller:
    """Whoever it is: one who was erased may still look up that very request."""
    return caller_with(request, "mobile", "admin")


@router.post(
    "/analysis/run-now",
    status_code=202,
    response_model=RequestAccepted,
    responses={**_ACCEPTED, **documented(400, 410, 422)},
)
def run_analysis(
    request: Request,
    caller: AdminCaller,
    asked: Annotated[AnalysisAsked | None, Body()] = None,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Run the night of a day, yesterday's where none is given.

    While it waits or runs, asking again for that day gives the same request.
    """
    context: Context = request.app.state.context
    body = asked or AnalysisAsked()

    def ask(connection: Connection, author: str) -> Done:
        today = day_of(clock.now(connection), context.zone)
        found = requests.ask_for_analysis(connection, _day(body, today, context), today, author)
        content = {"request_id": str(found.request_id), "kind": found.kind, "status": found.status}
        return Done(202, content, f"{PREFIX}/requests/{found.request_id}")

    return once(context, Call("POST /analysis/run-now", caller, body, key), ask)


@router.get(
    "/requests/{request_id}",
    response_model=RequestState,
    responses={**_FOUND, **NOT_MODIFIED, **documented(404, 410, 422)},
)
def one_request(
    request: Request,
    caller: Annotated[Caller, Depends(_also_erased)],
    request_id: Annotated[UUID, Path()],
) -> Response:
    """How far a request of the caller's is: its result where it succeeded, the reason where it failed."""
    context: Context = request.app.state.context
    with brief(context.engine) as connection:
        erasure = requests.erasure_of(connection, caller.user_hash)
        if erasure not in (None, request_id):
            raise erased()
        found = requests.of_author(connection, request_id, caller.user_id, caller.user_hash)
    if found is None:
        raise Problem(404, f"there is no request {request_id} of yours")
    return answer(request, _state(found, caller).model_dump_json())


def _day(asked: AnalysisAsked, today: date, context: Context) -> date:
    newest = today - timedelta(days=1)
    if asked.day is None:
        return newest
    try:
        day = date.fromisoformat(asked.day)
    except ValueError:
        raise _no_day(f"{asked.day!r} is not a day") from None
    if day > newest:
        raise _no_day(f"{day} is not over yet in {context.zone.key}; the newest day that is over is {newest}")
    return day


def _no_day(detail: str) -> Problem:
    return Problem(422, f"/body/day: {detail}", errors=[FieldError(pointer="/body/day", detail=detail)])


def _state(found: Outcome, caller: Caller) -> RequestState:
    failed = found.status == "failed"
    return RequestState.model_validate(
        {
            **vars(found),
            "result": None if failed else found.result,
            "reason": _reason(found.result or {}, caller) if failed else None,
        }
    )


def _reason(result: Mapping[str, object], caller: Caller) -> str:
    """For an admin what went wrong and what to do; users can do nothing about it."""
    if not caller.is_admin:
        return "it could not be done; ask again later"
    return "; ".join(str(result[name]) for name in ("error", "remedy") if name in result)
