"""External nodes: read in few requests, written only as they were seen and only while our lock holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gitsync.consul.facade import Consul, connect
from gitsync.consul.leases import Lease
from gitsync.core.normalize import canonical
from gitsync.core.sight import node_body
from gitsync.engine.ports import Op
from gitsync.model.component import CatalogNode
from gitsync.model.errors import Fenced, Forbidden, StaleIndex, Unknown
from gitsync.model.key import Kind
from tests.servers import wait_for
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy

LOCK = "svc-handler/locks/default/default/pay"
CHECK = "gitsync:pay"


@pytest.fixture
async def ours(consul: ConsulServer) -> AsyncIterator[Consul]:
    async with connect(consul.url) as (opened, _):
        yield opened


@pytest.fixture(scope="module")
def elsewhere(consul: ConsulServer) -> Iterator[ConsulServer]:
    """A second datacenter, joined to that of `consul`."""
    with ConsulServer(consul.binary, datacenter="dc2", primary=consul) as server:
        yield server


def body(name: str = "pay", *, datacenter: str = "dc1", port: int = 443, check: bool = True) -> dict[str, Any]:
    """A catalog node in the shape of Component.body."""
    node: dict[str, Any] = {
        "Node": f"ext-{name}",
        "Datacenter": datacenter,
        "Address": "api.bank.example",
        "NodeMeta": {
            "external-node": "true",
            "external-probe": "false",
            "managed-by": "gitsync",
            "gitsync-owner": "prod/payments",
            "gitsync-service": f"default/default/{name}",
        },
        "Service": {
            "ID": name,
            "Service": name,
            "Address": "api.bank.example",
            "Port": port,
            "Meta": {"managed-by": "gitsync"},
        },
    }
    if check:
        definition = {"TCP": f"api.bank.example:{port}", "Interval": "10s", "Timeout": "2s"}
        node["Check"] = {"CheckID": f"gitsync:{name}", "Name": "gitsync", "Definition": definition}
    return node


async def seen(ours: Consul, name: str = "pay") -> CatalogNode:
    node = await ours.read_node("dc1", f"ext-{name}")
    assert node
    return node


async def locked(ours: Consul) -> tuple[Lease, tuple[str, str]]:
    lease = await ours.open_lease("svc-handler:test")
    assert await ours.transact([Op("lock", LOCK, b"host", session=lease.id)]) == ()
    return lease, (LOCK, lease.id)


@pytest.mark.parametrize("check", [True, False])
async def test_what_was_registered_is_read_back_as_it_was_wanted(ours: Consul, check: bool):
    wanted = body(check=check)

    await ours.register(wanted, None, fence=None)

    node = await seen(ours)
    assert canonical(Kind.CATALOG, node_body(node, "pay")) == canonical(Kind.CATALOG, wanted)
    assert (node,) == await ours.external_nodes("dc1", {"ext-pay": "pay"})


async def test_what_is_already_as_it_should_be_is_not_written(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    before = consul.dump()

    await ours.register(body(), await seen(ours), fence=None)

    assert consul.dump() == before
    assert ours.requests["PUT", "txn"] == 1


async def test_a_check_is_born_passing_and_its_status_is_then_the_probers(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    (check,) = consul.get("/v1/health/node/ext-pay")
    assert check["Status"] == "passing"
    failed = {name: check[name] for name in ("Node", "CheckID", "Name", "ServiceID", "Definition")}
    failed |= {"Status": "critical", "Output": "connection refused"}
    consul.put("/v1/catalog/register", {"Node": "ext-pay", "SkipNodeUpdate": True, "Check": failed})

    await ours.register(body(port=8443), await seen(ours), fence=None)

    (check,) = consul.get("/v1/health/node/ext-pay")
    assert (check["Status"], check["Output"]) == ("critical", "connection refused")
    assert check["Definition"]["TCP"] == "api.bank.example:8443"
    assert (await seen(ours)).services[0].body["Port"] == 8443


async def test_a_check_that_is_not_wanted_any_more_goes(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)

    await ours.register(body(check=False), await seen(ours), fence=None)

    assert consul.get("/v1/health/node/ext-pay") == []


async def test_what_somebody_else_put_on_our_node_stays(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    consul.put(
        "/v1/catalog/register",
        {
            "Node": "ext-pay",
            "ID": "11111111-2222-3333-4444-555555555555",
            "Address": "api.bank.example",
            "TaggedAddresses": {"wan": "192.0.2.7"},
            "NodeMeta": body()["NodeMeta"] | {"rack": "7"},
            "Check": {"CheckID": "externalNodeHealth", "Name": "esm", "Status": "passing"},
        },
    )
    node = await seen(ours)

    await ours.register(body() | {"Address": "other.example", "NodeMeta": dict(node.meta)}, node, fence=None)

    there = consul.get("/v1/catalog/node/ext-pay")["Node"]
    assert there["ID"] == "11111111-2222-3333-4444-555555555555"
    assert there["TaggedAddresses"] == {"wan": "192.0.2.7"}
    assert (there["Address"], there["Meta"]["rack"]) == ("other.example", "7")
    assert {check["CheckID"] for check in consul.get("/v1/health/node/ext-pay")} == {"externalNodeHealth", CHECK}


async def test_a_node_that_somebody_else_made_first_is_not_overwritten(ours: Consul, consul: ConsulServer):
    consul.put("/v1/catalog/register", {"Node": "ext-pay", "Address": "192.0.2.9"})
    before = consul.dump()

    with pytest.raises(StaleIndex):
        await ours.register(body(), None, fence=None)

    assert consul.dump() == before


async def test_a_node_that_changed_meanwhile_is_not_overwritten(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    node = await seen(ours)
    changes = [
        {"Node": "ext-pay", "Address": "192.0.2.9", "NodeMeta": {"external-node": "true"}},
        {"Node": "ext-pay", "SkipNodeUpdate": True, "Service": {"ID": "pay", "Service": "pay", "Port": 1}},
    ]
    for change in changes:
        consul.put("/v1/catalog/register", change)
        before = consul.dump()

        with pytest.raises(StaleIndex):
            await ours.register(body(port=8443), node, fence=None)

        assert consul.dump() == before
        node = await seen(ours)


async def test_a_writer_whose_lock_was_taken_over_writes_nothing(ours: Consul, consul: ConsulServer):
    _, fence = await locked(ours)
    await ours.register(body(), None, fence=fence)
    node = await seen(ours)
    await ours.destroy_session(fence[1])
    before = consul.dump()

    with pytest.raises(Fenced):
        await ours.register(body(port=8443), node, fence=fence)
    with pytest.raises(Fenced):
        await ours.deregister(node, "pay", [CHECK], fence=fence)

    assert consul.dump() == before


async def test_deregistering_takes_service_check_and_node(ours: Consul):
    await ours.register(body(), None, fence=None)

    await ours.deregister(await seen(ours), "pay", [CHECK], fence=None)

    assert await ours.read_node("dc1", "ext-pay") is None
    assert await ours.external_nodes("dc1", {"ext-pay": "pay"}) == ()


async def test_a_node_with_nothing_left_but_esms_own_check_goes(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    esm = {"CheckID": "externalNodeHealth", "Name": "esm", "Status": "critical"}
    consul.put("/v1/catalog/register", {"Node": "ext-pay", "SkipNodeUpdate": True, "Check": esm})

    await ours.deregister(await seen(ours), "pay", [CHECK], fence=None)

    assert await ours.read_node("dc1", "ext-pay") is None


@pytest.mark.parametrize(
    "other",
    [
        {"Service": {"ID": "theirs", "Service": "theirs", "Port": 1}},
        {"Check": {"CheckID": "theirs", "Name": "theirs", "Status": "passing"}},
    ],
    ids=["service", "check"],
)
async def test_a_node_that_somebody_else_uses_too_stays(ours: Consul, consul: ConsulServer, other: dict[str, Any]):
    await ours.register(body(), None, fence=None)
    consul.put("/v1/catalog/register", {"Node": "ext-pay", "SkipNodeUpdate": True, **other})

    await ours.deregister(await seen(ours), "pay", [CHECK], fence=None)

    node = await seen(ours)
    assert "pay" not in {service.id for service in node.services}
    assert CHECK not in {check.id for check in node.checks}
    assert node.services or node.checks


async def test_a_service_that_changed_meanwhile_is_not_deregistered(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    node = await seen(ours)
    theirs = {"ID": "pay", "Service": "pay", "Port": 1}
    consul.put("/v1/catalog/register", {"Node": "ext-pay", "SkipNodeUpdate": True, "Service": theirs})
    before = consul.dump()

    with pytest.raises(StaleIndex):
        await ours.deregister(node, "pay", [CHECK], fence=None)

    assert consul.dump() == before


async def test_deregistering_what_is_gone_is_no_error(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    node = await seen(ours)
    consul.put("/v1/catalog/deregister", {"Node": "ext-pay", "ServiceID": "pay"})

    await ours.deregister(node, "pay", [CHECK], fence=None)
    await ours.deregister(node, "pay", [CHECK], fence=None)

    assert await ours.read_node("dc1", "ext-pay") is None


async def test_a_registration_whose_answer_is_lost_is_unknown_and_whole(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.CUT_AFTER, r"^PUT /v1/txn")

        with pytest.raises(Unknown):
            await ours.register(body(), None, fence=None)

        assert (await seen(ours)).checks[0].id == CHECK


async def test_many_nodes_are_read_in_few_requests_also_with_some_that_are_not_there(
    ours: Consul, consul: ConsulServer
):
    await asyncio.gather(*(ours.register(body(f"s{at:03}", check=at % 2 == 0), None, fence=None) for at in range(100)))
    consul.put("/v1/catalog/deregister", {"Node": "ext-s007", "ServiceID": "s007"})
    before = ours.requests.copy()

    nodes = await ours.external_nodes("dc1", {f"ext-s{at:03}": f"s{at:03}" for at in range(150)})

    assert [node.node for node in nodes] == [f"ext-s{at:03}" for at in range(100)]
    assert [node.node for node in nodes if not node.services] == ["ext-s007"]
    assert len([node for node in nodes if node.checks]) == 50
    assert sum((ours.requests - before).values()) <= 2 + 2 + 1 + 3


async def test_a_node_that_says_whose_it_is_is_read_with_its_service_without_being_asked_for(ours: Consul):
    await ours.register(body(), None, fence=None)

    (node,) = await ours.external_nodes("dc1", {})

    assert [service.id for service in node.services] == ["pay"]


async def test_a_node_of_our_name_is_seen_although_it_is_not_external(ours: Consul, consul: ConsulServer):
    consul.put("/v1/catalog/register", {"Node": "ext-pay", "Address": "192.0.2.9"})

    (node,) = await ours.external_nodes("dc1", {"ext-pay": "pay"})

    assert (node.node, node.meta, node.services) == ("ext-pay", {}, ())
    assert await ours.external_nodes("dc1", {}) == ()


async def test_another_datacenters_nodes_are_registered_and_read_there(
    ours: Consul, consul: ConsulServer, elsewhere: ConsulServer
):
    elsewhere.reset()
    await ours.register(body(datacenter="dc2"), None, fence=None)

    (node,) = await ours.external_nodes("dc2", {"ext-pay": "pay"})
    assert (node.datacenter, [check.id for check in node.checks]) == ("dc2", [CHECK])
    assert await ours.read_node("dc2", "ext-pay") == node
    assert await ours.read_node("dc1", "ext-pay") is None
    assert elsewhere.get("/v1/catalog/node/ext-pay")
    assert await ours.datacenters() == ("dc1", "dc2")

    await ours.deregister(node, "pay", [CHECK], fence=None)
    assert await ours.read_node("dc2", "ext-pay") is None


async def test_names_and_nodes_of_services_are_read(ours: Consul, consul: ConsulServer):
    await ours.register(body(), None, fence=None)
    consul.put("/v1/catalog/register", {"Node": "other", "Address": "192.0.2.1", "Service": {"Service": "pay"}})

    assert await ours.service_names() == {"consul", "pay"}
    assert await ours.service_nodes("pay") == ("ext-pay", "other")
    assert await ours.service_nodes("nope") == ()


async def test_a_node_that_the_token_may_not_see_is_forbidden_and_not_absent(consul_acl: ConsulServer):
    consul_acl.put("/v1/catalog/register", {"Node": "ext-pay", "Address": "192.0.2.9"})
    token = consul_acl.new_token('agent_prefix "" { policy = "read" }')
    async with connect(consul_acl.url, token=lambda: token, version="1.8.7") as (ours, _):
        with pytest.raises(Forbidden):
            await ours.read_node("dc1", "ext-pay")
        with pytest.raises(Forbidden):
            await ours.external_nodes("dc1", {"ext-pay": "pay"})
        with pytest.raises(Forbidden):
            await ours.register(body("new"), None, fence=None)


async def test_other_peoples_hidden_services_do_not_keep_us_from_seeing_our_own(consul_acl: ConsulServer):
    async with connect(consul_acl.url, token=lambda: consul_acl.token or "") as (admin, _):
        for name in ("pay", "theirs"):
            await admin.register(body(name), None, fence=None)
    token = consul_acl.new_token(
        'node_prefix "" { policy = "read" } service "pay" { policy = "read" } agent_prefix "" { policy = "read" }'
    )
    async with connect(consul_acl.url, token=lambda: token) as (ours, _):
        pay, theirs = await ours.external_nodes("dc1", {"ext-pay": "pay"})

        assert [service.id for service in pay.services] == ["pay"]
        assert (theirs.node, theirs.services) == ("ext-theirs", ())
        with pytest.raises(Forbidden, match="ext-theirs"):
            await ours.external_nodes("dc1", {"ext-theirs": "theirs"})


async def test_a_service_on_several_nodes_is_found_on_each(ours: Consul):
    nodes = [f"ext-pay-{at}" for at in range(5)]
    for at, node in enumerate(nodes):
        await ours.register({**body(port=1000 + at, check=False), "Node": node}, None, fence=None)

    found = await ours.external_nodes("dc1", dict.fromkeys(nodes, "pay"))

    assert {node.node: node.services[0].body["Port"] for node in found} == {
        f"ext-pay-{at}": 1000 + at for at in range(5)
    }


async def test_what_the_token_may_not_see_on_a_node_keeps_the_node(consul_acl: ConsulServer):
    theirs = {"ID": "theirs", "Service": "theirs", "Port": 1}
    consul_acl.put("/v1/catalog/register", {"Node": "ext-pay", "Address": "192.0.2.9", "Service": theirs})
    pay = {"ID": "pay", "Service": "pay", "Port": 1}
    consul_acl.put("/v1/catalog/register", {"Node": "ext-pay", "SkipNodeUpdate": True, "Service": pay})
    token = consul_acl.new_token(
        'node_prefix "" { policy = "write" } service "pay" { policy = "write" } agent_prefix "" { policy = "read" }'
    )
    async with connect(consul_acl.url, token=lambda: token) as (ours, features):
        node = await seen(ours)
        await ours.deregister(node, "pay", [], fence=None)

    # Before 1.11 Consul does not say that it left something out, and the node goes with what is hidden on it.
    there = wait_for(lambda: [consul_acl.get("/v1/catalog/node/ext-pay")], "an answer")[0]
    assert (there is not None) is (features.version >= (1, 11, 0))
