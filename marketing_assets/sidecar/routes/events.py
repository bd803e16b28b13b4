"""Events: the app reports that an offer was seen, opened, put away or taken, one by one or many at once."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from marketing_assets.domain.events import Event, Kind, Rejection
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.event_schemas import (
    REPORTED,
    Batch,
    BatchOutcome,
    Bought,
    Converted,
    EventOutcome,
    RewardAnswer,
    Said,
    Taken,
    event_of,
    readable_id,
)
from marketing_assets.sidecar.openapi import COMMON, PREFIX
from marketing_assets.sidecar.problems import Problem, documented, pointer
from marketing_assets.sidecar.routes.campaigns import CampaignId
from marketing_assets.sidecar.schemas import Answer
from marketing_assets.sidecar.security import Caller, caller_with, erased
from marketing_assets.storage.repositories import events as event_rows
from marketing_assets.storage.repositories.events import Outcome

router = APIRouter(prefix=PREFIX, tags=["events"], responses=COMMON)

_BODY = documented(400, 408, 413, 422)
_SINGLE = {**_BODY, **documented(404, 409, 410)}
_TAKEN = {status: Taken(status=status).model_dump_json() for status in ("accepted", "duplicate")}
_REFUSED: dict[Rejection, tuple[int, str]] = {
    "not_a_target": (404, "there is no such offer of yours"),
    "outside_window": (409, "the offer did not live when this happened"),
    "archived": (410, "the campaign is archived"),
    "conflicting_duplicate": (409, "another event has this event_id"),
}
"""What a single call answers to an event that is not taken: the status, and a sentence."""


@router.post("/campaigns/{campaign_id}/view", status_code=202, response_model=Taken, responses=_SINGLE)
async def view(request: Request, campaign_id: CampaignId, said: Said) -> Response:
    """The caller saw the offer. To send it again is harmless: `event_id` tells a duplicate."""
    return await _taken(request, campaign_id, "view", said)


@router.post("/campaigns/{campaign_id}/click", status_code=202, response_model=Taken, responses=_SINGLE)
async def click(request: Request, campaign_id: CampaignId, said: Said) -> Response:
    """The caller opened the offer."""
    return await _taken(request, campaign_id, "click", said)


@router.post("/campaigns/{campaign_id}/dismiss", status_code=202, response_model=Taken, responses=_SINGLE)
async def dismiss(request: Request, campaign_id: CampaignId, said: Said) -> Response:
    """The caller put the offer away: it leaves their list."""
    return await _taken(request, campaign_id, "dismiss", said)


@router.post(
    "/campaigns/{campaign_id}/conversion", status_code=202, response_model=Converted, responses=_SINGLE
)
async def conversion(request: Request, campaign_id: CampaignId, said: Bought) -> Response:
    """The caller bought something and takes the offer: answers the reward that is reserved, or why none is.

    The night that finds the purchase in the ledger pays it; where none does in time, it is released.
    """
    caller = caller_with(request, "mobile")
    event = event_of(said, _named(campaign_id), "conversion")
    [outcome] = await _report_all(request, caller, [event])
    status = _kept(outcome)
    return _json(Converted(status=status, reward=_reward(request, outcome)), 202)


@router.post("/events", response_model=BatchOutcome, responses={**_BODY, **documented(410)})
async def batch(request: Request, said: Batch) -> Response:
    """Up to 500 events, oldest first, each judged on its own: one that is rejected never loses the others."""
    caller = caller_with(request, "mobile")
    read = [_read(each) for each in said.events]
    events = [each for each in read if isinstance(each, Event)]
    outcomes = iter(await _report_all(request, caller, events))
    results = [_told(request, next(outcomes)) if isinstance(each, Event) else each for each in read]
    return _json(BatchOutcome(results=results), 200)


async def _taken(request: Request, campaign_id: str, kind: Kind, said: Said) -> Response:
    received_at = datetime.now(UTC)
    caller = caller_with(request, "mobile")
    context: Context = request.app.state.context
    event = event_of(said, _named(campaign_id), kind)
    outcome = await event_rows.report(context.database, caller, event, received_at)
    if outcome is None:
        raise erased()
    context.metrics.events.labels(kind, outcome.reason or outcome.status).inc()
    return Response(_TAKEN[_kept(outcome)], 202, media_type="application/json")


async def _report_all(request: Request, caller: Caller, events: Sequence[Event]) -> list[Outcome]:
    received_at = datetime.now(UTC)
    context: Context = request.app.state.context
    async with context.database.connection() as connection:
        outcomes = await event_rows.report_all(
            connection, caller, events, received_at, context.policy.point_value
        )
    if outcomes is None:
        raise erased()
    for event, outcome in zip(events, outcomes, strict=True):
        context.metrics.events.labels(event.kind, outcome.reason or outcome.status).inc()
    return outcomes


def _named(campaign_id: str) -> str:
    """The id of the path; no campaign has a NUL in its name, and the database could not be asked for one.

    Raises:
        Problem: 404, it has.
    """
    if "\0" in campaign_id:
        raise _refused("not_a_target")
    return campaign_id


def _kept(outcome: Outcome) -> Literal["accepted", "duplicate"]:
    """How a single event was kept.

    Raises:
        Problem: it was not.
    """
    if outcome.status == "rejected":
        raise _refused(outcome.reason or "not_a_target")
    return outcome.status


def _refused(reason: Rejection) -> Problem:
    status, detail = _REFUSED[reason]
    return Problem(status, detail, kind=reason.replace("_", "-"))


def _read(said: object) -> Event | EventOutcome:
    """The event of a batch, or why it is none."""
    try:
        reported = REPORTED.validate_python(said)
    except ValidationError as error:
        detail = "; ".join(f"{pointer(each['loc'][1:])}: {each['msg']}" for each in error.errors()[:3])
        event_id = readable_id(said.get("event_id")) if isinstance(said, dict) else None
        return EventOutcome(
            event_id=event_id, status="rejected", reason="invalid", detail=detail, reward=None
        )
    return event_of(reported, reported.campaign_id, reported.kind)


def _told(request: Request, outcome: Outcome) -> EventOutcome:
    return EventOutcome(
        event_id=outcome.event_id,
        status=outcome.status,
        reason=outcome.reason,
        detail=None,
        reward=None if outcome.reward is None else _reward(request, outcome),
    )


def _reward(request: Request, outcome: Outcome) -> RewardAnswer:
    reward = outcome.reward
    assert reward is not None, "every conversion that is kept has an answer to its claim"
    context: Context = request.app.state.context
    currency = context.settings.currency
    return RewardAnswer(
        state=reward.state, amount=f"{reward.amount:.2f}", currency=currency, reason=reward.reason
    )


def _json(told: Answer, status: int) -> Response:
    return Response(told.model_dump_json(), status, media_type="application/json")
