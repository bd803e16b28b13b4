"""Sensor `late_data`: rows that arrived after their day was ingested.

By the source's update time where it has one, else by counting the last days' rows again. Their days are
ingested again by a run of the newest decided night, which brings itself up to date on the way; older
nights are marked as stale by the ingestion.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.assets.transactions import READ, READ_AT
from marketing_assets.orchestration.jobs import NIGHTLY
from marketing_assets.orchestration.platform import Platform
from marketing_assets.orchestration.schedules import night_request
from marketing_assets.orchestration.sensing import (
    RUN_KEY_TAG,
    described,
    run_under_way,
    run_with,
    watching,
)
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import TRANSACTIONS

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NAME = "late_data"
_EVERY_SECONDS = 3600
_COUNTED_DAYS = 7
_MOST_DAYS = 31
_CLOCKS_DIFFER = timedelta(minutes=5)
"""Clocks differ and transactions take time: a change so shortly before the reading may be late too."""


@dataclass(frozen=True)
class Late:
    """A day that the source has other rows of than were ingested; `evidence` in words."""

    day: date
    evidence: str


@dataclass(frozen=True)
class _Look:
    """What a look found: late days, in words how it was looked for, and where the next look begins.

    `future` are days with rows whose update time has not come yet; they are not late until it has.
    """

    late: list[Late]
    how: str
    cursor: str | None
    future: int = 0

    @property
    def ignored(self) -> str:
        """Of the days with such rows, in words; empty where there is none."""
        if not self.future:
            return ""
        days = "1 day" if self.future == 1 else f"{self.future} days"
        return f"Ignored: rows of {days} whose update time lies in the future."


@dataclass(frozen=True)
class _Reading:
    """When a day was read, by the source's clock, and how many rows it had then; None where unknown."""

    at: datetime
    rows: int | None


def build(settings: Settings, jobs: "Sequence[UnresolvedAssetJobDefinition]") -> dg.SensorDefinition:
    """The sensor, on by default."""

    @dg.sensor(
        name=NAME,
        job=next(job for job in jobs if job.name == NIGHTLY),
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Rows that arrived after their day was ingested, looked for once an hour: their days are "
        "ingested again, the newest night is brought up to date, older nights are marked as stale.",
    )
    def late_data(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with watching(settings, NAME) as platform:
            busy = run_under_way(context.instance, platform)
            if busy is not None:
                return dg.SkipReason(f"{described(busy)} is under way; looked again in an hour.")
            newest, ingested = _newest_night(platform), platform.lake.days(TRANSACTIONS)
            if newest is None or not ingested:
                return dg.SkipReason("No night was decided yet, so nothing can be late for one.")
            found = _look(platform, context.instance, ingested, context.cursor)
        if found.cursor is not None:
            context.update_cursor(found.cursor)
        if found.future:
            context.log.warning(found.ignored)
        if not found.late:
            return dg.SkipReason(f"No row is late: {found.how}. {found.ignored}".strip())
        return _request(settings, context.instance, newest, found)

    return late_data


def _newest_night(platform: Platform) -> date | None:
    from marketing_assets.storage.repositories import nights

    with platform.database.connect() as connection:
        return nights.newest_decided(connection)


def _look(
    platform: Platform, instance: dg.DagsterInstance, ingested: Sequence[date], cursor: str | None
) -> _Look:
    engine, source = platform.engine, platform.source
    looked_at = source.now()
    recent = ingested[-_COUNTED_DAYS:]
    if cursor:
        since = datetime.fromisoformat(cursor)
    else:
        readings = [_reading(platform, instance, day) for day in recent]
        since = min((each.at for each in readings if each), default=looked_at) - _CLOCKS_DIFFER
    changed = source.changed_days(engine, ingested[0], ingested[-1], platform.zone, since)
    if changed is None:
        return _Look(
            _recounted(platform, instance, recent),
            f"{recent[0]} to {recent[-1]} have as many rows in the source as when they were read",
            None,
        )
    held = set(ingested)
    late = [
        Late(each.day, f"{each.rows:,} rows changed up to {each.changed_at:%Y-%m-%d %H:%M:%S} UTC")
        for each in changed
        if each.day in held
        and each.changed_at is not None
        and (reading := _reading(platform, instance, each.day)) is not None
        and each.changed_at > reading.at - _CLOCKS_DIFFER
    ]
    # Only where nothing is late does the next look begin later: what a failed run left is found again.
    begins = since if late else looked_at - _CLOCKS_DIFFER
    return _Look(
        late[-_MOST_DAYS:],
        f"none of an ingested day changed after it was read (looked from {since:%Y-%m-%d %H:%M} UTC on)",
        begins.isoformat(),
        sum(each.future > 0 for each in changed if each.day in held),
    )


def _recounted(platform: Platform, instance: dg.DagsterInstance, days: Sequence[date]) -> list[Late]:
    counted = platform.source.counted_days(platform.engine, days[0], days[-1], platform.zone)
    now = {each.day: each.rows for each in counted}
    late = []
    for day in days:
        reading = _reading(platform, instance, day)
        if reading is None or reading.rows is None:
            continue
        if now.get(day, 0) != reading.rows:
            late.append(Late(day, f"{now.get(day, 0):,} rows instead of {reading.rows:,}"))
    return late


def _reading(platform: Platform, instance: dg.DagsterInstance, day: date) -> _Reading | None:
    """From the metadata of the day's newest ingestion; where there is none, when its file was written.

    None where the clean-up has removed the day meanwhile.
    """
    key = dg.AssetKey(TRANSACTIONS.name)
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day.isoformat()])
    records = instance.fetch_materializations(wanted, limit=1).records
    materialization = records[0].asset_materialization if records else None
    if materialization is None:
        try:
            written = platform.lake.path(TRANSACTIONS, day).stat().st_mtime
        except FileNotFoundError:
            return None
        return _Reading(datetime.fromtimestamp(written, UTC), None)
    rows, read_at = materialization.metadata.get(READ), materialization.metadata.get(READ_AT)
    seconds = read_at.value if isinstance(read_at, dg.TimestampMetadataValue) else records[0].timestamp
    return _Reading(
        datetime.fromtimestamp(seconds, UTC), rows.value if isinstance(rows, dg.IntMetadataValue) else None
    )


def _request(
    settings: Settings, instance: dg.DagsterInstance, newest: date, found: _Look
) -> dg.RunRequest | dg.SkipReason:
    evidence = "; ".join(f"{late.day}: {late.evidence}" for late in found.late)
    run_key = f"{newest}/{hashlib.sha256(evidence.encode()).hexdigest()[:12]}"
    tried = run_with(instance, {RUN_KEY_TAG: run_key})
    if tried is not None:
        return dg.SkipReason(
            f"{evidence}. {described(tried)} was to ingest these days: see its error; the next night tries "
            "again, or launch ingest_range for them."
        )
    return night_request(
        settings, newest, run_key=run_key, trigger=NAME, late=[late.day for late in found.late]
    )
