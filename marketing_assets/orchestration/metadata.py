"""What every asset shows: descriptions from the datasets, the same numbers each run, small tables.

Helpers for metadata only; no asset and no check is made here.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue

from marketing_assets.engine.base import Value
from marketing_assets.errors import DatabaseError, MarketingError
from marketing_assets.orchestration.failures import TRANSIENT, can_pass
from marketing_assets.storage.datasets import Dataset

if TYPE_CHECKING:
    from marketing_assets.storage.lake import Written

Metadata = dict[str, RawMetadataValue]
Results = Iterator[dg.MaterializeResult[object] | dg.AssetCheckResult]
"""What a step yields."""

OWNERS = ["team:data-platform"]
LAKE_KINDS = {"duckdb", "parquet"}


def dataset_spec(
    dataset: Dataset,
    *,
    group: str,
    description: str,
    rule: str,
    readers: str,
    deps: Sequence[dg.AssetDep],
    partitions: dg.PartitionsDefinition | None,
    freshness: dg.FreshnessPolicy | None = None,
) -> dg.AssetSpec:
    """The spec of an asset that is one dataset of the lake.

    `rule` says by what it is computed, `readers` who uses it.
    """
    personal = any(column.personal for column in dataset.columns)
    return dg.AssetSpec(
        dataset.name,
        deps=deps,
        description=described(
            description,
            grain=f"{dataset.grain}. Unique by {', '.join(dataset.key)}",
            source=", ".join(f"`{dep.asset_key.to_user_string()}`" for dep in deps),
            rule=rule,
            readers=readers,
        ),
        freshness_policy=freshness,
        metadata={"dagster/column_schema": table_schema(dataset)},
        group_name=group,
        owners=OWNERS,
        kinds=LAKE_KINDS,
        tags={"pii": ""} if personal else {},
        partitions_def=partitions,
    )


def described(what: str, *, grain: str, source: str, rule: str, readers: str) -> str:
    """A description as every asset has it: what it is, then what one asks next, a paragraph each."""
    asked = {"Grain": grain, "Source": source, "Rule": rule, "Read by": readers}
    return "\n\n".join([what, *(f"{name}: {answer}." for name, answer in asked.items())])


def column_lineage(dataset: Dataset) -> dg.TableColumnLineage:
    """What each column is computed from, where it is computed from columns of other assets."""
    return dg.TableColumnLineage(
        {
            column.name: [
                dg.TableColumnDep(dg.AssetKey(asset), name)
                for asset, _, name in (origin.partition(".") for origin in column.made_of)
            ]
            for column in dataset.columns
            if column.made_of
        }
    )


def table_schema(dataset: Dataset) -> dg.TableSchema:
    """Dagster's column schema of a dataset, with its key and what may be null."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, unique=dataset.key == (column.name,)
                ),
                tags={"pii": ""} if column.personal else {},
            )
            for column in dataset.columns
        ]
    )


def partition_days(context: dg.AssetExecutionContext) -> list[date]:
    """The business days of the step's partitions, ascending."""
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def partition_metadata(written: "Written", **values: RawMetadataValue | Value) -> Metadata:
    """Rows, bytes and digest of a partition, with what else the asset measures.

    Exact numbers become floats and days text, as the UI shows them.
    """
    return {
        "dagster/partition_row_count": written.rows,
        "rows": written.rows,
        "bytes": written.bytes,
        "digest": written.digest,
        **{name: _shown(value) for name, value in values.items()},
    }


def _shown(value: RawMetadataValue | Value) -> RawMetadataValue:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date) else value


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A small table for the UI."""
    lines = [header, ["---"] * len(header), *rows]
    return dg.MetadataValue.md(
        "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
    )


def add_metadata(context: dg.AssetExecutionContext, asset: str, day: str, metadata: Metadata) -> None:
    """Attach metadata to one partition of one asset of the step."""
    context.add_asset_metadata(metadata=metadata, asset_key=asset, partition_key=day)


@contextmanager
def named_failures() -> Iterator[None]:
    """Turn an error with a remedy into a Dagster failure that shows both, tried again where that can help.

    Dagster keeps an error with its causes. Those of the database quote rows, and stay out of it.
    """
    import psycopg
    from sqlalchemy.exc import DBAPIError

    from marketing_assets.storage.database import is_transient

    try:
        yield
    except MarketingError as error:
        failure = _failure(error)
        raise failure from _unquoted(error)
    except (DBAPIError, psycopg.Error) as error:
        lost = DatabaseError(
            f"PostgreSQL was lost or refused: {_without_rows(error)}",
            remedy="see that the database is up, then run the day again; nothing is half done",
            transient=is_transient(error),
        )
        lost.__cause__ = error
        failure = _failure(lost)
        raise failure from _unquoted(lost.with_traceback(error.__traceback__))


def _unquoted(error: MarketingError) -> MarketingError:
    """The error, whose cause in the database's own words is no more than its context, which is not shown."""
    import psycopg
    from sqlalchemy.exc import DBAPIError

    outer: BaseException = error
    while outer.__cause__ is not None:
        if isinstance(outer.__cause__, (DBAPIError, psycopg.Error)):
            outer.__context__, outer.__cause__ = outer.__cause__, None
        else:
            outer = outer.__cause__
    return error


def _without_rows(error: Exception) -> str:
    """What the database says went wrong, without the statement, its values and what quotes rows."""
    cause = getattr(error, "orig", None) or error
    said = getattr(getattr(cause, "diag", None), "message_primary", None) or cause
    return " ".join(str(said).split())[:500]


def _failure(error: MarketingError) -> dg.Failure:
    metadata: Metadata = {"error": error.message, "remedy": error.remedy, TRANSIENT: can_pass(error)}
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=error.transient)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Elapsed, to the millisecond."""
        return round(time.monotonic() - self._start, 3)
