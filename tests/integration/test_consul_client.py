"""Requests to Consul: each has one outcome, and it is the true one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from gitsync.consul.client import Client, ConsulAddress, segment
from gitsync.consul.credentials import TokenFile
from gitsync.consul.facade import connect
from gitsync.consul.verdict import Refused, Throttled, TokenGone
from gitsync.model.errors import Forbidden, Invalid, Rejected, StaleIndex, Unavailable, Unknown
from gitsync.model.key import Kind
from tests.servers import free_ports
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy

PAY = {"Kind": "service-defaults", "Name": "pay", "Protocol": "http"}


async def test_a_write_whose_answer_is_lost_is_unknown_and_is_not_sent_again(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.CUT_AFTER, r"^PUT /v1/config")

        with pytest.raises(Unknown, match="service-defaults/pay"):
            await ours.put_entry(PAY, index=0)

        assert consul.entry("service-defaults", "pay")
        assert len([each for each in proxy.requests if each.method == "PUT"]) == 1


async def test_a_write_that_was_cut_before_consul_saw_it_is_unknown_too(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.CUT_BEFORE, r"^PUT /v1/config")

        with pytest.raises(Unknown):
            await ours.put_entry(PAY, index=0)

        assert consul.entry("service-defaults", "pay") is None
        assert len([each for each in proxy.requests if each.method == "PUT"]) == 1


@pytest.mark.parametrize("fault", [Fault.HALF, Fault.ERROR_AFTER, Fault.ERROR_BEFORE, Fault.STRANGE])
async def test_an_answer_that_says_nothing_makes_a_write_unknown(consul: ConsulServer, fault: Fault):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(fault, r"^PUT /v1/config")

        with pytest.raises(Unknown):
            await ours.put_entry(PAY, index=0)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.HALF, Fault.ERROR_AFTER, Fault.STRANGE])
async def test_a_read_without_an_answer_is_unavailable_and_never_unknown(consul: ConsulServer, fault: Fault):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        consul.put_entry("service-defaults", "pay", Protocol="http")
        proxy.script(fault, r"^GET /v1/config")

        with pytest.raises(Unavailable) as caught:
            await ours.read_entry(Kind.DEFAULTS, "pay")

        assert not isinstance(caught.value, Unknown)


async def test_without_a_leader_nothing_was_changed_and_that_is_said(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.NO_LEADER, r"^PUT /v1/config")

        with pytest.raises(Unavailable, match="Nothing was changed") as caught:
            await ours.put_entry(PAY, index=0)

        assert not isinstance(caught.value, Unknown)


async def test_a_lost_compare_and_set_is_a_stale_index_although_the_status_is_200(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.FALSE, r"^PUT /v1/config")

        with pytest.raises(StaleIndex):
            await ours.put_entry(PAY, index=0)


async def test_being_asked_to_slow_down_is_unavailable_with_the_seconds(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.THROTTLED, r"^PUT /v1/config")

        with pytest.raises(Throttled) as caught:
            await ours.put_entry(PAY, index=0)

        assert caught.value.retry_after == 3.0
        assert not isinstance(caught.value, Unknown)


async def test_a_redirect_is_refused_and_never_followed(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.REDIRECT, r"/v1/config")

        with pytest.raises(Refused, match="redirected"):
            await ours.list_entries(Kind.DEFAULTS)


async def test_a_denied_request_is_forbidden(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.FORBIDDEN, r"/v1/config")

        with pytest.raises(Forbidden, match="more rights"):
            await ours.list_entries(Kind.DEFAULTS)


async def test_a_server_that_hangs_is_given_up_in_time(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url, timeout_seconds=2) as (ours, _):
        proxy.script(Fault.HANG, r"^PUT /v1/config")

        async with asyncio.timeout(20):
            with pytest.raises(Unknown, match="did not answer in time"):
                await ours.put_entry(PAY, index=0)


async def test_where_nobody_listens_the_message_names_the_address_setting():
    (port,) = free_ports(1)

    with pytest.raises(Unavailable, match=r"consul\.address") as caught:
        async with connect(f"http://127.0.0.1:{port}"):
            pass

    assert not isinstance(caught.value, Unknown)


async def test_a_proxy_of_the_environment_is_not_used(consul: ConsulServer, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async with connect(consul.url) as (_, features):
        assert features.datacenter == "dc1"


async def test_every_write_has_a_length_and_every_compare_a_number(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        await ours.put_entry(PAY, index=0)
        lease = await ours.open_lease("svc-handler:test")
        await lease.destroy()

        writes = [each for each in proxy.requests if each.method == "PUT"]
        assert len(writes) == 3
        assert all("content-length" in each.headers and "transfer-encoding" not in each.headers for each in writes)
        assert writes[0].target == "/v1/config?cas=0"


async def test_a_token_file_is_read_again_when_it_changes(consul_acl: ConsulServer, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("00000000-dead-beef-0000-000000000000\n")
    token = TokenFile(file)
    async with Client(ConsulAddress(consul_acl.url, token=token)) as client:
        with pytest.raises(TokenGone):
            await client.ask("GET", "/v1/agent/self")
        assert consul_acl.token
        file.write_text(consul_acl.token)
        assert (await client.ask("GET", "/v1/agent/self")).status == 200
        file.unlink()
        assert (await client.ask("GET", "/v1/agent/self")).status == 200


async def test_a_token_file_that_is_not_there_or_holds_something_else_is_a_mistake_of_the_configuration(tmp_path: Path):
    for content in (None, "", "two words"):
        file = tmp_path / "token"
        if content is not None:
            file.write_text(content)

        with pytest.raises(Invalid, match="token"):
            TokenFile(file)()


async def test_tls_asks_for_a_certificate_of_the_given_authority(consul_binary: str, tmp_path: Path):
    ours, strangers = trustme.CA(), trustme.CA()
    certificate = ours.issue_cert("127.0.0.1")
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    strangers.cert_pem.write_to_path(tmp_path / "other.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = {name: str(tmp_path / f"{name.removesuffix('_file')}.pem") for name in ("ca_file", "cert_file", "key_file")}
    with ConsulServer(consul_binary, tls=tls) as server:
        async with connect(server.https_url, ca_file=tmp_path / "ca.pem") as (_, features):
            assert features.datacenter == "dc1"
        with pytest.raises(Unavailable, match=r"consul\.ca_file"):
            async with connect(server.https_url, ca_file=tmp_path / "other.pem"):
                pass


async def test_what_is_sent_is_counted_by_method_and_area(consul: ConsulServer):
    async with connect(consul.url) as (ours, _):
        before = ours.requests.copy()
        await ours.put_entry(PAY, index=0)
        await ours.list_entries(Kind.DEFAULTS)
        await ours.read_node("dc1", "nope")

        assert ours.requests - before == {
            ("PUT", "config"): 1,
            ("GET", "config"): 1,
            ("PUT", "txn-get"): 1,
            ("GET", "catalog"): 1,
            ("GET", "health"): 1,
        }


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_no_url_can_carry_is_refused(name: str):
    with pytest.raises(Rejected, match="URL"):
        segment(name)
