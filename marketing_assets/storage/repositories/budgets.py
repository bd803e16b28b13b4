"""Budgets of campaigns: what may be spent, what is promised and spent already, and who is still open.

Rewards reserve and spend in these rows, one statement each; edits change `budget` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Connection, select

from marketing_assets.storage.copying import copy_query
from marketing_assets.storage.tables import campaign_budgets


@dataclass(frozen=True)
class Budget:
    """One row of `campaign_budgets`; `budget` None is unlimited."""

    campaign_id: str
    budget: Decimal | None
    reserved: Decimal
    spent: Decimal


def of_campaigns(connection: Connection, campaign_ids: Sequence[str]) -> list[Budget]:
    """The budgets of these campaigns, by id; those that were never published have none."""
    statement = (
        select(campaign_budgets)
        .where(campaign_budgets.c.campaign_id.in_(campaign_ids))
        .order_by(campaign_budgets.c.campaign_id)
    )
    return [Budget(**row._mapping) for row in connection.execute(statement)]


def export_converted(connection: Connection, campaign_ids: Sequence[str], file: Path) -> None:
    """Write the targets of these campaigns that have converted: a CSV of campaign_id and user_id.

    Of campaigns without a limit nothing is written: nobody asks what their targets may still cost.
    """
    copy_query(
        connection,
        "select t.campaign_id, t.user_id from marketing.campaign_targets t"
        " join marketing.campaign_budgets b on b.campaign_id = t.campaign_id and b.budget is not null"
        " where t.campaign_id = any(%s) and t.status = 'converted'",
        [list(campaign_ids)],
        file,
    )
