"""Errors as RFC 9457 problems: what was wrong and what to do, and never a stack trace, SQL or a path."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from marketing_assets.errors import (
    CampaignError,
    DatabaseError,
    MarketingError,
    RefusedChangeError,
    RequestError,
    StaleRevisionError,
    UnknownCampaignError,
)
from marketing_assets.storage.database import is_transient

MEDIA_TYPE = "application/problem+json"
_TYPES = "urn:marketing:problem:"
_TITLES = {
    400: ("bad-request", "The request cannot be read"),
    401: ("unauthorized", "A valid token is needed"),
    403: ("forbidden", "The token's roles do not allow this"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "There is no such call"),
    408: ("timeout", "The request took too long to arrive"),
    409: ("conflict", "It does not fit what is there"),
    410: ("gone", "It was there once"),
    412: ("stale", "It was changed meanwhile"),
    413: ("too-large", "The body is too large"),
    415: ("media-type", "The body is not JSON"),
    422: ("invalid", "The request is not valid"),
    428: ("precondition-required", "If-Match is needed"),
    429: ("rate-limited", "Too many calls"),
    500: ("internal", "An error that nobody foresaw"),
    503: ("unavailable", "Try again in a moment"),
}
RETRY_SECONDS = 2
"""What a caller is told to wait while the database is away."""

_LONGEST_KEY = 100


class FieldError(BaseModel):
    """One thing that is wrong with a request: where (RFC 6901, from the root of the request) and what."""

    pointer: str = Field(examples=["/body/amount"])
    detail: str = Field(examples=["Input should be a valid decimal"])


class ProblemBody(BaseModel):
    """RFC 9457: `type` tells the kind of problem to a program, `detail` this one to a person."""

    type: str = Field(examples=["urn:marketing:problem:not-found"])
    title: str = Field(examples=["There is no such thing"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no campaign 'vip-rewards-2026-11-22' of yours"])
    instance: str = Field(description="id of the request, as the logs know it", examples=["urn:request:5f2c"])
    errors: list[FieldError] | None = Field(None, description="of a request that is not valid")


class Problem(HTTPException):
    """Ends a call with a problem. `kind` takes the place of the status's own.

    An `HTTPException`, because FastAPI makes a 400 of anything else that reading a body raises.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.kind = kind or _TITLES[status][0]
        self.headers: dict[str, str] = dict(headers or {})
        self.errors = errors


class ProblemResponse(JSONResponse):
    """A problem on its way out."""

    media_type = MEDIA_TYPE


def unavailable(detail: str) -> Problem:
    """503: the caller should try again soon."""
    return Problem(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def response(problem: Problem, request_id: str) -> ProblemResponse:
    """The problem as JSON."""
    content: dict[str, Any] = {
        "type": _TYPES + problem.kind,
        "title": _TITLES[problem.status][1],
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:request:{request_id}",
    }
    if problem.errors:
        content["errors"] = [each.model_dump() for each in problem.errors]
    return ProblemResponse(content, problem.status, problem.headers)


def of_error(error: MarketingError) -> Problem:
    """The problem that an error of the project is to a caller."""
    detail = f"{error.message}; {error.remedy}"
    match error:
        case UnknownCampaignError():
            return Problem(404, error.message)
        case StaleRevisionError():
            return Problem(412, detail, headers={"ETag": f'"{error.revision}"'})
        case RefusedChangeError() | RequestError():
            return Problem(422, detail)
        case CampaignError():
            return Problem(409, detail)
        case DatabaseError():
            return unavailable("the database is away")
        case _:
            return Problem(500, "it is in the sidecar's log under this instance")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These problems, for a route's `responses`."""
    return {
        status: {
            "description": _TITLES[status][1],
            "model": ProblemBody,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of a route with a problem."""

    @app.exception_handler(Problem)
    async def of_problem(request: Request, error: Problem) -> ProblemResponse:
        return response(error, request.scope["request_id"])

    @app.exception_handler(MarketingError)
    async def of_marketing_error(request: Request, error: MarketingError) -> ProblemResponse:
        problem = of_error(error)
        if problem.status == 500:  # noqa: PLR2004
            raise error
        return response(problem, request.scope["request_id"])

    @app.exception_handler(DBAPIError)
    async def of_database(request: Request, error: DBAPIError) -> ProblemResponse:
        if not is_transient(error):
            raise error
        return response(unavailable("the database is away"), request.scope["request_id"])

    @app.exception_handler(PoolTimeoutError)
    async def of_full_pool(request: Request, error: PoolTimeoutError) -> ProblemResponse:
        busy = unavailable("every connection to the database is in use")
        return response(busy, request.scope["request_id"])

    @app.exception_handler(RequestValidationError)
    async def of_invalid(request: Request, error: RequestValidationError) -> ProblemResponse:
        found = [FieldError(pointer=pointer(each["loc"]), detail=each["msg"]) for each in error.errors()]
        detail = "; ".join(f"{each.pointer}: {each.detail}" for each in found[:3])
        problem = Problem(422, detail, errors=found[:50])
        return response(problem, request.scope["request_id"])

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> ProblemResponse:
        status = error.status_code if error.status_code in _TITLES else 400
        headers = dict(error.headers or {})
        methods = _methods(app, request.scope["path"]) if status == 405 else []  # noqa: PLR2004
        if methods:  # the framework knows those of one of the path's routes
            headers["Allow"] = ", ".join(methods)
        return response(
            Problem(status, _TITLES[status][1].lower(), headers=headers), request.scope["request_id"]
        )


def pointer(place: Sequence[object]) -> str:
    """Where in a request something is (RFC 6901); a key that a caller made up is cut off."""
    parts = (str(part)[:_LONGEST_KEY].replace("~", "~0").replace("/", "~1") for part in place)
    return "".join("/" + part for part in parts).encode(errors="replace").decode()  # half a surrogate pair


def _methods(app: FastAPI, path: str) -> list[str]:
    """What this path can be called with; one that is described as it is goes before those with names."""
    described = app.openapi()["paths"]
    if path in described:
        return sorted(method.upper() for method in described[path])
    found: set[str] = set()
    for template, calls in described.items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            found.update(method.upper() for method in calls)
    return sorted(found)
