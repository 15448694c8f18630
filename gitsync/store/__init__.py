"""History in a database: services, components, runs, holds, and the outbox."""

from __future__ import annotations

from gitsync.store.store import Store

__all__ = ["Store"]
