"""What several of these tests share: the databases that a store can be in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gitsync.store import Store
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store is to be made. There is nothing yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'gitsync.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    server.reset()
    return server.url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with Store.open(url) as store:
        yield store
