"""Ingestion against a slow obvious reference, in any order of days, with a changing source, and killed."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.datasets import REJECTED_TRANSACTIONS, TRANSACTIONS
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import MemorySource, SourceRow, held, ingest_days, kept_ids, row

ZONE = ZoneInfo("Europe/Paris")
DAYS = [date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)]  # the second has 23 hours

TIMES = {
    None: None,
    "": None,
    "soon": None,
    "2026-02-30": None,
    "2026-03-27T22:59:59Z": datetime(2026, 3, 27, 22, 59, 59, tzinfo=UTC),
    "2026-03-27T23:00:00Z": datetime(2026, 3, 27, 23, tzinfo=UTC),
    "2026-03-28": datetime(2026, 3, 27, 23, tzinfo=UTC),
    "2026-03-28 23:59:59.999999": datetime(2026, 3, 28, 22, 59, 59, 999999, tzinfo=UTC),
    "2026-03-29 00:00": datetime(2026, 3, 28, 23, tzinfo=UTC),
    "2026-03-29 02:30:00": datetime(2026, 3, 29, 1, 30, tzinfo=UTC),  # skipped by the clock
    "2026-03-29T23:59:59+02:00": datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC),
    "2026-03-30 00:00:00": datetime(2026, 3, 29, 22, tzinfo=UTC),
    "2026-03-30T15:00:00-0500": datetime(2026, 3, 30, 20, tzinfo=UTC),
    "2026-03-30T22:00:00Z": datetime(2026, 3, 30, 22, tzinfo=UTC),
}
AMOUNTS = {
    "5": "5.00",
    "10.004": "10.00",
    "10.005": "10.01",
    "-10.005": "-10.01",
    "9.00": "9.00",
    "9": "9.00",
    "1e6": "1000000.00",
    "0.004999999999999999999999": "0.00",
    "1000000.001": "amount_out_of_range",
    "1e99": "amount_out_of_range",
    "nan": "amount_not_finite",
    "-Inf": "amount_not_finite",
    "ten": "amount_not_a_number",
    "": "amount_not_a_number",
    None: "amount_not_a_number",
}

Kept = tuple[str, str, datetime, str, str, datetime | None]
Rejected = tuple[str, SourceRow]


@pytest.fixture(scope="module")
def one_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine(memory_limit="512MiB", threads=2, temp_directory=tmp_path_factory.mktemp("spill"))
    yield engine
    engine.close()


def _reason(source_row: SourceRow) -> str | None:
    transaction_id, user, time, amount = source_row[:4]
    if not transaction_id:
        return "missing_transaction_id"
    if not user:
        return "missing_user_id"
    if not time:
        return "missing_time"
    if TIMES[time] is None:
        return "unreadable_time"
    return AMOUNTS[amount] if AMOUNTS[amount][-1] not in "0123456789" else None


def _highest(kept: Kept) -> tuple[datetime, list[bytes]]:
    transaction_id, user, occurred_at, amount, merchant, updated_at = kept
    text = [transaction_id, user, occurred_at.isoformat(), amount, merchant]
    return updated_at or datetime.min.replace(tzinfo=UTC), [part.encode() for part in text]


def reference(
    rows: Sequence[SourceRow], *, updates: bool
) -> tuple[dict[date, set[Kept]], dict[date | None, Counter[Rejected]]]:
    """What the lake holds once every day of DAYS is ingested; rejected rows of no day under None, once."""
    candidates: dict[str, dict[Kept, SourceRow]] = {}
    rejected: dict[date | None, Counter[Rejected]] = {day: Counter() for day in [*DAYS, None]}
    for source_row in rows:
        occurred_at, updated_at = TIMES[source_row[2]], TIMES[source_row[7]]
        placed_at = occurred_at or (updated_at if updates else None)
        day = placed_at.astimezone(ZONE).date() if placed_at else None
        reason = _reason(source_row)
        if day is None:
            rejected[None][str(reason), source_row] = 1
        elif day not in DAYS:
            continue
        elif reason is not None:
            rejected[day][reason, source_row] += 1
        else:
            assert occurred_at is not None
            kept = (
                str(source_row[0]), str(source_row[1]), occurred_at, AMOUNTS[source_row[3]],
                source_row[4] or "", updated_at,
            )  # fmt: skip
            copies = candidates.setdefault(kept[0], {})
            copies[kept] = min(copies.get(kept, source_row), source_row, key=_raw_order)
    transactions: dict[date, set[Kept]] = {day: set() for day in DAYS}
    for copies in candidates.values():
        best = max(copies, key=_highest)
        for kept, source_row in copies.items():
            day = kept[2].astimezone(ZONE).date()
            if kept == best:
                transactions[day].add(kept)
            else:
                rejected[day]["superseded", source_row] += 1
    return transactions, rejected


def _raw_order(source_row: SourceRow) -> list[tuple[bool, bytes]]:
    return [(text is None, (text or "").encode()) for text in (*source_row[2:], *source_row[:2])]


def _state(
    engine: DuckDBEngine, lake: Lake
) -> tuple[dict[date, set[Kept]], dict[date | None, Counter[Rejected]]]:
    transactions: dict[date, set[Kept]] = {day: set() for day in DAYS}
    for kept in held(engine, lake, TRANSACTIONS, DAYS):
        texts = {name: str(value or "") for name, value in kept.items()}
        transactions[date.fromisoformat(texts["day"])].add(
            (
                texts["transaction_id"],
                texts["user_id"],
                datetime.fromisoformat(texts["occurred_at"]),
                texts["amount"],
                texts["merchant"],
                datetime.fromisoformat(texts["updated_at"]) if texts["updated_at"] else None,
            )
        )
    rejected: dict[date | None, Counter[Rejected]] = {day: Counter() for day in [*DAYS, None]}
    for one in held(engine, lake, REJECTED_TRANSACTIONS, DAYS):
        raw = tuple(
            None if one[name] is None else str(one[name]) for name in REJECTED_TRANSACTIONS.column_names[2:]
        )
        rejected[date.fromisoformat(str(one["day"]))][str(one["reason"]), raw] += 1
    return transactions, rejected


def _agree(engine: DuckDBEngine, lake: Lake, rows: Sequence[SourceRow], *, updates: bool) -> None:
    transactions, rejected = _state(engine, lake)
    wanted_transactions, wanted_rejected = reference(rows, updates=updates)
    assert transactions == wanted_transactions
    for undated in wanted_rejected.pop(None):
        holding = [day for day in DAYS if rejected[day][undated]]
        assert len(holding) == 1, "a row without a day is held by one day"
        rejected[holding[0]].subtract([undated])
    for day, wanted in wanted_rejected.items():
        assert +rejected[day] == +wanted


SOURCE_ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["a", "a", "b", "c", "ü", "", None]),
        st.sampled_from(list(TIMES)),
        st.sampled_from(list(AMOUNTS)) | st.just("5"),
        user=st.sampled_from(["ann", "ann", "bob", "", None]),
        merchant=st.sampled_from([None, "", "m", "n"]),
        updated_at=st.sampled_from(list(TIMES)) | st.none(),
    ),
    min_size=8,
    max_size=40,
)


def _check_agreement(
    engine: DuckDBEngine,
    first: list[SourceRow],
    second: list[SourceRow],
    orders: tuple[list[date], list[date]],
    *,
    updates: bool,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        lake, source = Lake(Path(directory)), MemorySource(first, has_update_time=updates, zone=ZONE)
        for day in orders[0]:
            ingested = ingest_days(engine, lake, source, day, zone=ZONE.key)
            for done in ingested.values():
                assert done.read == done.kept + done.duplicates + done.superseded + done.rejected
                assert done.kept == done.transactions.rows
                assert sum(done.by_reason.values()) == done.rejected_transactions.rows
        _agree(engine, lake, first, updates=updates)
        source.rows = second
        for day in orders[1]:
            ingest_days(engine, lake, source, day, zone=ZONE.key)
            ids = [kept["transaction_id"] for kept in held(engine, lake, TRANSACTIONS, DAYS)]
            assert len(ids) == len(set(ids))
        transactions, _ = _state(engine, lake)
        assert transactions == reference(second, updates=updates)[0]


ORDERS = st.tuples(st.permutations(DAYS), st.permutations(DAYS))


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate]
)
@given(first=SOURCE_ROWS, second=SOURCE_ROWS, orders=ORDERS, updates=st.booleans())
def test_days_in_any_order_agree_with_the_reference_also_after_the_source_changed(
    one_engine: DuckDBEngine,
    first: list[SourceRow],
    second: list[SourceRow],
    orders: tuple[list[date], list[date]],
    updates: bool,
) -> None:
    _check_agreement(one_engine, first, second, orders, updates=updates)


@pytest.mark.verify
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate]
)
@given(first=SOURCE_ROWS, second=SOURCE_ROWS, orders=ORDERS, updates=st.booleans())
def test_many_sources_agree_with_the_reference(
    one_engine: DuckDBEngine,
    first: list[SourceRow],
    second: list[SourceRow],
    orders: tuple[list[date], list[date]],
    updates: bool,
) -> None:
    _check_agreement(one_engine, first, second, orders, updates=updates)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.decimals(min_value="-1000000", max_value="1000000", allow_nan=False, places=6)
        | st.decimals(min_value="-1000000", max_value="1000000", allow_nan=False, places=2)
        | st.integers(-1_000_000, 1_000_000).map(lambda thousandth: Decimal(thousandth) / 1000),
        min_size=1,
        max_size=60,
    )
)
def test_amounts_are_rounded_half_away_from_zero(one_engine: DuckDBEngine, amounts: list[Decimal]) -> None:
    rows = [row(f"{place:03}", "2026-03-28", format(amount, "f")) for place, amount in enumerate(amounts)]
    with tempfile.TemporaryDirectory() as directory:
        lake = Lake(Path(directory))
        ingest_days(one_engine, lake, MemorySource(rows), DAYS[0])
        kept = {
            str(one["transaction_id"]): Decimal(str(one["amount"]))
            for one in held(one_engine, lake, TRANSACTIONS, DAYS[:1])
        }
    assert kept == {
        f"{place:03}": amount.quantize(Decimal("0.01"), ROUND_HALF_UP) for place, amount in enumerate(amounts)
    }


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


class DyingLake(Lake):
    """Dies before the write number `survives` + 1 becomes visible."""

    survives = 1_000

    def _die(self) -> None:
        if self.survives == 0:
            raise Killed
        self.survives -= 1

    def __init__(self, root: Path) -> None:
        super().__init__(root, guard=self._die)


@pytest.mark.parametrize("survives", [1, *range(3, 8)])  # writes: 3 rejected, 2 without movers, 3 whole
def test_killed_while_ids_change_days_no_id_is_ever_on_two_days_and_the_next_run_mends_it(
    one_engine: DuckDBEngine, tmp_path: Path, survives: int
) -> None:
    gains, loses = 0, 2
    before = [
        row("moves", f"{DAYS[loses]}T12:00:00Z"),
        row("crosses", f"{DAYS[gains]}T12:00:00Z"),
        row("stays", f"{DAYS[gains]}T13:00:00Z"),
    ]
    after = [
        row("moves", f"{DAYS[gains]}T12:00:00Z"),
        row("crosses", f"{DAYS[loses]}T12:00:00Z"),
        before[2],
    ]
    lake, source = DyingLake(tmp_path / "lake"), MemorySource(before)
    ingest_days(one_engine, lake, source, *DAYS)
    source.rows, lake.survives = after, survives
    try:
        ingest_days(one_engine, lake, source, *DAYS)
    except Killed:
        ids = kept_ids(one_engine, lake, *DAYS)
        assert len(ids) == len(set(ids))
    lake.survives = 1_000
    ingest_days(one_engine, lake, source, DAYS[1])  # another day: the interrupted ones are read again with it
    if (tmp_path / "lake" / ".moving").exists():
        pytest.fail("the note of interrupted days stays behind")
    everything = ingest_days(one_engine, lake, source, DAYS[gains])
    assert kept_ids(one_engine, lake, *DAYS) == ["crosses", "moves", "stays"]
    assert kept_ids(one_engine, lake, DAYS[loses]) == ["crosses"]
    assert everything[DAYS[gains]].kept == 2


def test_local_times_of_the_day_that_has_25_hours(one_engine: DuckDBEngine, tmp_path: Path) -> None:
    autumn = date(2026, 10, 25)
    lake = Lake(tmp_path / "lake")
    source = MemorySource(
        [
            row("before", "2026-10-24 23:59:59"),
            row("first", "2026-10-25 00:00:00"),
            row("twice", "2026-10-25 02:30:00"),
            row("last", "2026-10-25 23:59:59"),
            row("after", "2026-10-26"),
        ],
        zone=ZONE,
    )
    ingest_days(one_engine, lake, source, autumn, zone=ZONE.key)
    at = {
        str(one["transaction_id"]): one["occurred_at"]
        for one in held(one_engine, lake, TRANSACTIONS, [autumn])
    }
    assert at == {
        "first": "2026-10-24 22:00:00+00",
        "twice": "2026-10-25 00:30:00+00",
        "last": "2026-10-25 22:59:59+00",
    }
    assert autumn + timedelta(days=1) not in lake.days(TRANSACTIONS)
