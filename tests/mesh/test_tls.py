"""TLS from the gateway to the server, and TLS that the client speaks itself."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.mesh.conftest import Street
from tests.mesh.echo import Caller, Echo

NAME = "pay.example.org"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The CA that the gateway trusts."""
    return trustme.CA()


def serving(authority: trustme.CA, name: str = NAME, *, clients: trustme.CA | None = None) -> ssl.SSLContext:
    """What a server with a certificate for *name* shows; *clients*: the CA of those it lets in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    if clients:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def files(authority: trustme.CA, street: Street, tmp_path: Path) -> dict[str, str]:
    """The files on the gateway's host, which the configuration lists: the CA's, and a client certificate with its key."""
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca_file", "cert_file", "key_file")}
    shown = authority.issue_cert("gateway.example.org")
    authority.cert_pem.write_to_path(paths["ca_file"])
    shown.cert_chain_pems[0].write_to_path(paths["cert_file"])
    shown.private_key_pem.write_to_path(paths["key_file"])
    listed = {name: str(path) for name, path in paths.items()}
    street.bench.more = {"gateways": {"tgw": {"tls": [listed, {"ca_file": listed["ca_file"]}]}}}
    return listed


async def over_tls(street: Street, server: Echo, **tls: Any) -> Caller:
    return await street.serve(street.spec(server, routing={"host": server.host, "port": server.port, "tls": tls}))


async def test_the_server_sees_the_sni_and_answers_over_tls(
    street: Street, authority: trustme.CA, files: dict[str, str]
):
    with Echo(tls=serving(authority)) as server:
        caller = await over_tls(street, server, sni=NAME, ca_file=files["ca_file"])

        reply = caller.ask()

    assert (reply.status, reply.seen.sni, reply.seen.client) == (200, NAME, None)


async def test_the_default_ca_file_of_the_gateway_fills_an_empty_tls(
    street: Street, authority: trustme.CA, files: dict[str, str]
):
    street.bench.more = {"gateways": {"tgw": {"default_ca_file": files["ca_file"]}}}
    with Echo(tls=serving(authority)) as server:
        caller = await over_tls(street, server)

        assert caller.ask().status == 200


async def test_a_certificate_for_another_name_is_refused(street: Street, authority: trustme.CA, files: dict[str, str]):
    with Echo(tls=serving(authority, "other.example.org")) as server:
        caller = await over_tls(street, server, sni=NAME, ca_file=files["ca_file"])

        assert (caller.ask().status, server.seen) == (503, [])


async def test_a_certificate_of_another_authority_is_refused(street: Street, files: dict[str, str]):
    with Echo(tls=serving(trustme.CA())) as server:
        caller = await over_tls(street, server, sni=NAME, ca_file=files["ca_file"])

        assert (caller.ask().status, server.seen) == (503, [])


async def test_without_sni_any_name_of_the_authority_is_taken_and_the_finding_says_so(
    street: Street, authority: trustme.CA, files: dict[str, str]
):
    with Echo(tls=serving(authority, "other.example.org")) as server:
        caller = await over_tls(street, server, ca_file=files["ca_file"])

        assert caller.ask().status == 200
        assert "tls-name-unchecked" in street.said


async def test_verify_peer_off_leaves_nothing_unverified_and_the_finding_says_so(street: Street, files: dict[str, str]):
    with Echo(tls=serving(trustme.CA())) as server:
        caller = await over_tls(street, server, sni=NAME, ca_file=files["ca_file"], verify_peer=False)

        assert (caller.ask().status, server.seen) == (503, [])
        assert "verify-peer-off" in street.said


async def test_a_server_that_demands_it_sees_the_client_certificate(
    street: Street, authority: trustme.CA, files: dict[str, str]
):
    with Echo(tls=serving(authority, clients=authority)) as server:
        caller = await over_tls(street, server, sni=NAME, **files)

        reply = caller.ask()

    assert (reply.status, reply.seen.client) == (200, "gateway.example.org")


async def test_a_server_that_demands_a_certificate_refuses_a_gateway_without_one(
    street: Street, authority: trustme.CA, files: dict[str, str]
):
    with Echo(tls=serving(authority, clients=authority)) as server:
        caller = await over_tls(street, server, sni=NAME, ca_file=files["ca_file"])

        assert (caller.ask().status, server.seen) == (503, [])


async def test_an_sni_without_a_ca_file_is_plaintext_and_the_finding_says_so(street: Street, authority: trustme.CA):
    with Echo(tls=serving(authority)) as server:
        caller = await over_tls(street, server, sni=NAME)

        assert (caller.ask().status, server.seen) == (503, [])
        assert "tls-not-originated" in street.said


async def test_tls_that_the_client_speaks_itself_passes_through_tcp(street: Street, authority: trustme.CA):
    mine = ssl.create_default_context()
    authority.configure_trust(mine)
    with Echo(tls=serving(authority)) as server:
        caller = await street.serve(street.spec(server, protocol="tcp"))

        reply = caller.ask(tls=mine, sni=NAME)

    assert (reply.status, reply.seen.sni) == (200, NAME)
