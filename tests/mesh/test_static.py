"""`tgw_static`: what a client with a transparent proxy gets, and all others do not."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.mesh.conftest import Street, said
from tests.mesh.echo import Caller, Echo
from tests.mesh.transparent import NAME, Transparent
from tests.servers import wait_for


async def reached(street: Street, transparent: Transparent, spec: dict[str, Any], *more: dict[str, Any]) -> Caller:
    """A caller, by a transparent proxy, of the host and port of *spec*, once that is synced."""
    street.said = await street.sync(spec, *more)
    routing = spec["routing"]
    wait_for(lambda: street.mesh.carries(spec["name"]), "the gateway having a way to it")
    address = street.mesh.names.known.get(routing["host"], routing["host"])
    return transparent.dial(address, routing["port"])


@pytest.fixture
def host(street: Street) -> str:
    """A DNS name of this test's own, which leads to this machine."""
    host = f"{street.name}.example.org"
    street.mesh.names.known[host] = "127.0.0.1"
    return host


async def test_tgw_static_answers_no_explicit_upstream_and_the_finding_says_so(street: Street, echo: Echo):
    caller = await street.serve(street.static(echo))

    assert (caller.ask().status, echo.seen) == (503, [])
    assert "destination-needs-tproxy" in street.said


async def test_tcp_to_an_address_answers(street: Street, transparent: Transparent, echo: Echo):
    caller = await reached(street, transparent, street.static(echo, protocol="tcp"))

    reply = caller.ask("//as/../it//is", headers={"Host": "shop.example"})

    assert (reply.status, reply.seen.path, reply.seen.host) == (200, "//as/../it//is", "shop.example")
    assert not street.said & {"destination-host-port", "destination-tcp-name"}


async def test_http_to_a_name_answers_who_sends_no_port(
    street: Street, transparent: Transparent, echo: Echo, host: str
):
    caller = await reached(street, transparent, street.static(echo, host=host))

    reply = caller.ask("/a?b=c", headers={"Host": host})  # as all clients do where the port is 80

    assert (reply.status, reply.seen.path, reply.seen.host) == (200, "/a?b=c", host)


async def test_http_to_a_port_is_404_for_who_sends_it_and_the_finding_says_so(
    street: Street, transparent: Transparent, echo: Echo, host: str
):
    caller = await reached(street, transparent, street.static(echo, host=host))

    assert (caller.ask(headers={"Host": f"{host}:{echo.port}"}).status, echo.seen) == (404, [])
    assert "destination-host-port" in street.said


async def test_http_to_an_address_is_404_and_the_finding_says_so(street: Street, transparent: Transparent, echo: Echo):
    caller = await reached(street, transparent, street.static(echo))

    assert (caller.ask().status, echo.seen) == (404, [])
    assert "destination-host-port" in street.said


async def test_plain_tcp_to_a_name_is_reset_and_the_finding_says_so(
    street: Street, transparent: Transparent, echo: Echo, host: str
):
    caller = await reached(street, transparent, street.static(echo, protocol="tcp", host=host))

    assert (caller.ask().status, echo.seen) == (0, [])
    assert "destination-tcp-name" in street.said


async def test_tls_of_the_client_to_a_name_answers(street: Street, transparent: Transparent, host: str):
    authority = trustme.CA()
    mine = ssl.create_default_context()
    authority.configure_trust(mine)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(theirs)
    with Echo(tls=theirs) as server:
        caller = await reached(street, transparent, street.static(server, protocol="tcp", host=host))

        reply = caller.ask(tls=mine, sni=host)

    assert (reply.status, reply.seen.sni) == (200, host)


async def test_the_gateway_speaks_tls_for_it(street: Street, transparent: Transparent, host: str, tmp_path: Path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    street.bench.more = {"gateways": {"tgw": {"default_ca_file": str(tmp_path / "ca.pem")}}}
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("pay.example.org").configure_cert(theirs)
    with Echo(tls=theirs) as server:
        spec = street.static(server, host=host)
        spec["routing"]["tls"] = {"sni": "pay.example.org"}
        caller = await reached(street, transparent, spec)

        reply = caller.ask(headers={"Host": host})

    assert (reply.status, reply.seen.sni, reply.seen.host) == (200, "pay.example.org", host)


async def test_router_retries_and_timeouts_have_no_effect_and_the_finding_says_so(
    street: Street, transparent: Transparent, echo: Echo, host: str
):
    routes = [
        {
            "match": {"path_prefix": "/a/"},
            "destination": {"prefix_rewrite": "/b/", "retries": {"attempts": 3, "on": ["5xx"]}},
        }
    ]
    spec = street.static(echo, host=host, router={"routes": routes})
    spec["connect"]["mesh_policy"]["timeouts"] = {"request": "1s", "idle": "1s"}
    caller = await reached(street, transparent, spec)

    failed = caller.ask("/a/", headers={"Host": host, "x-answer": "503", "x-ask": "fail"})
    slow = caller.ask("/a/", headers={"Host": host, "x-wait": "2"})

    assert (failed.status, echo.count(x_ask="fail")) == (503, 1)
    assert (slow.status, slow.seen.path) == (200, "/a/")
    assert "destination-ignores-l7" in street.said


async def test_http_ends_after_15_seconds_whatever_the_timeout(
    street: Street, transparent: Transparent, echo: Echo, host: str
):
    spec = street.static(echo, host=host)
    spec["connect"]["mesh_policy"]["timeouts"] = {"request": "30s"}
    caller = await reached(street, transparent, spec)

    reply = caller.ask(headers={"Host": host, "x-wait": "17"})

    assert reply.status == 504
    assert 14.5 < reply.seconds < 16.5
    assert "destination-ignores-l7" in street.said


@pytest.mark.parametrize("protocol", ["http", "tcp"])
async def test_a_denied_client_is_reset(street: Street, transparent: Transparent, echo: Echo, host: str, protocol: str):
    spec = street.static(echo, protocol=protocol)
    spec["routing"]["host"] = host if protocol == "http" else echo.host
    caller = await reached(street, transparent, spec)
    assert caller.ask(headers={"Host": host}).status == 200

    spec["connect"]["intentions"] = [{"source": NAME, "action": "deny"}]
    await street.sync(spec)

    assert wait_for(lambda: denied(transparent, caller, host), "the client being denied")


def denied(transparent: Transparent, caller: Caller, host: str) -> bool:
    transparent.settle()
    return caller.ask(headers={"Host": host}).status == 0


async def test_a_denied_client_gets_past_the_gateway_where_the_mesh_lets_everything_out_and_the_finding_says_so(
    street: Street, transparent: Transparent, echo: Echo
):
    spec = street.static(echo, protocol="tcp")
    caller = await reached(street, transparent, spec)
    spec["connect"]["intentions"] = [{"source": NAME, "action": "deny"}]
    codes = await street.sync(spec)
    assert wait_for(lambda: denied(transparent, caller, echo.host), "the client being denied")

    with transparent.letting_out():  # what Consul does where no mesh entry says otherwise
        transparent.settle()

        assert caller.ask().status == 200
        assert "destination-deny-passed" in codes


async def test_a_permission_holds(street: Street, transparent: Transparent, echo: Echo, host: str):
    permissions = [
        {"action": "deny", "http": {"path_prefix": "/admin"}},
        {"action": "allow", "http": {"path_prefix": "/"}},
    ]
    spec = street.static(echo, host=host, intentions=[{"source": NAME, "permissions": permissions}])
    caller = await reached(street, transparent, spec)

    assert [caller.ask(path, headers={"Host": host}).status for path in ("/admin", "/")] == [403, 200]


async def test_catalog_external_answers_a_transparent_proxy_too(street: Street, transparent: Transparent, echo: Echo):
    street.said = await street.sync(
        street.spec(echo, router={"prefix": "/", "retries": {"attempts": 2, "on": ["5xx"]}})
    )
    address = wait_for(lambda: virtual(street), "a virtual address")

    caller = transparent.dial(address, 80)
    assert wait_for(lambda: caller.ask().status == 200, "an answer", seconds=60)
    reply = caller.ask(headers={"x-answer": "500", "x-ask": "this"})

    assert (reply.status, echo.count(x_ask="this")) == (500, 3)


def virtual(street: Street) -> str:
    """The address that Consul gave the service for transparent proxies; it is what its DNS answers."""
    found = street.mesh.consul.get(f"/v1/catalog/connect/{street.name}")
    return next((each["ServiceTaggedAddresses"][f"consul-virtual:{street.name}"]["Address"] for each in found), "")


async def test_two_at_one_host_and_port_are_refused_and_the_first_still_answers(
    street: Street, transparent: Transparent, echo: Echo, host: str
):
    first = street.static(echo, host=host)
    await reached(street, transparent, first)
    second = street.static(echo, host=host, name=street.also("second"))

    street.bench.commit(second=street.text(second))
    codes = said(await street.bench.sync())
    transparent.restart()
    caller = transparent.dial("127.0.0.1", echo.port)

    assert "destination-taken" in codes["second"]
    assert wait_for(lambda: caller.ask(headers={"Host": host}).status == 200, "the first one", seconds=60)


async def test_the_longest_name_and_host_that_gitsync_takes_hurt_nobody(
    street: Street, transparent: Transparent, echo: Echo, host: str
):
    name = (street.also("long-") + "x" * 128)[:128]
    longest = ("y" * 59 + ".long.example.org")[-(255 - 128 - 63 - len("dc1") - len("destination..")) :]
    street.mesh.names.known[longest] = "127.0.0.1"
    with Echo("long") as other:
        near = await reached(
            street, transparent, street.static(echo, host=host), street.static(other, name=name, host=longest)
        )
        transparent.restart()
        far = transparent.dial("127.0.0.1", other.port)

        def servers() -> tuple[str, str]:
            return near.ask(headers={"Host": host}).server, far.ask(headers={"Host": longest}).server

        assert wait_for(lambda: servers() == ("echo", "long"), "both after a restart", seconds=60)
