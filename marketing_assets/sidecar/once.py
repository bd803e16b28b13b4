"""Calls that change something: each in one transaction, under the caller's pseudonym, once for each key."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema
from sqlalchemy import Connection

from marketing_assets.domain.campaigns import canonical_json
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.problems import Problem
from marketing_assets.sidecar.security import Caller
from marketing_assets.storage.database import brief
from marketing_assets.storage.repositories import idempotency, subjects
from marketing_assets.storage.repositories.idempotency import Answered

IdempotencyKey = Annotated[
    str | SkipJsonSchema[None],
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="made by the caller: a call with the key of an earlier one is not done again, "
        "and gets the same answer",
        examples=["5b0a3c1e-2f6d-4f0e-9a57-0c8f6f2f7f10"],
    ),
]


@dataclass(frozen=True)
class Call:
    """One call: what it is, by whom, and what it asks. `key` None: it is done each time."""

    name: str
    caller: Caller
    asked: BaseModel
    key: str | None = None

    @property
    def body_hash(self) -> str:
        """Of everything that makes it another call."""
        body = self.asked.model_dump(mode="json", exclude_unset=True)
        return hashlib.sha256(canonical_json({"call": self.name, "body": body}).encode()).hexdigest()


@dataclass(frozen=True)
class Done:
    """The answer of a call that did its work."""

    status: int
    content: dict[str, Any]
    location: str | None = field(default=None)

    def response(self) -> JSONResponse:
        """As it goes out, byte for byte alike each time; with the revision as ETag, where it tells one."""
        headers = {} if self.location is None else {"Location": self.location}
        if "revision" in self.content:
            headers["ETag"] = f'"{self.content["revision"]}"'
        return JSONResponse(dict(sorted(self.content.items())), self.status, headers)


def once(context: Context, call: Call, work: Callable[[Connection, str], Done]) -> JSONResponse:
    """Do the work in a transaction, given the caller's pseudonym, unless a call with the same key did.

    Raises:
        Problem: 422, the key was sent with another call or another body.
    """
    with brief(context.engine) as connection:
        author = subjects.pseudonym(connection, call.caller.user_id)
        if call.key is None:
            return work(connection, author).response()
        known = idempotency.claim(connection, author, call.key, call.body_hash)
        if known is None:
            done = work(connection, author)
            answered = Answered(call.body_hash, done.status, done.content, done.location)
            idempotency.settle(connection, author, call.key, answered)
            return done.response()
    if known.body_hash != call.body_hash:
        raise Problem(
            422,
            "this Idempotency-Key was sent with another request; make a new one for each",
            kind="idempotency-key-reused",
        )
    return Done(known.status, dict(known.answer), known.location).response()
