"""What the comparisons share: the result, the product's own features of a window, and which users differ.

How the features are computed by other means stands in `pandas_features.py` and `postgres_features.py`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sqlglot import exp

from benchmarks.progress import Progress
from marketing_assets.engine.base import Engine
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import TRANSACTIONS, USER_FEATURES
from marketing_assets.storage.lake import Lake

TIMES = 3
_ONCE_FROM_SECONDS = 60.0


@dataclass(frozen=True)
class ComparisonResult:
    """The features of one window by other means, next to the product's own in the same run.

    `seconds` are what the features took, from the data where those means keep it: pandas reads the
    lake's files, as the product does, and `load_seconds` is the part of `seconds` that this takes;
    PostgreSQL has a table of its own, and `load_seconds` comes before: filling, indexing and vacuuming
    it. `rows` are the transactions of the window, `users` those with features, `peak_memory` is bytes.
    `differences` says for each column how many users differ, and how many are on one side alone.
    """

    seconds: float
    load_seconds: float
    rows: int
    users: int
    peak_memory: int
    product_seconds: float
    equal: bool
    differences: list[str]


def alternated(product: Callable[[], float], other: Callable[[], float]) -> tuple[float, float]:
    """Run both three times in turn, the other once where it takes a minute; the median seconds of each.

    In turn, so that whatever else the machine does falls on both.
    """
    products, others = [product()], [other()]
    while len(products) < TIMES:
        products.append(product())
        if others[0] < _ONCE_FROM_SECONDS:
            others.append(other())
    return statistics.median(products), statistics.median(others)


class Product:
    """The product's own step, reading included, on one window of a lake."""

    def __init__(self, engine: Engine, lake: Path, day: date, window_days: int) -> None:
        # Here, because whoever only shows a result needs no Dagster.
        from marketing_assets.orchestration.assets.user_features import compute_features
        from marketing_assets.orchestration.platform import Platform
        from marketing_assets.storage.lake_record import LakeRecord

        # Not from the environment: the product's defaults.
        settings = Settings.model_construct(None, lake_path=lake, window_days=window_days)
        platform = Platform(settings, "benchmarks")
        platform.engine, platform.lake = engine, Lake(lake)
        platform.record = LakeRecord("files", None, "UTC", "USD", platform.lake.days(TRANSACTIONS)[0])
        self._platform = platform
        self._day = day
        self._compute = compute_features

    def run(self, progress: Progress) -> float:
        """Compute the features; returns the seconds it took."""
        start = time.perf_counter()
        self._compute(self._platform, self._day)
        seconds = time.perf_counter() - start
        progress(f"the product: {seconds:.2f} s")
        return seconds

    def write(self, target: Path) -> tuple[int, int]:
        """Write the features to a Parquet file; returns the rows of the window and the users."""
        engine, lake = self._platform.engine, self._platform.lake
        features = exp.select(*USER_FEATURES.column_names).from_("computed_features")
        users = engine.write_parquet(features, None, target)
        lake.register(engine, "counted", TRANSACTIONS, self._platform.window(self._day))
        rows = int(str(engine.fetch("select count(*) as rows from counted")[0]["rows"]))
        engine.drop("computed_features", "window_transactions", "counted")
        return rows, users


@contextmanager
def opened(lake: Path) -> Iterator[Engine]:
    """The product's engine with its default settings; its temporary files lie in `lake` until the end."""
    defaults, scratch = Settings.model_construct(), Lake(lake)
    engine = DuckDBEngine(
        memory_limit=defaults.memory_limit,
        threads=defaults.threads,
        temp_directory=scratch.scratch / "spill",
    )
    try:
        yield engine
    finally:
        engine.close()
        scratch.remove_scratch()


def differences(engine: Engine, product: str, found: str) -> list[str]:
    """What differs between two relations with the columns of `user_features`; empty where nothing does.

    Values of `found` are turned into the type of their column first.
    """
    both = "p.user_id is not null and f.user_id is not null"
    counts = {
        "user_id: {} users only in the product": "f.user_id is null",
        "user_id: {} users not in the product": "p.user_id is null",
    }
    counts |= {
        column.name + ": {} users differ": f"{both} and p.{column.name} is distinct from f.{column.name}"
        for column in USER_FEATURES.columns
    }
    typed = exp.select(
        *(
            exp.alias_(exp.cast(exp.column(c.name), c.type, dialect="duckdb"), c.name)
            for c in USER_FEATURES.columns
        )
    ).from_(found)
    counted = [
        exp.alias_(f"count(*) filter (where {condition})", f"n{index}", dialect="duckdb")
        for index, condition in enumerate(counts.values())
    ]
    joined = (
        exp.select(*counted)
        .from_(exp.to_table(product).as_("p"))
        .join(typed.subquery("f"), on="p.user_id = f.user_id", join_type="full outer")
    )
    row = engine.fetch(joined)[0]
    said = [text.format(row[f"n{index}"]) for index, text in enumerate(counts) if row[f"n{index}"] != 0]
    return said + _repeated_users(engine, found)


def _repeated_users(engine: Engine, found: str) -> list[str]:
    users = exp.select("count(*) - count(distinct user_id) as n").from_(found)
    more = engine.fetch(users)[0]["n"]
    return [f"user_id: {more} rows too many"] if more else []
