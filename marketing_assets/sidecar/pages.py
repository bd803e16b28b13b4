"""Which page of a list is asked for: read from the query at a fraction of what declared parameters cost.

The lists are what the app asks for most, always with the same few queries, so what one means is remembered.
"""

from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from marketing_assets.sidecar.schemas import Status

_LONGEST_REMEMBERED = 400
_CURSOR = r"^([0-9]{1,17}~[A-Za-z0-9_-]{0,200})?$"


class Page(BaseModel):
    """A page of campaigns; a cursor is the place after which it begins: a number, `~` and an id."""

    model_config = ConfigDict(frozen=True)

    status: Status | None = Field(None, description="of campaigns; offers of a user are always active")
    limit: int = Field(20, ge=1, le=100, description="at most so many")
    cursor: str | None = Field(
        None, pattern=_CURSOR, description="`next_cursor` of the page before, or nothing"
    )

    @property
    def after(self) -> tuple[int, str] | None:
        """The place after which the page begins; None: the first page."""
        if not self.cursor:
            return None
        number, _, name = self.cursor.partition("~")
        return int(number), name


def page(query: bytes) -> Page:
    """The page that a query string asks for; of what is given twice, the last counts.

    Raises:
        RequestValidationError: it makes no sense.
    """
    return _remembered(query) if len(query) <= _LONGEST_REMEMBERED else _page(query)


def _page(query: bytes) -> Page:
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    try:
        return Page.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**each, "loc": ("query", *each["loc"])} for each in found]) from None


_remembered = lru_cache(maxsize=4_096)(_page)


def parameters() -> dict[str, Any]:
    """`openapi_extra` of a route that reads a page."""
    properties = Page.model_json_schema()["properties"]
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": schema.pop("description"),
                "schema": {key: value for key, value in _present(schema).items() if key != "title"},
            }
            for name, schema in properties.items()
        ]
    }


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that is there: one cannot be given as null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if not kinds:
        return schema
    return {**{key: value for key, value in schema.items() if key not in ("anyOf", "default")}, **kinds[0]}
