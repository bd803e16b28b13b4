"""Requests: rows that the app or a person inserts become runs, and learn what came of them.

The dispatcher knows no kind of request; each kind says what it needs to be run. What a look at the open
rows does follows from the rows and from Dagster's record of runs alone, and a run is asked for under a key
made of the request's id: a daemon that dies in between forgets nothing and starts nothing twice.
"""

import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Protocol

import dagster as dg

from marketing_assets.domain.days import day_of
from marketing_assets.errors import MarketingError, RequestError
from marketing_assets.orchestration import target_job
from marketing_assets.orchestration.failures import failure_of_run
from marketing_assets.orchestration.jobs import ERASURE, EXPORT, NIGHTLY
from marketing_assets.orchestration.partitions import also_ingest
from marketing_assets.orchestration.platform import Platform, prepare_once
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    SEGMENT_SUMMARY,
    TRANSACTIONS,
    USER_PATTERNS,
)

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


@dataclass(frozen=True)
class Work:
    """A run that a request needs. Runs of this job with these tags (and partition) do the same work."""

    job: str
    tags: Mapping[str, str] = field(default_factory=dict)
    partition: str | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The tags that every run of this work has."""
        partition = {} if self.partition is None else {"dagster/partition": self.partition}
        return {**self.tags, **partition}


class Kind(Protocol):
    """One kind of request: what it may ask for, what must be run for it, and what it comes to."""

    name: str
    jobs: Sequence[str]
    """Names of the jobs that it starts."""
    ends_itself: bool
    """Whether the job writes the end of the requests that it did, with the work itself, in one transaction.

    What a run has left open when it succeeded came too late for it, and gets another run.
    """

    def understand(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, object]:
        """The payload with nothing left to guess; given its own answer, it gives the same again.

        Raises:
            RequestError: the payload makes no sense.
        """

    def work(self, payload: Mapping[str, object]) -> Work:
        """The run that does what is asked."""

    def also(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, str]:
        """More tags of a run that is to be started now, which say nothing about what work it does."""

    def result(
        self, instance: dg.DagsterInstance, connection: "Connection", payload: Mapping[str, object]
    ) -> Mapping[str, object]:
        """What it came to, for the row; never a user id."""


class Analysis:
    """`analysis`: the night of a day, as the schedule would run it. Payload: `{"day": "2026-11-21"}` or `{}`.

    Without a day it is the one before the day on which the request is first looked at.
    """

    name: str = "analysis"
    jobs: Sequence[str] = (NIGHTLY,)
    ends_itself: bool = False

    def understand(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, object]:
        """The payload with its day.

        Raises:
            RequestError: the day is none, is not over yet or lies before the lake's first day.
        """
        yesterday = day_of(platform.now(), platform.zone) - timedelta(days=1)
        unknown = sorted(set(payload) - {"day"})
        if unknown:
            raise _wrong(f"an analysis has no {', '.join(unknown)[:100]}")
        given = payload.get("day", yesterday.isoformat())
        try:
            day = date.fromisoformat(given) if isinstance(given, str) else None
        except ValueError:
            day = None
        if day is None or day.isoformat() != given:
            raise _wrong(f"{str(given)[:50]!r} is not a day")
        first = platform.record.start_date
        if day > yesterday:
            raise _wrong(f"the business day {day} is not over yet in {platform.zone.key}", newest=yesterday)
        if day < first:
            raise _wrong(f"{day} lies before the lake's first day, {first}", newest=yesterday)
        return {"day": day.isoformat()}

    def work(self, payload: Mapping[str, object]) -> Work:
        """The night."""
        return Work(NIGHTLY, partition=str(payload["day"]))

    def also(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, str]:
        """The days of the night's window that were never ingested: the night's run does that first."""
        day = date.fromisoformat(str(payload["day"]))
        return also_ingest(platform.lake.missing(TRANSACTIONS, platform.window(day)[:-1]))

    def result(
        self, instance: dg.DagsterInstance, connection: "Connection", payload: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Users analysed and of each pattern, campaigns opened, users targeted; zeros where not decided."""
        from marketing_assets.storage.repositories import nights

        day = date.fromisoformat(str(payload["day"]))
        night = nights.night(connection, day)
        segments = _figures(instance, SEGMENT_SUMMARY.name, day)
        return {
            "day": day.isoformat(),
            "night": "not recorded" if night is None else night.status,
            "reason": None if night is None else night.reason,
            "users": _figures(instance, USER_PATTERNS.name, day).get("users", 0),
            "patterns": {
                name.removeprefix("users/"): users
                for name, users in segments.items()
                if name.startswith("users/")
            },
            "campaigns_opened": _figures(instance, CAMPAIGNS.name, day).get("opened", 0),
            "users_targeted": _figures(instance, CAMPAIGN_TARGETS.name, day).get("users", 0),
        }


@dataclass
class OfSubject:
    """`export` and `erasure`: what is held about whoever asks, known by the request's pseudonym; no payload.

    One run of the job does all that are open when it begins.
    """

    name: str
    jobs: Sequence[str]
    ends_itself: bool = True

    def understand(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, object]:
        """Nothing.

        Raises:
            RequestError: something is given.
        """
        if payload:
            raise RequestError(
                f"an {self.name} has no {', '.join(sorted(payload))[:100]}",
                remedy="ask with the payload {}; it is about whoever asks",
            )
        return payload

    def work(self, payload: Mapping[str, object]) -> Work:
        """One run for all."""
        return Work(self.jobs[0])

    def also(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, str]:
        """No more tags."""
        return {}

    def result(
        self, instance: dg.DagsterInstance, connection: "Connection", payload: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Never asked for: the job writes it."""
        raise AssertionError(self.name)


class TargetCampaign:
    """`target_campaign`: one campaign made by hand gets its targets at once, not only with the night.

    Payload: `{"campaign_id": "manual-spring-sale-2026-11-21"}`.
    """

    name: str = "target_campaign"
    jobs: Sequence[str] = (target_job.NAME,)
    ends_itself: bool = False

    def understand(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, object]:
        """The same payload.

        Raises:
            RequestError: there is no such campaign, or it cannot be given targets now.
        """
        campaign_id = payload.get("campaign_id")
        if set(payload) != {"campaign_id"} or not isinstance(campaign_id, str):
            raise RequestError(
                "it has to say which campaign, and nothing else",
                remedy='ask with a payload such as {"campaign_id": "manual-spring-sale-2026-11-21"}',
            )
        with platform.database.connect() as connection:
            target_job.campaign_for_now(connection, campaign_id, platform.now(), platform.zone)
        return payload

    def work(self, payload: Mapping[str, object]) -> Work:
        """The run for this campaign."""
        return Work(target_job.NAME, {target_job.CAMPAIGN_TAG: str(payload["campaign_id"])})

    def also(self, platform: Platform, payload: Mapping[str, object]) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def result(
        self, instance: dg.DagsterInstance, connection: "Connection", payload: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Users targeted and held out of those assigned on the day, and the refused by reason."""
        return {**payload, **target_job.figures_of(instance, str(payload["campaign_id"]))}


KINDS: tuple[Kind, ...] = (
    Analysis(),
    TargetCampaign(),
    OfSubject("export", (EXPORT,)),
    OfSubject("erasure", (ERASURE,)),
)
"""Every kind of request there is."""


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
            raise _wrong("its payload is not a JSON object")
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


def _figures(instance: dg.DagsterInstance, asset: str, day: date) -> dict[str, int]:
    """The whole numbers that the asset's partition of `day` shows; empty where it was never made."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[day.isoformat()])
    for record in instance.fetch_materializations(wanted, limit=1).records:
        made = record.asset_materialization
        if made is not None:
            values = {name: each.value for name, each in made.metadata.items()}
            return {name: value for name, value in values.items() if isinstance(value, int)}
    return {}


def _wrong(message: str, newest: date | None = None) -> RequestError:
    remedy = 'ask with the payload {"day": "2026-11-21"}, or {} for yesterday'
    return RequestError(message, remedy=remedy if newest is None else f"{remedy} ({newest})")
