"""Requests: rows that the app or a person inserts become runs, and learn what came of them.

The dispatcher knows no kind of request; each kind says what it needs to be run. What a look at the open
rows does follows from the rows and from Dagster's record of runs alone, and a run is asked for under a key
made of the request's id: a daemon that dies in between forgets nothing and starts nothing twice.
"""

import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.errors import MarketingError, RequestError
from marketing_assets.orchestration.failures import failure_of_run
from marketing_assets.orchestration.platform import Platform, prepare_once
from marketing_assets.orchestration.request_kinds import KINDS, Kind, Work
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from marketing_assets.orchestration.jobs import AnyJob
    from marketing_assets.storage.repositories.requests import Request

REQUEST_TAG = "marketing/request"
"""Tag of a run: the request that it was first started for."""

_LOG = logging.getLogger(__name__)
_ROWS_AT_ONCE = 200
_RUNS_AT_ONCE = 10
_RUNS_LOOKED_AT = 10
_NEVER_LAUNCHED = dg.DagsterRunStatus.NOT_STARTED


def build_requests_sensor(
    settings: Settings, jobs: "Sequence[AnyJob]", kinds: Sequence[Kind] = KINDS
) -> dg.SensorDefinition:
    """The sensor `requests`: looks at the open rows at every turn of the daemon's loop (five seconds)."""
    startable = {name for kind in kinds for name in kind.jobs}

    @dg.sensor(
        name="requests",
        jobs=[job for job in jobs if job.name in startable],
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts what rows of `requests` ask for, once for all that ask for the same, and writes "
        "back how far it is, what it came to, or why it failed.",
    )
    def requests_sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        platform = Platform(settings, "marketing_assets sensor requests")
        try:
            looked_at, wanted = Dispatcher(platform, context.instance, kinds).look()
        finally:
            platform.close()
        if not wanted:
            yield dg.SkipReason(f"{looked_at} open requests, nothing to start")
        yield from wanted

    return requests_sensor


class Dispatcher:
    """One look at the open requests."""

    def __init__(self, platform: Platform, instance: dg.DagsterInstance, kinds: Sequence[Kind]) -> None:
        self._platform = platform
        self._instance = instance
        self._kinds = {kind.name: kind for kind in kinds}
        self._wanted: dict[tuple[str, str], dg.RunRequest] = {}

    def look(self) -> tuple[int, list[dg.RunRequest]]:
        """Write down how the open requests stand; how many there were, and the runs to start for them."""
        from marketing_assets.storage.repositories import requests

        prepare_once(self._platform.urls)
        with self._platform.database.begin() as connection:
            rows = requests.unfinished(connection, _ROWS_AT_ONCE)
            for request in rows:
                try:
                    with connection.begin_nested():
                        self._advance(connection, request)
                except MarketingError as error:
                    requests.fail(connection, request.request_id, error.message, error.remedy)
                except Exception as error:
                    if _database_lost(error):
                        raise  # no row is at fault, and the next look sees them all again
                    place = "".join(traceback.format_tb(error.__traceback__))
                    _LOG.error("request %s: %s\n%s", request.request_id, type(error).__name__, place)
                    requests.fail(
                        connection,
                        request.request_id,
                        f"an error that nobody foresaw: {type(error).__name__}",
                        "find where it happened in the log of Dagster's code server or daemon, mend that, "
                        "then ask again",
                    )
        return len(rows), list(self._wanted.values())

    def _advance(self, connection: "Connection", request: "Request") -> None:
        """Take one request as far as it can go now."""
        from marketing_assets.storage.repositories import requests

        kind = self._kind(request)
        payload = self._payload(connection, request, kind)
        work = kind.work(payload)
        run = self._run_for(request, work)
        if run is not None and run.is_success and kind.ends_itself:
            if not requests.is_open(connection, request.request_id):
                return  # ended since the rows were read
            run = None
        if run is None:
            self._want(request, kind, payload)
        elif self._is_done(connection, request, run):
            result = kind.result(self._instance, connection, payload)
            requests.succeed(connection, request.request_id, run.run_id, result)

    def _kind(self, request: "Request") -> Kind:
        kind = self._kinds.get(request.kind)
        if kind is None:
            raise RequestError(
                f"nobody knows requests of the kind {request.kind[:50]!r}",
                remedy=f"ask for one of: {', '.join(sorted(self._kinds))}",
            )
        return kind

    def _payload(self, connection: "Connection", request: "Request", kind: Kind) -> Mapping[str, object]:
        """The payload as it was understood when the request was first looked at."""
        from marketing_assets.storage.repositories import requests

        given = request.payload
        if not isinstance(given, dict):
            raise RequestError("its payload is not a JSON object", remedy="ask with a payload such as {}")
        if request.run_id is not None:
            return given
        understood = kind.understand(self._platform, given)
        if understood != given:
            requests.note_payload(connection, request.request_id, understood)
        return understood

    def _run_for(self, request: "Request", work: Work) -> dg.DagsterRun | None:
        """The newest run that does the work for this request; of a run that is tried again, the last try.

        It is the request's own, or one that was launched and is not over (the request joins it), or one that
        began after the request was made. A run that lives in the process of a command is not joined: if
        that is killed, nobody would end it.
        """
        wanted = dg.RunsFilter(job_name=work.job, tags=work.identity)
        for record in self._instance.get_run_records(wanted, limit=_RUNS_LOOKED_AT):
            run = record.dagster_run
            own = run.run_id == request.run_id or run.tags.get(REQUEST_TAG) == str(request.request_id)
            if run.status is _NEVER_LAUNCHED:
                continue  # asked for again under the same key, it is launched
            if run.is_finished:
                if own or record.create_timestamp >= request.requested_at:
                    return run
            elif own or (
                run.remote_job_origin is not None and run.status is not dg.DagsterRunStatus.CANCELING
            ):
                return run
        return None

    def _is_done(self, connection: "Connection", request: "Request", run: dg.DagsterRun) -> bool:
        """Whether the run ended well; where it did not end yet, or not well, the row says so."""
        from marketing_assets.storage.repositories import requests

        if run.is_success:
            return True
        if run.is_finished and not run.is_complete_and_waiting_to_retry:
            error, remedy = self._reason(run)
            requests.fail(connection, request.request_id, error, remedy, run.run_id)
            return False
        waits = run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)
        status = "queued" if waits and request.status == "queued" else "running"
        if (run.run_id, status) != (request.run_id, request.status):
            requests.note_run(connection, request.request_id, run.run_id, status)
        return False

    def _reason(self, run: dg.DagsterRun) -> tuple[str, str]:
        if run.status is dg.DagsterRunStatus.CANCELED:
            return "its run was cancelled", "ask again"
        failure = failure_of_run(self._instance, run.run_id).without_data()
        place = "" if failure.step is None else f"{failure.step}: "
        return f"{place}{failure.error}", failure.remedy or "see the run in the UI"

    def _want(self, request: "Request", kind: Kind, payload: Mapping[str, object]) -> None:
        """Ask for a run, unless another request does in this very look, or there are enough."""
        work = kind.work(payload)
        place = (work.job, str(sorted(work.identity.items())))
        if place in self._wanted or len(self._wanted) >= _RUNS_AT_ONCE:
            return
        self._wanted[place] = dg.RunRequest(
            run_key=f"{request.kind}-{request.request_id}",
            job_name=work.job,
            partition_key=work.partition,
            tags={
                **kind.also(self._platform, payload),
                **work.tags,
                REQUEST_TAG: str(request.request_id),
                "trigger": "request",
                "source": self._platform.settings.source,
            },
        )


def _database_lost(error: Exception) -> bool:
    """Whether one of the two databases went away."""
    from dagster_postgres.utils import DagsterPostgresException

    from marketing_assets.storage.database import is_transient

    return isinstance(error, DagsterPostgresException) or is_transient(error)
