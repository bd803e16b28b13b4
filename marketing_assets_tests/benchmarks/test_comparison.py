"""pandas, PostgreSQL and the product agree on a lake of hostile rows, and a difference is seen."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks import comparison, pandas_features, postgres_features
from benchmarks.comparison import ComparisonResult, differences, opened
from marketing_assets.domain.days import window
from marketing_assets.engine.base import Value
from marketing_assets.storage.datasets import TRANSACTIONS, USER_FEATURES
from marketing_assets.storage.lake import Lake

DAY = date(2026, 3, 31)
WINDOW_DAYS = 90

Purchase = tuple[str, int, str, str | None, str | None]
"""User, age in days, amount, location and category."""

PURCHASES: list[Purchase] = [
    # by number, then by spend, then by name in byte order: "Z" before "a" before "ä"
    ("number", 0, "1.00", "a", "food"),
    ("number", 0, "1.00", "a", "food"),
    ("number", 1, "99.00", "b", "fuel"),
    ("spend", 3, "5.00", "a", "food"),
    ("spend", 4, "5.01", "b", "fuel"),
    ("name", 0, "7.00", "ä", "é"),
    ("name", 1, "7.00", "a", "z"),
    ("name", 2, "7.00", "Z", "Z"),
    # a refund counts for spend alone, wherever it is and however often
    ("refund", 0, "10.00", "a", "food"),
    ("refund", 1, "-10.00", "b", "fuel"),
    ("refund", 2, "-10.00", "b", "fuel"),
    ("refund", 89, "0.00", "c", "fuel"),
    ("only refunds", 0, "-5.00", "a", "food"),
    ("only zero", 0, "0.00", "a", "food"),
    # nulls are not counted and never top; an empty text is a name
    ("nothing known", 0, "5.00", None, None),
    ("mostly null", 0, "5.00", None, None),
    ("mostly null", 1, "5.00", None, None),
    ("mostly null", 2, "5.00", "a", None),
    ("empty", 0, "5.00", "", ""),
    ("empty", 1, "4.00", "a", "b"),
    # averages: 0.015 and 10.125 go up, 10.0033 goes down
    ("half a cent", 0, "0.01", "a", "food"),
    ("half a cent", 0, "0.02", "a", "food"),
    ("half of ten", 0, "10.12", "a", "food"),
    ("half of ten", 0, "10.13", "a", "food"),
    ("a third", 0, "10.00", "a", "food"),
    ("a third", 0, "10.00", "a", "food"),
    ("a third", 0, "10.01", "a", "food"),
    # both ends of the window and of the last 30 days, and the days on either side
    ("edges", 0, "1.00", "a", "food"),
    ("edges", 29, "2.00", "a", "food"),
    ("edges", 30, "4.00", "a", "food"),
    ("edges", 59, "8.00", "a", "food"),
    ("edges", 60, "16.00", "a", "food"),
    ("edges", 89, "32.00", "a", "food"),
    ("edges", 90, "64.00", "before", "before"),
    ("too old", 90, "64.00", "a", "food"),
    ("gone", 89, "3.00", "a", "food"),
    # trends of exactly 2.0000005 and -0.9999985, and of 1.0000015 that comes out a little less in binary
    ("trend up", 0, "60000.01", "a", "food"),
    ("trend up", 40, "40000.00", "a", "food"),
    ("trend down", 0, "0.03", "a", "food"),
    ("trend down", 40, "40000.00", "a", "food"),
    ("trend in between", 0, "40000.03", "a", "food"),
    ("trend in between", 40, "40000.00", "a", "food"),
    ("prior below zero", 0, "10.00", "a", "food"),
    ("prior below zero", 40, "-10.00", "a", "food"),
    # large and strange
    ("large", 0, "1000000.00", "a", "food"),
    ("large", 45, "999999.99", "a", "food"),
    ("large", 46, "-999999.98", "a", "food"),
    ("quoted \"' \\ , %", 0, "1.00", 'a "b", \\N', "\\."),
    ("line\nbreak", 0, "1.00", "a\nb", "c\r\nd"),
    ("Ünïcödé 漢字 🙂", 0, "1.00", "漢字", "🙂"),
    (" spaces ", 0, "1.00", " a ", "\t"),
]


def hostile_rows(purchases: list[Purchase]) -> dict[date, list[list[Value]]]:
    """Rows of TRANSACTIONS by day; a day's first is at its first instant, its last at its last second."""
    days: dict[date, list[list[Value]]] = {day: [] for day in window(DAY, WINDOW_DAYS + 1)}
    for number, (user, age, amount, location, category) in enumerate(purchases):
        day = DAY - timedelta(days=age)
        at = time.min if number % 2 else time(23, 59, 59, 999_999)
        bucket = hashlib.md5(user.encode(), usedforsecurity=False).digest()[0]
        occurred_at = datetime.combine(day, at, UTC)
        known: list[Value] = [bucket, user, str(number), occurred_at, Decimal(amount)]
        days[day].append([*known, "a merchant", location, category, None])
    return days


def write(lake: Path, purchases: list[Purchase]) -> Path:
    schema = [(column.name, column.type) for column in TRANSACTIONS.columns]
    with opened(lake) as engine:
        for day, rows in hostile_rows(purchases).items():
            engine.register_rows("rows", schema, rows)
            Lake(lake).write(engine, TRANSACTIONS, day, "rows")
    return lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("lake"), PURCHASES)


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run three times for a median."""
    monkeypatch.setattr(comparison, "TIMES", 1)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A short directory, because a socket's path has at most 107 characters."""
    directory = Path(tempfile.mkdtemp(prefix="mkt-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def silent(_: str) -> None:
    """Progress that nobody reads."""


def assert_equal(found: ComparisonResult) -> None:
    assert found.differences == []
    assert found.equal
    users = {user for user, age, amount, *_ in PURCHASES if age < WINDOW_DAYS and Decimal(amount) > 0}
    assert found.users == len(users)
    assert found.rows == sum(age < WINDOW_DAYS for _, age, *_ in PURCHASES)
    assert found.product_seconds > 0
    assert found.peak_memory > 1 << 20


def test_pandas_agrees_with_the_product(lake: Path) -> None:
    found = pandas_features.measure(lake, DAY, window_days=WINDOW_DAYS, progress=silent)
    assert_equal(found)
    assert 0 < found.load_seconds < found.seconds


def test_postgresql_agrees_with_the_product_and_leaves_nothing_behind(
    lake: Path, short_directory: Path
) -> None:
    found = postgres_features.measure(
        lake, DAY, window_days=WINDOW_DAYS, directory=short_directory, progress=silent
    )
    assert_equal(found)
    assert found.load_seconds > 0
    assert list(short_directory.iterdir()) == []


def test_a_lake_without_names_has_features(tmp_path: Path) -> None:
    lake = write(tmp_path, [("ann", 0, "5.00", None, None), ("ben", 1, "-5.00", None, None)])
    found = pandas_features.measure(lake, DAY, window_days=WINDOW_DAYS, progress=silent)
    assert (found.differences, found.users, found.rows) == ([], 1, 2)


def test_pandas_that_fails_says_so(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="pandas: ended with 1"):
        pandas_features.measure(lake, DAY, window_days=WINDOW_DAYS, progress=silent)


def feature_row(user: str, **other: Value) -> list[Value]:
    """A row of USER_FEATURES in which every column has a value, but for `other`."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    values: dict[str, Value] = {
        column.name: at if column.name.endswith("_at") else 1 for column in USER_FEATURES.columns
    }
    return [*(values | {"user_id": user} | other).values()]


def compared(directory: Path, product: list[list[Value]], found: list[list[Value]]) -> list[str]:
    schema = [(column.name, column.type) for column in USER_FEATURES.columns]
    with opened(directory) as engine:
        engine.register_rows("product", schema, product)
        engine.register_rows("found", schema, found)
        return differences(engine, "product", "found")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["ann", "ben"], []),
        (["ann"], ["user_id: 1 users only in the product"]),
        (["ann", "ben", "cat"], ["user_id: 1 users not in the product"]),
        (["ann", "ben", "ben"], ["user_id: 1 rows too many"]),
        (["ann", "cat"], ["user_id: 1 users only in the product", "user_id: 1 users not in the product"]),
    ],
)
def test_users_on_one_side_are_counted(tmp_path: Path, changed: list[str], said: list[str]) -> None:
    product = [feature_row("ann"), feature_row("ben")]
    assert compared(tmp_path, product, [feature_row(user) for user in changed]) == said


@pytest.mark.parametrize(
    "column", [column.name for column in USER_FEATURES.columns if column.name != "user_id"]
)
def test_a_column_that_differs_is_named(tmp_path: Path, column: str) -> None:
    other = datetime(2026, 1, 1, 0, 0, 0, 1, UTC) if column.endswith("_at") else 2
    product = [feature_row("ann"), feature_row("ben"), feature_row("cat")]
    found = [feature_row("ann"), feature_row("ben", **{column: other}), feature_row("cat")]
    assert compared(tmp_path, product, found) == [f"{column}: 1 users differ"]


@pytest.mark.parametrize("column", [column.name for column in USER_FEATURES.columns if column.nullable])
def test_a_null_differs_from_a_value_but_not_from_a_null(tmp_path: Path, column: str) -> None:
    known, unknown = feature_row("ann"), feature_row("ann", **{column: None})
    assert compared(tmp_path, [known], [unknown]) == [f"{column}: 1 users differ"]
    assert compared(tmp_path, [unknown], [unknown]) == []
