"""From a commit to Consul: every test here has a bench with a real Git repository and a real Consul."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.consul import ConsulServer
from tests.workbench import Workbench


@pytest.fixture
def bench(consul: ConsulServer, tmp_path: Path) -> Workbench:
    """A spec repository, and gitsync between it and the module's Consul."""
    return Workbench(consul, tmp_path)
