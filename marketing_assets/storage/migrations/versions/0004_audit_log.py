"""Audit log: who changed what when, each row with the hash of the row before."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; nothing that is there is touched."""
    op.create_table(
        "audit_log",
        sa.Column(
            "entry_id",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="1, 2, ... without a gap",
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="who; a user only as pseudonym"),
        sa.Column("action", sa.Text(), nullable=False, comment="what was done, such as campaign.expired"),
        sa.Column("subject", sa.Text(), nullable=False, comment="to what; a user only as pseudonym"),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False, comment="SHA-256 of the entry before"),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_log")),
        schema="marketing",
    )
    op.create_index(op.f("ix_audit_log_subject"), "audit_log", ["subject"], schema="marketing")


def downgrade() -> None:
    """Forget the log."""
    op.drop_table("audit_log", schema="marketing")
