"""The user features in pandas, as a fast and exact program of one machine would be written.

Whole columns, integer cents, names as categories, and no loop over users. It runs in a process of its own,
so that its memory is its own; `measure` starts that and compares. Rules: SEMANTICS, User features.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from benchmarks.memory import own_peak
from benchmarks.progress import Progress

if TYPE_CHECKING:
    from benchmarks.comparison import ComparisonResult

_COLUMNS = ["bucket", "user_id", "occurred_at", "amount", "location", "category", "day"]
_NAMES = ["user_id", "location", "category"]
_MONEY = ["spend", "average_order", "spend_recent", "spend_prior"]
_RECENT_DAYS = 30

_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "NUMPY_MADVISE_HUGEPAGE": "0"}
"""Without huge pages, which a virtual machine is slow to hand out: a fifth faster here."""


@dataclass(frozen=True)
class _Run:
    """One run: its seconds, those of reading, and the most memory its process held, in bytes."""

    seconds: float
    load_seconds: float
    peak_memory: int


def measure(
    lake: Path, day: date, *, window_days: int, progress: Progress, module: str = "benchmarks.pandas_features"
) -> "ComparisonResult":
    """Compute the features of the window that ends with `day` in pandas and in the product, and compare.

    `module` is this one, or `pandas_plain`.

    Raises:
        RuntimeError: the process failed, for example because memory was not enough.
    """
    # Here, because the process that is measured imports this module and needs none of them.
    from benchmarks.comparison import ComparisonResult, Product, alternated, differences, opened

    runs: list[_Run] = []
    with tempfile.TemporaryDirectory(prefix="compared-") as temporary, opened(lake) as engine:
        expected, features = Path(temporary, "product.parquet"), Path(temporary, "pandas.parquet")

        def run() -> float:
            runs.append(_run(module, lake, day, window_days, features))
            progress(f"pandas: {runs[-1].seconds:.2f} s, of which reading {runs[-1].load_seconds:.2f} s")
            return runs[-1].seconds

        product = Product(engine, lake, day, window_days)
        product_seconds, seconds = alternated(lambda: product.run(progress), run)
        rows, users = product.write(expected)
        engine.register_parquet("product", [expected])
        engine.register_parquet("pandas", [features])
        differing = differences(engine, "product", "pandas")
    return ComparisonResult(
        seconds=seconds,
        load_seconds=statistics.median(each.load_seconds for each in runs),
        rows=rows,
        users=users,
        peak_memory=max(each.peak_memory for each in runs),
        product_seconds=product_seconds,
        equal=not differing,
        differences=differing,
    )


def _run(module: str, lake: Path, day: date, window_days: int, features: Path) -> _Run:
    report = features.with_suffix(".json")
    arguments = [str(lake), day.isoformat(), str(window_days), str(features), str(report)]
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parents[1],
        env=os.environ | _ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        said = finished.stderr.strip().splitlines()[-1:] or [f"ended with {finished.returncode}"]
        raise RuntimeError(f"pandas: {said[0]}")
    return _Run(**json.loads(report.read_text(encoding="utf-8")))


def read(lake: Path, day: date, window_days: int) -> pd.DataFrame:
    """The rows of the window: `cents`, `age` (days before `day`), and names as categories."""
    first = day - timedelta(days=window_days - 1)
    table = pq.read_table(
        lake / "transactions",
        columns=_COLUMNS,
        filters=[("day", ">=", first.isoformat()), ("day", "<=", day.isoformat())],
        read_dictionary=_NAMES,
        pre_buffer=False,  # it is for storage far away, and costs memory and a second here
    ).unify_dictionaries()
    # Exact: a double holds every amount of at most a million to far less than half a cent.
    cents = np.rint(table["amount"].cast(pa.float64()).to_numpy() * 100).astype("int64")
    rows: pd.DataFrame = table.drop_columns("amount").to_pandas(split_blocks=True)
    days = rows.pop("day").cat
    ages = [(day - date.fromisoformat(each)).days for each in days.categories]
    return rows.assign(cents=cents, age=np.array(ages, dtype="int16")[days.codes])


def compute(rows: pd.DataFrame, window_days: int) -> pa.Table:
    """The columns of `user_features`, one row a user; the index of all between is the user's category."""
    recent = rows["cents"].where(rows["age"] < _RECENT_DAYS, 0)
    sums = pd.DataFrame({"spend": rows["cents"], "spend_recent": recent})
    sums = _coded(sums.groupby(rows["user_id"], observed=True, sort=False).sum())
    purchases = rows[rows["cents"] > 0]
    features = _of_purchases(purchases, window_days).join(sums)
    for name, count in (("location", "locations"), ("category", "categories")):
        features = features.join(_top(purchases, name, count))
        features[count] = features[count].fillna(0).astype("int32")
        features[f"top_{name}_share"] = features.pop("top_purchases") / features["transactions"]
    purchases_of = features["transactions"]
    features["average_order"] = (2 * features.pop("purchase_cents") + purchases_of) // (2 * purchases_of)
    features["spend_prior"] = features["spend"] - features["spend_recent"]
    prior = features["spend_prior"].where(features["spend_prior"] > 0) / 100
    trend = features["spend_recent"] / 100 * (window_days - _RECENT_DAYS) / (prior * _RECENT_DAYS) - 1
    features["spend_trend"] = half_up(trend, 6)
    features["user_id"] = rows["user_id"].cat.categories[features.index]
    return with_money(pa.Table.from_pandas(features, preserve_index=False))


def _of_purchases(purchases: pd.DataFrame, window_days: int) -> pd.DataFrame:
    """What a user's purchases say, whatever their location and category."""
    users = purchases["user_id"].cat
    found = purchases.groupby("user_id", observed=True, sort=False).agg(
        bucket=("bucket", "min"),
        transactions=("cents", "size"),
        purchase_cents=("cents", "sum"),
        first_transaction_at=("occurred_at", "min"),
        last_transaction_at=("occurred_at", "max"),
        days_since_last=("age", "min"),
    )
    active = np.zeros((len(users.categories), window_days), dtype=bool)
    active[users.codes, purchases["age"]] = True
    found = _coded(found)
    return found.assign(active_days=active.sum(axis=1)[found.index])


def _top(purchases: pd.DataFrame, name: str, count: str) -> pd.DataFrame:
    """How many locations (or categories) a user has, the one with most purchases, and how many those are.

    One integer stands for user and location, which groups faster than the pair.
    """
    names = purchases[name].cat.categories
    codes = purchases[name].cat.codes.to_numpy() + np.int64(1)  # 0 stands for none
    key = purchases["user_id"].cat.codes.to_numpy() * np.int64(len(names) + 1) + codes
    each = purchases["cents"].groupby(key, sort=False).agg(["size", "sum"])
    each["user"], each["code"] = divmod(each.index.to_numpy(), len(names) + 1)
    each = each[each["code"] > 0]
    place = np.argsort(np.argsort(names.to_numpy(dtype=object)))  # in the order of UTF-8 bytes
    each = each.assign(place=place[each["code"] - 1])
    each = each.sort_values(["user", "size", "sum", "place"], ascending=[True, False, False, True])
    top = each.drop_duplicates("user").set_index("user")
    found = {f"top_{name}": names[top["code"] - 1], "top_purchases": top["size"]}
    return pd.DataFrame(found, index=top.index).assign(**{count: each.groupby("user").size()})


def _coded(grouped: pd.DataFrame) -> pd.DataFrame:
    """The same rows by the user's number instead of the name: joins of numbers are faster."""
    return grouped.set_axis(pd.CategoricalIndex(grouped.index).codes)


def half_up(values: pd.Series, places: int) -> pd.Series:
    """Rounded half away from zero, as SQL does; `Series.round` rounds half to even."""
    scaled = values * 10**places
    whole = np.trunc(scaled)
    whole += np.sign(scaled) * (np.abs(scaled - whole) >= 0.5)  # noqa: PLR2004
    rounded: pd.Series = whole / 10**places
    return rounded


def with_money(table: pa.Table) -> pa.Table:
    """Cents as decimals."""
    for name in _MONEY:
        cents = table[name].cast(pa.decimal128(19, 0))
        money = pc.multiply(cents, pa.scalar(Decimal("0.01")))
        table = table.set_column(table.column_names.index(name), name, money)
    return table


def main(
    read: Callable[[Path, date, int], pd.DataFrame], compute: Callable[[pd.DataFrame, int], pa.Table]
) -> None:
    """Read, compute, and write the features and what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("lake", type=Path)
    parser.add_argument("day", type=date.fromisoformat)
    parser.add_argument("window_days", type=int)
    parser.add_argument("features", type=Path)
    parser.add_argument("report", type=Path)
    asked = parser.parse_args()
    start = time.perf_counter()
    rows = read(asked.lake, asked.day, asked.window_days)
    loaded = time.perf_counter()
    features = compute(rows, asked.window_days)
    end = time.perf_counter()
    run = _Run(end - start, loaded - start, own_peak())
    pq.write_table(features, asked.features)
    asked.report.write_text(json.dumps(asdict(run)), encoding="utf-8")


if __name__ == "__main__":
    main(read, compute)
