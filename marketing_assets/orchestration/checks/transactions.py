"""Checks of the ingest: the share of rejected rows (blocking), and days without a row (warning)."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.errors import RejectedShareError
from marketing_assets.orchestration.metadata import Metadata
from marketing_assets.storage.datasets import TRANSACTIONS

if TYPE_CHECKING:
    from marketing_assets.sources.ingest import IngestedDay


def transaction_check_specs() -> list[dg.AssetCheckSpec]:
    """Specs of the checks in this module."""
    return [
        dg.AssetCheckSpec(
            "rejected_share",
            asset=TRANSACTIONS.name,
            description="Rejected rows / rows read stay below MARKETING_MAX_REJECTED; else the day keeps "
            "what it had.",
            blocking=True,
        ),
        dg.AssetCheckSpec(
            "day_not_empty", asset=TRANSACTIONS.name, description="The source has rows for the day."
        ),
    ]


def rejected_share(
    days: "Sequence[IngestedDay]", limit: Decimal, failed: RejectedShareError | None
) -> dg.AssetCheckResult:
    """The worst share among the days; failed where ingest refused to go on."""
    share = max((day.rejected / day.read for day in days if day.read), default=0.0)
    metadata: Metadata = {"limit": float(limit)}
    if failed is None:
        metadata["observed"] = share
    else:
        metadata["how_to_list"] = str(failed)
    return dg.AssetCheckResult(
        asset_key=TRANSACTIONS.name,
        check_name="rejected_share",
        passed=failed is None,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def day_not_empty(days: "Sequence[IngestedDay]") -> dg.AssetCheckResult:
    """A warning where the source has no row at all for a day."""
    empty = [day.day.isoformat() for day in days if day.read == 0]
    return dg.AssetCheckResult(
        asset_key=TRANSACTIONS.name,
        check_name="day_not_empty",
        passed=not empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"observed": len(empty), "limit": 0, "empty_days": ", ".join(empty[:10]) or "none"},
    )
