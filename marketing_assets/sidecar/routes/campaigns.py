"""Campaigns: for a user of the app their open offers, for an admin all campaigns with what became of them."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from marketing_assets.sidecar.answers import ETAG, NOT_MODIFIED, answer
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.problems import Problem, documented
from marketing_assets.sidecar.schemas import CampaignPage, CampaignWithMetrics, Offer, OfferPage, Status
from marketing_assets.sidecar.security import Caller, caller_with, erased
from marketing_assets.storage.repositories import dashboards
from marketing_assets.storage.repositories.offers import OFFERS

router = APIRouter(tags=["campaigns"])

_CURSOR = r"^[0-9]{1,17}~[A-Za-z0-9_-]{0,200}$"
_EMPTY = '{"items" : [], "next_cursor" : null}'
_FOUND: dict[int | str, dict[str, Any]] = {200: {"headers": ETAG}}

CampaignId = Annotated[str, Path(max_length=200, examples=["vip-rewards-2026-11-22"])]


@router.get(
    "/campaigns",
    response_model=OfferPage | CampaignPage,
    responses={**_FOUND, **NOT_MODIFIED, **documented(410, 422)},
)
async def list_campaigns(
    request: Request,
    status: Annotated[Status | None, Query(description="for a user only `active` has offers")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(pattern=_CURSOR, description="`next_cursor` of the page before")
    ] = None,
) -> Response:
    """The caller's open offers, best priority first; for an admin all campaigns, the newest first."""
    caller = caller_with(request, "mobile", "admin")
    context: Context = request.app.state.context
    place, _, after = ("-1", "", "") if cursor is None else cursor.partition("~")
    if caller.is_admin:
        before = None if cursor is None else (int(place), after)
        found = await run_in_threadpool(dashboards.campaigns, context.engine, status, before, limit)
        return answer(request, found)
    if status not in (None, "active"):
        return answer(request, _EMPTY)
    return answer(
        request, await _offers(context, caller, None, min(int(place), 2**31 - 1), after, limit) or _EMPTY
    )


@router.get(
    "/campaigns/{campaign_id}",
    response_model=Offer | CampaignWithMetrics,
    responses={**_FOUND, **NOT_MODIFIED, **documented(404, 410, 422)},
)
async def one_campaign(request: Request, campaign_id: CampaignId) -> Response:
    """An open offer of the caller; for an admin any campaign, with what became of its targets."""
    caller = caller_with(request, "mobile", "admin")
    context: Context = request.app.state.context
    if "\0" in campaign_id:
        raise _none(campaign_id)
    if not caller.is_admin:
        found = await _offers(context, caller, campaign_id, -1, "", 1)
        if found is None:
            raise _none(campaign_id)
        return answer(request, found)
    campaign = await run_in_threadpool(dashboards.campaign, context.engine, campaign_id)
    if campaign is None:
        raise _none(campaign_id)
    return answer(request, campaign.body, f"{campaign.revision}-")


async def _offers(
    context: Context, caller: Caller, campaign_id: str | None, priority: int, after: str, limit: int
) -> str | None:
    parameters = {
        "user_id": caller.user_id,
        "user_hash": caller.user_hash,
        "campaign_id": campaign_id,
        "after_priority": priority,
        "after_id": after,
        "limit": limit,
        "currency": context.settings.currency,
        "point_value": context.policy.point_value,
    }
    row = await context.database.row(OFFERS, parameters)
    if row is None:
        raise erased()
    return None if row[0] is None else str(row[0])


def _none(campaign_id: str) -> Problem:
    shown = re.sub(r"[^\w.-]", "?", campaign_id[:60])
    return Problem(404, f"there is no campaign {shown!r} of yours")
