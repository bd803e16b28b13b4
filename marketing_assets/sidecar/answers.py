"""Answers to reads: their JSON and ETag, and 304 for whoever has them already."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request, Response

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {
        "description": "It is what `If-None-Match` says the caller has",
        "headers": {"ETag": {"schema": {"type": "string"}}},
    }
}
ETAG: dict[str, Any] = {
    "ETag": {
        "description": "of this answer, for `If-None-Match`",
        "schema": {"type": "string", "examples": ['"1f0c7ab2"']},
    }
}
_LONGEST = 4_096


def answer(request: Request, body: Mapping[str, object] | str, prefix: str = "") -> Response:
    """200 with `body` (a string is JSON already), or 304 where the caller has it; `prefix` is of the ETag."""
    content = body.encode() if isinstance(body, str) else orjson.dumps(body)
    etag = f'"{prefix}{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    known = request.headers.get("if-none-match")
    if known is not None and _matches(known, etag):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(content, media_type="application/json", headers={"ETag": etag})


def _matches(known: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: any of the listed, compared weakly; longer lists than anyone needs match nothing."""
    if known.strip() == "*":
        return True
    listed = known[:_LONGEST].split(",")
    return any(each.strip().removeprefix("W/") == etag for each in listed)
