"""`user_features.sql` against a slow and obvious reference, on random histories."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketing_assets.engine.base import Row, Value, sql
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.datasets import TRANSACTIONS, USER_FEATURES

DAY = date(2026, 3, 31)


class Purchase(NamedTuple):
    user_id: str
    age: int
    amount: Decimal
    location: str | None
    category: str | None

    @property
    def day(self) -> date:
        return DAY - timedelta(days=self.age)

    @property
    def occurred_at(self) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, 12, tzinfo=UTC)


purchases = st.builds(
    Purchase,
    st.sampled_from(["ann", "böb", "c'\"d"]),
    st.integers(0, 119),
    st.decimals(-50, 200, places=2),
    st.sampled_from([None, "a", "b", "ä", "B"]),
    st.sampled_from([None, "food", "fuel"]),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(
        memory_limit="256MiB", threads=2, temp_directory=Path(tmp_path_factory.mktemp("spill"))
    )
    yield made
    made.close()


def bucket(user_id: str) -> int:
    return hashlib.md5(user_id.encode(), usedforsecurity=False).digest()[0]


def computed(engine: DuckDBEngine, rows: list[Purchase], window_days: int, ranges: int) -> dict[str, Row]:
    schema = [(column.name, column.type) for column in TRANSACTIONS.columns]
    kept: list[list[Value]] = [
        [
            bucket(r.user_id),
            r.user_id,
            str(n),
            r.occurred_at,
            r.amount,
            None,
            r.location,
            r.category,
            None,
            r.day,
        ]
        for n, r in enumerate(rows)
        if r.age < window_days
    ]
    engine.register_rows("window_transactions", [*schema, ("day", "date")], kept)
    edges = [256 * index // ranges for index in range(ranges + 1)]
    for first, after in pairwise(edges):
        parameters: dict[str, Value] = {
            "day": DAY,
            "window_days": window_days,
            "bucket_from": first,
            "bucket_to": after - 1,
        }
        add = engine.create if first == 0 else engine.append
        add("computed_features", sql("user_features"), parameters)
    return {str(row["user_id"]): row for row in engine.fetch("select * from computed_features")}


def top(purchases_of: list[Purchase], column: str) -> tuple[int, str | None, float | None]:
    counts: Counter[str] = Counter()
    spend: dict[str, Decimal] = defaultdict(Decimal)
    for each in purchases_of:
        name = getattr(each, column)
        if name is not None:
            counts[name] += 1
            spend[name] += each.amount
    if not counts:
        return 0, None, None
    best = min(counts, key=lambda name: (-counts[name], -spend[name], name.encode()))
    return len(counts), best, counts[best] / len(purchases_of)


def expected(rows: list[Purchase], window_days: int) -> dict[str, Row]:
    by_user: dict[str, list[Purchase]] = defaultdict(list)
    for row in rows:
        if row.age < window_days:
            by_user[row.user_id].append(row)
    features: dict[str, Row] = {}
    for user_id, kept in by_user.items():
        bought = [row for row in kept if row.amount > 0]
        if not bought:
            continue
        locations, top_location, top_location_share = top(bought, "location")
        categories, top_category, top_category_share = top(bought, "category")
        recent = sum((row.amount for row in kept if row.age < 30), Decimal(0))
        prior = sum((row.amount for row in kept if row.age >= 30), Decimal(0))
        total = sum((row.amount for row in bought), Decimal(0))
        trend = None
        if prior > 0:
            trend = round(float(recent) * (window_days - 30) / (float(prior) * 30) - 1, 6)
        features[user_id] = {
            "bucket": bucket(user_id),
            "user_id": user_id,
            "transactions": len(bought),
            "spend": recent + prior,
            "average_order": (total / len(bought)).quantize(Decimal("0.01"), ROUND_HALF_UP),
            "active_days": len({row.day for row in bought}),
            "first_transaction_at": min(row.occurred_at for row in bought),
            "last_transaction_at": max(row.occurred_at for row in bought),
            "days_since_last": min(row.age for row in bought),
            "locations": locations,
            "top_location": top_location,
            "top_location_share": top_location_share,
            "categories": categories,
            "top_category": top_category,
            "top_category_share": top_category_share,
            "spend_recent": recent,
            "spend_prior": prior,
            "spend_trend": trend,
        }
    return features


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(purchases, max_size=40), st.sampled_from([31, 90, 120]), st.sampled_from([1, 4]))
def test_features_equal_the_reference(
    engine: DuckDBEngine, rows: list[Purchase], window_days: int, ranges: int
) -> None:
    found, wanted = computed(engine, rows, window_days, ranges), expected(rows, window_days)
    assert found.keys() == wanted.keys()
    for user_id, row in wanted.items():
        trend, wanted_trend = found[user_id].pop("spend_trend"), row.pop("spend_trend")
        assert trend == pytest.approx(wanted_trend, abs=1.5e-6)
        assert found[user_id] == row


def test_columns_are_those_of_the_dataset(engine: DuckDBEngine) -> None:
    rows = computed(engine, [Purchase("ann", 0, Decimal(1), None, None)], 90, 1)
    assert tuple(rows["ann"]) == USER_FEATURES.column_names


def test_a_tie_goes_to_more_spend_then_to_the_first_name_by_bytes(engine: DuckDBEngine) -> None:
    rows = [
        Purchase("ann", 0, Decimal(5), "z", "fuel"),
        Purchase("ann", 1, Decimal(9), "ä", "food"),
        Purchase("ann", 2, Decimal(9), "b", None),
    ]
    found = computed(engine, rows, 90, 1)["ann"]
    assert (found["top_location"], found["top_category"]) == ("b", "food")


def test_a_user_with_refunds_alone_has_no_row(engine: DuckDBEngine) -> None:
    assert computed(engine, [Purchase("ann", 0, Decimal(-5), "a", "food")], 90, 1) == {}
