"""The kinds of requests: what each may ask for, which run does it, and what it comes to.

How requests become runs is in `requests.py`, which knows none of these by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Protocol

import dagster as dg

from marketing_assets.domain.days import day_of
from marketing_assets.errors import RequestError
from marketing_assets.orchestration import target_job
from marketing_assets.orchestration.jobs import ERASURE, EXPORT, NIGHTLY
from marketing_assets.orchestration.partitions import also_ingest
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    SEGMENT_SUMMARY,
    TRANSACTIONS,
    USER_PATTERNS,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


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
