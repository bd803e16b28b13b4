"""Analytics: how campaigns did, for the people of marketing."""

import re
from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from marketing_assets.sidecar.answers import ETAG, NOT_MODIFIED, answer
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.openapi import COMMON, PREFIX
from marketing_assets.sidecar.problems import FieldError, Problem, documented
from marketing_assets.sidecar.schemas import Analytics
from marketing_assets.sidecar.security import AdminCaller
from marketing_assets.storage.repositories import dashboards

router = APIRouter(prefix=PREFIX, tags=["analytics"], responses=COMMON)

_LONGEST_DAYS = 400
_DEFAULT_DAYS = 30


def _written_as_day(value: object) -> object:
    """Pydantic would also take seconds since 1970, or an instant."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise PydanticCustomError("day", "should be a day such as 2026-11-22")
    return value


Day = Annotated[date, BeforeValidator(_written_as_day, json_schema_input_type=date)]


@router.get(
    "/analytics",
    response_model=Analytics,
    responses={200: {"headers": ETAG}, **NOT_MODIFIED, **documented(410, 422)},
)
def read_analytics(
    request: Request,
    _: AdminCaller,
    first: Annotated[
        Day | None, Query(alias="from", description="first day; default: 30 days with `to`")
    ] = None,
    last: Annotated[Day | None, Query(alias="to", description="last day; default: today")] = None,
) -> Response:
    """How the campaigns did that were open in a range of business days, 400 of them at most."""
    context: Context = request.app.state.context
    today = dashboards.today(context.engine, context.zone)
    last = last or (today if first is None or first <= today else first)
    first = first or max(date.min, last - timedelta(days=min(_DEFAULT_DAYS - 1, last.toordinal() - 1)))
    if not 0 <= (last - first).days < _LONGEST_DAYS:
        detail = f"from {first} to {last} are not 1 to {_LONGEST_DAYS} days"
        raise Problem(422, detail, errors=[FieldError(pointer="/query/from", detail=detail)])
    return answer(request, dashboards.analytics(context.engine, first, last, context.zone))
