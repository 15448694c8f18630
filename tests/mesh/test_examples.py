"""Every file of specs-example/, served: what a client of it gets, or the finding that says why it gets nothing.

The files are synced as they stand, but for where things are: the gateway is the mesh's own, ports and addresses are those of
servers that run here, DNS names lead to this machine (the gateway asks `tests/mesh/names.py`), the files of the gateway's host
are in the test's folder, and the callers that may are `web`, who calls.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import trustme

from gitsync.model.spec import ServiceSpec
from tests.examples import EXAMPLE_GATEWAYS, EXPECTED, EXPECTED_ONCE, FOLDER, GATEWAY, V1_21, example_files
from tests.mesh.conftest import WRITTEN, said
from tests.mesh.echo import Caller, Echo
from tests.mesh.http2 import Http2
from tests.mesh.servers import Mesh
from tests.mesh.transparent import Transparent
from tests.workbench import Workbench

CALLERS = {"checkout": "web", "ledger": "web"}
"""Who calls, in the intentions of the files."""

TENANTS = range(40)


@dataclass(slots=True)
class Examples:
    """All files, synced together: their servers by service, and what gitsync said by file."""

    mesh: Mesh
    transparent: Transparent
    servers: dict[str, list[Echo | Http2]] = field(default_factory=dict)
    said: dict[str, set[str]] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)

    def only(self, service: str) -> Echo:
        """The one server of a service."""
        (server,) = self.servers[service]
        assert isinstance(server, Echo)
        return server


def tls_of(spec: ServiceSpec, authority: trustme.CA) -> ssl.SSLContext | None:
    """What the server of *spec* shows. One that gets a client certificate demands it."""
    tls = spec.routing.tls
    if not tls:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(tls.sni or spec.routing.host or "").configure_cert(context)
    if tls.cert_file:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def places(spec: ServiceSpec) -> list[tuple[str, int]]:
    """Where the servers of *spec* are, as its file says."""
    if spec.routing.endpoints:
        return [(each.host, each.port) for each in spec.routing.endpoints]
    return [(spec.routing.host or "", spec.routing.port or 0)]


def moved(text: str, host: str, port: int, there: str, its: int) -> str:
    """*text* with *host* and *port* being elsewhere: in `routing`, and in `check`."""
    text = text.replace(f"{host}:{port}", f"{there}:{its}")
    here = re.compile(rf'(host: )"?{re.escape(host)}"?(,?\s+port: ){port}\b')
    return here.sub(rf'\g<1>"{there}"\g<2>{its}', text)


def running(spec: ServiceSpec, host: str, authority: trustme.CA) -> Echo | Http2:
    """A server for one place of *spec*."""
    if spec.connect.mesh_policy.protocol == "grpc":
        return Http2(spec.name)
    return Echo(f"{spec.name} on {host}", host="::1" if ":" in host else "127.0.0.1", tls=tls_of(spec, authority))


@pytest.fixture(scope="module")
def examples(mesh: Mesh, transparent: Transparent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    """The files, synced into the mesh, and taken out of it afterwards."""
    folder = tmp_path_factory.mktemp("examples")
    bench = Workbench(mesh.consul, folder, sync="examples")
    bench.policy = {"prune": {"max_count": 100, "max_fraction": 1}}
    authority = trustme.CA()
    files = files_of_the_gateway(folder, authority)
    named = EXAMPLE_GATEWAYS[GATEWAY]
    partner = {role: files[path] for role, path in asdict(named.tls[0]).items()}
    bench.more = {"gateways": {"tgw": {"default_ca_file": files[named.default_ca_file], "tls": [partner]}}}
    replaced = {GATEWAY: "tgw", **files, **{f"source: {caller}": "source: web" for caller in CALLERS}}
    with ExitStack() as stack:
        found = Examples(mesh, transparent)
        for file in example_files():
            text = (FOLDER / file.path).read_text()
            for before, after in replaced.items():
                text = text.replace(before, after)
            for spec in (parsed.spec for parsed in file.specs):
                for host, port in places(spec):
                    server = stack.enter_context(running(spec, host, authority))
                    found.servers.setdefault(spec.name, []).append(server)
                    found.mesh.names.known[host] = server.host
                    is_name = host[-1].isalpha() and ":" not in host
                    text = moved(text, host, port, host if is_name else server.host, server.port)
            bench.write(f"services/{file.path}", text)
        bench.commit("examples")
        report = asyncio.run(bench.sync())
        bad = [each for each in report.services if each.outcome not in WRITTEN]
        assert (report.error, bad) == (None, [])
        found.said = said(report)
        found.callers = mesh.dial_all(found.servers)
        for service in ("mainframe", "dev.credit.open-build"):
            transparent.dial("127.0.0.1", found.only(service).port)
        yield found
        for service in found.servers:
            mesh.hang_up(service)
        # All but one: nobody empties a whole sync by mistake. What leads to a datacenter that is not there would hold others up.
        bench.remove(*(f"services/{path.name}" for path in FOLDER.iterdir() if path.stem != "notify"))
        bench.commit("no more")
        asyncio.run(bench.sync())


def files_of_the_gateway(folder: Path, authority: trustme.CA) -> dict[str, str]:
    """The files that the examples name, by the path that they name, in *folder*."""
    named = EXAMPLE_GATEWAYS[GATEWAY]
    shown = authority.issue_cert("gateway.example.org")
    contents = {
        named.default_ca_file: authority.cert_pem,
        named.tls[0].ca_file: authority.cert_pem,
        named.tls[0].cert_file: shown.cert_chain_pems[0],
        named.tls[0].key_file: shown.private_key_pem,
    }
    for path, content in contents.items():
        content.write_to_path(folder / Path(path).name)
    return {path: str(folder / Path(path).name) for path in contents}


# -- what a client of each file gets ----------------------------------------------------------------------------------


def card_network(examples: Examples) -> None:
    """Everything of it: mutual TLS, the client's Host, a route by all that a route can ask, retries, another service."""
    caller = examples.callers["card-network"]
    batch = {
        "idempotency-key": "1",
        "x-channel": "batch-7",
        "x-region": "de-eu",
        "x-replayed": "false",
        "x-version": "2.7",
    }

    settled = caller.ask(
        "/settlements/a?dry_run=false&batch=1&day=2026-11-25", method="POST", headers={"Host": "shop.example", **batch}
    ).seen
    other = caller.ask("/settlements/a", method="POST", headers=batch).seen
    rates = caller.ask("/rates")
    limits = caller.ask("/merchants/7/limits", headers={"x-answer": "429", "x-ask": "limits"})

    assert settled.path == "/v2/settlements/a?dry_run=false&batch=1&day=2026-11-25"
    assert (settled.host, settled.client, settled.sni) == (
        "shop.example", "gateway.example.org", "api.card-network.example",
    )  # fmt: skip
    assert other.path == "/settlements/a"
    assert (rates.seen.path, rates.server) == ("/cards.Rates/List", "rates on rates.fx.example")
    assert (limits.status, examples.only("card-network").count(x_ask="limits")) == (429, 4)


def credit_open_build(examples: Examples) -> None:
    """TLS, and two more tries of a 503."""
    caller = examples.callers["credit-open-build"]

    reply = caller.ask("/v1/a")
    failed = caller.ask("/v1/b", headers={"x-answer": "503", "x-ask": "again"})

    assert (reply.status, reply.seen.sni, reply.seen.host) == (
        200,
        "dev.credit.foo.bar",
        "ggdgsswpo350.foodc.emea.bank.com",
    )
    assert (failed.status, examples.only("credit-open-build").count(x_ask="again")) == (503, 3)


def dev_credit_open_build(examples: Examples) -> None:
    """404 for who sends the port, as its finding says; and TLS to the server for who does not."""
    server = examples.only("dev.credit.open-build")
    host = "ggdgsswpo350.foodc.emea.bank.com"
    caller = examples.transparent.caller("127.0.0.1", server.port)

    assert (caller.ask("/v1/a", headers={"Host": f"{host}:{server.port}"}).status, server.seen) == (404, [])
    assert "destination-host-port" in examples.said["dev.credit.open-build"]
    assert caller.ask("/v1/a", headers={"Host": host}).seen.sni == "dev.credit.foo.bar"


def ledger_db(examples: Examples) -> None:
    """All three of its servers, one of them on IPv6."""
    caller = examples.callers["ledger-db"]

    assert {caller.ask().server for _ in range(60)} == {server.name for server in examples.servers["ledger-db"]}


def mainframe(examples: Examples) -> None:
    """A client with a transparent proxy."""
    server = examples.only("mainframe")

    assert examples.transparent.caller("127.0.0.1", server.port).ask().status == 200


def notify(examples: Examples) -> None:
    """HTTP/2 to the server, and the end of a gRPC call."""
    caller = examples.callers["notify"]

    reply = caller.ask("/notify.Notify/Send", method="POST", headers={"content-type": "application/grpc"})

    (server,) = examples.servers["notify"]
    assert reply.status == 200
    assert server.seen == [("2", "POST", "/notify.Notify/Send")]


def orders(examples: Examples) -> None:
    """Shares of 95 and 5, and a route to the other service."""
    caller = examples.callers["orders"]

    shares = Counter(caller.ask().server.split()[0] for _ in range(400))
    admin = {caller.ask("/admin/x").server.split()[0] for _ in range(20)}

    assert set(shares) == {"orders", "orders-next"}
    assert shares["orders-next"] <= 60  # 20 expected; nine standard deviations are 39
    assert admin == {"orders-next"}


def orders_archive(examples: Examples) -> None:
    """503, because there is no datacenter west-1 here, as its finding says."""
    assert examples.callers["orders-archive"].ask().status == 503
    assert {"unknown-datacenter", "redirect-takes-all"} <= examples.said["orders-archive"]


def rates(examples: Examples) -> None:
    """TLS by the gateway's default CA file."""
    reply = examples.callers["rates"].ask("/cards.Rates/List")

    assert (reply.status, reply.seen.path, reply.seen.sni) == (200, "/cards.Rates/List", None)
    assert "tls-name-unchecked" in examples.said["rates"]


def search(examples: Examples) -> None:
    """A tenant stays at one of two servers; the archive answers too."""
    caller = examples.callers["search"]

    servers = {tenant: {caller.ask(headers={"x-tenant": f"t{tenant}"}).server for _ in range(3)} for tenant in TENANTS}

    assert {len(each) for each in servers.values()} == {1}
    assert set().union(*servers.values()) == {server.name for server in examples.servers["search"]}
    assert examples.callers["search-archive"].ask().status == 200


SERVED: dict[str, Callable[[Examples], None]] = {
    "card-network": card_network,
    "credit-open-build": credit_open_build,
    "dev.credit.open-build": dev_credit_open_build,
    "ledger-db": ledger_db,
    "mainframe": mainframe,
    "notify": notify,
    "orders": orders,
    "orders-archive": orders_archive,
    "rates": rates,
    "search": search,
}


@pytest.mark.parametrize("file", sorted(path.stem for path in FOLDER.iterdir()))
def test_an_example_is_served_or_its_finding_says_why_not(examples: Examples, file: str):
    SERVED[file](examples)


@pytest.mark.parametrize("file", sorted(path.stem for path in FOLDER.iterdir()))
def test_an_example_says_in_the_mesh_what_it_says_in_the_unit_tests(examples: Examples, file: str):
    once = {code for _, code in EXPECTED_ONCE[V1_21]}

    assert examples.said.get(file, set()) - once == EXPECTED[f"{file}.yaml"][V1_21].codes - once
