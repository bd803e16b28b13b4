"""Campaigns: for a user of the app their open offers, for an admin all campaigns with what became of them."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from marketing_assets.sidecar.answers import ETAG, NOT_MODIFIED, answer
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.offers import FIRST, one_offer, open_offers
from marketing_assets.sidecar.openapi import COMMON, PREFIX
from marketing_assets.sidecar.pages import page, parameters
from marketing_assets.sidecar.problems import Problem, documented
from marketing_assets.sidecar.schemas import CampaignPage, CampaignWithMetrics, Offer, OfferPage
from marketing_assets.sidecar.security import caller_with, not_erased
from marketing_assets.storage.repositories import dashboards

router = APIRouter(prefix=PREFIX, tags=["campaigns"], responses=COMMON)

_FOUND: dict[int | str, dict[str, Any]] = {200: {"headers": ETAG}}

CampaignId = Annotated[str, Path(max_length=200, examples=["vip-rewards-2026-11-22"])]


class _Direct(APIRoute):
    """A route whose function reads the request itself, so that nothing has to be worked out at each call."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function."""
        return self.endpoint


async def list_campaigns(request: Request) -> Response:
    """The caller's open offers, best priority first; for an admin all campaigns, the newest first."""
    caller = caller_with(request, "mobile", "admin")
    context: Context = request.app.state.context
    asked = page(request.scope["query_string"])
    if caller.is_admin:
        await not_erased(request, caller)
        found = await run_in_threadpool(
            dashboards.campaigns, context.engine, asked.status, asked.after, asked.limit
        )
        return answer(request, found)
    if asked.status not in (None, "active"):
        await not_erased(request, caller)
        return answer(request, {"items": [], "next_cursor": None})
    return answer(request, await open_offers(context, caller, asked.after or FIRST, asked.limit))


router.add_api_route(
    "/campaigns",
    list_campaigns,
    methods=["GET"],
    response_model=OfferPage | CampaignPage,
    responses={**_FOUND, **NOT_MODIFIED, **documented(410, 422)},
    openapi_extra=parameters(),
    route_class_override=_Direct,
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
    if not caller.is_admin:
        offer = await one_offer(context, caller, campaign_id)
        if offer is None:
            raise _none(campaign_id)
        return answer(request, offer)
    await not_erased(request, caller)
    campaign = None
    if "\0" not in campaign_id:
        campaign = await run_in_threadpool(dashboards.campaign, context.engine, campaign_id)
    if campaign is None:
        raise _none(campaign_id)
    return answer(request, campaign.body, f"{campaign.revision}-")


def _none(campaign_id: str) -> Problem:
    shown = re.sub(r"[^\w.-]", "?", campaign_id[:60])
    return Problem(404, f"there is no campaign {shown!r} of yours")
