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
    """One column of a dataset: SQL type as DuckDB and Spark both know it, and what it means.

    A value lies between `at_least` and `at_most` and is one of `one_of`, where these are given. `made_of`
    names what it is computed from, as `dataset.column`.
    """

    name: str
    type: str
    description: str
    nullable: bool = False
    personal: bool = False
    at_least: int | None = None
    at_most: int | None = None
    one_of: tuple[str, ...] = ()
    made_of: tuple[str, ...] = ()


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


_BUCKET_MEANS = "first byte of md5(user_id), 0 to 255; rows are sorted by it"


def _bucket(*made_of: str) -> Column:
    return Column("bucket", "integer", _BUCKET_MEANS, at_least=0, at_most=255, made_of=made_of)


def _user(*made_of: str) -> Column:
    return Column("user_id", "varchar", "user, as the source names them", personal=True, made_of=made_of)


def _features(*features: str) -> tuple[str, ...]:
    return tuple(f"user_features.{name}" for name in features)


def _kept(*columns: str) -> tuple[str, ...]:
    return tuple(f"transactions.{name}" for name in columns)


TRANSACTIONS = Dataset(
    name="transactions",
    grain="one kept transaction of the business day",
    key=("transaction_id",),
    order=("bucket", "user_id", "transaction_id"),
    columns=(
        _bucket(),
        _user(),
        Column("transaction_id", "varchar", "the source's id"),
        Column("occurred_at", "timestamp with time zone", "when it happened, UTC"),
        Column(
            "amount",
            "decimal(14,2)",
            "money, rounded half-up; negative for a refund",
            at_least=-1_000_000,
            at_most=1_000_000,
        ),
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
        Column("position", "integer", "1, 2, ... in the order of all other columns", at_least=1),
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
        _bucket(*_kept("bucket")),
        _user(*_kept("user_id")),
        Column(
            "transactions",
            "integer",
            "purchases (kept rows with amount > 0)",
            at_least=1,
            made_of=_kept("amount"),
        ),
        Column(
            "spend",
            "decimal(14,2)",
            "money: sum of all kept amounts, refunds included",
            made_of=_kept("amount"),
        ),
        Column(
            "average_order",
            "decimal(14,2)",
            "money: sum of purchases / purchases, half-up",
            at_least=0,
            at_most=1_000_000,
            made_of=_kept("amount"),
        ),
        Column(
            "active_days",
            "integer",
            "distinct business days with a purchase",
            at_least=1,
            made_of=_kept("occurred_at", "amount"),
        ),
        Column(
            "first_transaction_at",
            "timestamp with time zone",
            "first purchase, UTC",
            made_of=_kept("occurred_at", "amount"),
        ),
        Column(
            "last_transaction_at",
            "timestamp with time zone",
            "last purchase, UTC",
            made_of=_kept("occurred_at", "amount"),
        ),
        Column(
            "days_since_last",
            "integer",
            "days from the last purchase to the day; 0 = on it",
            at_least=0,
            made_of=_kept("occurred_at", "amount"),
        ),
        Column(
            "locations",
            "integer",
            "distinct locations with a purchase",
            at_least=0,
            made_of=_kept("location", "amount"),
        ),
        Column(
            "top_location",
            "varchar",
            "location with most purchases",
            nullable=True,
            made_of=_kept("location", "amount"),
        ),
        Column(
            "top_location_share",
            "double",
            "its purchases / all purchases, 0 to 1",
            nullable=True,
            made_of=_kept("location", "amount"),
            at_least=0,
            at_most=1,
        ),
        Column(
            "categories",
            "integer",
            "distinct categories with a purchase",
            at_least=0,
            made_of=_kept("category", "amount"),
        ),
        Column(
            "top_category",
            "varchar",
            "category with most purchases",
            nullable=True,
            made_of=_kept("category", "amount"),
        ),
        Column(
            "top_category_share",
            "double",
            "its purchases / all purchases, 0 to 1",
            nullable=True,
            made_of=_kept("category", "amount"),
            at_least=0,
            at_most=1,
        ),
        Column(
            "spend_recent",
            "decimal(14,2)",
            "money: spend of the last 30 days",
            made_of=_kept("amount", "occurred_at"),
        ),
        Column(
            "spend_prior",
            "decimal(14,2)",
            "money: spend of the days of the window before those",
            made_of=_kept("amount", "occurred_at"),
        ),
        Column(
            "spend_trend",
            "double",
            "recent over prior daily spend, minus 1",
            nullable=True,
            made_of=_kept("amount", "occurred_at"),
        ),
    ),
)

USER_PATTERNS = Dataset(
    name="user_patterns",
    grain="one user and pattern that holds",
    key=("user_id", "pattern"),
    order=("bucket", "user_id", "rank"),
    retention="behaviour",
    columns=(
        _bucket(*_features("bucket")),
        _user(*_features("user_id")),
        Column("pattern", "varchar", "name of the pattern in the policy"),
        Column("rank", "integer", "the pattern's rank; the best of a user's is the primary", at_least=1),
        Column("is_primary", "boolean", "true for the user's pattern of best rank"),
        Column(
            "reason",
            "varchar",
            "JSON: the feature values that made it true",
            made_of=_features(
                "transactions", "spend", "days_since_last", "locations", "categories", "spend_trend"
            ),
        ),
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
        Column("pattern", "varchar", "name of the pattern in the policy", made_of=("user_patterns.pattern",)),
        Column("rank", "integer", "the pattern's rank", at_least=1, made_of=("user_patterns.rank",)),
        Column("users", "bigint", "users with the pattern", at_least=0, made_of=("user_patterns.user_id",)),
        Column(
            "primary_users",
            "bigint",
            "users whose primary pattern it is",
            at_least=0,
            made_of=("user_patterns.is_primary",),
        ),
        Column(
            "share",
            "double",
            "users / all users of the day, 0 to 1",
            made_of=("user_patterns.user_id", *_features("user_id")),
            at_least=0,
            at_most=1,
        ),
        Column(
            "spend",
            "decimal(18,2)",
            "money: spend of its users in the window",
            made_of=_features("spend"),
        ),
        Column(
            "average_order",
            "decimal(14,2)",
            "money: mean average_order of its users",
            nullable=True,
            at_least=0,
            at_most=1_000_000,
            made_of=_features("average_order"),
        ),
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
        Column(
            "outcome",
            "varchar",
            "opened, kept, paused, ended, orphaned or not_opened",
            one_of=("opened", "kept", "paused", "ended", "orphaned", "not_opened"),
            made_of=("segment_summary.users",),
        ),
        Column("outcome_reason", "varchar", "why, in words", made_of=("segment_summary.users",)),
        Column("target_pattern", "varchar", "pattern whose users it is for"),
        Column(
            "audience",
            "bigint",
            "users with the pattern on the day",
            at_least=0,
            made_of=("segment_summary.users",),
        ),
        Column(
            "eligible",
            "bigint",
            "those of them who have not opted out, are not held out globally and have what the offer needs",
            at_least=0,
            made_of=("segment_summary.users",),
        ),
        Column("priority", "integer", "1 is served first", at_least=1),
        Column(
            "status",
            "varchar",
            "active, paused or expired by the dates of the night; null where it has no row",
            nullable=True,
        ),
        Column("version", "integer", "version of the offer for new targets", nullable=True, at_least=1),
        Column("starts_at", "timestamp with time zone", "first instant of the offer, UTC", nullable=True),
        Column("ends_at", "timestamp with time zone", "first instant after the offer, UTC", nullable=True),
        Column(
            "holdout_share",
            "decimal(9,8)",
            "share of new targets held out as control, 0 to 1",
            nullable=True,
            at_least=0,
            at_most=1,
        ),
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
        Column("campaign_id", "varchar", "campaign", made_of=("campaigns.campaign_id",)),
        Column(
            "campaign_version",
            "integer",
            "version of the offer promised",
            at_least=1,
            made_of=("campaigns.version",),
        ),
        _user("user_patterns.user_id"),
        Column(
            "arm",
            "varchar",
            "treatment or control",
            one_of=("treatment", "control"),
            made_of=("campaigns.campaign_id", "campaigns.holdout_share", "user_patterns.user_id"),
        ),
        Column(
            "reason",
            "varchar",
            "JSON: the feature values that qualified the user",
            made_of=("user_patterns.reason",),
        ),
        Column(
            "location",
            "varchar",
            "the location the offer is filled in with",
            nullable=True,
            made_of=_features("top_location"),
        ),
        Column(
            "category",
            "varchar",
            "the category the offer is filled in with",
            nullable=True,
            made_of=_features("top_category"),
        ),
        Column(
            "spend",
            "decimal(14,2)",
            "money: the user's spend in the window before, for the measurement",
            nullable=True,
            made_of=_features("spend"),
        ),
        Column(
            "expected_cost",
            "decimal(18,6)",
            "money: what a budget is charged, in either arm alike",
            nullable=True,
            at_least=0,
            made_of=("campaigns.template_settings", *_features("average_order")),
        ),
        Column("assigned_on", "date", "the target day, D + 1"),
        Column(
            "valid_from",
            "timestamp with time zone",
            "first instant of the offer, UTC",
            made_of=("campaigns.starts_at",),
        ),
        Column(
            "valid_until",
            "timestamp with time zone",
            "first instant after the offer, UTC",
            made_of=("campaigns.ends_at",),
        ),
    ),
    references=(Reference(("campaign_id",), "campaigns"), Reference(("user_id",), "user_features")),
)

TARGETING_DECISIONS = Dataset(
    name="targeting_decisions",
    grain="one decision on a user and an open campaign, where it is new or differs from the last",
    key=("campaign_id", "user_id"),
    order=("campaign_id", "user_id"),
    columns=(
        Column("campaign_id", "varchar", "campaign", made_of=("campaigns.campaign_id",)),
        _user("user_patterns.user_id"),
        Column(
            "outcome",
            "varchar",
            "treatment, control, or the step that refused the user",
            one_of=(
                "no_context",
                "opted_out",
                "global_holdout",
                "cooling_off",
                "too_late",
                "limit",
                "budget",
                "treatment",
                "control",
            ),
            made_of=("campaigns.campaign_id", "campaigns.holdout_share", "user_patterns.user_id"),
        ),
        Column(
            "reason",
            "varchar",
            "JSON: the feature values that qualified the user",
            made_of=("user_patterns.reason",),
        ),
        Column(
            "detail",
            "varchar",
            "JSON: what the step that decided read, such as the slots taken or the share to be below",
            nullable=True,
            made_of=("campaigns.template_settings", *_features("spend", "average_order")),
        ),
        Column("bucket_digits", "varchar", "the 8 hex digits that drew the arm", nullable=True),
        Column("policy_version", "varchar", "hash of the policy that decided"),
    ),
    references=(Reference(("campaign_id",), "campaigns"), Reference(("user_id",), "user_features")),
)

SETTLED_REWARDS = Dataset(
    name="settled_rewards",
    grain="one reward that the night confirmed or released",
    key=("user_id", "event_id"),
    order=("campaign_id", "user_id", "event_id"),
    columns=(
        Column("campaign_id", "varchar", "campaign that promised it"),
        _user(*_kept("user_id")),
        Column("event_id", "varchar", "the conversion that claimed it"),
        Column(
            "transaction_id",
            "varchar",
            "the purchase, as the app named it",
            nullable=True,
            made_of=_kept("transaction_id"),
        ),
        Column("claimed", "decimal(14,2)", "money: the purchase, as the app said it", at_least=0),
        Column(
            "amount",
            "decimal(14,2)",
            "money: what is paid; 0 where it was released",
            at_least=0,
            made_of=_kept("amount"),
        ),
        Column(
            "state",
            "varchar",
            "spent where the ledger has the purchase, else released",
            one_of=("spent", "released"),
            made_of=_kept("occurred_at", "location", "category"),
        ),
        Column("reason", "varchar", "why it was released: not_found", nullable=True),
        Column("occurred_at", "timestamp with time zone", "when the app says it happened, UTC"),
    ),
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
        _user(),
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
        Column("dismissed_at", "timestamp with time zone", "when it was put away, UTC", nullable=True),
        Column("rewards", "integer", "rewards reserved or spent"),
        Column("rewarded", "decimal(14,2)", "money: sum of these"),
    ),
)

ARCHIVED_EVENTS = Dataset(
    name="archived_events",
    grain="one event that the app reported of an archived campaign; its day is the campaign's last",
    key=("user_id", "event_id"),
    order=("campaign_id", "user_id", "event_id"),
    columns=(
        _user(),
        Column("event_id", "varchar", "made by the app, the same at every attempt"),
        Column("campaign_id", "varchar", "campaign"),
        Column("kind", "varchar", "view, click, dismiss or conversion"),
        Column("occurred_at", "timestamp with time zone", "when it happened by the sidecar's clock, UTC"),
        Column("received_at", "timestamp with time zone", "when it came, UTC"),
        Column("claimed_at", "timestamp with time zone", "when it happened by the app's clock, UTC"),
        Column("sent_at", "timestamp with time zone", "when it was sent by the app's clock, UTC"),
        Column("amount", "decimal(14,2)", "money: of a conversion, as claimed", nullable=True),
        Column("items", "varchar", "JSON: what was bought, as the app said it", nullable=True),
        Column("transaction_id", "varchar", "the purchase, as the app named it", nullable=True),
        Column("body_hash", "varchar", "of the event without sent_at"),
    ),
)

ARCHIVED_REWARDS = Dataset(
    name="archived_rewards",
    grain="one reward that was claimed of an archived campaign; its day is the campaign's last",
    key=("user_id", "event_id"),
    order=("campaign_id", "user_id", "event_id"),
    columns=(
        _user(),
        Column("event_id", "varchar", "the conversion that claimed it"),
        Column("campaign_id", "varchar", "campaign that promised it"),
        Column("transaction_id", "varchar", "the purchase, as the app named it", nullable=True),
        Column("claimed", "decimal(14,2)", "money: the purchase, as the app said it"),
        Column("amount", "decimal(14,2)", "money: what was paid; 0 where nothing was"),
        Column("state", "varchar", "spent, released or declined"),
        Column("reason", "varchar", "why it was declined or released", nullable=True),
        Column("occurred_at", "timestamp with time zone", "when it happened, UTC"),
        Column("decided_at", "timestamp with time zone", "when its state was decided, UTC"),
        Column("settled_on", "date", "the night that confirmed or released it", nullable=True),
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
        SETTLED_REWARDS,
        ARCHIVED_TARGETS,
        ARCHIVED_EVENTS,
        ARCHIVED_REWARDS,
    )
}
