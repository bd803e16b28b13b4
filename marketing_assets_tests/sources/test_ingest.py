"""What becomes of each source row: kept, counted, or rejected; and ids that change their day."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from marketing_assets.engine.base import Engine
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import RejectedShareError, SourceError
from marketing_assets.sources.ingest import IngestedDay
from marketing_assets.storage.datasets import REJECTED_TRANSACTIONS, TRANSACTIONS
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import (
    MemorySource,
    SourceRow,
    held,
    ingest_days,
    kept_ids,
    reasons,
    row,
)

DAY = date(2026, 3, 2)
NEXT = DAY + timedelta(days=1)
NOON = "2026-03-02T12:00:00+00:00"
NEXT_NOON = "2026-03-03T12:00:00+00:00"

Ingest = Callable[..., dict[date, IngestedDay]]


def one_day(engine: Engine, lake: Lake, *rows: SourceRow, updates: bool = False) -> IngestedDay:
    return ingest_days(engine, lake, MemorySource(list(rows), has_update_time=updates), DAY)[DAY]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(None, NOON), "missing_transaction_id"),
        (row("", NOON), "missing_transaction_id"),
        (row("x" * 10_000, NOON), "long_transaction_id"),
        (row("é" * 201, NOON), "long_transaction_id"),
        (row("a\0b", NOON), "nul_in_transaction_id"),
        (row("t1", NOON, user=None), "missing_user_id"),
        (row("t1", NOON, user=""), "missing_user_id"),
        (row("t1", NOON, user="u" * 201), "long_user_id"),
        (row("t1", NOON, user="a\0"), "nul_in_user_id"),
        (row("t1", NOON, None), "amount_not_a_number"),
        (row("t1", NOON, "ten"), "amount_not_a_number"),
        (row("t1", NOON, ""), "amount_not_a_number"),
        (row("t1", NOON, "0x10"), "amount_not_a_number"),
        (row("t1", NOON, "NaN"), "amount_not_finite"),
        (row("t1", NOON, "-Infinity"), "amount_not_finite"),
        (row("t1", NOON, "inf"), "amount_not_finite"),
        (row("t1", NOON, "1000000.01"), "amount_out_of_range"),
        (row("t1", NOON, "-1000000.0001"), "amount_out_of_range"),
        (row("t1", NOON, "1e300"), "amount_out_of_range"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(
    engine: DuckDBEngine, lake: Lake, bad: SourceRow, reason: str
) -> None:
    day = one_day(engine, lake, bad, row("good", NOON))
    assert (day.read, day.kept, day.rejected, day.by_reason) == (2, 1, 1, {reason: 1})
    assert kept_ids(engine, lake, DAY) == ["good"]
    (rejected,) = held(engine, lake, REJECTED_TRANSACTIONS, [DAY])
    assert rejected["reason"] == reason
    assert (rejected["transaction_id"], rejected["user_id"], rejected["amount"]) == (bad[0], bad[1], bad[3])


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        ("1.005", "1.01"),
        ("-1.005", "-1.01"),
        ("0.004999999999999999999999", "0.00"),
        ("1000000", "1000000.00"),
        ("-1000000", "-1000000.00"),
        ("1e3", "1000.00"),
        ("0", "0.00"),
        (" 12.5 ", "12.50"),
    ],
)
def test_amounts_are_exact_and_rounded_half_up(
    engine: DuckDBEngine, lake: Lake, amount: str, kept: str
) -> None:
    day = one_day(engine, lake, row("t1", NOON, amount))
    (transaction,) = held(engine, lake, TRANSACTIONS, [DAY])
    assert transaction["amount"] == kept
    assert day.spend == Decimal(kept)


def test_unicode_ids_of_200_characters_and_odd_ones_are_kept_as_they_are(
    engine: DuckDBEngine, lake: Lake
) -> None:
    ids = ["é" * 200, "日本", " spaced ", "quote'\"", "line\nbreak", "ﬁ", "fi", "A", "a"]
    day = one_day(engine, lake, *(row(name, NOON, user=name) for name in ids))
    assert day.kept == len(ids)
    assert {t["user_id"] for t in held(engine, lake, TRANSACTIONS, [DAY])} == set(ids)


def test_empty_places_become_null_and_nul_characters_are_replaced(engine: DuckDBEngine, lake: Lake) -> None:
    one_day(engine, lake, row("t1", NOON, location="", category="a\0b", merchant="m"))
    (transaction,) = held(engine, lake, TRANSACTIONS, [DAY])
    assert (transaction["location"], transaction["category"], transaction["merchant"]) == (None, "a�b", "m")


def test_identical_duplicates_are_counted_once_and_not_rejected(engine: DuckDBEngine, lake: Lake) -> None:
    same = [row("t1", NOON, "10"), row("t1", NOON, "10.00"), row("t1", "2026-03-02 13:00:00+01:00", "10.0")]
    day = one_day(engine, lake, *same)
    assert (day.read, day.kept, day.duplicates, day.rejected, day.superseded) == (3, 1, 2, 0, 0)


def test_of_conflicting_rows_the_last_update_is_kept(engine: DuckDBEngine, lake: Lake) -> None:
    day = one_day(
        engine,
        lake,
        row("t1", NOON, "9.00", updated_at="2026-03-02T12:05:00Z"),
        row("t1", NOON, "5.00", updated_at="2026-03-02T12:06:00Z"),
        row("t1", NOON, "7.00"),
        updates=True,
    )
    (kept,) = held(engine, lake, TRANSACTIONS, [DAY])
    assert kept["amount"] == "5.00"
    assert (day.superseded, day.rejected, day.by_reason) == (2, 0, {"superseded": 2})


def test_without_update_times_the_highest_row_as_text_is_kept(engine: DuckDBEngine, lake: Lake) -> None:
    one_day(engine, lake, row("t1", NOON, "10.00"), row("t1", NOON, "9.00"), row("t1", NOON, "10.00"))
    (kept,) = held(engine, lake, TRANSACTIONS, [DAY])
    assert kept["amount"] == "9.00"


def test_refunds_and_zero_amounts_are_kept(engine: DuckDBEngine, lake: Lake) -> None:
    day = one_day(engine, lake, row("t1", NOON, "-5.00"), row("t2", NOON, "0"))
    assert (day.kept, day.spend) == (2, Decimal("-5.00"))


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (None, "missing_time"),
        ("", "missing_time"),
        ("yesterday", "unreadable_time"),
        ("2026-02-30T12:00:00Z", "unreadable_time"),
        ("infinity", "unreadable_time"),
    ],
)
def test_rows_without_a_time_are_kept_out_once_and_outside_the_share(
    engine: DuckDBEngine, lake: Lake, time: str | None, reason: str
) -> None:
    source = MemorySource([row("t1", NOON), row("t2", time), row("t2", time)])
    first = ingest_days(engine, lake, source, DAY, max_rejected="0")[DAY]
    assert (first.read, first.kept, first.rejected, first.undated) == (1, 1, 0, 1)
    assert reasons(engine, lake, DAY) == {"t2": reason}
    ingest_days(engine, lake, source, NEXT, max_rejected="0")
    assert reasons(engine, lake, NEXT) == {}
    ingest_days(engine, lake, source, DAY, max_rejected="0")
    assert reasons(engine, lake, DAY) == {"t2": reason}


def test_a_row_without_a_time_lies_on_the_day_of_its_update(engine: DuckDBEngine, lake: Lake) -> None:
    source = MemorySource([row("t1", None, updated_at=NEXT_NOON)], has_update_time=True)
    days = ingest_days(engine, lake, source, DAY, NEXT)
    assert (days[DAY].read, days[NEXT].read, days[NEXT].rejected) == (0, 1, 1)
    assert reasons(engine, lake, NEXT) == {"t1": "missing_time"}


def test_more_rejected_than_allowed_leaves_the_transactions_and_lists_the_rows(
    engine: DuckDBEngine, lake: Lake
) -> None:
    one_day(engine, lake, row("t1", NOON))
    before = lake.path(TRANSACTIONS, DAY).read_bytes()
    source = MemorySource(
        [row(f"t{n}", NOON) for n in range(8)] + [row("x", NOON, "ten"), row("y", NOON, "nan")]
    )
    with pytest.raises(RejectedShareError) as caught:
        ingest_days(engine, lake, source, DAY, NEXT, max_rejected="0.1")
    assert "2026-03-02: 2 of 10 source rows" in caught.value.message
    assert "amount_not_a_number 1, amount_not_finite 1" in caught.value.message
    assert str(lake.path(REJECTED_TRANSACTIONS, DAY)) in caught.value.remedy
    assert lake.path(TRANSACTIONS, DAY).read_bytes() == before
    assert not lake.path(TRANSACTIONS, NEXT).exists()
    assert reasons(engine, lake, DAY) == {"x": "amount_not_a_number", "y": "amount_not_finite"}
    assert ingest_days(engine, lake, source, DAY, max_rejected="0.2")[DAY].kept == 8


def test_an_empty_source_gives_empty_partitions(engine: DuckDBEngine, lake: Lake) -> None:
    day = one_day(engine, lake)
    assert (day.read, day.kept, day.transactions.rows, day.spend) == (0, 0, 0, Decimal(0))
    assert lake.days(TRANSACTIONS) == lake.days(REJECTED_TRANSACTIONS) == [DAY]


def test_a_rerun_writes_the_same_bytes_in_whatever_order_rows_come(engine: DuckDBEngine, lake: Lake) -> None:
    rows = [row(f"t{n}", NOON, str(n), user=f"u{n % 7}", location=f"s{n % 3}") for n in range(500)]
    rows += [row("t1", NOON, "77"), row("bad", NOON, "ten"), row("t2", NOON, "2")]
    first = one_day(engine, lake, *rows)
    again = one_day(engine, lake, *reversed(rows))
    assert (again.transactions, again.rejected_transactions) == (
        first.transactions,
        first.rejected_transactions,
    )


def test_days_of_23_and_25_hours_hold_their_own_rows(engine: DuckDBEngine, lake: Lake) -> None:
    spring, autumn = date(2026, 3, 29), date(2026, 10, 25)
    source = MemorySource(
        [
            row("before spring", "2026-03-28T22:59:59Z"),
            row("spring first", "2026-03-28T23:00:00Z"),
            row("spring last", "2026-03-29T21:59:59Z"),
            row("after spring", "2026-03-29T22:00:00Z"),
            row("autumn first", "2026-10-24T22:00:00Z"),
            row("autumn last", "2026-10-25T22:59:59Z"),
            row("after autumn", "2026-10-25T23:00:00Z"),
        ]
    )
    ingest_days(engine, lake, source, spring, autumn, zone="Europe/Paris")
    assert kept_ids(engine, lake, spring) == ["spring first", "spring last"]
    assert kept_ids(engine, lake, autumn) == ["autumn first", "autumn last"]


class Vanishing(MemorySource):
    """A source that is lost while it is read."""

    def load(self, engine: Engine, relation: str, start_at: datetime, end_at: datetime) -> None:
        super().load(engine, relation, start_at, end_at)
        raise SourceError("memory source: lost", remedy="try again")


def test_a_source_lost_while_it_is_read_leaves_everything(engine: DuckDBEngine, lake: Lake) -> None:
    one_day(engine, lake, row("t1", NOON))
    before = lake.path(TRANSACTIONS, DAY).read_bytes()
    with pytest.raises(SourceError):
        ingest_days(engine, lake, Vanishing([row("t2", NOON)]), DAY)
    assert lake.path(TRANSACTIONS, DAY).read_bytes() == before


@pytest.mark.parametrize(("old", "new"), [(DAY, NEXT), (NEXT, DAY)])
def test_an_id_that_moves_to_another_day_is_taken_from_the_old_one(
    engine: DuckDBEngine, lake: Lake, old: date, new: date
) -> None:
    source = MemorySource([row("t1", f"{old}T12:00:00Z"), row("stays", f"{old}T13:00:00Z")])
    ingest_days(engine, lake, source, DAY, NEXT)
    source.rows[0] = row("t1", f"{new}T12:00:00Z")
    days = ingest_days(engine, lake, source, new)
    assert {day: done.requested for day, done in days.items()} == {new: True, old: False}
    assert kept_ids(engine, lake, old) == ["stays"]
    assert kept_ids(engine, lake, new) == ["t1"]


@pytest.mark.parametrize("rerun", [DAY, NEXT])
def test_an_id_on_two_days_is_kept_where_it_was_updated_last_whichever_day_runs_again(
    engine: DuckDBEngine, lake: Lake, rerun: date
) -> None:
    source = MemorySource(
        [
            row("t1", NOON, "5.00", updated_at="2026-03-04T00:00:00Z"),
            row("t1", NEXT_NOON, "6.00", updated_at="2026-03-03T00:00:00Z"),
        ],
        has_update_time=True,
    )
    ingest_days(engine, lake, source, DAY)
    ingest_days(engine, lake, source, NEXT)
    before = [held(engine, lake, each, [DAY, NEXT]) for each in (TRANSACTIONS, REJECTED_TRANSACTIONS)]
    assert kept_ids(engine, lake, DAY) == ["t1"]
    assert kept_ids(engine, lake, NEXT) == []
    assert reasons(engine, lake, NEXT) == {"t1": "superseded"}
    ingest_days(engine, lake, source, rerun)
    assert [held(engine, lake, each, [DAY, NEXT]) for each in (TRANSACTIONS, REJECTED_TRANSACTIONS)] == before


def test_a_superseded_row_comes_back_when_the_kept_one_is_gone(engine: DuckDBEngine, lake: Lake) -> None:
    winner = row("t1", NOON, updated_at="2026-03-04T00:00:00Z")
    loser = row("t1", NEXT_NOON, updated_at="2026-03-03T00:00:00Z")
    source = MemorySource([winner, loser], has_update_time=True)
    ingest_days(engine, lake, source, DAY, NEXT)
    source.rows.remove(winner)
    ingest_days(engine, lake, source, DAY)
    assert kept_ids(engine, lake, DAY) == []
    assert kept_ids(engine, lake, NEXT) == ["t1"]
