"""Deliveries: what still has to be told to a Git host, or to somebody else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("sync", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("context", sa.String(128), nullable=False),
        sa.Column("desired", sa.JSON(), nullable=False),
        sa.Column("posted", sa.JSON()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failing", sa.String(32), nullable=False),
        sa.Column("next_at", sa.String(32), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("updated", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("sync", "kind", "subject", "context", name="uq_deliveries_sync_kind_subject_context"),
    )
    op.create_index("ix_deliveries_state_next_at", "deliveries", ["state", "next_at"])
