"""What admins do to campaigns: create one by hand, edit, pause, resume and end them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic.json_schema import SkipJsonSchema
from sqlalchemy import Connection

from marketing_assets.domain.days import day_of
from marketing_assets.domain.edits import CampaignEdit, NewCampaign
from marketing_assets.errors import RefusedChangeError
from marketing_assets.policy.rules import UNION_TAGS
from marketing_assets.policy.values import PolicyModel
from marketing_assets.sidecar.asked import CampaignAsked, CampaignChange, CampaignRevision, CreatedCampaign
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.once import Call, Done, IdempotencyKey, once
from marketing_assets.sidecar.openapi import COMMON, PREFIX
from marketing_assets.sidecar.problems import FieldError, Problem, documented, pointer
from marketing_assets.sidecar.routes.campaigns import CampaignId
from marketing_assets.sidecar.security import AdminCaller
from marketing_assets.storage import clock
from marketing_assets.storage.database import brief
from marketing_assets.storage.repositories import campaign_edits, requests, subjects
from marketing_assets.storage.repositories.campaign_edits import Change, Editor, Rest, Revised

router = APIRouter(prefix=PREFIX, tags=["campaigns"], responses=COMMON)

_REVISION_ETAG = {
    "ETag": {"description": "the revision", "schema": {"type": "string", "examples": ['"8"']}},
}
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {"description": "the campaign", "schema": {"type": "string"}},
            **_REVISION_ETAG,
        }
    }
}
_CHANGED: dict[int | str, dict[str, Any]] = {200: {"headers": _REVISION_ETAG}}
_REVISION = re.compile(r'"([0-9]{1,9})(-[0-9a-f]*)?"')
_NO_REVISION = 0
_TAG = r'(W/)?"[\x21\x23-\x7e]*"'
_FIELDS = re.compile(r"(?:^|; )([a-z_]+)((?:\.\w+)*): ([^;]*)")
_Model = TypeVar("_Model", bound=PolicyModel)

IfMatch = Annotated[
    str | SkipJsonSchema[None],
    Header(
        alias="If-Match",
        pattern=rf"^(\*|{_TAG}( *, *{_TAG})*)$",
        description="the revision that was seen, as the ETag of the campaign says it",
        examples=['"7"'],
    ),
]


@router.post(
    "/campaigns/manual",
    status_code=201,
    response_model=CreatedCampaign,
    responses={**_CREATED, **documented(400, 409, 410, 422)},
)
def create_campaign(
    request: Request, caller: AdminCaller, asked: CampaignAsked, key: IdempotencyKey = None
) -> JSONResponse:
    """Create a campaign by hand; it gets its targets with the next night, or at once with `target_now`."""
    context: Context = request.app.state.context
    values = asked.model_dump(exclude_unset=True, exclude={"target_now"})
    new = _understood(NewCampaign, values)

    def create(connection: Connection, author: str) -> Done:
        by = _editor(connection, author)
        try:
            made = campaign_edits.create_manual(connection, new, context.policy, context.zone, by)
        except RefusedChangeError as error:
            raise _refused(error, values) from error
        request_id = None
        if asked.target_now:
            _refuse_later(asked, by, context)
            payload = {"campaign_id": made.campaign_id}
            request_id = str(requests.ask(connection, "target_campaign", payload, author))
        content = {**vars(made), "request_id": request_id}
        return Done(201, content, f"{PREFIX}/campaigns/{made.campaign_id}")

    return once(context, Call("POST /campaigns/manual", caller, asked, key), create)


@router.patch(
    "/campaigns/{campaign_id}",
    response_model=CampaignRevision,
    responses={**_CHANGED, **documented(400, 404, 409, 410, 412, 422, 428)},
)
def change_campaign(
    request: Request,
    caller: AdminCaller,
    campaign_id: CampaignId,
    asked: CampaignChange,
    if_match: IfMatch = None,
) -> JSONResponse:
    """Edit, pause or resume a campaign. Its present targets keep what they were promised."""
    context: Context = request.app.state.context
    if if_match is None:
        raise Problem(428, 'send If-Match with the revision that you have seen, such as "7"')
    revision = _revision(if_match)
    values = asked.model_dump(exclude_unset=True, exclude={"status"})
    wanted = Change(_understood(CampaignEdit, values), asked.status, _rest(context))
    with brief(context.engine) as connection:
        by = _editor(connection, subjects.pseudonym(connection, caller.user_id))
        try:
            revised = campaign_edits.change(connection, _existing(campaign_id), revision, wanted, by)
        except RefusedChangeError as error:
            raise _refused(error, values) from error
    return _answered(revised)


@router.delete(
    "/campaigns/{campaign_id}",
    response_model=CampaignRevision,
    responses={**_CHANGED, **documented(404, 409, 410, 412, 422)},
)
def end_campaign(
    request: Request, caller: AdminCaller, campaign_id: CampaignId, if_match: IfMatch = None
) -> JSONResponse:
    """End a campaign now: its offers are hidden at once, its template rests, and nothing is erased.

    With `If-Match` only as long as nobody has changed it since.
    """
    context: Context = request.app.state.context
    revision = None if if_match is None else _revision(if_match)
    with brief(context.engine) as connection:
        by = _editor(connection, subjects.pseudonym(connection, caller.user_id))
        try:
            revised = campaign_edits.end_now(connection, _existing(campaign_id), revision, _rest(context), by)
        except RefusedChangeError as error:
            raise _refused(error, {}) from error
    return _answered(revised)


def _refuse_later(asked: CampaignAsked, by: Editor, context: Context) -> None:
    """Targets are given at once only to what opens today."""
    today = day_of(by.at, context.zone)
    if asked.starts_at is not None and day_of(asked.starts_at, context.zone) > today:
        detail = "it opens on a later day, and gets its targets in the night before that: leave this out"
        raise _invalid([FieldError(pointer="/body/target_now", detail=detail)])


def _editor(connection: Connection, author: str) -> Editor:
    return Editor(f"admin:{author}", clock.now(connection))


def _rest(context: Context) -> Rest:
    return Rest(context.policy.limits.suppression_days, context.zone)


def _existing(campaign_id: str) -> str:
    """An id that the database can be asked for."""
    if "\0" in campaign_id:
        raise Problem(404, "there is no such campaign")
    return campaign_id


def _revision(if_match: str) -> int:
    """The revision that was seen; of any other tag one that no campaign has."""
    found = _REVISION.fullmatch(if_match)
    return _NO_REVISION if found is None else int(found[1])


def _answered(revised: Revised) -> JSONResponse:
    return Done(200, dict(vars(revised))).response()


def _understood(model: type[_Model], values: Mapping[str, object]) -> _Model:
    """The values as the domain understands them.

    Raises:
        Problem: 422, they do not fit together.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [
            FieldError(pointer=_pointer(details["loc"]), detail=details["msg"])
            for details in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise _invalid(found) from None


def _refused(error: RefusedChangeError, values: Mapping[str, object]) -> Problem:
    """422 where a field that was sent is at fault, 409 where it is the state of what is there."""
    found = [
        FieldError(pointer=_pointer([field, *path.split(".")[1:]]), detail=said)
        for field, path, said in _FIELDS.findall(error.message)
        if field in values
    ]
    return _invalid(found) if found else Problem(409, f"{error.message}; {error.remedy}")


def _invalid(found: list[FieldError]) -> Problem:
    detail = "; ".join(f"{each.pointer}: {each.detail}" for each in found[:3])
    return Problem(422, detail, errors=found[:50])


def _pointer(place: "tuple[str | int, ...] | list[str]") -> str:
    return pointer(["body", *(part for part in place if part not in UNION_TAGS)])
