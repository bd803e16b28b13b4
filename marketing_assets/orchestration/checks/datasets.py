"""Checks every dataset of the lake has: schema, unique key, no nulls, values in range, references that hold.

They are made from the datasets' own description and read the partition as it was written. Each shows
what was observed, the limit, and how to list the offending rows; never a user id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.checks.results import check_result, checks_not_run, command
from marketing_assets.orchestration.platform import Platform
from marketing_assets.storage.datasets import DATASETS, Column, Dataset

if TYPE_CHECKING:
    from sqlglot import exp

_DAYS_AT_ONCE = 10
_ROWS_AT_ONCE = 3_000_000


def dataset_check_specs(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """Specs of the blocking checks of one dataset; `schema` comes first."""
    specs = [
        ("schema", "Columns and types of the written file are those that the dataset describes."),
        ("unique_key", f"No two rows of a day share {', '.join(dataset.key)}."),
        ("no_nulls", "Columns that are never null have no null."),
    ]
    ranged = [column.name for column in dataset.columns if _is_bounded(column)]
    if ranged:
        specs.append(("in_range", f"Values lie in their range: {', '.join(ranged)}."))
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
    schema, *others = dataset_check_specs(dataset)
    found = _schema_result(platform, schema, dataset, days)
    yield found
    if not found.passed:
        yield from checks_not_run(others, "not run: the columns differ, see schema", passed=False)
        return
    rules = [_rule(spec, dataset, exempt) for spec in others]
    for part in _parts(platform, dataset, days):
        register_partitions(platform, dataset, part)
        for rule in rules:
            rule.look(platform)
    for rule in rules:
        yield check_result(
            rule.spec,
            passed=rule.observed == 0,
            observed=rule.observed,
            limit=0,
            how_to_list=command(rule.listed, partition_files(platform, dataset, rule.day or days[-1])),
        )


def register_partitions(platform: Platform, dataset: Dataset, days: Sequence[date]) -> None:
    """Name the dataset's rows of `days` `checked`, and what it refers to `other_<dataset>`."""
    platform.lake.register(platform.engine, "checked", dataset, days)
    for reference in dataset.references:
        other = DATASETS[reference.dataset]
        platform.lake.register(platform.engine, f"other_{other.name}", other, days)


def partition_files(platform: Platform, dataset: Dataset, day: date) -> dict[str, Path]:
    """The files behind the relations of `register_partitions`, of one day."""
    files = {"checked": platform.lake.path(dataset, day)}
    for reference in dataset.references:
        other = DATASETS[reference.dataset]
        files[f"other_{other.name}"] = platform.lake.path(other, day)
    return files


@dataclass
class _Rule:
    """One check: what finds offending rows, what lists them, and what was found so far.

    `distinct` is a cheap query that shows, where both of its numbers are equal, that there are none.
    """

    spec: dg.AssetCheckSpec
    queries: "Sequence[exp.Query]"
    listed: "Sequence[exp.Query]"
    distinct: "exp.Query | None" = None
    observed: int = 0
    day: date | None = None

    def look(self, platform: Platform) -> None:
        from marketing_assets.storage import dataset_queries

        if self.distinct is not None:
            counted = platform.engine.fetch(self.distinct)[0]
            if counted["rows"] == counted["keys"]:
                return
        for query in self.queries:
            found = platform.engine.fetch(dataset_queries.counted(query))[0]
            self.observed += int(str(found["found"]))
            self.day = found["day"] if isinstance(found["day"], date) else self.day


def _rule(spec: dg.AssetCheckSpec, dataset: Dataset, exempt: str | None) -> _Rule:
    from marketing_assets.storage import dataset_queries

    if spec.name == "unique_key":
        repeated = [dataset_queries.repeated(dataset)]
        return _Rule(spec, repeated, repeated, dataset_queries.rows_and_keys(dataset))
    if spec.name == "references_hold":
        listed = [dataset_queries.lost(reference, dataset.key) for reference in dataset.references]
        lost = [dataset_queries.lost(reference, dataset.key, exempt) for reference in dataset.references]
        return _Rule(spec, lost, listed)
    made = {"no_nulls": dataset_queries.with_null, "in_range": dataset_queries.out_of_range}[spec.name]
    return _Rule(spec, [made(dataset)], [made(dataset)])


def _schema_result(
    platform: Platform, spec: dg.AssetCheckSpec, dataset: Dataset, days: Sequence[date]
) -> dg.AssetCheckResult:
    from marketing_assets.storage import dataset_queries

    described = {column.name: column.type for column in dataset.columns}
    differences: dict[str, str] = {}
    offending = days[-1]
    for day in days:
        written = dict(platform.engine.schema_of(platform.lake.path(dataset, day)))
        for name in [*described, *(each for each in written if each not in described)]:
            has, wanted = written.get(name, "missing"), described.get(name, "no such column")
            if has != wanted:
                differences[f"{day} {name}"] = f"{has}, not {wanted}"
                offending = day
    return check_result(
        spec,
        passed=not differences,
        observed=len(differences),
        limit=0,
        how_to_list=command([dataset_queries.columns()], {"checked": platform.lake.path(dataset, offending)}),
        differences="; ".join(f"{what}: {how}" for what, how in list(differences.items())[:10]) or "none",
    )


def _is_bounded(column: Column) -> bool:
    return bool(column.at_least is not None or column.at_most is not None or column.one_of)


def _parts(platform: Platform, dataset: Dataset, days: Sequence[date]) -> Iterator[list[date]]:
    """Cut the days so that the rows of a part fit in memory, at most ten days at once."""
    from marketing_assets.storage.comparison_queries import rows_by_day

    platform.lake.register(platform.engine, "checked", dataset, days)
    counted = platform.engine.fetch(rows_by_day()) if len(days) > 1 else []
    rows = {row["day"]: int(str(row["rows"])) for row in counted}
    part: list[date] = []
    for day in days:
        if part and (
            len(part) == _DAYS_AT_ONCE or sum(rows.get(each, 0) for each in (*part, day)) > _ROWS_AT_ONCE
        ):
            yield part
            part = []
        part.append(day)
    yield part
