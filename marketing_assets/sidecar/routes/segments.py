"""Segments: for a user the patterns they show, for an admin all segments with their sizes."""

import json

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from marketing_assets.sidecar.answers import ETAG, NOT_MODIFIED, answer
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.openapi import COMMON, PREFIX
from marketing_assets.sidecar.problems import documented
from marketing_assets.sidecar.schemas import Segments, UserPatterns
from marketing_assets.sidecar.security import caller_with, erased, not_erased
from marketing_assets.storage.repositories import dashboards
from marketing_assets.storage.repositories.offers import PATTERNS

router = APIRouter(prefix=PREFIX, tags=["segments"], responses=COMMON)


@router.get(
    "/segments",
    response_model=UserPatterns | Segments,
    responses={200: {"headers": ETAG}, **NOT_MODIFIED, **documented(410)},
)
async def list_segments(request: Request) -> Response:
    """The caller's own patterns, the primary first; for an admin the segments of the newest night."""
    caller = caller_with(request, "mobile", "admin")
    context: Context = request.app.state.context
    labels = json.dumps({pattern.name: pattern.label for pattern in context.policy.patterns})
    if caller.is_admin:
        await not_erased(request, caller)
        return answer(request, await run_in_threadpool(dashboards.segments, context.engine, labels))
    parameters = {"user_id": caller.user_id, "user_hash": caller.user_hash, "labels": labels}
    found = await context.database.value(PATTERNS, parameters)
    if found is None:
        raise erased()
    return answer(request, str(found))
