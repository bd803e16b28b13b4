"""The application: `create_app` puts routes, errors, the edge and the OpenAPI together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from marketing_assets import __version__
from marketing_assets.settings import Settings, load_settings
from marketing_assets.sidecar import openapi, problems
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.edge import Edge
from marketing_assets.sidecar.routes import (
    analytics,
    campaigns,
    campaigns_admin,
    events,
    health,
    me,
    requests,
    segments,
)

_HEADERS = ["Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "X-Request-ID"]
_EXPOSED = ["ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-ID"]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The sidecar for these settings (those of the environment).

    Raises:
        SettingsError: a setting is wrong, or a key is missing.
        PolicyError: the policy file is wrong.
    """
    context = Context(settings or load_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await context.close()

    app = FastAPI(
        title="marketing_assets",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        # Metrics and logs are the edge's; looking for a tracer in the environment is not free either.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.context = context
    problems.install(app)
    for module in (campaigns, events, segments, campaigns_admin, analytics, requests, me, health):
        # As they are: a router that is included costs every call a look at it.
        app.router.routes.extend(module.router.routes)
    app.add_middleware(Edge, context=context)
    origins = context.settings.cors_origins
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_HEADERS,
            expose_headers=_EXPOSED,
            max_age=600,
        )
    openapi.install(app)
    return app
