"""What this Consul is: by its servers, its agent, and the configuration where the token may not ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gitsync.consul.facade import connect
from gitsync.consul.features import parse_version, require_primary
from gitsync.consul.verdict import TokenGone
from gitsync.model.errors import Invalid, Unavailable
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy

MAY_ASK = 'agent_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'


@pytest.fixture(scope="module")
def secondary(consul: ConsulServer) -> Iterator[ConsulServer]:
    """A second datacenter, whose primary is that of `consul`."""
    with ConsulServer(consul.binary, datacenter="dc2", primary=consul) as server:
        yield server


@pytest.fixture(scope="module")
def joined_acl(consul_binary: str) -> Iterator[tuple[ConsulServer, str]]:
    """A Consul with ACLs, and a token that may do nothing."""
    with ConsulServer(consul_binary, acl=True) as server:
        yield server, server.new_token('key_prefix "nothing/" { policy = "read" }')


async def test_version_place_and_policy_are_consuls_own(consul: ConsulServer):
    async with connect(consul.url) as (_, features):
        assert features.version == consul.version
        assert (features.datacenter, features.primary_datacenter, features.node) == ("dc1", "dc1", consul.node)
        assert (features.enterprise, features.default_deny) == (False, False)
        require_primary(features)


async def test_intentions_default_to_deny_where_acls_do(consul_acl: ConsulServer):
    token = consul_acl.new_token(MAY_ASK)
    async with connect(consul_acl.url, token=lambda: token) as (_, features):
        assert (features.version, features.default_deny) == (consul_acl.version, True)


async def test_an_agent_outside_the_primary_datacenter_is_a_mistake_of_the_configuration(secondary: ConsulServer):
    async with connect(secondary.url) as (_, features):
        assert (features.datacenter, features.primary_datacenter) == ("dc2", "dc1")
        with pytest.raises(Invalid, match="agent of dc1"):
            require_primary(features)


async def test_a_token_that_may_not_ask_needs_both_settings(joined_acl: tuple[ConsulServer, str]):
    server, token = joined_acl
    for settings, missing in [
        ({}, r"consul\.version and consul\.primary_datacenter"),
        ({"version": "1.8.7"}, r"set consul\.primary_datacenter\."),
        ({"primary_datacenter": "dc1"}, r"set consul\.version\."),
    ]:
        with pytest.raises(Invalid, match=missing):
            async with connect(server.url, token=lambda: token, **settings):
                pass


async def test_a_token_that_is_gone_is_said_to_be_gone(joined_acl: tuple[ConsulServer, str]):
    server, _ = joined_acl
    with pytest.raises(TokenGone, match="The token is"):
        async with connect(server.url, token=lambda: "00000000-dead-beef-0000-000000000000"):
            pass


async def test_with_both_settings_a_token_needs_no_right_to_ask(joined_acl: tuple[ConsulServer, str]):
    server, token = joined_acl
    settings = {"version": "1.12.9+ent", "primary_datacenter": "dc1"}
    async with connect(server.url, token=lambda: token, **settings) as (_, features):
        assert (features.version, features.enterprise) == ((1, 12, 9), True)
        assert (features.datacenter, features.primary_datacenter, features.node) == ("dc1", "dc1", "")
        assert features.default_deny is (True if server.version >= (1, 12, 0) else None)


async def test_which_datacenter_it_is_can_be_told_without_any_right(consul: ConsulServer, secondary: ConsulServer):
    settings = {"version": "1.8.7", "primary_datacenter": "dc1"}
    for server in (consul, secondary):
        async with FaultProxy(server.url) as proxy:
            proxy.script(Fault.FORBIDDEN, "/v1/agent/", times=0)
            async with connect(proxy.url, **settings) as (_, features):
                assert (features.datacenter, features.primary_datacenter) == (server.datacenter, "dc1")


def said(consul: ConsulServer, path: str) -> Any:
    return consul.get(path)


async def answering(
    consul: ConsulServer, proxy: FaultProxy, *builds: str, is_server: bool = True, status: int = 1
) -> None:
    """Let the agent name servers of these builds."""
    (member,) = said(consul, "/v1/agent/members")
    members = [{**member, "Status": status, "Tags": {**member["Tags"], "build": build}} for build in builds]
    itself = said(consul, "/v1/agent/self")
    itself["Config"]["Server"] = is_server
    proxy.script(Fault.STRANGE, "/v1/agent/members", text=json.dumps(members), times=0)
    proxy.script(Fault.STRANGE, "/v1/agent/self", text=json.dumps(itself), times=0)


async def test_the_oldest_server_decides(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy:
        await answering(consul, proxy, "1.21.4:abc", "1.8.2:", "1.18.2criteo4:", is_server=False)
        async with connect(proxy.url) as (_, features):
            assert features.version == (1, 8, 2)


async def test_the_version_of_a_client_agent_is_not_the_servers(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy:
        await answering(consul, proxy, "1.99.0+ent:", is_server=False)
        async with connect(proxy.url) as (_, features):
            assert (features.version, features.enterprise) == ((1, 99, 0), True)


async def test_a_client_agent_whose_servers_are_not_to_be_seen_needs_the_version(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy:
        await answering(consul, proxy, is_server=False)
        with pytest.raises(Invalid, match=r"consul\.version"):
            async with connect(proxy.url):
                pass
        async with connect(proxy.url, version="1.8.9") as (_, features):
            assert features.version == min((1, 8, 9), consul.version)


async def test_a_configured_version_counts_where_it_is_the_older_one(consul: ConsulServer):
    async with connect(consul.url, version="1.8.0") as (_, features):
        assert features.version == (1, 8, 0)
    async with connect(consul.url, version="9.0.0") as (_, features):
        assert features.version == consul.version


async def test_what_is_not_consul_is_said_to_be_something_else(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.STRANGE, "", times=0)
        with pytest.raises(Unavailable, match="Check the address"):
            async with connect(proxy.url):
                pass


@pytest.mark.parametrize("text", ["1.7.14", "0.0.0", "latest", "1.21", ""])
def test_what_is_no_usable_version_is_a_mistake_of_the_configuration(text: str):
    with pytest.raises(Invalid, match="Consul"):
        parse_version(text)
