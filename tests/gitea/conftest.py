"""The fixtures of the suite on a real Gitea: one Gitea for all of it, and for each test a repository and a daemon of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gitea.servers import GiteaServer, lacking
from tests.gitea.site import Site, Town
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench


def pytest_sessionstart() -> None:
    """End politely where there is no Gitea."""
    if lack := lacking():
        pytest.exit(lack, returncode=2)


@pytest.fixture(scope="session")
def gitea() -> Iterator[GiteaServer]:
    """The Gitea. A test that stops it starts it again."""
    with GiteaServer() as server:
        yield server


@pytest.fixture(scope="session")
def town(gitea: GiteaServer) -> Town:
    """Its people."""
    return Town(gitea)


@pytest.fixture
def site(town: Town, consul: ConsulServer, tmp_path: Path) -> Iterator[Site]:
    """A repository with one commit in it, and a daemon that is not started yet."""
    made = Site(town, Workbench(consul, tmp_path))
    made.push()
    made.known("main")
    yield made
    made.close()
