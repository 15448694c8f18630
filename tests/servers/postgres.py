"""A real PostgreSQL for tests: one server in a folder of its own, without passwords, on the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg

from tests.servers import DidNotStart, ServerProcess, free_ports, wait_for

NOBODY = 65534
"""PostgreSQL refuses to run as root. Where we are root, it runs as this one."""


def find_postgres() -> Path:
    """The folder with PostgreSQL's programs: of the PATH, else the newest where Debian has them. Raises DidNotStart."""
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda each: float(each.parts[-3]))
    if not versions:
        raise DidNotStart("there is no PostgreSQL for the tests: it is in Debian's package postgresql")
    return versions[-1].parent


class PostgresServer:
    """One PostgreSQL, as a context manager. `reset` empties it."""

    def __enter__(self) -> Self:
        programs = find_postgres()
        self._folder = tempfile.TemporaryDirectory(prefix="gitsync-postgres-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        try:
            self._start(programs)
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop(seconds=5)
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """Its address as `store` takes it."""
        return f"postgresql+psycopg://tests@127.0.0.1:{self._port}/postgres"

    @property
    def dead_url(self) -> str:
        """An address at which nothing answers."""
        return f"postgresql+psycopg://tests:secret@127.0.0.1:{free_ports(1)[0]}/postgres"

    def reset(self) -> None:
        """Drop every table."""
        with psycopg.connect(self._address, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def stop(self) -> None:
        """End it."""
        self._process.stop(seconds=5)

    @property
    def _address(self) -> str:
        return f"host=127.0.0.1 port={self._port} user=tests dbname=postgres connect_timeout=5"

    def _start(self, programs: Path) -> None:
        tables, log = self.folder / "tables", self.folder / "log"
        as_user: list[str] = []
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        made = subprocess.run(
            [
                *as_user, str(programs / "initdb"), "--pgdata", str(tables), "--username=tests", "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--no-sync",
            ],
            cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            raise DidNotStart(f"initdb: {made.stderr.strip()}")
        [self._port] = free_ports(1)
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "log_timezone": "UTC",
        }
        self._process = ServerProcess(
            [
                *as_user, str(programs / "postgres"), "-D", str(tables), "-p", str(self._port),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            folder=self.folder, log=log,
        )  # fmt: skip
        try:
            wait_for(self._answers, "an answer of PostgreSQL", seconds=20)
        except (TimeoutError, DidNotStart) as error:
            self._process.kill()
            raise DidNotStart(f"PostgreSQL: {error}: {log.read_text()[-1000:]}") from error

    def _answers(self) -> bool:
        if not self._process.running:
            raise DidNotStart("it ended")
        try:
            psycopg.connect(self._address).close()
        except psycopg.OperationalError:
            return False
        return True
