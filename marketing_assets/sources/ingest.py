"""Gets days of a source into the lake: types, judges, resolves ids across days, writes both partitions.

The rules stand in SEMANTICS, "Transactions"; the row-wise work in `sql/ingest_*.sql`. What is here is the
order of things: everything is read and judged before anything is written, and at no moment, a killed
process included, does the lake count an id twice.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo

from sqlglot import exp

from marketing_assets.domain.days import ONE_DAY, days_between, end_of, start_of
from marketing_assets.domain.identity import pads
from marketing_assets.engine.base import Engine, Schema, Value, sql
from marketing_assets.errors import LakeError, RejectedShareError
from marketing_assets.sources.base import Source
from marketing_assets.storage.datasets import REJECTED_TRANSACTIONS, TRANSACTIONS, Dataset
from marketing_assets.storage.lake import Lake, Written

_LONGEST_SPAN = 10
_ROWS_AT_ONCE = 2_000_000
_ZONE_YEARS = range(1970, 2100)
_ERASED = "select day from read_rows where user_id in (select user_id from erased_ids)"
_NOT_ERASED = (
    "select * from read_rows where user_id is null or user_id not in (select user_id from erased_ids)"
)
DAY_EDGES: Schema = (
    ("utc_date", "date"),
    ("day", "date"),
    ("start_at", "timestamp with time zone"),
    ("end_at", "timestamp with time zone"),
)
"""Columns of the relation `ingest_days`."""


@dataclass(frozen=True)
class IngestedDay:
    """What became of one day's source rows: read = kept + duplicates + superseded + rejected + erased.

    `undated` rows (no readable time, no update time) are listed with the day but belong to none, and are
    not in `read`. `by_reason` counts the rows of the rejected partition: rejected, superseded and undated.
    `erased` rows are of erased users and kept nowhere.
    `requested` is False for another day that was read again because an id moved. `read_at` is when the
    reading began, by the source's clock: what is changed there later is late.
    """

    day: date
    read: int
    kept: int
    duplicates: int
    superseded: int
    rejected: int
    undated: int
    erased: int
    by_reason: dict[str, int]
    spend: Decimal
    users: int
    transactions: Written
    rejected_transactions: Written
    requested: bool
    read_at: datetime


@dataclass
class _Tally:
    outcomes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    share_reasons: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: str, reason: str | None, rows: int) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + rows
        if reason is not None:
            self.reasons[reason] = self.reasons.get(reason, 0) + rows
        if reason is not None and outcome == "rejected":
            self.share_reasons[reason] = self.share_reasons.get(reason, 0) + rows

    def count(self, outcome: str) -> int:
        return self.outcomes.get(outcome, 0)

    @property
    def read(self) -> int:
        outcomes = ("kept", "duplicate", "superseded", "rejected", "erased")
        return sum(self.count(outcome) for outcome in outcomes)


@dataclass(frozen=True)
class UserIds:
    """What ids are replaced with, and whose rows are not kept.

    `register_erased` names as `erased_users` the hashes of erased users, and gives the key that they were
    made with; None where nobody was erased. It is asked before each span: in between others may write.
    """

    pseudonym_key: bytes | None = None
    register_erased: Callable[[], bytes | None] = lambda: None


@dataclass(frozen=True)
class _Job:
    engine: Engine
    lake: Lake
    source: Source
    zone: ZoneInfo
    max_rejected: Decimal
    replacing: Callable[[date], None]
    users: UserIds


def ingest(  # noqa: PLR0913, PLR0917 - what it works on, then what it works with
    engine: Engine,
    lake: Lake,
    source: Source,
    days: Sequence[date],
    zone: ZoneInfo,
    max_rejected: Decimal,
    progress: Callable[[str], None],
    replacing: Callable[[date], None] = lambda _: None,
    users: UserIds = UserIds(),
) -> list[IngestedDay]:
    """Replace the partitions of `days` by what the source says now; returns every day written, ascending.

    Days that share an id with them are read and written again too. `progress` hears of every span: up to
    ten days, as many as keep it to about two million rows (the first day goes alone, to learn how many a
    day has). Of a single day it hears nothing. `replacing` hears of each day whose transactions are about to
    be replaced by other ones.

    Raises:
        SourceError: the source cannot be read; the span's partitions are as they were.
        RejectedShareError: more than `max_rejected` of a day's rows were rejected. No transactions of the
            span changed; the rejected rows of the failing days can be read in their partitions.
        LakeError: a partition cannot be written.
    """
    job = _Job(engine, lake, source, zone, max_rejected, replacing, users)
    ordered = sorted(set(days))
    ingested: dict[date, IngestedDay] = {}
    with registered_offsets(engine, source.zone):
        remaining, longest = ordered, 1
        while remaining:
            span, remaining = remaining[:longest], remaining[longest:]
            written = _ingest_span(job, span, frozenset(ordered))
            busiest = max(day.read for day in written)
            longest = max(1, min(_LONGEST_SPAN, _ROWS_AT_ONCE // max(1, busiest)))
            ingested.update((day.day, day) for day in written)
            if len(ordered) > 1:
                progress(
                    f"transactions {span[0]} to {span[-1]}: {sum(day.kept for day in written):,} kept, "
                    f"{sum(sum(day.by_reason.values()) for day in written):,} rejected"
                )
    return [ingested[day] for day in sorted(ingested)]


def _ingest_span(job: _Job, span: list[date], requested: frozenset[date]) -> list[IngestedDay]:
    try:
        read_at = job.source.now()
        others = _read_span(job, span)
        involved = [*others, *span]
        _resolve(job, span[0])
        tallies = _tallies(job, involved)
        _judge(job, span, tallies)
        rejected = {
            day: _write(job, REJECTED_TRANSACTIONS, "ingest_rejected", day, "day_rejected")
            for day in involved
        }
        with _moves_made_safe(job, involved):
            return [
                _write_day(job, day, tallies[day], rejected[day], requested=day in requested, read_at=read_at)
                for day in involved
            ]
    finally:
        job.engine.drop(
            "source_rows", "ingest_days", "ingest_rows", "contested_ids", "contested_rows", "undated_rows",
            "own_transactions", "own_rejected", "other_transactions", "other_rejected", "lake_rejected",
            "ingest_moved", "day_transactions", "day_rejected", "read_rows", "erased_users", "erased_ids",
            "erased_rows",
        )  # fmt: skip


def _read_span(job: _Job, span: list[date]) -> list[date]:
    """Read the span, and every other day that shares an id with what was read; returns the others."""
    others: set[date] = set()
    job.engine.register_rows("erased_rows", [("day", "date")], [])
    erasure_key = job.users.register_erased()
    _read(job, span, erasure_key, first=True)
    found = _interrupted_days(job.lake).difference(span) or _days_sharing_ids(job, set(span))
    while found:
        others |= found
        _read(job, sorted(found), erasure_key, first=False)
        found = _days_sharing_ids(job, others.union(span))
    return sorted(others)


def _read(job: _Job, days: list[date], erasure_key: bytes | None, *, first: bool) -> None:
    """Add the rows of `days` to `ingest_rows`; the first reading also brings rows that lie on no day."""
    inner, outer = (None, None) if job.users.pseudonym_key is None else pads(job.users.pseudonym_key)
    for run in _runs(days):
        job.source.load(job.engine, "source_rows", start_of(run[0], job.zone), end_of(run[-1], job.zone))
        job.engine.register_rows(
            "ingest_days",
            DAY_EDGES,
            [edge for day in run for edge in day_edges(day, job.zone)],
        )
        parameters: dict[str, Value] = {
            "earliest": run[0] - ONE_DAY,
            "latest": run[-1] + ONE_DAY,
            "by_update_time": job.source.has_update_time,
            "with_undated": first,
            "pseudonym_inner": inner,
            "pseudonym_outer": outer,
        }
        add = job.engine.create if first else job.engine.append
        if erasure_key is None:
            add("ingest_rows", sql("ingest_rows"), parameters)
        else:
            job.engine.create("read_rows", sql("ingest_rows"), parameters)
            _set_erased_apart(job.engine, erasure_key)
            add("ingest_rows", _NOT_ERASED)
        first = False


def _set_erased_apart(engine: Engine, erasure_key: bytes) -> None:
    """Name as `erased_ids` the ids in `read_rows` that are of erased users, and count their rows."""
    inner, outer = pads(erasure_key)
    engine.create("erased_ids", sql("erased_ids"), {"erasure_inner": inner, "erasure_outer": outer})
    engine.append("erased_rows", _ERASED)


def day_edges(day: date, zone: ZoneInfo) -> Iterator[tuple[date, date, datetime, datetime]]:
    """The rows of `ingest_days` for one day, in the order of its columns."""
    start_at, end_at = start_of(day, zone), end_of(day, zone)
    for utc_date in days_between(start_at.date(), (end_at - timedelta.resolution).date()):
        yield utc_date, day, start_at, end_at


def _runs(days: list[date]) -> Iterator[list[date]]:
    """Cut ascending days where one is missing."""
    run: list[date] = []
    for day in days:
        if run and day != run[-1] + ONE_DAY:
            yield run
            run = []
        run.append(day)
    if run:
        yield run


def _days_sharing_ids(job: _Job, known: set[date]) -> set[date]:
    """Days of the lake, other than `known`, that hold an id which was read or which `known` days hold."""
    found = {
        dataset.name: (
            [day for day in job.lake.days(dataset) if day in known],
            [day for day in job.lake.days(dataset) if day not in known],
        )
        for dataset in (TRANSACTIONS, REJECTED_TRANSACTIONS)
    }
    if not any(others for _, others in found.values()):
        return set()
    for dataset, suffix in ((TRANSACTIONS, "transactions"), (REJECTED_TRANSACTIONS, "rejected")):
        own, others = found[dataset.name]
        job.lake.register(job.engine, f"own_{suffix}", dataset, own)
        job.lake.register(job.engine, f"other_{suffix}", dataset, others)
    return {cast(date, row["day"]) for row in job.engine.fetch(sql("ingest_other_days"))}


def _resolve(job: _Job, first_day: date) -> None:
    engine = job.engine
    engine.create("contested_ids", sql("ingest_contested_ids"))
    engine.create("contested_rows", sql("ingest_contested"))
    undated = exp.select("1").from_("ingest_rows").where("day is null").limit(1)
    held = job.lake.days(REJECTED_TRANSACTIONS) if engine.fetch(undated) else []
    job.lake.register(engine, "lake_rejected", REJECTED_TRANSACTIONS, held)
    engine.create("undated_rows", sql("ingest_undated"), {"first_day": first_day})


def _tallies(job: _Job, days: list[date]) -> dict[date, _Tally]:
    tallies = {day: _Tally() for day in days}
    for row in job.engine.fetch(sql("ingest_counts")):
        tally = tallies.get(cast(date, row["day"]))
        if tally is not None:
            tally.add(str(row["outcome"]), cast("str | None", row["reason"]), cast(int, row["row_count"]))
    return tallies


def _judge(job: _Job, span: list[date], tallies: dict[date, _Tally]) -> None:
    failing = [
        day
        for day, tally in sorted(tallies.items())
        if tally.count("rejected") > job.max_rejected * tally.read
    ]
    if not failing:
        return
    for day in failing:
        _write(job, REJECTED_TRANSACTIONS, "ingest_rejected", day, "day_rejected")
    first, tally = failing[0], tallies[failing[0]]
    reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(tally.share_reasons.items()))
    also = f" (and {len(failing) - 1} more days)" if len(failing) > 1 else ""
    asked = "" if first in span else ", read again because an id moved,"
    raise RejectedShareError(
        f"{first}{also}{asked}: {tally.count('rejected'):,} of {tally.read:,} source rows are not "
        f"acceptable, more than the share of {job.max_rejected} that is allowed: {reasons}",
        remedy=f"list them in {job.lake.path(REJECTED_TRANSACTIONS, first)}, correct the source "
        "or raise MARKETING_MAX_REJECTED, and run the day again; its transactions are as they were",
        day=first,
        share=tally.count("rejected") / tally.read,
    )


def _write(job: _Job, dataset: Dataset, statement: str, day: date, relation: str) -> Written:
    job.engine.create(relation, sql(statement), {"day": day})
    return job.lake.write(job.engine, dataset, day, relation, replacing=_replacing(job, dataset, day))


def _replacing(job: _Job, dataset: Dataset, day: date) -> Callable[[], None]:
    if dataset is not TRANSACTIONS:
        return lambda: None
    return lambda: job.replacing(day)


def _write_day(
    job: _Job, day: date, tally: _Tally, rejected: Written, *, requested: bool, read_at: datetime
) -> IngestedDay:
    transactions = _write(job, TRANSACTIONS, "ingest_transactions", day, "day_transactions")
    totals = job.engine.fetch(sql("ingest_totals"))[0]
    return IngestedDay(
        day=day,
        read=tally.read,
        kept=tally.count("kept"),
        duplicates=tally.count("duplicate"),
        superseded=tally.count("superseded"),
        rejected=tally.count("rejected"),
        undated=tally.count("undated"),
        erased=tally.count("erased"),
        by_reason=dict(sorted(tally.reasons.items())),
        spend=cast(Decimal, totals["spend"]),
        users=cast(int, totals["users"]),
        transactions=transactions,
        rejected_transactions=rejected,
        requested=requested,
        read_at=read_at,
    )


@contextmanager
def _moves_made_safe(job: _Job, involved: list[date]) -> Iterator[None]:
    """Take ids that move between days away from their old day before any day gains one.

    Between the two an id is on no day; the days are noted in the lake, so that the next ingestion reads
    them again if this one is killed.
    """
    existing = [day for day in job.lake.days(TRANSACTIONS) if day in involved]
    losing: set[date] = set()
    if existing and len(involved) > 1:
        job.lake.register(job.engine, "own_transactions", TRANSACTIONS, existing)
        job.engine.create("ingest_moved", sql("ingest_moved"))
        rows = job.engine.fetch(exp.select("from_day").from_("ingest_moved").distinct())
        losing = {cast(date, row["from_day"]) for row in rows}
    if not losing:
        yield
        _forget_interruption(job.lake)
        return
    _note_interruptible(job.lake, involved)
    moved = exp.select("transaction_id").from_("ingest_moved")
    for day in sorted(losing):
        job.engine.create("day_transactions", sql("ingest_transactions"), {"day": day})
        staying = exp.column("transaction_id").isin(query=moved).not_()
        replacing = _replacing(job, TRANSACTIONS, day)
        job.lake.write(job.engine, TRANSACTIONS, day, "day_transactions", staying, replacing)
    yield
    _forget_interruption(job.lake)


def _interrupted_days(lake: Lake) -> set[date]:
    try:
        noted = (lake.root / ".moving").read_text(encoding="ascii")
    except FileNotFoundError:
        return set()
    return {date.fromisoformat(line) for line in noted.split()}


def _note_interruptible(lake: Lake, days: list[date]) -> None:
    temporary, note = lake.scratch / f"moving-{os.getpid()}", lake.root / ".moving"
    try:
        with temporary.open("w", encoding="ascii") as stream:
            stream.write("\n".join(day.isoformat() for day in days))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, note)
    except OSError as error:
        raise LakeError(
            f"the lake cannot be written at {note}: {error.strerror or error}",
            remedy="make the directory writable and free space on its disk, then run the day again",
        ) from error


def _forget_interruption(lake: Lake) -> None:
    (lake.root / ".moving").unlink(missing_ok=True)


@contextmanager
def registered_offsets(engine: Engine, zone: ZoneInfo) -> Iterator[None]:
    """What `ingest_rows.sql` must know of the zone, as the relation `zone_offsets`, for the block."""
    schema = [
        ("calendar_year", "integer"),
        ("local_from", "timestamp with time zone"),
        ("local_until", "timestamp with time zone"),
        ("offset_seconds", "integer"),
    ]
    engine.register_rows("zone_offsets", schema, _zone_offsets(zone))
    try:
        yield
    finally:
        engine.drop("zone_offsets")


@lru_cache(maxsize=4)
def _zone_offsets(zone: ZoneInfo) -> list[tuple[Value, ...]]:
    """Year by year, from when until when by its own clock the zone is how many seconds ahead of UTC.

    A local time that comes twice means the first of both, one that the clock skips the offset before it.
    Outside these years, and in UTC, there are no rows: the offset is 0.
    """
    periods: list[tuple[Value, ...]] = []
    if zone.key == "UTC":
        return periods
    for year in _ZONE_YEARS:
        since, end = datetime(year, 1, 1), datetime(year + 1, 1, 1)
        for change in [*_offset_changes(since, end, zone), end]:
            ahead = int(_offset(since, zone).total_seconds())
            if ahead:
                periods.append((year, since.replace(tzinfo=UTC), change.replace(tzinfo=UTC), ahead))
            since = change
    return periods


def _offset_changes(since: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    while since < end:
        until = min(since + ONE_DAY, end)
        if _offset(since, zone) != _offset(until, zone):
            low, high = since, until
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                low, high = (middle, high) if _offset(middle, zone) == _offset(since, zone) else (low, middle)
            if high < end:
                yield high
        since = until


def _offset(local: datetime, zone: ZoneInfo) -> timedelta:
    return local.replace(tzinfo=zone).utcoffset() or timedelta()
