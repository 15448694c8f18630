"""The database: opened, brought up to date, and its failures told as what they are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from gitsync.model import jsontext
from gitsync.model.errors import Invalid, Rejected, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 5
"""How long a writer waits for another process that is writing to the same SQLite file."""

PATIENCE = {"connect_timeout": "3", "tcp_user_timeout": "5000"}
"""What PostgreSQL's client is told where the address says nothing else: a server that is silent must hold nobody up, a daemon
that is told to stop least of all. Seconds, and milliseconds."""

ANSWER_SECONDS = 60.0
"""How long one transaction may take."""

ADVISORY_LOCK = 0x67697473796E63
"""What keeps two processes from migrating one PostgreSQL database at once: "gitsync" as a number."""

_ONE_MIGRATION = threading.Lock()
"""Alembic keeps the migration that it is at in a global variable, so a process does one at a time."""


class Database:
    """An engine, and the one way to a transaction on it."""

    def __init__(self, engine: AsyncEngine, address: URL, shown: str) -> None:
        self._engine, self._address, self._shown = engine, address, shown
        self._file: tuple[int, int] | None = None
        self._preparing = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; it is committed unless the block raises. Raises Unavailable if the database does not take it."""
        await self.prepare()
        with _told(self._shown):
            async with asyncio.timeout(ANSWER_SECONDS), self._engine.begin() as connection:
                yield connection

    async def prepare(self) -> None:
        """Make the database and its tables, unless that was done.

        A file that was deleted or replaced (from a backup, say) is prepared anew: an open connection to the old one would go on
        writing where nobody ever reads.
        """
        async with self._preparing:
            if self._file is None or self._file != _identity(self._address):
                await self._engine.dispose()
                _make_private(self._address, self._shown)
                await asyncio.to_thread(_migrate, self._address, self._shown)
                self._file = _identity(self._address)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Open *url*, made and migrated where that is needed.

    `sqlite:///FILE` or `postgresql+psycopg://…`. Raises Invalid for anything else and for tables of a newer gitsync,
    Unavailable if it does not answer.
    """
    address = _address(url)
    shown = make_url(url).render_as_string(hide_password=True)
    try:
        engine = create_async_engine(
            address,
            pool_pre_ping=address.get_backend_name() != "sqlite",
            json_serializer=lambda value: jsontext.compact(value).decode(),
            json_deserializer=jsontext.parsed,
        )
    except ModuleNotFoundError:
        raise Invalid(
            f"the store {shown} needs psycopg, which is not installed: pip install 'gitsync[postgres]', or take sqlite:///FILE."
        ) from None
    if address.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _tune)
    try:
        database = Database(engine, address, shown)
        await database.prepare()
        yield database
    finally:
        await engine.dispose()


def _address(url: str) -> URL:
    address = make_url(url)
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
    backend = address.get_backend_name()
    if backend not in drivers:
        raise Invalid(f"store: {backend} is no database that gitsync can use: sqlite:///FILE or postgresql+psycopg://…")
    address = address.set(drivername=drivers[backend])
    return address if backend == "sqlite" else address.set(query={**PATIENCE, **address.query})


def _file_of(address: URL) -> Path | None:
    """SQLite's file; None where the database is none."""
    is_file = address.get_backend_name() == "sqlite" and address.database and address.database != ":memory:"
    return Path(address.database) if is_file and address.database else None


def _identity(address: URL) -> tuple[int, int]:
    """Which file stands there now; nothing and no file are (0, 0)."""
    file = _file_of(address)
    if file is None:
        return 0, 0
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _make_private(address: URL, shown: str) -> None:
    """Make SQLite's file, and the folders that are missing above it, for our user alone: it holds what `redact` hides elsewhere.

    SQLite gives its other files, the WAL say, the mode of this one. What is there already keeps its mode.
    """
    file = _file_of(address)
    if file is None:
        return
    try:
        for folder in reversed(file.parents):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Unavailable(f"the store {shown} cannot be made: {error.strerror} ({error.filename})") from error


def _tune(connection: Any, _record: object) -> None:
    """Readers beside a writer, writers that wait for each other, and a power cut that costs the last moment at most."""
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _migrate(address: URL, shown: str) -> None:
    """Bring the tables up to date, in one transaction. Whoever comes second, in this process or another, waits.

    Tables that are up to date are only looked at, so that `gitsync status` does not wait for whoever is writing.
    """
    sqlite = address.get_backend_name() == "sqlite"
    engine = create_engine(address.set(drivername="sqlite+pysqlite") if sqlite else address, poolclass=NullPool)
    if sqlite:
        event.listen(engine, "connect", _tune)
    with _ONE_MIGRATION, _told(shown), engine.connect() as connection:
        if _current(connection, shown):
            return
    with _ONE_MIGRATION, _told(shown), engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        _upgrade(connection, shown)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _current(connection: Connection, shown: str) -> bool:
    """Whether the tables are up to date. Raises Invalid for those of a newer gitsync."""
    scripts = ScriptDirectory.from_config(_config(connection))
    found = set(MigrationContext.configure(connection).get_current_heads())
    if newer := found - {script.revision for script in scripts.walk_revisions()}:
        raise Invalid(
            f"the store {shown} has tables of a newer gitsync ({', '.join(sorted(newer))}): use that one, or name another `store` "
            "(only history is missing then)."
        )
    return found == set(scripts.get_heads())


def _upgrade(connection: Connection, shown: str) -> None:
    if not _current(connection, shown):  # another one may have done it while we waited
        command.upgrade(_config(connection), "head")


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """What a database raises, as Unavailable; as Rejected where it is what was to be written."""
    try:
        yield
    except (DataError, UnicodeEncodeError) as error:  # no other try will help
        raise Rejected(f"the store {shown} does not take what is to be written: {_cause(error)}") from error
    except (SQLAlchemyError, OSError) as error:
        if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
            raise Rejected(f"the store {shown} does not take what is to be written: {_cause(error)}") from error
        raise Unavailable(
            f"the store {shown} cannot be used: {_cause(error)}. Nothing in Consul depends on it."
        ) from error


def _cause(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).partition("\n")[0] or type(cause).__name__
