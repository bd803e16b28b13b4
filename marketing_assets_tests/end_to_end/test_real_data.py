"""The known truth of The Complete Journey: a night of real purchases comes to exactly these numbers."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.storage.datasets import TRANSACTIONS, USER_FEATURES, USER_PATTERNS
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.world import World

DAY = date(2017, 12, 30)
FIRST = DAY - timedelta(days=89)


@pytest.fixture
def real_world(tmp_path: Path, fresh_database: str) -> Iterator[World]:
    """The purchases as they happened, not replayed."""
    made = World(
        tmp_path,
        fresh_database,
        MARKETING_SOURCE="complete_journey",
        MARKETING_SOURCE_URL=None,
        MARKETING_SOURCE_REPLAY=False,
        MARKETING_START_DATE=FIRST,
        MARKETING_WINDOW_DAYS=90,
    )
    yield made
    made.close()


def test_a_night_of_real_purchases(real_world: World) -> None:
    real_world.ingest(FIRST, DAY - timedelta(days=1))
    assert real_world.night(DAY).success
    lake = Lake(real_world.settings.lake)
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=lake.scratch)
    lake.register(engine, "window_rows", TRANSACTIONS, lake.days(TRANSACTIONS))
    lake.register(engine, "features", USER_FEATURES, [DAY])
    lake.register(engine, "patterns", USER_PATTERNS, [DAY])

    assert engine.fetch(
        "select count(*) as kept, count(*) filter (where amount > 0) as purchases from window_rows"
    ) == [{"kept": 38_009, "purchases": 37_893}]
    assert engine.fetch(
        "select count(*) as users, sum(spend) as spend, sum(transactions) as purchases from features"
    ) == [{"users": 2_322, "spend": Decimal("1159829.46"), "purchases": 37_893}]
    counted = engine.fetch(
        "select pattern, count(*) as users, count(*) filter (where is_primary) as primary_users "
        "from patterns group by pattern order by min(rank)"
    )
    engine.close()
    assert [(row["pattern"], row["users"], row["primary_users"]) for row in counted] == [
        ("high_spender", 1, 1),
        ("inactive", 281, 281),
        ("new_shopper", 501, 287),
        ("seasonal", 553, 452),
        ("frequent_shopper", 677, 557),
        ("location_cluster", 1_402, 439),
        ("general", 2_322, 305),
    ]
    opened = real_world.rows("select template from marketing.marketing_campaigns order by priority")
    assert [template for (template,) in opened] == [
        "milestone-reward",
        "loyalty-bonus",
        "welcome-bonus",
        "re-engagement",
        "location-promo",
        "category-focus",
    ]
