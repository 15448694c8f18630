"""The database: opened, brought up to date, and its failures told as what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gitsync.model.errors import Invalid, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 15
"""How long a writer waits for another process that is writing to the same SQLite file."""


class Database:
    """An engine, and the one way to a transaction on it."""

    def __init__(self, engine: AsyncEngine, shown: str) -> None:
        self._engine, self._shown = engine, shown

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; it is committed unless the block raises. Raises Unavailable if the database does not take it."""
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise Unavailable(
                f"the store {self._shown} cannot be used: {_cause(error)}. Nothing in Consul depends on it."
            ) from error


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open *url*, made and migrated where that is needed.

    `sqlite:///FILE` or `postgresql+psycopg://…`. Raises Invalid for anything else, Unavailable if it does not answer.
    """
    address = _address(url)
    shown = address.render_as_string(hide_password=True)
    if address.database and address.get_backend_name() == "sqlite":
        try:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"the store {shown} cannot be made: {error.strerror} ({error.filename})") from error
    engine = create_async_engine(address, pool_pre_ping=address.get_backend_name() != "sqlite")
    if address.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _tune)
    try:
        database = Database(engine, shown)
        async with database.transaction() as connection:
            await connection.run_sync(_migrate)
        yield database
    finally:
        await engine.dispose()


def _address(url: str) -> URL:
    address = make_url(url)
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
    backend = address.get_backend_name()
    if backend not in drivers:
        raise Invalid(f"store: {backend} is no database that gitsync can use: sqlite:///FILE or postgresql+psycopg://…")
    return address.set(drivername=drivers[backend])


def _tune(connection: Any, _record: object) -> None:
    """Readers beside a writer, writers that wait for each other, and a power cut that costs the last moment at most."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _cause(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).partition("\n")[0] or type(cause).__name__
