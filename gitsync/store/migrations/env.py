"""Alembic's way in. The connection comes from the store; there is no alembic.ini and no offline mode."""

from __future__ import annotations

from alembic import context

from gitsync.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
