"""Servers and gateways in another datacenter than the client's: two Consuls that know each other, and a gateway in each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mesh.conftest import Street, numbers
from tests.mesh.echo import Echo
from tests.mesh.servers import GATEWAY, Envoy, Mesh
from tests.servers import free_ports, wait_for
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench

FAR = "dc2"
NOTHING = {"filter": 'Service.Meta.version == "none"'}


@pytest.fixture(scope="module")
def two() -> Iterator[Mesh]:
    """A mesh of its own whose Consul has a second datacenter beside it, with a gateway of the same name."""
    grpc, port = free_ports(2)
    with (
        Mesh(os.environ["GITSYNC_TEST_CONSUL"]) as near,
        ConsulServer(datacenter=FAR, primary=near.consul, config={"ports": {"grpc": grpc}}) as far,
    ):
        wait_for(lambda: near.consul.sees(far) and far.sees(near.consul), "two datacenters that know each other")
        gateway = {"Kind": "terminating-gateway", "ID": GATEWAY, "Name": GATEWAY, "Address": "127.0.0.1", "Port": port}
        far.put("/v1/agent/service/register", gateway)
        envoy = Envoy(far, GATEWAY, "-gateway", "terminating", "-proxy-id", GATEWAY, grpc=grpc)
        try:
            envoy.start()
            yield near
        finally:
            envoy.stop()


@pytest.fixture
def avenue(two: Mesh, tmp_path: Path) -> Street:
    """A street in the two datacenters."""
    word = f"avenue-{next(numbers)}"
    return Street(two, Workbench(two.consul, tmp_path, sync=word), word)


def far_spec(street: Street, server: Echo, how: str = "gateway", **connect: Any) -> dict[str, Any]:
    """A spec of a server in the other datacenter, and of the gateway there."""
    spec = street.spec(server, name=street.also("far"), **connect)
    spec["exposure"]["terminating_gateway"]["dc"] = FAR
    if how == "both":
        spec["exposure"]["dc"] = FAR
    return spec


@pytest.mark.parametrize("how", ["gateway", "both"])
async def test_a_server_and_its_gateway_in_another_datacenter_answer(avenue: Street, how: str):
    with Echo("far") as far:
        caller = await avenue.serve(far_spec(avenue, far, how, resolver={"redirect": {"datacenter": FAR}}))

        assert wait_for(lambda: caller.ask().server == "far", "the server in the other datacenter")
        assert "unknown-datacenter" not in avenue.said


@pytest.mark.parametrize("how", ["redirect", "datacenters", "target"])
async def test_redirects_and_failover_lead_into_another_datacenter(avenue: Street, echo: Echo, how: str):
    there = avenue.also("far")
    over = {
        "datacenters": {"service": there, "datacenters": [FAR]},
        "target": {"targets": [{"service": there, "datacenter": FAR}]},
    }
    resolver: dict[str, Any] = {"redirect": {"service": there, "datacenter": FAR}}
    if how != "redirect":
        resolver = {"default_subset": "none", "subsets": {"none": NOTHING}, "failover": {"none": over[how]}}
    with Echo("far") as far:
        caller = await avenue.serve(avenue.spec(echo, resolver=resolver), far_spec(avenue, far))

        assert wait_for(lambda: caller.ask().server == "far", "the server in the other datacenter")
        assert echo.seen == []
