"""What makes the neighbours wait: a service for which an Envoy expects endpoints that never come, for 15 seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.conftest import Street
from tests.mesh.echo import Caller, Echo
from tests.mesh.servers import Envoy, Mesh
from tests.servers import wait_for
from tests.workbench import Workbench


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Street]:
    """A street in a mesh of its own: what a test leaves would hold all others up."""
    with Mesh(os.environ["GITSYNC_TEST_CONSUL"]) as mesh:
        yield Street(mesh, Workbench(mesh.consul, tmp_path / "alone"), "good")


def seconds_down(envoy: Envoy, caller: Caller) -> float:
    """How long a restart of *envoy* leaves *caller* without an answer."""
    began = time.monotonic()
    envoy.restart()
    wait_for(lambda: caller.ask().status == 200, "an answer after a restart", seconds=40)
    return time.monotonic() - began


async def test_a_datacenter_that_is_not_there_holds_the_neighbours_of_its_client_up_and_the_finding_says_so(
    alone: Street, echo: Echo
):
    redirect = {"redirect": {"service": "good", "datacenter": "west-1"}}
    good = await alone.serve(alone.spec(echo), alone.spec(echo, name="bad", resolver=redirect))
    before = seconds_down(alone.mesh.client, good)
    alone.mesh.pick_up("bad")

    assert before < 5
    assert 14 < seconds_down(alone.mesh.client, good) < 25
    assert seconds_down(alone.mesh.gateway, good) < 5
    assert "unknown-datacenter" in alone.said


async def test_a_subset_without_servers_of_a_name_holds_the_neighbours_at_its_gateway_up(alone: Street, echo: Echo):
    subsets = {"subsets": {"none": {"filter": 'Service.Meta.version == "none"'}}}
    by_name = {"host": "localhost", "port": echo.port}
    by_address = alone.spec(echo, name="address", resolver=subsets)
    good = await alone.serve(alone.spec(echo), by_address)
    before = seconds_down(alone.mesh.gateway, good)

    await alone.sync(alone.spec(echo), by_address, alone.spec(echo, name="name", routing=by_name, resolver=subsets))
    assert before < 5
    assert 14 < seconds_down(alone.mesh.gateway, good) < 25
