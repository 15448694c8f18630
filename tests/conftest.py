"""The fixtures that every level of the tests may ask for. A server that is missing fails its tests; it never skips them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.consul import ConsulServer, find_consul


@pytest.fixture(scope="session")
def consul_binary() -> str:
    """The Consul that this run is about."""
    return find_consul()


@pytest.fixture(scope="module")
def consul(consul_binary: str) -> Iterator[ConsulServer]:
    """A Consul without ACLs, one for a module's tests; each test finds it empty."""
    with ConsulServer(consul_binary) as server:
        yield server


@pytest.fixture(autouse=True)
def _empty_consul(request: pytest.FixtureRequest) -> None:
    """Empty the module's Consul before each test that asks for it; what the last test left stays to be looked at."""
    if "consul" in request.fixturenames:
        request.getfixturevalue("consul").reset()


@pytest.fixture(scope="module")
def _acl_agent(consul_binary: str) -> Iterator[ConsulServer]:
    with ConsulServer(consul_binary, acl=True) as server:
        yield server


@pytest.fixture
def consul_acl(_acl_agent: ConsulServer) -> ConsulServer:
    """A Consul with ACLs and default deny, empty; its `token` may do everything."""
    _acl_agent.reset()
    return _acl_agent
