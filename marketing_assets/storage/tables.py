"""The serving schema: tables that the app reads and that people write; the only place that names columns.

Migrations create them, repositories query them, publishing fills them. Money is numeric(14,2) in
`MARKETING_CURRENCY`; instants are timestamptz, UTC. Later migrations add what later parts need.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

SCHEMA = "marketing"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    },
)

_INSTANT = DateTime(timezone=True)
_USER = String(200, collation="C")  # ids are compared byte by byte, as the lake sorts them; everywhere alike
_MONEY = Numeric(14, 2)
_NOW = func.now()

marketing_campaigns = Table(
    "marketing_campaigns",
    metadata,
    Column("campaign_id", Text, primary_key=True, comment="readable: template-start day"),
    Column("template", Text, nullable=False),
    Column("campaign_name", Text, nullable=False),
    Column("campaign_type", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("offer_type", Text, nullable=False),
    Column("offer_value", Numeric(14, 4), nullable=False),
    Column("offer_unit", Text, nullable=False),
    Column("target_pattern", Text, nullable=False),
    Column("qualifying_criteria", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("starts_at", _INSTANT, nullable=False),
    Column("ends_at", _INSTANT, nullable=False, comment="first instant after the campaign"),
    Column("holdout_share", Numeric(9, 8), nullable=False),
    Column("attribution_days", Integer, nullable=False),
    Column("origin", Text, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("suppressed_until", _INSTANT),
    Column("created_by", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("updated_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("ended_by_hand_at", _INSTANT, comment="when somebody ended it before its time"),
    CheckConstraint("ends_at > starts_at", name="ends_after_start"),
    CheckConstraint("offer_type in ('discount', 'cashback', 'points', 'bonus')", name="offer_type"),
    CheckConstraint("offer_unit in ('percentage', 'fixed', 'multiplier')", name="offer_unit"),
    CheckConstraint("status in ('draft', 'active', 'paused', 'expired', 'archived')", name="status"),
    CheckConstraint("origin in ('policy', 'manual')", name="origin"),
    CheckConstraint("holdout_share between 0 and 1", name="holdout_share"),
    Index(None, "template", "ends_at"),
)

campaign_versions = Table(
    "campaign_versions",
    metadata,
    Column("campaign_id", ForeignKey(marketing_campaigns.c.campaign_id), nullable=False),
    Column("version", Integer, nullable=False),
    Column("settings", JSONB, nullable=False, comment="offer and measurement settings, frozen"),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("campaign_id", "version"),
)

# Apart from the campaign's row, so that conversions never wait for an edit or a night.
campaign_budgets = Table(
    "campaign_budgets",
    metadata,
    Column("campaign_id", ForeignKey(marketing_campaigns.c.campaign_id), primary_key=True),
    Column("budget", _MONEY, comment="null = unlimited"),
    Column("reserved", _MONEY, nullable=False, server_default=text("0"), comment="claimed, not confirmed"),
    Column("spent", _MONEY, nullable=False, server_default=text("0"), comment="confirmed by the ledger"),
    CheckConstraint("budget >= 0", name="budget"),
    CheckConstraint("reserved >= 0", name="reserved"),
    CheckConstraint("spent >= 0", name="spent"),
    CheckConstraint("reserved + spent <= budget", name="covered"),
)

_UNRESUMED = text("resumed_at is null")

campaign_pauses = Table(
    "campaign_pauses",
    metadata,
    Column("campaign_id", ForeignKey(marketing_campaigns.c.campaign_id), nullable=False),
    Column("paused_at", _INSTANT, nullable=False),
    Column("resumed_at", _INSTANT, comment="null = until the campaign's end"),
    PrimaryKeyConstraint("campaign_id", "paused_at"),
    CheckConstraint("resumed_at >= paused_at", name="resumed_after_pause"),
    Index("uq_campaign_pauses_unresumed", "campaign_id", unique=True, postgresql_where=_UNRESUMED),
)

campaign_targets = Table(
    "campaign_targets",
    metadata,
    Column("campaign_id", Text, nullable=False, comment="of marketing_campaigns; publishing checks it"),
    Column("campaign_version", Integer, nullable=False),
    Column("user_id", _USER, nullable=False),
    Column("arm", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'eligible'")),
    # Written once and read whole: as jsonb it would take longer to parse than all the rest of the row.
    Column("reason", JSON, nullable=False, comment="the feature values that qualified the user"),
    Column("context", JSONB, nullable=False, comment="what the offer is filled in with"),
    Column("assigned_on", Date, nullable=False),
    Column("valid_from", _INSTANT, nullable=False),
    Column("valid_until", _INSTANT, nullable=False),
    Column("viewed_at", _INSTANT),
    Column("converted_at", _INSTANT),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("dismissed_at", _INSTANT, comment="when the user put the offer away"),
    Column("rewards", Integer, nullable=False, server_default=text("0"), comment="reserved or spent"),
    Column("rewarded", _MONEY, nullable=False, server_default=text("0"), comment="sum of these"),
    PrimaryKeyConstraint("user_id", "campaign_id"),
    CheckConstraint("arm in ('treatment', 'control')", name="arm"),
    CheckConstraint("status in ('eligible', 'viewed', 'converted')", name="status"),
    postgresql_with={"fillfactor": 90},  # room to update a row in its page when its offer is seen
)

# No key of another table: an event is taken in one statement that has found its target already.
campaign_events = Table(
    "campaign_events",
    metadata,
    Column("user_id", _USER, nullable=False),
    Column("event_id", Uuid, nullable=False, comment="made by the app, the same at every attempt"),
    Column("campaign_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("occurred_at", _INSTANT, nullable=False, comment="corrected by the app's clock, then clamped"),
    Column("received_at", _INSTANT, nullable=False),
    Column("claimed_at", _INSTANT, nullable=False, comment="occurred_at as the app said it"),
    Column("sent_at", _INSTANT, nullable=False, comment="as the app said it, at the first attempt that came"),
    Column("amount", _MONEY, comment="of a conversion, as claimed"),
    Column("items", JSONB),
    Column("transaction_id", Text),
    Column("body_hash", Text, nullable=False, comment="of the event without sent_at, to know a duplicate by"),
    PrimaryKeyConstraint("user_id", "event_id"),
    CheckConstraint("kind in ('view', 'click', 'dismiss', 'conversion')", name="kind"),
    Index(None, "received_at", postgresql_using="brin"),
)

_GRANTED = text("state in ('reserved', 'spent')")
_RESERVED = text("state = 'reserved'")

rewards = Table(
    "rewards",
    metadata,
    Column("user_id", _USER, nullable=False),
    Column("event_id", Uuid, nullable=False, comment="of the conversion that claimed it"),
    Column("campaign_id", Text, nullable=False),
    Column("transaction_id", Text),
    Column("claimed", _MONEY, nullable=False, comment="amount of the purchase, as the app said it"),
    Column("amount", _MONEY, nullable=False, comment="reserved: promised; spent: paid; else 0"),
    Column("state", Text, nullable=False),
    Column("reason", Text, comment="why it was declined or released"),
    Column("occurred_at", _INSTANT, nullable=False, comment="of the event"),
    Column("decided_at", _INSTANT, nullable=False),
    Column("settled_on", Date, comment="the night that confirmed or released it"),
    PrimaryKeyConstraint("user_id", "event_id"),
    CheckConstraint("state in ('reserved', 'spent', 'released', 'declined')", name="state"),
    CheckConstraint("amount >= 0", name="amount"),
    Index(
        "uq_rewards_user_id_transaction_id",
        "user_id",
        "transaction_id",
        unique=True,
        postgresql_where=_GRANTED,
    ),
    Index("ix_rewards_reserved", "occurred_at", postgresql_where=_RESERVED),
)

user_consent = Table(
    "user_consent",
    metadata,
    Column("user_id", _USER, primary_key=True),
    Column("opted_out_at", _INSTANT, comment="null = has not opted out, like a user without a row"),
    Column("channels", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="agreed to"),
    Column("source", Text, nullable=False, comment="where the user said so, such as app"),
    Column("updated_at", _INSTANT, nullable=False),
)

global_holdouts = Table(
    "global_holdouts",
    metadata,
    Column("year", Integer, primary_key=True, autoincrement=False, comment="of the target day"),
    Column("share", Numeric(9, 8), nullable=False, comment="of all users, in no campaign that year"),
    Column("frozen_on", Date, nullable=False, comment="the night that froze it, the first of the year"),
    Column("policy_version", Text, nullable=False),
    CheckConstraint("share between 0 and 1", name="share"),
)


def _segments_slot(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("user_id", _USER, primary_key=True),
        Column("primary_pattern", Text, nullable=False),
        Column("patterns", ARRAY(Text), nullable=False, comment="best rank first"),
        Column("spend", _MONEY, nullable=False),
        Column("transactions", Integer, nullable=False),
        Column("top_location", Text),
        Column("top_category", Text),
        Column("as_of", Date, nullable=False),
        Column("average_order", _MONEY, comment="null in a night of before there was one"),
        # It is filled and analyzed once, then emptied: autovacuum would only hold the lock that this needs.
        postgresql_with={
            "autovacuum_vacuum_insert_threshold": -1,
            "autovacuum_analyze_threshold": 2147483647,
        },
    )


user_segments_a = _segments_slot("user_segments_a")
user_segments_b = _segments_slot("user_segments_b")
# The view `user_segments` shows the slot that this row names; see segments.py.
live_segments = Table(
    "live_segments",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1")),
    Column("slot", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    CheckConstraint("only_row = 1", name="only_row"),
    CheckConstraint("slot in ('a', 'b')", name="slot"),
)

segment_summary = Table(
    "segment_summary",
    metadata,
    Column("day", Date, nullable=False),
    Column("pattern", Text, nullable=False),
    Column("users", BigInteger, nullable=False),
    Column("share", Double, nullable=False),
    Column("spend", Numeric(18, 2), nullable=False),
    Column("average_order", _MONEY),
    PrimaryKeyConstraint("day", "pattern"),
)

published_nights = Table(
    "published_nights",
    metadata,
    Column("day", Date, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("targets", BigInteger, nullable=False, comment="targets of the night, to know the lake's rows by"),
    Column("published_at", _INSTANT, nullable=False),
    CheckConstraint("status in ('published', 'skipped', 'stale', 'targeted')", name="status"),
)

_OPEN = text("status in ('queued', 'running')")

requests = Table(
    "requests",
    metadata,
    Column("request_id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    # Not constrained: a kind that nobody knows fails its row with a reason instead of the one who asks.
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False, server_default=text("'{}'")),
    Column("requested_by", Text, nullable=False, comment="a role or a pseudonym, never a user id"),
    Column("requested_at", _INSTANT, nullable=False, server_default=_NOW),
    Column("status", Text, nullable=False, server_default=text("'queued'")),
    Column("run_id", Text, comment="the run that works for it now, in the end the one that did it"),
    Column("result", JSONB, comment="succeeded: what it came to; failed: error and remedy"),
    Column("finished_at", _INSTANT),
    CheckConstraint("status in ('queued', 'running', 'succeeded', 'failed')", name="status"),
    CheckConstraint("(finished_at is not null) = (status in ('succeeded', 'failed'))", name="finished"),
    Index("ix_requests_open", "requested_at", postgresql_where=_OPEN),
)

# One row a request that may be sent twice: the answer that it got, for the one that comes again.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", Text, nullable=False, comment="pseudonym"),
    Column("key", Text, nullable=False),
    Column("body_hash", Text, nullable=False, comment="of the call and its body"),
    Column("status", Integer, nullable=False),
    Column("answer", JSONB, nullable=False),
    Column("location", Text),
    Column("created_at", _INSTANT, nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("caller", "key"),
)

# What a pseudonym is made with and traced back by, until the user is erased.
subject_keys = Table(
    "subject_keys",
    metadata,
    Column("user_id", _USER, primary_key=True),
    Column("key", LargeBinary, nullable=False, comment="secret, random"),
    Column("pseudonym", Text, nullable=False, unique=True, comment="HMAC-SHA-256(key, user_id)"),
)

erased_users = Table(
    "erased_users",
    metadata,
    Column("user_hash", Text, primary_key=True, comment="HMAC-SHA-256(MARKETING_ERASURE_KEY, user_id)"),
    Column("key_fingerprint", Text, nullable=False, comment="of MARKETING_ERASURE_KEY"),
    Column("request_id", Uuid, nullable=False, comment="the request, which is the receipt"),
    Column("asked_at", _INSTANT, nullable=False),
    Column(
        "found", JSONB, comment="what the lake held, counted before any of it goes; null once all is gone"
    ),
    Column("erased_at", _INSTANT, comment="when everything was gone"),
)

erased_targets = Table(
    "erased_targets",
    metadata,
    Column("campaign_id", ForeignKey(marketing_campaigns.c.campaign_id), nullable=False),
    Column("campaign_version", Integer, nullable=False),
    Column("arm", Text, nullable=False),
    Column("targets", BigInteger, nullable=False, comment="of users who were erased; of nobody by name"),
    PrimaryKeyConstraint("campaign_id", "campaign_version", "arm"),
)

exports = Table(
    "exports",
    metadata,
    Column("request_id", ForeignKey(requests.c.request_id, ondelete="CASCADE"), primary_key=True),
    Column("user_id", _USER, nullable=False, index=True),
    Column("document", JSONB, nullable=False, comment="everything that is held about the user"),
    Column("made_at", _INSTANT, nullable=False),
)

simulated_clock = Table(
    "simulated_clock",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1")),
    Column("instant", _INSTANT, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("backend_pid", Integer, comment="the session that keeps it; null = until it is deleted"),
    Column("backend_start", _INSTANT),
    CheckConstraint("only_row = 1", name="only_row"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("entry_id", BigInteger, primary_key=True, autoincrement=False, comment="1, 2, ... without a gap"),
    Column("at", _INSTANT, nullable=False),
    Column("actor", Text, nullable=False, comment="who; a user only as pseudonym"),
    Column("action", Text, nullable=False, comment="what was done, such as campaign.expired"),
    Column("subject", Text, nullable=False, comment="to what; a user only as pseudonym"),
    Column("before", JSONB, nullable=False),
    Column("after", JSONB, nullable=False),
    Column("previous_hash", Text, nullable=False, comment="SHA-256 of the entry before"),
    Index(None, "subject"),
)

# How far the log goes, so that entries that were removed at its end are missed.
audit_head = Table(
    "audit_head",
    metadata,
    Column("only_row", Integer, primary_key=True, server_default=text("1")),
    Column("entry_id", BigInteger, nullable=False),
    Column("hash", Text, nullable=False, comment="SHA-256 of the newest entry"),
    CheckConstraint("only_row = 1", name="only_row"),
)
