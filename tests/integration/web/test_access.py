"""Who sees the pages: this machine, and others only where the configuration says so. And https."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from gitsync.model.errors import Invalid, Unavailable
from gitsync.web import Access, Certificate, serve
from gitsync.web.access import is_loopback, name_of
from tests.integration.web.site import GOOD_RUN, Site, push, signed, stored

PAGES = ("/", "/runs", f"/runs/{GOOD_RUN.id}")
OPEN = ("/healthz", "/readyz", "/metrics", "/style.css", "/icon.svg")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "gitsync.example"])
async def test_where_others_can_reach_them_the_pages_are_shown_to_nobody_until_the_configuration_says_so(
    tmp_path: Path, address: str
):
    async with stored(tmp_path, GOOD_RUN) as store:
        one = Site(store)
        async with one.served(one.app(Access(address))) as client:
            for path in PAGES:
                answer = await client.get(path)
                document = await client.get(path, headers={"accept": "application/json"})

                assert answer.status_code == document.status_code == 401
                assert "web.anonymous_read: true" in answer.text
                assert "web.anonymous_read: true" in document.json()["error"]
                assert answer.headers["www-authenticate"] == 'Bearer realm="gitsync"'
                assert "checkout" not in answer.text
            for path in OPEN:
                assert (await client.get(path)).status_code == 200
            assert (await client.post("/hooks/payments", content=push(), headers=signed(push()))).status_code == 202
        async with one.served(one.app(Access(address, anonymous_read=True))) as client:
            for path in PAGES:
                assert (await client.get(path)).status_code == 200


async def test_a_run_that_is_not_there_is_no_secret_s_test(tmp_path: Path):
    async with stored(tmp_path, GOOD_RUN) as store:
        one = Site(store)
        async with one.served(one.app(Access("192.0.2.7"))) as client:
            there, not_there = [await client.get(f"/runs/{run}") for run in (GOOD_RUN.id, "0" * 26)]

    assert there.text == not_there.text
    assert one.kept.readers == 0


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"host": "gitsync.example"}, id="another name, as a rebound one"),
        pytest.param({"host": "127.0.0.1.evil.example"}, id="a name that begins like an address"),
        pytest.param({"host": ""}, id="no name"),
        pytest.param({"x-forwarded-for": "203.0.113.9"}, id="a proxy that says for whom"),
        pytest.param({"forwarded": "for=203.0.113.9"}, id="a proxy by the standard"),
        pytest.param({"via": "1.1 proxy"}, id="a proxy that says its name"),
    ],
)
async def test_on_loopback_what_came_by_a_proxy_or_another_name_is_not_this_machine(
    tmp_path: Path, headers: dict[str, str]
):
    async with stored(tmp_path, GOOD_RUN) as store, Site(store).served() as client:
        assert (await client.get("/runs", headers=headers)).status_code == 401
        assert (await client.get("/healthz", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1", "127.8.9.1:1", "[::1]:8080", "[::1]", "LOCALHOST."]
)
async def test_on_loopback_this_machine_sees_the_pages(tmp_path: Path, host: str):
    async with stored(tmp_path, GOOD_RUN) as store, Site(store).served() as client:
        assert (await client.get("/runs", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.255.0.3", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("", False), ("localhost.example", False), ("127.0.0.1.x", False),
        ("127.1", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_only_what_is_this_machine_for_sure_is_loopback(host: str, loopback: bool):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a", "a"),
        ("a:1", "a"),
        ("a:", "a"),
        ("[::1]:1", "[::1]"),
        ("[::1]", "[::1]"),
        ("::1", "::1"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header_is_found(host: str, name: str):
    assert name_of(host) == name


# -- https ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> Certificate:
    issued = authority.issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return Certificate(chain, key)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_everything_is_served_by_https_where_there_is_a_certificate(authority, certificate):
    app = Site(Unavailable("not needed")).app()
    async with serve(app, "127.0.0.1", 0, tls=certificate) as (_, port):
        async with httpx.AsyncClient(verify=trusting(authority), trust_env=False) as client:
            assert (await client.get(f"https://localhost:{port}/healthz")).json() == {"status": "alive"}
            answer = await client.post(
                f"https://localhost:{port}/hooks/payments", content=push(), headers=signed(push())
            )
            assert answer.status_code == 202
        async with httpx.AsyncClient(trust_env=False) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"http://localhost:{port}/healthz")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_old_tls_is_refused(authority, certificate):
    async with serve(Site(Unavailable("not needed")).app(), "127.0.0.1", 0, tls=certificate) as (_, port):
        for newest, taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            client = trusting(authority)
            client.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL refuses to speak it at all
            client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            client.maximum_version = newest
            if not taken:
                with pytest.raises(OSError, match=r"(?i)^$|protocol"):
                    await asyncio.open_connection("localhost", port, ssl=client)
                continue
            _, writer = await asyncio.open_connection("localhost", port, ssl=client)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_files_that_are_no_certificate_are_a_wrong_configuration(certificate, tmp_path):
    app = Site(Unavailable("not needed")).app()
    swapped = Certificate(certificate.key_file, certificate.cert_file)
    for wrong in (swapped, Certificate(tmp_path / "nothing.pem", certificate.key_file)):
        with pytest.raises(Invalid, match=r"web\.tls: .* are no certificate and its key"):
            async with serve(app, "127.0.0.1", 0, tls=wrong):
                pass


async def test_an_address_for_webhooks_that_is_taken_is_told_by_its_own_key():
    app = Site(Unavailable("not needed")).app()
    async with serve(app, "127.0.0.1", 0) as (host, port):
        with pytest.raises(Invalid, match=r"web\.hooks_listen: gitsync cannot listen"):
            async with serve(app, host, port, key="web.hooks_listen"):
                pass
