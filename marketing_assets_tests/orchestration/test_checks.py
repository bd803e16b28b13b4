"""The checks of datasets: a partition written by hand that breaks a rule fails the check of that rule."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from marketing_assets.engine.base import Value
from marketing_assets.orchestration.checks.datasets import check_dataset, checks_not_run, dataset_check_specs
from marketing_assets.orchestration.checks.transactions import day_not_empty, rejected_share
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, DATASETS, USER_PATTERNS, Column, Dataset
from marketing_assets.storage.lake import Lake

D = date(2026, 2, 10)
ALL = sorted(DATASETS.values(), key=lambda dataset: dataset.name)
REFERRING = [dataset for dataset in ALL if dataset.references]
SECRET = "who-nobody-may-see"


def value(column: Column, number: int) -> Value:
    """A value of the column's type, the same for columns of one name in every dataset."""
    kinds: dict[str, Value] = {
        "varchar": f"{SECRET}-{column.name}-{number}",
        "integer": number,
        "bigint": number,
        "double": float(number),
        "boolean": True,
        "date": D,
        "timestamp with time zone": datetime(2026, 2, 10, 12, number, tzinfo=UTC),
        "decimal(9,8)": Decimal(number) / 10,
    }
    return kinds.get(column.type, Decimal(number))


def row(dataset: Dataset, number: int) -> list[Value]:
    return [value(column, number) for column in dataset.columns]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform with a lake and an engine; checks need no database."""
    made = Platform(Settings(_env_file=None, MARKETING_HOME=tmp_path / "home with a blank"), "test")
    made.lake = Lake(made.settings.lake)
    yield made
    made.engine.close()


def put(platform: Platform, dataset: Dataset, rows: Sequence[Sequence[Value]], day: date = D) -> None:
    platform.engine.register_rows("by_hand", [(c.name, c.type) for c in dataset.columns], rows)
    platform.lake.write(platform.engine, dataset, day, "by_hand")


def put_good(platform: Platform, dataset: Dataset, day: date = D) -> None:
    """Two good rows in the dataset and in what it refers to."""
    for each in (dataset, *(DATASETS[reference.dataset] for reference in dataset.references)):
        put(platform, each, [row(each, 1), row(each, 2)], day)


def results(
    platform: Platform, dataset: Dataset, days: Sequence[date] = (D,)
) -> dict[str, dg.AssetCheckResult]:
    found = {str(each.check_name): each for each in check_dataset(platform, dataset, days)}
    assert list(found) == [spec.name for spec in dataset_check_specs(dataset)]
    for each in found.values():
        assert SECRET not in str(each.metadata)
        assert each.severity is dg.AssetCheckSeverity.ERROR
    return found


def metadata(result: dg.AssetCheckResult, name: str) -> object:
    return result.metadata[name].value


def listed(result: dg.AssetCheckResult) -> list[tuple[object, ...]]:
    """The rows that the shown command prints, run by DuckDB as a person would run it."""
    program, option, statements = shlex.split(str(metadata(result, "how_to_list")))
    assert (program, option) == ("duckdb", "-c")
    with duckdb.connect() as connection:
        return [found for each in statements.split("; ") for found in connection.execute(each).fetchall()]


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_a_good_partition_passes(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    for result in results(platform, dataset).values():
        assert result.passed
        assert (metadata(result, "observed"), metadata(result, "limit")) == (0, 0)
        assert listed(result) == []


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_two_rows_of_one_key_fail_and_are_listed(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    put(platform, dataset, [row(dataset, 1), row(dataset, 2), row(dataset, 2)])
    found = results(platform, dataset)
    assert {name for name, result in found.items() if not result.passed} == {"unique_key"}
    assert (metadata(found["unique_key"], "observed"), metadata(found["unique_key"], "limit")) == (1, 0)
    key = [value(column, 2) for column in dataset.columns if column.name in dataset.key]
    [offending] = listed(found["unique_key"])
    assert offending[0] == D
    assert sorted(map(str, offending[1:-1])) == sorted(map(str, key))
    assert offending[-1] == 2


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_a_null_where_none_belongs_fails_and_is_listed(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    required = [column for column in dataset.columns if not column.nullable]
    # One row for each column that is never null, with a null there.
    broken = [
        [None if column is missing else value(column, number + 10) for column in dataset.columns]
        for number, missing in enumerate(required)
    ]
    put(platform, dataset, [row(dataset, 1), *broken])
    found = results(platform, dataset)["no_nulls"]
    assert not found.passed
    assert metadata(found, "observed") == len(required)
    missing_in = [
        column.name
        for offending in listed(found)
        for column, each in zip(dataset.columns, offending, strict=False)
        if each is None
    ]
    assert sorted(missing_in) == sorted(column.name for column in required)


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_nulls_where_they_belong_pass(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    sparse = [None if column.nullable else value(column, 2) for column in dataset.columns]
    put(platform, dataset, [row(dataset, 1), sparse])
    assert [result.passed for result in results(platform, dataset).values() if not result.passed] == []


@pytest.mark.parametrize("dataset", REFERRING, ids=lambda dataset: dataset.name)
def test_a_reference_to_nothing_fails_and_is_listed(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    for reference in dataset.references:
        other = DATASETS[reference.dataset]
        put(platform, other, [row(other, 1)])
        found = results(platform, dataset)
        assert {name for name, result in found.items() if not result.passed} == {"references_hold"}
        assert metadata(found["references_hold"], "observed") == 1
        [offending] = listed(found["references_hold"])
        assert offending[: len(dataset.columns)] == tuple(
            each if not isinstance(each, datetime) else offending[place]
            for place, each in enumerate(row(dataset, 2))
        )
        put_good(platform, dataset)


def test_a_row_of_another_day_is_no_reference(platform: Platform) -> None:
    put_good(platform, USER_PATTERNS)
    put_good(platform, USER_PATTERNS, D + timedelta(days=1))
    features = DATASETS["user_features"]
    put(platform, features, [row(features, 1)])
    found = results(platform, USER_PATTERNS, [D, D + timedelta(days=1)])
    assert metadata(found["references_hold"], "observed") == 1
    [offending] = listed(found["references_hold"])
    assert D in offending


def test_of_many_days_the_one_that_breaks_the_rule_is_listed(platform: Platform) -> None:
    days = [D + timedelta(days=number) for number in range(12)]
    dataset = DATASETS["segment_summary"]
    for day in days:
        put(platform, dataset, [row(dataset, 1)], day)
    put(platform, dataset, [row(dataset, 1), row(dataset, 1)], days[3])
    found = results(platform, dataset, days)
    assert metadata(found["unique_key"], "observed") == 1
    assert [offending[0] for offending in listed(found["unique_key"])] == [days[3]]


def test_the_same_key_on_two_days_is_no_repetition(platform: Platform) -> None:
    days = [D, D + timedelta(days=1)]
    for day in days:
        put_good(platform, CAMPAIGN_TARGETS, day)
    assert all(result.passed for result in results(platform, CAMPAIGN_TARGETS, days).values())


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_an_empty_partition_passes(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    put(platform, dataset, [])
    assert all(result.passed for result in results(platform, dataset).values())


def test_a_step_that_wrote_nothing_has_a_result_for_each_check() -> None:
    found = list(checks_not_run(CAMPAIGN_TARGETS))
    assert [each.check_name for each in found] == ["unique_key", "no_nulls", "references_hold"]
    assert all(each.passed for each in found)


def test_days_without_a_row_are_a_warning_only() -> None:
    result = day_not_empty([])
    assert result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    share = rejected_share([], Decimal("0.05"), None)
    assert share.passed
    assert (metadata(share, "observed"), metadata(share, "limit")) == (0.0, 0.05)
