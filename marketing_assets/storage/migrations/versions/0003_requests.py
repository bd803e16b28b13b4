"""Requests: what the app or a person asks to be run, picked up by a sensor, with what came of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "requested_by", sa.Text(), nullable=False, comment="a role or a pseudonym, never a user id"
        ),
        sa.Column(
            "requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("status", sa.Text(), server_default=sa.text("'queued'"), nullable=False),
        sa.Column(
            "run_id",
            sa.Text(),
            nullable=True,
            comment="the run that works for it now, in the end the one that did it",
        ),
        sa.Column(
            "result",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="succeeded: what it came to; failed: error and remedy",
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('queued', 'running', 'succeeded', 'failed')", name=op.f("ck_requests_status")
        ),
        sa.CheckConstraint(
            "(finished_at is not null) = (status in ('succeeded', 'failed'))",
            name=op.f("ck_requests_finished"),
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
        schema="marketing",
    )
    op.create_index(
        "ix_requests_open",
        "requests",
        ["requested_at"],
        unique=False,
        schema="marketing",
        postgresql_where=sa.text("status in ('queued', 'running')"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("requests", schema="marketing")
