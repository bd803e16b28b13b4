"""`targeting.sql` and the logs made from it, against a slow and obvious reference."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_assets.domain.assignment import bucket_digits, held_out, share_digits
from marketing_assets.engine.base import Row, Value, sql
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.standing import _OPEN_CAMPAIGNS

BEGINS, ENDS = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
CAMPAIGNS = {
    # id: (pattern, priority, control share, what the offer is filled in with)
    "b-2026": ("p", 1, Decimal("0.5"), None),
    "a-2026": ("q", 1, Decimal(0), "top_location"),
    "c-2026": ("p", 2, Decimal(1), "top_category"),
    "d-2026": ("r", 3, Decimal("0.1"), None),
}
PATTERNS = ("p", "q", "r")
USERS = ("ann", "böb", "c:d", "e'f", "")
pairs = st.sets(st.tuples(st.sampled_from(sorted(CAMPAIGNS)), st.sampled_from(USERS)))
holding = st.sets(st.tuples(st.sampled_from(USERS), st.sampled_from(PATTERNS)))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="256MiB", threads=2, temp_directory=tmp_path_factory.mktemp("spill"))
    rows: list[list[Value]] = [
        [name, 1, pattern, priority, share, "" if share == 1 else share_digits(share), at, BEGINS, ENDS]
        for name, (pattern, priority, share, at) in CAMPAIGNS.items()
    ]
    made.register_rows("open_campaigns", _OPEN_CAMPAIGNS, rows)
    features = [("user_id", "varchar"), ("top_location", "varchar"), ("top_category", "varchar")]
    made.register_rows("user_features", features, [[user, f"at {user}", f"in {user}"] for user in USERS])
    yield made
    made.close()


def decided(
    engine: DuckDBEngine, has: set[tuple[str, str]], stands: set[tuple[str, str]], slots: int
) -> list[Row]:
    patterns = [("user_id", "varchar"), ("pattern", "varchar"), ("reason", "varchar")]
    engine.register_rows("user_patterns", patterns, [[*row, "{}"] for row in has])
    keys = [("campaign_id", "varchar"), ("user_id", "varchar")]
    engine.register_rows("standing_targets", keys, [list(row) for row in stands])
    engine.create("night_decisions", sql("targeting"), {"max_active_campaigns": slots})
    return engine.fetch("select * from night_decisions")


def expected(
    has: set[tuple[str, str]], stands: set[tuple[str, str]], slots: int
) -> dict[tuple[str, str], str]:
    outcomes = {}
    taken = {user: sum(target == user for _, target in stands) for user in USERS}
    for name in sorted(CAMPAIGNS, key=lambda each: (CAMPAIGNS[each][1], each)):
        pattern, _, share, _ = CAMPAIGNS[name]
        for user in USERS:
            if (user, pattern) not in has or (name, user) in stands:
                continue
            if taken[user] >= slots:
                outcomes[name, user] = "limit"
            else:
                taken[user] += 1
                outcomes[name, user] = "control" if held_out(name, user, share) else "treatment"
    return outcomes


@settings(max_examples=60, deadline=None)
@given(holding, pairs, st.integers(0, 4))
def test_every_pair_is_decided_as_the_reference_says(
    engine: DuckDBEngine, has: set[tuple[str, str]], stands: set[tuple[str, str]], slots: int
) -> None:
    rows = decided(engine, has, stands, slots)
    found = {(str(row["campaign_id"]), str(row["user_id"])): row["outcome"] for row in rows}
    assert found == expected(has, stands, slots)
    assert len(rows) == len(found)


def test_a_decision_keeps_its_digits_and_what_the_offer_is_filled_in_with(engine: DuckDBEngine) -> None:
    has = {(user, pattern) for user in USERS for pattern in PATTERNS}
    by_pair = {(row["campaign_id"], row["user_id"]): row for row in decided(engine, has, set(), 4)}
    row = by_pair["a-2026", "böb"]
    assert row["bucket_digits"] == bucket_digits("a-2026", "böb") == str(row["target_id"])[:8]
    assert (row["location"], row["category"]) == ("at böb", None)
    assert by_pair["c-2026", "böb"]["category"] == "in böb"
    assert (row["valid_from"], row["valid_until"]) == (BEGINS, ENDS)


def test_a_refusal_is_logged_when_it_differs_from_the_last(engine: DuckDBEngine) -> None:
    has = {("ann", "p"), ("ann", "q"), ("böb", "p")}
    decided(engine, has, set(), 1)
    log = [
        ("campaign_id", "varchar"),
        ("user_id", "varchar"),
        ("outcome", "varchar"),
        ("reason", "varchar"),
        ("bucket_digits", "varchar"),
        ("policy_version", "varchar"),
        ("day", "date"),
    ]
    earlier: list[list[Value]] = [
        ["b-2026", "ann", "opted_out", "{}", None, "v0", "2025-12-30"],
        ["b-2026", "ann", "limit", "{}", None, "v0", "2025-12-31"],
        ["c-2026", "ann", "limit", "{}", None, "v0", "2025-12-30"],
        ["c-2026", "ann", "opted_out", "{}", None, "v0", "2025-12-31"],
    ]
    engine.register_rows("earlier_decisions", log, earlier)
    engine.register_rows("kept_decisions", log, [])
    logged = engine.fetch(sql("targeting_decisions"), {"policy_version": "v1"})
    assert {(row["campaign_id"], row["user_id"], row["outcome"]) for row in logged} == {
        ("a-2026", "ann", "treatment"),
        ("c-2026", "ann", "limit"),
        ("b-2026", "böb", "control" if held_out("b-2026", "böb", Decimal("0.5")) else "treatment"),
        ("c-2026", "böb", "limit"),
    }
