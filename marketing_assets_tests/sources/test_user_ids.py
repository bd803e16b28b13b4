"""User ids on their way in: replaced by keyed hashes, and rows of erased users kept nowhere."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketing_assets.domain.identity import keyed_hash, stored_id
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.sources.ingest import IngestedDay, UserIds, ingest
from marketing_assets.storage.datasets import REJECTED_TRANSACTIONS, TRANSACTIONS
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import MemorySource, SourceRow, held, ingest_days, row

DAY = date(2026, 3, 2)
NEXT = DAY + timedelta(days=1)
NOON = "2026-03-02T12:00:00+00:00"
KEY = b"pseudonym" * 10
ERASURE_KEY = b"erasure" * 5
NAMES = ["ann", "Zoë 🛒", " ann", 'a"b,c', "line\nbreak", "é" * 200]


def keyed(
    engine: DuckDBEngine,
    lake: Lake,
    rows: Sequence[SourceRow],
    days: Sequence[date] = (DAY,),
    *,
    key: bytes | None = KEY,
    erased: Callable[[], Sequence[str]] = list,
) -> dict[date, IngestedDay]:
    """Ingest with a pseudonym key, without the users `erased`, who are named as they are stored."""

    def register_erased() -> bytes | None:
        hashes = [[keyed_hash(ERASURE_KEY, user)] for user in erased()]
        engine.register_rows("erased_users", [("user_hash", "varchar")], hashes)
        return ERASURE_KEY if hashes else None

    done = ingest(
        engine,
        lake,
        MemorySource(list(rows)),
        days,
        ZoneInfo("UTC"),
        Decimal(1),
        lambda _: None,
        users=UserIds(key, register_erased),
    )
    return {day.day: day for day in done}


def users(engine: DuckDBEngine, lake: Lake) -> list[object]:
    return [each["user_id"] for each in held(engine, lake, TRANSACTIONS, [DAY])]


def test_every_id_is_replaced_kept_or_rejected(engine: DuckDBEngine, lake: Lake) -> None:
    kept = [row(f"t{number}", NOON, user=name) for number, name in enumerate(NAMES)]
    rejected = {
        "ten": row("ten", NOON, "ten", user="bob"),
        "undated": row("undated", None, user="bob"),
        "long": row("long", NOON, user="u" * 201),
        "nul": row("nul", NOON, user="a\0"),
        "none": row("none", NOON, user=None),
        "empty": row("empty", NOON, user=""),
        "twice": row("twice", NOON, "1.00", user="bob"),
    }
    done = keyed(engine, lake, [*kept, *rejected.values(), row("twice", NOON, "2.00", user="bob")])
    assert done[DAY].by_reason == {
        "amount_not_a_number": 1,
        "long_user_id": 1,
        "missing_time": 1,
        "missing_user_id": 2,
        "nul_in_user_id": 1,
        "superseded": 1,
    }
    names = {each["transaction_id"]: each["user_id"] for each in held(engine, lake, TRANSACTIONS, [DAY])}
    assert names == {
        **{f"t{number}": keyed_hash(KEY, name) for number, name in enumerate(NAMES)},
        "twice": keyed_hash(KEY, "bob"),
    }
    names = {
        each["transaction_id"]: each["user_id"] for each in held(engine, lake, REJECTED_TRANSACTIONS, [DAY])
    }
    assert names == {
        **{name: keyed_hash(KEY, "bob") for name in ("ten", "undated", "twice")},
        "long": keyed_hash(KEY, "u" * 201),
        "nul": keyed_hash(KEY, "a\0"),
        "none": None,
        "empty": "",
    }


@given(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=200), st.binary(min_size=1))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_hash_is_that_of_the_app(engine: DuckDBEngine, name: str, key: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        lake = Lake(Path(root))
        keyed(engine, lake, [row("t1", NOON, user=name)], key=key)
        assert users(engine, lake) == [stored_id(key, name)]


def test_a_rerun_with_a_key_gives_the_same_bytes(engine: DuckDBEngine, lake: Lake) -> None:
    rows = [row(f"t{number}", NOON, user=f"u{number}") for number in range(100)]
    first = keyed(engine, lake, [*rows, row("undated", None)])
    again = keyed(engine, lake, [row("undated", None), *reversed(rows)])
    assert first[DAY].transactions == again[DAY].transactions
    assert first[DAY].rejected_transactions == again[DAY].rejected_transactions


def test_rows_of_erased_users_are_counted_and_kept_nowhere(engine: DuckDBEngine, lake: Lake) -> None:
    rows = [
        row("t1", NOON),
        row("t2", NOON, "ten"),
        row("t3", None),
        row("t4", NOON, "1.00"),
        row("t4", NOON, "2.00"),
        row("t5", NOON, user="bob"),
        row("t6", NOON, user=None),
        row("t7", "2026-03-03T12:00:00+00:00"),
    ]
    done = keyed(engine, lake, rows, [DAY, NEXT], key=None, erased=lambda: ["ann"])
    figures = [(day.read, day.kept, day.rejected, day.undated, day.erased) for day in done.values()]
    assert figures == [(6, 1, 1, 0, 4), (1, 0, 0, 0, 1)]
    assert users(engine, lake) == ["bob"]
    rejected = held(engine, lake, REJECTED_TRANSACTIONS, [DAY, NEXT])
    assert [(each["transaction_id"], each["position"]) for each in rejected] == [("t6", "1")]


def test_a_day_is_as_if_the_source_had_never_had_the_user(
    engine: DuckDBEngine, lake: Lake, tmp_path: Path
) -> None:
    others = [row(f"t{number}", NOON, user=f"u{number}") for number in range(20)]
    with_user = [*others, row("a", NOON), row("b", NOON, "ten"), row("t3", NOON, "9.00")]
    erased = keyed(engine, lake, with_user, erased=lambda: [keyed_hash(KEY, "ann")])[DAY]
    never = keyed(engine, Lake(tmp_path / "other"), others)[DAY]
    assert erased.transactions == never.transactions
    assert erased.rejected_transactions == never.rejected_transactions
    assert (erased.erased, never.erased) == (3, 0)


def test_who_is_erased_between_two_spans_is_not_brought_back(engine: DuckDBEngine, lake: Lake) -> None:
    rows = [row("t1", NOON), row("t2", "2026-03-03T12:00:00+00:00")]
    ingest_days(engine, lake, MemorySource(rows), DAY, NEXT)
    asked = iter([[], ["ann"]])  # the first day goes alone
    done = keyed(engine, lake, rows, [DAY, NEXT], key=None, erased=lambda: next(asked))
    assert [(day.kept, day.erased) for day in done.values()] == [(1, 0), (0, 1)]
