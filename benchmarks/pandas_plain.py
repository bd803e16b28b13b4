"""The user features in pandas as one writes them first: default types, `groupby` and named aggregations.

The other formulation, `pandas_features.py`, has everything that makes pandas fast. Both give equal rows.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]

from benchmarks import pandas_features
from benchmarks.pandas_features import half_up, main, with_money
from benchmarks.progress import Progress

if TYPE_CHECKING:
    from benchmarks.comparison import ComparisonResult

_COLUMNS = ["bucket", "user_id", "occurred_at", "amount", "location", "category", "day"]
_RECENT_DAYS = 30


def measure(lake: Path, day: date, *, window_days: int, progress: Progress) -> "ComparisonResult":
    """See `pandas_features.measure`."""
    return pandas_features.measure(
        lake, day, window_days=window_days, progress=progress, module="benchmarks.pandas_plain"
    )


def read(lake: Path, day: date, window_days: int) -> pd.DataFrame:
    """The rows of the window, with `cents` and `age` (days before `day`)."""
    first = day - timedelta(days=window_days - 1)
    rows = pd.read_parquet(
        lake / "transactions",
        columns=_COLUMNS,
        filters=[("day", ">=", first.isoformat()), ("day", "<=", day.isoformat())],
    )
    rows["cents"] = (rows.pop("amount") * 100).astype("int64")
    rows["age"] = (pd.Timestamp(day) - pd.to_datetime(rows["day"].astype(str))).dt.days
    return rows


def compute(rows: pd.DataFrame, window_days: int) -> pa.Table:
    """The columns of `user_features`, one row a user."""
    purchases = rows[rows["cents"] > 0]
    features = purchases.groupby("user_id").agg(
        bucket=("bucket", "min"),
        transactions=("cents", "size"),
        purchase_cents=("cents", "sum"),
        active_days=("day", "nunique"),
        first_transaction_at=("occurred_at", "min"),
        last_transaction_at=("occurred_at", "max"),
        days_since_last=("age", "min"),
        locations=("location", "nunique"),
        categories=("category", "nunique"),
    )
    features["spend"] = rows.groupby("user_id")["cents"].sum()
    recent = rows[rows["age"] < _RECENT_DAYS].groupby("user_id")["cents"].sum()
    features["spend_recent"] = recent.reindex(features.index, fill_value=0)
    features["spend_prior"] = features["spend"] - features["spend_recent"]
    count = features["transactions"]
    features["average_order"] = (2 * features.pop("purchase_cents") + count) // (2 * count)
    for name in ("location", "category"):
        top = _top(purchases, name)
        features[f"top_{name}"] = top[name]
        features[f"top_{name}_share"] = top["purchases"] / count
    prior = features["spend_prior"].where(features["spend_prior"] > 0) / 100
    trend = features["spend_recent"] / 100 * (window_days - _RECENT_DAYS) / (prior * _RECENT_DAYS) - 1
    features["spend_trend"] = half_up(trend, 6)
    return with_money(pa.Table.from_pandas(features.reset_index(), preserve_index=False))


def _top(purchases: pd.DataFrame, name: str) -> pd.DataFrame:
    """The location (or category) with most purchases of each user; ties by spend, then by name."""
    each = purchases.groupby(["user_id", name])["cents"].agg(purchases="size", spend="sum").reset_index()
    each = each.sort_values(["user_id", "purchases", "spend", name], ascending=[True, False, False, True])
    return each.drop_duplicates("user_id").set_index("user_id")


if __name__ == "__main__":
    main(read, compute)
