"""Checks every dataset of the lake has: unique key, no nulls where none belong, references that hold.

They are made from the datasets' own description and read the partition as it was written. Each shows
what was observed, the limit, and how to list the offending rows; never a user id.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.domain.days import spans
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import DATASETS, Dataset

if TYPE_CHECKING:
    from sqlglot import exp

_DAYS_AT_ONCE = 10


def dataset_check_specs(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """Specs of the blocking checks of one dataset."""
    specs = [
        ("unique_key", f"No two rows of a day share {', '.join(dataset.key)}."),
        ("no_nulls", "Columns that are never null have no null."),
    ]
    if dataset.references:
        specs.append(("references_hold", "Everything a row refers to exists on the same day."))
    return [
        dg.AssetCheckSpec(name, asset=dataset.name, description=description, blocking=True)
        for name, description in specs
    ]


def check_dataset(
    platform: Platform, dataset: Dataset, days: Sequence[date], exempt: str | None = None
) -> Iterator[dg.AssetCheckResult]:
    """Run the checks of `dataset_check_specs` on the partitions of `days`, some days at a time.

    Rows whose key is in the relation `exempt` need not refer to anything: what was published stands, also
    where the user or the campaign it refers to is no longer there.
    """
    from marketing_assets.storage import dataset_queries

    required = [column.name for column in dataset.columns if not column.nullable]
    yield _result(platform, dataset, days, "unique_key", [dataset_queries.repeated(dataset)])
    yield _result(platform, dataset, days, "no_nulls", [dataset_queries.with_null(required)])
    if dataset.references:
        lost = [dataset_queries.lost(reference, dataset.key, exempt) for reference in dataset.references]
        listed = [dataset_queries.lost(reference, dataset.key) for reference in dataset.references]
        yield _result(platform, dataset, days, "references_hold", lost, listed)


def checks_not_run(
    dataset: Dataset, why: str = "the night was not decided, nothing was written"
) -> Iterator[dg.AssetCheckResult]:
    """Results for a step that wrote nothing; Dagster wants one for each check of a step that ran."""
    for spec in dataset_check_specs(dataset):
        yield dg.AssetCheckResult(
            asset_key=dataset.name,
            check_name=spec.name,
            passed=True,
            metadata={"observed": 0, "limit": 0, "note": why},
        )


def _result(
    platform: Platform,
    dataset: Dataset,
    days: Sequence[date],
    name: str,
    queries: "Sequence[exp.Query]",
    listed: "Sequence[exp.Query] | None" = None,
) -> dg.AssetCheckResult:
    from marketing_assets.storage import dataset_queries

    observed, offending = 0, days[-1]
    for part in spans(list(days), _DAYS_AT_ONCE):
        _register(platform, dataset, part)
        for query in queries:
            found = platform.engine.fetch(dataset_queries.counted(query))[0]
            observed += int(str(found["found"]))
            offending = found["day"] if isinstance(found["day"], date) else offending
    files = {"checked": str(platform.lake.path(dataset, offending))}
    for reference in dataset.references:
        other = DATASETS[reference.dataset]
        files[f"other_{other.name}"] = str(platform.lake.path(other, offending))
    how = "; ".join(dataset_queries.listed(query, files) for query in listed or queries)
    return dg.AssetCheckResult(
        asset_key=dataset.name,
        check_name=name,
        passed=observed == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"observed": observed, "limit": 0, "how_to_list": f'duckdb -c "{how}"'},
    )


def _register(platform: Platform, dataset: Dataset, days: Sequence[date]) -> None:
    platform.lake.register(platform.engine, "checked", dataset, days)
    for reference in dataset.references:
        other = DATASETS[reference.dataset]
        platform.lake.register(platform.engine, f"other_{other.name}", other, days)
