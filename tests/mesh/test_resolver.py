"""Which server of several, and which service instead of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.mesh.conftest import Street, said
from tests.mesh.echo import Caller, Echo
from tests.servers import wait_for
from tests.servers.consul import ConsulServer


@pytest.fixture
def other() -> Iterator[Echo]:
    """A second server."""
    with Echo("other") as server:
        yield server


async def balanced(street: Street, echo: Echo, other: Echo, balancer: dict[str, Any]) -> Caller:
    endpoints = [{"host": each.host, "port": each.port} for each in (echo, other)]
    return await street.serve(street.spec(echo, routing={"endpoints": endpoints}, resolver={"load_balancer": balancer}))


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
async def test_a_hash_of_a_header_sends_a_user_always_to_one_server(
    street: Street, echo: Echo, other: Echo, policy: str
):
    balancer = {"policy": policy, "hash_policies": [{"field": "header", "field_value": "x-user"}]}
    caller = await balanced(street, echo, other, balancer)

    servers = {user: {caller.ask(headers={"x-user": f"user-{user}"}).server for _ in range(4)} for user in range(40)}

    assert {len(each) for each in servers.values()} == {1}
    assert set().union(*servers.values()) == {"echo", "other"}


@pytest.mark.parametrize("field", ["query_parameter", "cookie"])
async def test_a_hash_of_a_parameter_or_cookie_does_so_too(street: Street, echo: Echo, other: Echo, field: str):
    balancer = {"policy": "ring_hash", "hash_policies": [{"field": field, "field_value": "user"}]}
    caller = await balanced(street, echo, other, balancer)

    def server(user: int) -> str:
        if field == "cookie":
            return caller.ask(headers={"Cookie": f"user=u{user}"}).server
        return caller.ask(f"/?user=u{user}").server

    servers = {user: {server(user) for _ in range(4)} for user in range(40)}

    assert {len(each) for each in servers.values()} == {1}
    assert set().union(*servers.values()) == {"echo", "other"}


@pytest.mark.parametrize(
    "balancer",
    [
        {"policy": "random"},
        {"policy": "round_robin"},
        {"policy": "least_request", "least_request": {"choice_count": 2}},
        {"policy": "ring_hash", "ring_hash": {"minimum": 16, "maximum": 8388608}},
    ],
    ids=lambda balancer: balancer["policy"],
)
async def test_every_other_policy_uses_all_servers(street: Street, echo: Echo, other: Echo, balancer: dict[str, Any]):
    caller = await balanced(street, echo, other, balancer)

    replies = [caller.ask() for _ in range(40)]

    assert {(reply.status, reply.server) for reply in replies} == {(200, "echo"), (200, "other")}


async def test_a_redirect_answers_from_the_other_service_always(street: Street, echo: Echo, other: Echo):
    caller = await street.serve(
        street.spec(echo, resolver={"redirect": {"service": street.also("other")}}),
        street.spec(other, name=street.also("other")),
    )

    assert ({caller.ask().server for _ in range(10)}, echo.seen) == ({"other"}, [])
    assert "redirect-takes-all" in street.said


@pytest.mark.parametrize("how", ["targets", "service"])
async def test_failover_does_not_see_that_a_server_behind_the_gateway_died_and_the_finding_says_so(
    street: Street, echo: Echo, other: Echo, how: str
):
    standby = street.also("standby")
    failover = {"*": {"targets": [{"service": standby}]} if how == "targets" else {"service": standby}}
    caller = await street.serve(street.spec(echo, resolver={"failover": failover}), street.spec(other, name=standby))
    assert caller.ask().server == "echo"

    echo.stop()

    assert (caller.ask().status, other.seen) == (503, [])
    assert "failover-sees-gateway" in street.said


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        ('Service.Meta.version == "v2"', 503),  # neither the gateway nor the server is in it
        ('Service.Meta.version == "v1"', 503),  # the gateway is, by its Meta; the server has none
        ('Service.Meta.version != "v1"', 503),  # the server is, the gateway is not
        ('Service.Meta.version != "v2"', 200),  # both are
    ],
)
async def test_a_subset_judges_the_gateway_and_the_servers_and_the_finding_says_so(
    street: Street, echo: Echo, expression: str, status: int
):
    resolver = {"default_subset": "some", "subsets": {"some": {"filter": expression}}}
    caller = await street.serve(street.spec(echo, resolver=resolver))

    assert caller.ask().status == status
    assert "subset-sees-gateway" in street.said


async def test_only_passing_leaves_out_a_gateway_in_warning(street: Street, echo: Echo):
    consul = street.mesh.consul
    resolver = {"subsets": {"passing": {"only_passing": True}, "any": {}}}
    routes = [{"match": {"path_prefix": f"/{name}/"}, "destination": {"subset": name}} for name in ("passing", "any")]
    caller = await street.serve(street.spec(echo, resolver=resolver, router={"routes": routes}))
    assert [caller.ask(path).status for path in ("/passing/", "/any/")] == [200, 200]

    warning = {"Name": "warning", "ServiceID": "tgw", "TTL": "1h", "Status": "warning"}
    consul.put("/v1/agent/check/register", warning)
    try:
        wait_for(lambda: caller.ask("/passing/").status == 503, "the warning reaching the client")
        assert caller.ask("/any/").status == 200
    finally:
        consul.put("/v1/agent/check/deregister/warning")
    wait_for(lambda: caller.ask("/passing/").status == 200, "the gateway passing again")


async def test_a_subset_that_the_gateway_is_in_answers(street: Street, echo: Echo):
    resolver = {"default_subset": "all", "subsets": {"all": {"only_passing": True}}}
    caller = await street.serve(street.spec(echo, resolver=resolver))

    assert caller.ask().status == 200


async def test_a_cookie_that_envoy_makes_keeps_a_client_at_one_server(street: Street, echo: Echo, other: Echo):
    hashes = [
        {"field": "cookie", "field_value": "stay", "cookie_config": {"ttl": "60s", "path": "/"}, "terminal": True}
    ]
    caller = await balanced(street, echo, other, {"policy": "ring_hash", "hash_policies": hashes})

    reply = caller.ask()

    cookie = reply.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("stay=")
    # Sidecar and gateway each make one, and the client keeps the sidecar's: so from the second request on.
    assert len({caller.ask(headers={"Cookie": cookie}).server for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"session": True}, {"stay"}),
        ({"session": True, "path": "/v1/"}, {"stay", "Path=/v1/"}),
        ({"ttl": "60s", "path": "/v1/"}, {"stay", "Max-Age=60", "Path=/v1/"}),
    ],
    ids=["session", "path", "ttl"],
)
async def test_the_cookie_that_envoy_makes_is_what_the_spec_says(
    street: Street, echo: Echo, other: Echo, config: dict[str, Any], says: set[str]
):
    hashes = [{"field": "cookie", "field_value": "stay", "cookie_config": config}]
    caller = await balanced(street, echo, other, {"policy": "ring_hash", "hash_policies": hashes})

    parts = [part.strip() for part in caller.ask().headers["set-cookie"].split(";")]

    assert {part.partition("=")[0] if part.startswith("stay=") else part for part in parts} - {"HttpOnly"} == says


@pytest.mark.parametrize("terminal", [True, False])
async def test_a_terminal_hash_is_the_last_one_that_counts(street: Street, echo: Echo, other: Echo, terminal: bool):
    hashes = [
        {"field": "header", "field_value": "x-user", "terminal": terminal},
        {"field": "header", "field_value": "x-page"},
    ]
    caller = await balanced(street, echo, other, {"policy": "ring_hash", "hash_policies": hashes})

    servers = {caller.ask(headers={"x-user": "1", "x-page": f"page-{page}"}).server for page in range(40)}

    assert len(servers) == (1 if terminal else 2)


async def test_the_ring_has_the_size_and_the_choice_the_count_that_the_spec_says(
    street: Street, echo: Echo, other: Echo
):
    endpoints = {"endpoints": [{"host": each.host, "port": each.port} for each in (echo, other)]}
    ring = {"policy": "ring_hash", "ring_hash": {"minimum": 2000, "maximum": 3000}}
    small = {"policy": "ring_hash", "ring_hash": {"minimum": 1, "maximum": 3}}
    choice = {"policy": "least_request", "least_request": {"choice_count": 7}}
    caller = await street.serve(
        street.spec(echo, routing=endpoints, resolver={"load_balancer": ring}),
        street.spec(echo, name=street.also("small"), routing=endpoints, resolver={"load_balancer": small}),
        street.spec(echo, name=street.also("choice"), routing=endpoints, resolver={"load_balancer": choice}),
    )
    gateway = street.mesh.gateway

    def size(service: str) -> int:
        return int(gateway.told(f"/stats?filter=^cluster.{service}.default.*ring_hash_lb.size$").rpartition(" ")[2])

    assert caller.ask().status == 200
    assert 2000 <= size(street.name) <= 3000
    assert size(street.also("small")) <= 3
    assert '"choice_count": 7' in gateway.configuration()


async def test_a_hash_of_the_source_address_keeps_a_client_at_one_server(street: Street, echo: Echo, other: Echo):
    caller = await balanced(street, echo, other, {"policy": "maglev", "hash_policies": [{"source_ip": True}]})

    assert len({caller.ask().server for _ in range(20)}) == 1


NOTHING = {"filter": 'Service.Meta.version == "none"'}
ALL = {"only_passing": True}


@pytest.mark.parametrize("how", ["service", "targets", "subset", "target-subset"])
async def test_failover_answers_where_no_instance_of_the_gateway_is_in_a_subset(
    street: Street, echo: Echo, other: Echo, how: str
):
    standby = street.also("standby")
    failover = {
        "service": {"service": standby},
        "targets": {"targets": [{"service": standby}]},
        "subset": {"subset": "all"},
        "target-subset": {"targets": [{"service": standby, "subset": "all"}]},
    }[how]
    resolver = {"default_subset": "none", "subsets": {"none": NOTHING, "all": ALL}, "failover": {"none": failover}}
    caller = await street.serve(
        street.spec(echo, resolver=resolver),
        street.spec(other, name=standby, resolver={"subsets": {"all": ALL}}),
    )

    assert {caller.ask().server for _ in range(5)} == {"echo" if how == "subset" else "other"}


async def test_routes_shares_and_redirects_reach_a_subset(street: Street, echo: Echo, other: Echo):
    there = {"service": street.also("other"), "subset": "all"}
    subsets = {"all": ALL}
    caller = await street.serve(
        street.spec(echo, router={"routes": [{"match": {"path_prefix": "/there/"}, "destination": there}]}),
        street.spec(other, name=street.also("other"), resolver={"subsets": subsets}),
        street.spec(echo, name=street.also("split"), splitter=[{"weight": 100, **there}]),
        street.spec(echo, name=street.also("redirect"), resolver={"redirect": there}),
    )
    split, redirect = (street.mesh.dial(street.also(word)) for word in ("split", "redirect"))

    assert (caller.ask("/there/").server, caller.ask("/").server) == ("other", "echo")
    assert (split.ask().server, redirect.ask().server) == ("other", "other")


async def test_a_route_to_a_subset_without_instances_gets_503(street: Street, echo: Echo):
    routes = [{"match": {"path_prefix": "/none/"}, "destination": {"subset": "none"}}]
    caller = await street.serve(street.spec(echo, router={"routes": routes}, resolver={"subsets": {"none": NOTHING}}))

    assert (caller.ask("/none/").status, caller.ask("/").status) == (503, 200)


async def test_an_endpoint_whose_check_is_critical_gets_no_request(street: Street, echo: Echo, other: Echo):
    spec = street.spec(echo, routing={"endpoints": [{"host": each.host, "port": each.port} for each in (echo, other)]})
    spec["exposure"]["check"] = {"tcp": f"{echo.host}:{echo.port}", "interval": "10s", "timeout": "2s"}
    caller = await street.serve(spec)
    consul = street.mesh.consul

    for found in consul.get(f"/v1/health/checks/{street.name}", consistent=True):
        if found["Definition"]["TCP"] == f"{echo.host}:{echo.port}":  # what consul-esm does when a probe fails
            consul.put("/v1/catalog/register", {**node(consul, found), "Check": {**found, "Status": "critical"}})
    street.mesh.settle()

    assert {caller.ask().server for _ in range(20)} == {"other"}


def node(consul: ConsulServer, check: dict[str, Any]) -> dict[str, Any]:
    """What a registration of a check has to say of its node, so that nothing else of it changes."""
    found = consul.get(f"/v1/catalog/node/{check['Node']}")["Node"]
    return {"Node": found["Node"], "Address": found["Address"], "SkipNodeUpdate": True}


# -- datacenters ------------------------------------------------------------------------------------------------------


async def test_what_leads_to_the_own_datacenter_answers(street: Street, echo: Echo, other: Echo):
    there = street.also("there")
    resolvers = {
        "redirect": {"redirect": {"service": there, "datacenter": "dc1"}},
        "list": {"subsets": {"none": NOTHING}, "failover": {"none": {"service": there, "datacenters": ["dc1"]}}},
        "target": {
            "subsets": {"none": NOTHING},
            "failover": {"none": {"targets": [{"service": there, "datacenter": "dc1"}]}},
        },
    }
    for word in ("list", "target"):
        resolvers[word]["default_subset"] = "none"
    await street.serve(
        street.spec(other, name=there),
        *(street.spec(echo, name=street.also(word), resolver=each) for word, each in resolvers.items()),
    )

    assert {word: street.mesh.dial(street.also(word)).ask().server for word in resolvers} == dict.fromkeys(
        resolvers, "other"
    )
    assert "unknown-datacenter" not in street.said


async def test_the_datacenter_of_a_node_and_of_its_gateway_is_the_own_one(street: Street, echo: Echo):
    spec = street.spec(echo)
    spec["exposure"] |= {"dc": "dc1", "terminating_gateway": {"service": "tgw", "dc": "dc1"}}
    caller = await street.serve(spec)

    assert caller.ask().status == 200


@pytest.mark.parametrize("how", ["dc", "gateway-dc"])
async def test_a_node_in_a_datacenter_that_is_not_there_is_refused(street: Street, echo: Echo, how: str):
    good = await street.serve(street.spec(echo))
    spec = street.spec(echo, name=street.also("far"))
    spec["exposure"] |= {"dc": "west-1"} if how == "dc" else {"terminating_gateway": {"service": "tgw", "dc": "west-1"}}

    street.bench.commit(far=street.text(spec))
    codes = said(await street.bench.sync())

    assert "unknown-datacenter" in codes["far"]
    assert not street.mesh.carries(street.also("far"))
    assert good.ask().status == 200
