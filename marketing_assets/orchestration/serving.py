"""The tables that the app reads, where the lineage ends: not Dagster's, filled by `published_night`."""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from marketing_assets.orchestration.metadata import OWNERS, described
from marketing_assets.storage.datasets import DATASETS

if TYPE_CHECKING:
    from sqlalchemy import Table

    from marketing_assets.storage.publish import Published

_SCHEMA = "marketing"
_TABLES = {
    "marketing_campaigns": ("Campaigns with their offer and status", "one campaign", False),
    "campaign_targets": ("Who is shown a campaign, and who is only measured", "one campaign and user", True),
    "user_segments": ("Each user's patterns and what the app shows of them", "one user", True),
    "segment_summary": ("Size and spend of each segment", "one day and pattern", False),
    "published_nights": ("Which nights were published, skipped or are stale", "one day", False),
}


def build_tables(publisher: str) -> list[dg.AssetSpec]:
    """One asset for each table that the asset `publisher` fills."""
    return [
        dg.AssetSpec(
            dg.AssetKey([_SCHEMA, name]),
            deps=[publisher],
            group_name="publishing",
            kinds={"postgres"},
            owners=OWNERS,
            tags={"pii": ""} if personal else {},
            description=described(
                f"{what}: the table `{_SCHEMA}.{name}`.",
                grain=grain,
                source=f"`{publisher}`",
                rule="written by nobody else; a night appears in all of them at once",
                readers="the app",
            ),
        )
        for name, (what, grain, personal) in _TABLES.items()
    ]


def log_published(context: dg.AssetExecutionContext, day: date, published: "Published") -> None:
    """Say of each table what the night changed, with its columns."""
    from marketing_assets.storage import tables

    shown = {
        "marketing_campaigns": (tables.marketing_campaigns, published.new_campaigns),
        "campaign_targets": (tables.campaign_targets, published.new_targets),
        "user_segments": (tables.user_segments_a, published.segments),
        "segment_summary": (tables.segment_summary, None),
        "published_nights": (tables.published_nights, 1),
    }
    for name, (table, rows) in shown.items():
        context.log_event(
            dg.AssetMaterialization(
                dg.AssetKey([_SCHEMA, name]),
                description=f"The night of {day}.",
                metadata={
                    "day": day.isoformat(),
                    "dagster/column_schema": _schema(table),
                    **({} if rows is None else {"rows": rows}),
                },
            )
        )


def _schema(table: "Table") -> dg.TableSchema:
    """The table's columns; one that the lake has too means the same there."""
    known = {column.name: column for dataset in DATASETS.values() for column in dataset.columns}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.type).lower(),
                description=column.comment
                or (known[column.name].description if column.name in known else None),
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable)),
                tags={"pii": ""} if column.name in known and known[column.name].personal else {},
            )
            for column in table.columns
        ]
    )
