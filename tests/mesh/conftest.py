"""The fixtures of the traffic campaign: one mesh for all of it, and for each test a spec repository of its own."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitsync.model.run import Outcome, RunReport
from tests.mesh.echo import Caller, Echo
from tests.mesh.servers import Mesh, lacking
from tests.mesh.transparent import Transparent
from tests.workbench import Workbench

numbers = itertools.count()
WRITTEN = (Outcome.APPLIED, Outcome.UNCHANGED)


def pytest_sessionstart() -> None:
    """End politely where there is nothing to send traffic through."""
    if lack := lacking():
        pytest.exit(lack, returncode=2)


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """Consul, gateway and client."""
    with Mesh(os.environ["GITSYNC_TEST_CONSUL"]) as running:
        yield running


@pytest.fixture(scope="module")
def transparent(mesh: Mesh) -> Iterator[Transparent]:
    """The client with a transparent proxy."""
    with Transparent(mesh) as client:
        yield client


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A plain server on loopback."""
    with Echo() as server:
        yield server


def said(report: RunReport) -> dict[str, set[str]]:
    """What gitsync said, as codes by file (without `.yaml`); what is about no file stands under the empty name."""
    codes: dict[str, set[str]] = {}
    for each in (*report.findings, *(finding for service in report.services for finding in service.findings)):
        codes.setdefault(each.place.path.removesuffix(".yaml") if each.place else "", set()).add(each.code)
    return codes


class Street:
    """One test's services: specs in a repository of their own, synced into the mesh that all tests share.

    name: of the test's service, its own, so that no test sees what another left. Further ones: `street.also("b")`.
    """

    def __init__(self, mesh: Mesh, bench: Workbench, name: str) -> None:
        self.mesh, self.bench, self.name = mesh, bench, name

    def also(self, word: str) -> str:
        """The name of a further service of this test."""
        return f"{self.name}.{word}"

    def spec(
        self,
        server: Any,
        *,
        name: str = "",
        protocol: str = "http",
        timeouts: dict[str, str] | None = None,
        routing: dict[str, Any] | None = None,
        **connect: Any,
    ) -> dict[str, Any]:
        """A catalog_external spec of *server* (host and port); *routing* over that, *connect* beside its protocol."""
        policy = {"protocol": protocol, **({"timeouts": timeouts} if timeouts else {})}
        return {
            "name": name or self.name,
            "routing": {"host": server.host, "port": server.port} if routing is None else routing,
            "exposure": {"mode": "catalog_external", "terminating_gateway": {"service": "tgw"}},
            "connect": {"mesh_policy": policy, **connect},
        }

    def static(
        self, server: Any, *, name: str = "", protocol: str = "http", host: str = "", **connect: Any
    ) -> dict[str, Any]:
        """A tgw_static spec of *server*, as *host* or by its address; *connect* beside its protocol."""
        return {
            "name": name or self.name,
            "routing": {"host": host or server.host, "port": server.port},
            "exposure": {"mode": "tgw_static", "terminating_gateway": {"service": "tgw"}},
            "connect": {"mesh_policy": {"protocol": protocol}, **connect},
        }

    @staticmethod
    def text(spec: dict[str, Any]) -> str:
        """A spec as a person writes it."""
        return yaml.safe_dump(spec, sort_keys=False)

    async def sync(self, *specs: dict[str, Any]) -> set[str]:
        """Commit these specs, sync, and give the codes of what gitsync said about them."""
        self.bench.commit(**{spec["name"].replace(".", "-"): self.text(spec) for spec in specs})
        report = await self.bench.sync()
        bad = [f"{each.key}: {each.message} {each.findings}" for each in report.services if each.outcome not in WRITTEN]
        assert not report.error, report.error
        assert not bad, bad
        return {code for codes in said(report).values() for code in codes}

    async def serve(self, *specs: dict[str, Any]) -> Caller:
        """The same, then a caller of the first of them."""
        self.said = await self.sync(*specs)
        return self.mesh.dial(specs[0]["name"])


@pytest.fixture
def street(mesh: Mesh, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Street]:
    """A street whose services go with the test."""
    word = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:24].strip("-")
    word = f"{word}-{next(numbers)}"
    before = set(mesh.upstreams)
    yield Street(mesh, Workbench(mesh.consul, tmp_path, sync=word), word)
    for service in set(mesh.upstreams) - before:
        mesh.hang_up(service)
    mesh.forget(word)
