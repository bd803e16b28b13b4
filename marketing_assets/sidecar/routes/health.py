"""Whether the process is alive and can do its work, and what Prometheus reads."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from marketing_assets.domain.identity import fingerprint
from marketing_assets.sidecar.context import Context
from marketing_assets.sidecar.metrics import CONTENT_TYPE
from marketing_assets.sidecar.problems import documented, unavailable
from marketing_assets.sidecar.schemas import Alive, Readiness
from marketing_assets.storage.keys import erasure_key
from marketing_assets.storage.migrations import REVISION
from marketing_assets.storage.repositories.erasures import OTHER_KEY

router = APIRouter(tags=["operation"])

_SCHEMA = "select version_num from marketing.alembic_version"


@router.get("/healthz")
async def alive() -> Alive:
    """The process is alive; it may still wait for its database."""
    return Alive()


@router.get("/readyz", responses=documented(503))
async def ready(request: Request) -> Readiness:
    """The database is there and has the schema that this version works with, and knows this erasure key."""
    context: Context = request.app.state.context
    revision = await context.database.value(_SCHEMA, {})
    if revision != REVISION:
        raise unavailable(f"the database has schema {revision}, this version needs {REVISION}")
    own = fingerprint(erasure_key(context.settings))
    if await context.database.value(OTHER_KEY, {"own": own}) is not None:
        raise unavailable(
            "MARKETING_ERASURE_KEY is not the key that erased users are known by; set it to that one again"
        )
    return Readiness(schema_revision=str(revision))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """What Prometheus reads; for the inside of the network alone."""
    context: Context = request.app.state.context
    return Response(context.metrics.text(), headers={"Content-Type": CONTENT_TYPE})
