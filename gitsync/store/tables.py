"""The tables. `migrations/` makes exactly these, and a test holds the two together."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# Every time is ISO 8601 in UTC, such as 2024-05-01T12:00:00Z: it sorts as text and reads as what it is.

RUNS = Table(
    "runs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("sync", String(64), nullable=False),
    Column("revision", String(64), nullable=False),
    Column("applied_revision", String(64), nullable=False, default=""),
    Column("trigger", String(64), nullable=False),
    Column("started", String(32), nullable=False),
    Column("finished", String(32)),
    Column("outcome", String(16)),
    Column("plan_digest", String(64), nullable=False, default=""),
    Column("error", Text),
    Column("error_exit", Integer, nullable=False, default=0),
    Column("counts", JSON, nullable=False, default=dict),
    Column("findings", JSON, nullable=False, default=list),
    Column("holds", JSON, nullable=False, default=list),
    Column("steps", JSON, nullable=False, default=list),
    Index(None, "sync", "started"),
)
"""One row a run; `finished` and `outcome` are empty while it goes on."""

RUN_SERVICES = Table(
    "run_services",
    METADATA,
    Column("run", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("service", String(400), primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("action", String(16)),
    Column("step", String(64)),
    Column("message", Text, nullable=False, default=""),
    Column("retryable", Boolean, nullable=False, default=False),
    Column("findings", JSON, nullable=False, default=list),
    Column("diffs", JSON, nullable=False, default=list),
    Index(None, "service"),
)
"""What a run did to a service: those that changed, failed, or have findings. `service` is `<partition>/<namespace>/<name>`."""

SERVICES = Table(
    "services",
    METADATA,
    Column("accessor_id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("service", String(400), nullable=False),
    Column("owner", String(80), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("spec_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("origin_path", Text, nullable=False),
    Column("origin_commit", String(64), nullable=False),
    Column("recorded", String(32), nullable=False),
    Index(None, "service"),
)
"""The versions of a service's spec. A version's spec never changes; its state does: active, deleting, error, deleted."""

SERVICE_COMPONENTS = Table(
    "service_components",
    METADATA,
    Column("accessor_id", String(64), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("at", String(400), primary_key=True),
    Column("service", String(400), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("create_index", BigInteger, nullable=False),
    Column("modify_index", BigInteger, nullable=False),
    Column("observed", String(32), nullable=False),
    Index(None, "service"),
)
"""What a service had in Consul when it was last read back."""

HOLDS = Table(
    "holds",
    METADATA,
    Column("sync", String(64), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("services", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("empty", Boolean, nullable=False, default=False),
    Column("opened", String(32), nullable=False),
    Column("closed", String(32)),
)
"""Deletes that wait, or waited, for an approval."""

CHECKS = Table(
    "checks",
    METADATA,
    Column("sync", String(64), primary_key=True),
    Column("revision", String(64), nullable=False),
    Column("last_checked", String(32), nullable=False),
)
"""When a sync last looked and found everything in order."""

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", String(32), nullable=False),
    Column("sync", String(64), nullable=False),
    Column("run", String(32), nullable=False, default=""),
    Column("event", String(32), nullable=False),
    Column("body", JSON, nullable=False),
    Index(None, "at"),
)
"""What happened, in order, never changed: for audit and replay."""

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sync", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("context", String(128), nullable=False),
    Column("desired", JSON, nullable=False),
    Column("posted", JSON(none_as_null=True)),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("failing", String(32), nullable=False, default=""),
    Column("next_at", String(32), nullable=False),
    Column("last_error", Text, nullable=False, default=""),
    Column("reference", String(255), nullable=False, default=""),
    Column("run", String(32), nullable=False, default=""),
    Column("created", String(32), nullable=False),
    Column("updated", String(32), nullable=False),
    UniqueConstraint("sync", "kind", "subject", "context"),
    Index(None, "state", "next_at"),
)
"""What still has to be told to a Git host or to somebody else, and what was told last. The newest that is wanted wins."""

REVIEWS = Table(
    "reviews",
    METADATA,
    Column("sync", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("head", String(64), nullable=False),
    Column("base", String(64), nullable=False),
    Column("tree", String(64), nullable=False, default=""),
    Column("verdict", String(16), nullable=False),
    Column("digests", JSON(none_as_null=True)),
    Column("plan", JSON, nullable=False, default=dict),
    Column("updated", String(32), nullable=False),
    Column("closed", String(32)),
    Index(None, "closed"),
)
"""What was said of each pull request last. digests: by service, what was reviewed; empty where there was no plan."""
