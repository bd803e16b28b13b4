"""The serving schema: campaigns, targets, segments and published nights."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "marketing_campaigns",
        sa.Column("campaign_id", sa.Text(), nullable=False, comment="readable: template-start day"),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("campaign_name", sa.Text(), nullable=False),
        sa.Column("campaign_type", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("offer_type", sa.Text(), nullable=False),
        sa.Column("offer_value", sa.Numeric(precision=14, scale=4), nullable=False),
        sa.Column("offer_unit", sa.Text(), nullable=False),
        sa.Column("target_pattern", sa.Text(), nullable=False),
        sa.Column("qualifying_criteria", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "ends_at", sa.DateTime(timezone=True), nullable=False, comment="first instant after the campaign"
        ),
        sa.Column("holdout_share", sa.Numeric(precision=9, scale=8), nullable=False),
        sa.Column("attribution_days", sa.Integer(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("suppressed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "offer_type in ('discount', 'cashback', 'points', 'bonus')",
            name=op.f("ck_marketing_campaigns_offer_type"),
        ),
        sa.CheckConstraint(
            "offer_unit in ('percentage', 'fixed', 'multiplier')",
            name=op.f("ck_marketing_campaigns_offer_unit"),
        ),
        sa.CheckConstraint("origin in ('policy', 'manual')", name=op.f("ck_marketing_campaigns_origin")),
        sa.CheckConstraint(
            "status in ('draft', 'active', 'paused', 'expired', 'archived')",
            name=op.f("ck_marketing_campaigns_status"),
        ),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_marketing_campaigns_ends_after_start")),
        sa.CheckConstraint(
            "holdout_share between 0 and 1", name=op.f("ck_marketing_campaigns_holdout_share")
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_marketing_campaigns")),
        schema="marketing",
    )
    op.create_index(
        op.f("ix_marketing_campaigns_template_ends_at"),
        "marketing_campaigns",
        ["template", "ends_at"],
        unique=False,
        schema="marketing",
    )
    op.create_table(
        "published_nights",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "targets",
            sa.BigInteger(),
            nullable=False,
            comment="targets of the night, to know the lake's rows by",
        ),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status in ('published', 'skipped', 'stale')", name=op.f("ck_published_nights_status")
        ),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_published_nights")),
        schema="marketing",
    )
    op.create_table(
        "segment_summary",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("users", sa.BigInteger(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("spend", sa.Numeric(precision=18, scale=2), nullable=False),
        sa.Column("average_order", sa.Numeric(precision=14, scale=2), nullable=True),
        sa.PrimaryKeyConstraint("day", "pattern", name=op.f("pk_segment_summary")),
        schema="marketing",
    )
    op.create_table(
        "simulated_clock",
        sa.Column("only_row", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("instant", sa.DateTime(timezone=True), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column(
            "backend_pid",
            sa.Integer(),
            nullable=True,
            comment="the session that keeps it; null = until it is deleted",
        ),
        sa.Column("backend_start", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("only_row = 1", name=op.f("ck_simulated_clock_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_simulated_clock")),
        schema="marketing",
    )
    op.create_table(
        "user_segments",
        sa.Column("user_id", sa.String(length=200), nullable=False),
        sa.Column("primary_pattern", sa.Text(), nullable=False),
        sa.Column("patterns", sa.ARRAY(sa.Text()), nullable=False, comment="best rank first"),
        sa.Column("spend", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("transactions", sa.Integer(), nullable=False),
        sa.Column("top_location", sa.Text(), nullable=True),
        sa.Column("top_category", sa.Text(), nullable=True),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_segments")),
        schema="marketing",
    )
    op.create_table(
        "campaign_targets",
        sa.Column("target_id", sa.Uuid(), nullable=False, comment="md5 of campaign_id:user_id"),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("campaign_version", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.String(length=200), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'eligible'"), nullable=False),
        sa.Column(
            "reason",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the feature values that qualified the user",
        ),
        sa.Column(
            "context",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="what the offer is filled in with",
        ),
        sa.Column("assigned_on", sa.Date(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("viewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("converted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("arm in ('treatment', 'control')", name=op.f("ck_campaign_targets_arm")),
        sa.CheckConstraint(
            "status in ('eligible', 'viewed', 'converted')", name=op.f("ck_campaign_targets_status")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing.marketing_campaigns.campaign_id"],
            name=op.f("fk_campaign_targets_campaign_id"),
        ),
        sa.PrimaryKeyConstraint("target_id", name=op.f("pk_campaign_targets")),
        sa.UniqueConstraint("user_id", "campaign_id", name=op.f("uq_campaign_targets_user_id_campaign_id")),
        schema="marketing",
    )
    op.create_table(
        "campaign_versions",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "settings",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="offer and measurement settings, frozen",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing.marketing_campaigns.campaign_id"],
            name=op.f("fk_campaign_versions_campaign_id"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "version", name=op.f("pk_campaign_versions")),
        schema="marketing",
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("campaign_versions", schema="marketing")
    op.drop_table("campaign_targets", schema="marketing")
    op.drop_table("user_segments", schema="marketing")
    op.drop_table("simulated_clock", schema="marketing")
    op.drop_table("segment_summary", schema="marketing")
    op.drop_table("published_nights", schema="marketing")
    op.drop_index(
        op.f("ix_marketing_campaigns_template_ends_at"), table_name="marketing_campaigns", schema="marketing"
    )
    op.drop_table("marketing_campaigns", schema="marketing")
