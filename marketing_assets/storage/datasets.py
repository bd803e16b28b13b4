"""The lake's datasets: grain, key and columns of each, the one home of these facts.

Dagster's column schema, the schema and key checks and the docs are derived from here. The serving
tables stand in `tables.py`. Nothing here reads or writes.
"""

from dataclasses import dataclass
from typing import Literal

Retention = Literal["data", "behaviour", "targets"]
"""How long partitions stay: `data` and `behaviour` as set, `targets` also while a cooldown looks back."""


@dataclass(frozen=True)
class Column:
    """One column of a dataset: SQL type as DuckDB and Spark both know it, and what it means."""

    name: str
    type: str
    description: str
    nullable: bool = False
    personal: bool = False


@dataclass(frozen=True)
class Reference:
    """Every value of `columns` must occur in `dataset` of the same day, under the same names."""

    columns: tuple[str, ...]
    dataset: str


@dataclass(frozen=True)
class Dataset:
    """One Parquet file a day: rows in the order of `order`, unique by `key`."""

    name: str
    grain: str
    key: tuple[str, ...]
    order: tuple[str, ...]
    columns: tuple[Column, ...]
    references: tuple[Reference, ...] = ()
    retention: Retention = "data"

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in file order."""
        return tuple(column.name for column in self.columns)


_USER = Column("user_id", "varchar", "user, as the source names them", personal=True)

TRANSACTIONS = Dataset(
    name="transactions",
    grain="one kept transaction of the business day",
    key=("transaction_id",),
    order=("bucket", "user_id", "transaction_id"),
    columns=(
        Column("bucket", "integer", "first byte of md5(user_id), 0 to 255; rows are sorted by it"),
        _USER,
        Column("transaction_id", "varchar", "the source's id"),
        Column("occurred_at", "timestamp with time zone", "when it happened, UTC"),
        Column("amount", "decimal(14,2)", "money, rounded half-up; negative for a refund"),
        Column("merchant", "varchar", "merchant, where the source has one", nullable=True),
        Column("location", "varchar", "store or place, where the source has one", nullable=True),
        Column("category", "varchar", "category, where the source has one", nullable=True),
        Column(
            "updated_at", "timestamp with time zone", "the source's time of last change, UTC", nullable=True
        ),
    ),
)

REJECTED_TRANSACTIONS = Dataset(
    name="rejected_transactions",
    grain="one source row that was not kept, as text, with the reason",
    key=("position",),
    order=("position",),
    columns=(
        Column("position", "integer", "1, 2, ... in the order of all other columns"),
        Column("reason", "varchar", "why it was rejected"),
        Column("transaction_id", "varchar", "as read", nullable=True),
        Column("user_id", "varchar", "as read", nullable=True, personal=True),
        Column("occurred_at", "varchar", "as read", nullable=True),
        Column("amount", "varchar", "as read", nullable=True),
        Column("merchant", "varchar", "as read", nullable=True),
        Column("location", "varchar", "as read", nullable=True),
        Column("category", "varchar", "as read", nullable=True),
        Column("updated_at", "varchar", "as read", nullable=True),
    ),
)

USER_FEATURES = Dataset(
    name="user_features",
    grain="one user with at least one purchase in the window that ends with the day",
    key=("user_id",),
    order=("bucket", "user_id"),
    retention="behaviour",
    columns=(
        Column("bucket", "integer", "first byte of md5(user_id), 0 to 255; rows are sorted by it"),
        _USER,
        Column("transactions", "integer", "purchases (kept rows with amount > 0)"),
        Column("spend", "decimal(14,2)", "money: sum of all kept amounts, refunds included"),
        Column("average_order", "decimal(14,2)", "money: sum of purchases / purchases, half-up"),
        Column("active_days", "integer", "distinct business days with a purchase"),
        Column("first_transaction_at", "timestamp with time zone", "first purchase, UTC"),
        Column("last_transaction_at", "timestamp with time zone", "last purchase, UTC"),
        Column("days_since_last", "integer", "days from the last purchase to the day; 0 = on it"),
        Column("locations", "integer", "distinct locations with a purchase"),
        Column("top_location", "varchar", "location with most purchases", nullable=True),
        Column("top_location_share", "double", "its purchases / all purchases, 0 to 1", nullable=True),
        Column("categories", "integer", "distinct categories with a purchase"),
        Column("top_category", "varchar", "category with most purchases", nullable=True),
        Column("top_category_share", "double", "its purchases / all purchases, 0 to 1", nullable=True),
        Column("spend_recent", "decimal(14,2)", "money: spend of the last 30 days"),
        Column("spend_prior", "decimal(14,2)", "money: spend of the days of the window before those"),
        Column("spend_trend", "double", "recent over prior daily spend, minus 1", nullable=True),
    ),
)

USER_PATTERNS = Dataset(
    name="user_patterns",
    grain="one user and pattern that holds",
    key=("user_id", "pattern"),
    order=("bucket", "user_id", "rank"),
    retention="behaviour",
    columns=(
        Column("bucket", "integer", "first byte of md5(user_id), 0 to 255; rows are sorted by it"),
        _USER,
        Column("pattern", "varchar", "name of the pattern in the policy"),
        Column("rank", "integer", "the pattern's rank; the best of a user's is the primary"),
        Column("is_primary", "boolean", "true for the user's pattern of best rank"),
        Column("reason", "varchar", "JSON: the feature values that made it true"),
    ),
    references=(Reference(("user_id",), "user_features"),),
)

SEGMENT_SUMMARY = Dataset(
    name="segment_summary",
    grain="one pattern of the policy",
    key=("pattern",),
    order=("rank",),
    retention="behaviour",
    columns=(
        Column("pattern", "varchar", "name of the pattern in the policy"),
        Column("rank", "integer", "the pattern's rank"),
        Column("users", "bigint", "users with the pattern"),
        Column("primary_users", "bigint", "users whose primary pattern it is"),
        Column("share", "double", "users / all users of the day, 0 to 1"),
        Column("spend", "decimal(18,2)", "money: spend of its users in the window"),
        Column("average_order", "decimal(14,2)", "money: mean average_order of its users", nullable=True),
    ),
)

CAMPAIGNS = Dataset(
    name="campaigns",
    grain="one campaign open on the target day, or template that got none, or campaign that ended",
    key=("campaign_id",),
    order=("priority", "campaign_id"),
    columns=(
        Column("campaign_id", "varchar", "template-start day; for not_opened the id it would have had"),
        Column("template", "varchar", "template of the policy"),
        Column("outcome", "varchar", "opened, kept, paused, ended, orphaned or not_opened"),
        Column("outcome_reason", "varchar", "why, in words"),
        Column("target_pattern", "varchar", "pattern whose users it is for"),
        Column("audience", "bigint", "users with the pattern on the day"),
        Column("priority", "integer", "1 is served first"),
        Column(
            "status",
            "varchar",
            "active, paused or expired by the dates of the night; null where it has no row",
            nullable=True,
        ),
        Column("version", "integer", "version of the offer for new targets", nullable=True),
        Column("starts_at", "timestamp with time zone", "UTC", nullable=True),
        Column("ends_at", "timestamp with time zone", "UTC", nullable=True),
        Column("holdout_share", "decimal(9,8)", "share of new targets held out as control", nullable=True),
        Column("template_settings", "varchar", "JSON: the template as frozen in the version", nullable=True),
        Column("policy_version", "varchar", "hash of the policy that opened it", nullable=True),
    ),
)

CAMPAIGN_TARGETS = Dataset(
    name="campaign_targets",
    grain="one new target: a campaign and a user who reached the draw in the night",
    key=("campaign_id", "user_id"),
    order=("campaign_id", "user_id"),
    retention="targets",
    columns=(
        Column("target_id", "varchar", "md5 of campaign_id:user_id, 32 hex digits"),
        Column("campaign_id", "varchar", "campaign"),
        Column("campaign_version", "integer", "version of the offer promised"),
        _USER,
        Column("arm", "varchar", "treatment or control"),
        Column("reason", "varchar", "JSON: the feature values that qualified the user"),
        Column("location", "varchar", "the location the offer is filled in with", nullable=True),
        Column("category", "varchar", "the category the offer is filled in with", nullable=True),
        Column("assigned_on", "date", "the target day, D + 1"),
        Column("valid_from", "timestamp with time zone", "first instant of the offer, UTC"),
        Column("valid_until", "timestamp with time zone", "first instant after the offer, UTC"),
    ),
    references=(Reference(("campaign_id",), "campaigns"), Reference(("user_id",), "user_features")),
)

TARGETING_DECISIONS = Dataset(
    name="targeting_decisions",
    grain="one decision on a user and an open campaign, where it is new or differs from the last",
    key=("campaign_id", "user_id"),
    order=("campaign_id", "user_id"),
    columns=(
        Column("campaign_id", "varchar", "campaign"),
        _USER,
        Column("outcome", "varchar", "treatment, control, or the step that refused the user"),
        Column("reason", "varchar", "JSON: the feature values the decision read"),
        Column("bucket_digits", "varchar", "the 8 hex digits that drew the arm", nullable=True),
        Column("policy_version", "varchar", "hash of the policy that decided"),
    ),
    references=(Reference(("campaign_id",), "campaigns"), Reference(("user_id",), "user_features")),
)

ARCHIVED_TARGETS = Dataset(
    name="archived_targets",
    grain="one target of an archived campaign; its day is the campaign's last",
    key=("campaign_id", "user_id"),
    order=("campaign_id", "user_id"),
    retention="targets",
    columns=(
        Column("campaign_id", "varchar", "campaign"),
        Column("campaign_version", "integer", "version of the offer promised"),
        _USER,
        Column("arm", "varchar", "treatment or control"),
        Column("status", "varchar", "eligible, viewed or converted, as it was when archived"),
        Column("reason", "varchar", "JSON: the feature values that qualified the user"),
        Column("context", "varchar", "JSON: what the offer was filled in with"),
        Column("assigned_on", "date", "the target day on which the user was drawn"),
        Column("valid_from", "timestamp with time zone", "first instant of the offer, UTC"),
        Column("valid_until", "timestamp with time zone", "first instant after the offer, UTC"),
        Column("viewed_at", "timestamp with time zone", "first view, UTC", nullable=True),
        Column("converted_at", "timestamp with time zone", "first conversion, UTC", nullable=True),
        Column("created_at", "timestamp with time zone", "when it was published, UTC"),
    ),
)

DATASETS = {
    dataset.name: dataset
    for dataset in (
        TRANSACTIONS,
        REJECTED_TRANSACTIONS,
        USER_FEATURES,
        USER_PATTERNS,
        SEGMENT_SUMMARY,
        CAMPAIGNS,
        CAMPAIGN_TARGETS,
        TARGETING_DECISIONS,
        ARCHIVED_TARGETS,
    )
}
