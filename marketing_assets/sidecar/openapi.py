"""The sidecar's description of itself: what FastAPI derives from the routes, and what all calls share."""

from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from marketing_assets.sidecar.problems import documented

PREFIX = "/api/marketing"

DESCRIPTION = (
    "What the mobile app reads (offers, segments), what it reports (views, clicks, conversions), and what "
    "the people of marketing see and change. The user is the token's subject, never a parameter. Money is a "
    "decimal string, instants are ISO 8601 in UTC, errors are RFC 9457 problems."
)
COMMON = documented(401, 403, 429, 500, 503)
"""What every call under the prefix can answer."""

_BODY = {str(status): told for status, told in documented(400, 408, 413).items()}
"""What every call with a body can answer."""

_LIMIT = {
    "RateLimit": {
        "description": "calls left, and seconds until there are more",
        "schema": {"type": "string", "examples": ['"caller";r=599;t=42']},
    },
    "RateLimit-Policy": {
        "description": "calls that one caller may make, and in how many seconds",
        "schema": {"type": "string", "examples": ['"caller";q=600;w=60']},
    },
}
_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}


def install(app: FastAPI) -> None:
    """Let the app describe itself exactly."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = schema.setdefault("components", {})
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _complete(operation, under_prefix=path.startswith(PREFIX))
    return schema


def _complete(operation: dict[str, Any], *, under_prefix: bool) -> None:
    if not under_prefix:
        return
    operation["security"] = [{"token": []}]
    takes_input = "requestBody" in operation or "parameters" in operation
    if "requestBody" in operation:
        for status, told in _BODY.items():
            described = {name: value for name, value in told.items() if name != "model"}
            operation["responses"].setdefault(status, deepcopy(described))
    for status, answer in operation["responses"].items():
        if status == "422" and not takes_input:
            continue
        answer.setdefault("headers", {}).update(_LIMIT)
        if status in ("429", "503"):
            answer["headers"].update(_RETRY)
        content = answer.get("content", {})
        if int(status) >= 400:  # noqa: PLR2004 - where errors begin
            problem = {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
            answer["content"] = {"application/problem+json": content.get("application/problem+json", problem)}
