"""Faults: the same bench as e2e's, with something between gitsync and Consul that misbehaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.consul import ConsulServer
from tests.workbench import Workbench


@pytest.fixture
def bench(consul: ConsulServer, tmp_path: Path) -> Workbench:
    """A spec repository, and gitsync between it and the module's Consul."""
    return Workbench(consul, tmp_path)
