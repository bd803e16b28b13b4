"""Budgets, pauses, consent and the yearly share of the global holdout.

Every campaign that is there gets the budget that its newest version has frozen; nothing of it is reserved or
spent, because no version of before rewards anything.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MONEY = sa.Numeric(precision=14, scale=2)
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables and fill in the budgets of campaigns."""
    op.add_column(
        "marketing_campaigns",
        sa.Column(
            "ended_by_hand_at", _INSTANT, nullable=True, comment="when somebody ended it before its time"
        ),
        schema="marketing",
    )
    _make_budgets()
    _make_pauses()
    op.create_table(
        "user_consent",
        sa.Column("user_id", sa.String(length=200, collation="C"), nullable=False),
        sa.Column(
            "opted_out_at",
            _INSTANT,
            nullable=True,
            comment="null = has not opted out, like a user without a row",
        ),
        sa.Column(
            "channels",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="agreed to",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="where the user said so, such as app"),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_consent")),
        schema="marketing",
    )
    op.create_table(
        "global_holdouts",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False, comment="of the target day"),
        sa.Column(
            "share",
            sa.Numeric(precision=9, scale=8),
            nullable=False,
            comment="of all users, in no campaign that year",
        ),
        sa.Column(
            "frozen_on", sa.Date(), nullable=False, comment="the night that froze it, the first of the year"
        ),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.CheckConstraint("share between 0 and 1", name=op.f("ck_global_holdouts_share")),
        sa.PrimaryKeyConstraint("year", name=op.f("pk_global_holdouts")),
        schema="marketing",
    )


def _make_budgets() -> None:
    op.create_table(
        "campaign_budgets",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("budget", _MONEY, nullable=True, comment="null = unlimited"),
        sa.Column(
            "reserved",
            _MONEY,
            server_default=sa.text("0"),
            nullable=False,
            comment="claimed, not confirmed",
        ),
        sa.Column(
            "spent", _MONEY, server_default=sa.text("0"), nullable=False, comment="confirmed by the ledger"
        ),
        sa.CheckConstraint("budget >= 0", name=op.f("ck_campaign_budgets_budget")),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_campaign_budgets_reserved")),
        sa.CheckConstraint("spent >= 0", name=op.f("ck_campaign_budgets_spent")),
        sa.CheckConstraint("reserved + spent <= budget", name=op.f("ck_campaign_budgets_covered")),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing.marketing_campaigns.campaign_id"],
            name=op.f("fk_campaign_budgets_campaign_id"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaign_budgets")),
        schema="marketing",
    )
    op.execute(
        "insert into marketing.campaign_budgets (campaign_id, budget)"
        " select c.campaign_id, cast(v.settings ->> 'budget' as numeric)"
        " from marketing.marketing_campaigns c"
        " left join marketing.campaign_versions v on v.campaign_id = c.campaign_id and v.version = c.version"
    )


def _make_pauses() -> None:
    op.create_table(
        "campaign_pauses",
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("paused_at", _INSTANT, nullable=False),
        sa.Column("resumed_at", _INSTANT, nullable=True, comment="null = until the campaign's end"),
        sa.CheckConstraint("resumed_at >= paused_at", name=op.f("ck_campaign_pauses_resumed_after_pause")),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing.marketing_campaigns.campaign_id"],
            name=op.f("fk_campaign_pauses_campaign_id"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "paused_at", name=op.f("pk_campaign_pauses")),
        schema="marketing",
    )
    op.create_index(
        "uq_campaign_pauses_unresumed",
        "campaign_pauses",
        ["campaign_id"],
        unique=True,
        schema="marketing",
        postgresql_where=sa.text("resumed_at is null"),
    )


def downgrade() -> None:
    """Forget them."""
    for name in ("global_holdouts", "user_consent", "campaign_pauses", "campaign_budgets"):
        op.drop_table(name, schema="marketing")
    op.drop_column("marketing_campaigns", "ended_by_hand_at", schema="marketing")
