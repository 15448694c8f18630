"""From a commit to Consul: every test here has a bench with a real Git repository and a real Consul."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.e2e.hosting import Hosting
from tests.servers.consul import ConsulServer
from tests.servers.forge import Forge
from tests.servers.git_hosts import GitHttps
from tests.servers.host_api import HostApi, swagger2
from tests.terminal import Terminal
from tests.workbench import Workbench


@pytest.fixture
def bench(consul: ConsulServer, tmp_path: Path) -> Workbench:
    """A spec repository, and gitsync between it and the module's Consul."""
    return Workbench(consul, tmp_path)


@pytest.fixture
def gitsync(
    bench: Workbench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    """A working directory with the bench's repository and Consul at hand, and none of this machine's variables."""
    for name in os.environ:
        if name.startswith(("GITSYNC_", "CONSUL_", "TGW_", "GITHUB_", "GITLAB_", "CI_")) or name in (
            "NO_COLOR",
            "FORCE_COLOR",
        ):
            monkeypatch.delenv(name)
    folder = tmp_path / "terminal"
    folder.mkdir()
    monkeypatch.chdir(folder)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Terminal(folder, bench, capsys)
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def git_https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHttps]:
    """Where repositories are, for who knows the password."""
    with GitHttps(tmp_path_factory.mktemp("repositories")) as host:
        yield host


@pytest.fixture
def forge(bench: Workbench, git_https: GitHttps) -> Iterator[Forge]:
    """A Git host, to which the bench pushes; it has a folder without services. What it is asked is what Gitea's own document says."""
    with HostApi(swagger2("gitea-1.25.4-swagger2.json"), base="/api/v1") as api:
        bench.write("services/README.md", "One file a service.\n")
        bench.commit("begin")
        yield Forge(git_https, api, bench, f"{bench.folder.name}/specs")


@pytest.fixture
def hosting(forge: Forge) -> Iterator[Callable[..., Hosting]]:
    """Makes the daemon of the bench, and ends it after the test, however that went."""
    made: list[Hosting] = []

    def make(**options: Any) -> Hosting:
        made.append(Hosting(forge, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()
        assert "Traceback" not in each.log
        assert "this is a bug" not in each.log
