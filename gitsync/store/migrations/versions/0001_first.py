"""The first tables: runs, services, components, holds, checks, outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sync", sa.String(64), nullable=False),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("applied_revision", sa.String(64), nullable=False),
        sa.Column("trigger", sa.String(64), nullable=False),
        sa.Column("started", sa.String(32), nullable=False),
        sa.Column("finished", sa.String(32)),
        sa.Column("outcome", sa.String(16)),
        sa.Column("plan_digest", sa.String(64), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("error_exit", sa.Integer(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("holds", sa.JSON(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_sync_started", "runs", ["sync", "started"])
    op.create_table(
        "run_services",
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("service", sa.String(400), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("action", sa.String(16)),
        sa.Column("step", sa.String(64)),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("diffs", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_run_services_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "service", name="pk_run_services"),
    )
    op.create_index("ix_run_services_service", "run_services", ["service"])
    op.create_table(
        "services",
        sa.Column("accessor_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("service", sa.String(400), nullable=False),
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("spec_hash", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("origin_path", sa.Text(), nullable=False),
        sa.Column("origin_commit", sa.String(64), nullable=False),
        sa.Column("recorded", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("accessor_id", "version", name="pk_services"),
    )
    op.create_index("ix_services_service", "services", ["service"])
    op.create_table(
        "service_components",
        sa.Column("accessor_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", sa.String(400), nullable=False),
        sa.Column("service", sa.String(400), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("create_index", sa.BigInteger(), nullable=False),
        sa.Column("modify_index", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("accessor_id", "kind", "at", name="pk_service_components"),
    )
    op.create_index("ix_service_components_service", "service_components", ["service"])
    op.create_table(
        "holds",
        sa.Column("sync", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("services", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("empty", sa.Boolean(), nullable=False),
        sa.Column("opened", sa.String(32), nullable=False),
        sa.Column("closed", sa.String(32)),
        sa.PrimaryKeyConstraint("sync", "digest", name="pk_holds"),
    )
    op.create_table(
        "checks",
        sa.Column("sync", sa.String(64), nullable=False),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("last_checked", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("sync", name="pk_checks"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("sync", sa.String(64), nullable=False),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_at", "outbox", ["at"])
