"""Reviews: what was said of each pull request last, and what was promised by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("sync", sa.String(64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.String(64), nullable=False),
        sa.Column("base", sa.String(64), nullable=False),
        sa.Column("tree", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("digests", sa.JSON()),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("updated", sa.String(32), nullable=False),
        sa.Column("closed", sa.String(32)),
        sa.PrimaryKeyConstraint("sync", "number", name="pk_reviews"),
    )
    op.create_index("ix_reviews_closed", "reviews", ["closed"])
