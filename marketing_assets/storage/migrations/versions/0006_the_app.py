"""What the app reports and asks for: events, rewards, requests sent twice, pseudonyms, erasures, exports."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(astext_type=sa.Text())
_INSTANT = sa.DateTime(timezone=True)
_MONEY = sa.Numeric(precision=14, scale=2)
_USER = sa.String(length=200, collation="C")


def upgrade() -> None:
    """Make the tables; targets get what the app needs to know of them at once."""
    op.add_column(
        "campaign_targets",
        sa.Column("dismissed_at", _INSTANT, nullable=True, comment="when the user put the offer away"),
        schema="marketing",
    )
    op.add_column(
        "campaign_targets",
        sa.Column(
            "rewards", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="reserved or spent"
        ),
        schema="marketing",
    )
    op.add_column(
        "campaign_targets",
        sa.Column("rewarded", _MONEY, server_default=sa.text("0"), nullable=False, comment="sum of these"),
        schema="marketing",
    )
    _extend_segments()
    _make_events()
    _make_rewards()
    _make_subjects()
    _make_calls()
    _check_nights("'published', 'skipped', 'stale', 'targeted'")


def _extend_segments() -> None:
    for name in ("user_segments_a", "user_segments_b"):
        op.add_column(
            name,
            sa.Column(
                "average_order", _MONEY, nullable=True, comment="null in a night of before there was one"
            ),
            schema="marketing",
        )
    # Columns can be added at the end of a view; who may read it may read it afterwards.
    op.execute(
        "create or replace view marketing.user_segments as"
        " select * from marketing.user_segments_a"
        " where (select slot from marketing.live_segments) = 'a'"
        " union all select * from marketing.user_segments_b"
        " where (select slot from marketing.live_segments) = 'b'"
    )


def _make_events() -> None:
    op.create_table(
        "campaign_events",
        sa.Column("user_id", _USER, nullable=False),
        sa.Column(
            "event_id", sa.Uuid(), nullable=False, comment="made by the app, the same at every attempt"
        ),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "occurred_at", _INSTANT, nullable=False, comment="corrected by the app's clock, then clamped"
        ),
        sa.Column("received_at", _INSTANT, nullable=False),
        sa.Column("claimed_at", _INSTANT, nullable=False, comment="occurred_at as the app said it"),
        sa.Column(
            "sent_at", _INSTANT, nullable=False, comment="as the app said it, at the first attempt that came"
        ),
        sa.Column("amount", _MONEY, nullable=True, comment="of a conversion, as claimed"),
        sa.Column("items", _JSON, nullable=True),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column(
            "body_hash",
            sa.Text(),
            nullable=False,
            comment="of the event without sent_at, to know a duplicate by",
        ),
        sa.CheckConstraint(
            "kind in ('view', 'click', 'dismiss', 'conversion')", name=op.f("ck_campaign_events_kind")
        ),
        sa.PrimaryKeyConstraint("user_id", "event_id", name=op.f("pk_campaign_events")),
        schema="marketing",
    )
    op.create_index(
        op.f("ix_campaign_events_received_at"),
        "campaign_events",
        ["received_at"],
        unique=False,
        schema="marketing",
        postgresql_using="brin",
    )


def _make_rewards() -> None:
    op.create_table(
        "rewards",
        sa.Column("user_id", _USER, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False, comment="of the conversion that claimed it"),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("claimed", _MONEY, nullable=False, comment="amount of the purchase, as the app said it"),
        sa.Column("amount", _MONEY, nullable=False, comment="reserved: promised; spent: paid; else 0"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it was declined or released"),
        sa.Column("occurred_at", _INSTANT, nullable=False, comment="of the event"),
        sa.Column("decided_at", _INSTANT, nullable=False),
        sa.Column("settled_on", sa.Date(), nullable=True, comment="the night that confirmed or released it"),
        sa.CheckConstraint(
            "state in ('reserved', 'spent', 'released', 'declined')", name=op.f("ck_rewards_state")
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_rewards_amount")),
        sa.PrimaryKeyConstraint("user_id", "event_id", name=op.f("pk_rewards")),
        schema="marketing",
    )
    op.create_index(
        "ix_rewards_reserved",
        "rewards",
        ["occurred_at"],
        unique=False,
        schema="marketing",
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_index(
        "uq_rewards_user_id_transaction_id",
        "rewards",
        ["user_id", "transaction_id"],
        unique=True,
        schema="marketing",
        postgresql_where=sa.text("state in ('reserved', 'spent')"),
    )


def _make_subjects() -> None:
    op.create_table(
        "erased_users",
        sa.Column(
            "user_hash", sa.Text(), nullable=False, comment="HMAC-SHA-256(MARKETING_ERASURE_KEY, user_id)"
        ),
        sa.Column("key_fingerprint", sa.Text(), nullable=False, comment="of MARKETING_ERASURE_KEY"),
        sa.Column("request_id", sa.Uuid(), nullable=False, comment="the request, which is the receipt"),
        sa.Column("asked_at", _INSTANT, nullable=False),
        sa.Column(
            "found",
            _JSON,
            nullable=True,
            comment="what the lake held, counted before any of it goes; null once all is gone",
        ),
        sa.Column("erased_at", _INSTANT, nullable=True, comment="when everything was gone"),
        sa.PrimaryKeyConstraint("user_hash", name=op.f("pk_erased_users")),
        schema="marketing",
    )
    op.create_table(
        "subject_keys",
        sa.Column("user_id", _USER, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False, comment="secret, random"),
        sa.Column("pseudonym", sa.Text(), nullable=False, comment="HMAC-SHA-256(key, user_id)"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_subject_keys")),
        sa.UniqueConstraint("pseudonym", name=op.f("uq_subject_keys_pseudonym")),
        schema="marketing",
    )
    op.create_table(
        "erased_targets",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("campaign_version", sa.Integer(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column(
            "targets", sa.BigInteger(), nullable=False, comment="of users who were erased; of nobody by name"
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing.marketing_campaigns.campaign_id"],
            name=op.f("fk_erased_targets_campaign_id"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "campaign_version", "arm", name=op.f("pk_erased_targets")),
        schema="marketing",
    )
    op.create_table(
        "exports",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", _USER, nullable=False),
        sa.Column("document", _JSON, nullable=False, comment="everything that is held about the user"),
        sa.Column("made_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["marketing.requests.request_id"],
            name=op.f("fk_exports_request_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_exports")),
        schema="marketing",
    )
    op.create_index(op.f("ix_exports_user_id"), "exports", ["user_id"], unique=False, schema="marketing")


def _make_calls() -> None:
    op.create_table(
        "audit_head",
        sa.Column("only_row", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False, comment="SHA-256 of the newest entry"),
        sa.CheckConstraint("only_row = 1", name=op.f("ck_audit_head_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_audit_head")),
        schema="marketing",
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), nullable=False, comment="pseudonym"),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False, comment="of the call and its body"),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", _JSON, nullable=False),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("created_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency_keys")),
        schema="marketing",
    )


def _check_nights(statuses: str) -> None:
    op.drop_constraint(op.f("ck_published_nights_status"), "published_nights", schema="marketing")
    op.create_check_constraint(
        op.f("ck_published_nights_status"), "published_nights", f"status in ({statuses})", schema="marketing"
    )


def downgrade() -> None:
    """Forget them; nothing that depends on the view but it."""
    op.execute("drop view marketing.user_segments")
    for name in ("user_segments_a", "user_segments_b"):
        op.drop_column(name, "average_order", schema="marketing")
    op.execute(
        "create view marketing.user_segments as"
        " select * from marketing.user_segments_a"
        " where (select slot from marketing.live_segments) = 'a'"
        " union all select * from marketing.user_segments_b"
        " where (select slot from marketing.live_segments) = 'b'"
    )
    op.execute("update marketing.published_nights set status = 'skipped' where status = 'targeted'")
    _check_nights("'published', 'skipped', 'stale'")
    for name in (
        "exports",
        "erased_targets",
        "erased_users",
        "subject_keys",
        "idempotency_keys",
        "rewards",
        "campaign_events",
        "audit_head",
    ):
        op.drop_table(name, schema="marketing")
    for name in ("dismissed_at", "rewards", "rewarded"):
        op.drop_column("campaign_targets", name, schema="marketing")
