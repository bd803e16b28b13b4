"""How every check shows what it found: the observed value, the limit, and a command that lists the rows.

No check is made here, and no value of a row is ever shown: only counts, days and names of campaigns,
patterns and columns.
"""

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.metadata import RawMetadataValue

from marketing_assets.orchestration.metadata import Metadata

if TYPE_CHECKING:
    from sqlglot import exp

_UNSAFE = frozenset('"$`\\!')


def check_result(
    spec: dg.AssetCheckSpec,
    *,
    passed: bool,
    observed: RawMetadataValue,
    limit: RawMetadataValue,
    how_to_list: str | None = None,
    **more: RawMetadataValue,
) -> dg.AssetCheckResult:
    """The result of one check; one that does not block only warns."""
    metadata: Metadata = {"observed": observed, "limit": limit, **more}
    if how_to_list is not None:
        metadata["how_to_list"] = how_to_list
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def checks_not_run(
    specs: Iterable[dg.AssetCheckSpec], note: str, *, passed: bool = True
) -> Iterator[dg.AssetCheckResult]:
    """Results of checks that had nothing to look at; Dagster wants one for each check of a step that ran."""
    for spec in specs:
        yield check_result(spec, passed=passed, observed=0, limit=0, note=note)


def command(queries: "Iterable[exp.Expr]", files: Mapping[str, Path]) -> str:
    """A shell command that runs `queries`, each relation replaced by its file, and prints the rows."""
    from marketing_assets.storage import dataset_queries

    statements = "; ".join(dataset_queries.listed(query, files) for query in queries)
    # Double quotes read better around SQL; a policy's own text may hold what a shell would act on.
    quoted = shlex.quote(statements) if _UNSAFE.intersection(statements) else f'"{statements}"'
    return f"{shlex.quote(str(_program()))} sql {quoted}"


def days_named(days: Iterable[date]) -> str:
    """A few days, for metadata."""
    named = [day.isoformat() for day in days]
    return ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")  # noqa: PLR2004


def _program() -> Path:
    """The `marketing` command of this installation, so that what is shown works wherever it is pasted."""
    beside = Path(sys.executable).with_name("marketing")
    return beside if beside.exists() else Path("marketing")
