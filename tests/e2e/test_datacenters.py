"""Two datacenters: gitsync talks to the primary, writes nodes of the others from there, and forgets none that it cannot read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsync.model.errors import GitsyncError
from gitsync.model.run import Outcome, exit_code
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, external, outcomes


@pytest.fixture(scope="module")
def primary(consul_binary: str) -> Iterator[ConsulServer]:
    with ConsulServer(consul_binary, config={"primary_datacenter": "dc1"}) as server:
        yield server


@pytest.fixture(scope="module")
def secondary(consul_binary: str, primary: ConsulServer) -> Iterator[ConsulServer]:
    with ConsulServer(consul_binary, datacenter="dc2", primary=primary) as server:
        yield server


@pytest.fixture
def bench(primary: ConsulServer, tmp_path: Path) -> Workbench:
    primary.reset()
    return Workbench(primary, tmp_path)


def there(name: str, dc: str) -> str:
    return external(name).replace("service: tgw }", f"service: tgw, dc: {dc} }}")


def nodes(consul: ConsulServer, dc: str) -> list[str]:
    return [node["Node"] for node in consul.get("/v1/catalog/nodes", dc=dc) if node["Node"].startswith("ext-")]


async def test_a_node_of_another_datacenter_is_written_moved_and_pruned(
    bench: Workbench, primary: ConsulServer, secondary: ConsulServer
) -> None:
    bench.commit(pay=there("pay", "dc2"), books=external("books", "192.0.2.11"), shop=external("shop", "192.0.2.12"))
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert nodes(primary, "dc2") == ["ext-pay"]
    assert (await bench.plan()).plan.empty

    bench.commit(pay=there("pay", "dc1"))
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert (nodes(primary, "dc1"), nodes(primary, "dc2")) == (["ext-books", "ext-pay", "ext-shop"], [])

    bench.commit(pay=there("pay", "dc2"))
    await bench.sync()
    bench.remove("services/pay.yaml")
    bench.commit()
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert (nodes(primary, "dc1"), nodes(primary, "dc2")) == (["ext-books", "ext-shop"], [])


async def test_gitsync_refuses_to_work_from_a_secondary(bench: Workbench, secondary: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    bench.address = secondary.url

    with pytest.raises(GitsyncError, match="primary") as refused:
        await bench.sync()

    assert refused.value.exit_code == 3


async def test_a_datacenter_that_does_not_answer_keeps_its_record_until_it_does(
    bench: Workbench, primary: ConsulServer, secondary: ConsulServer
) -> None:
    bench.commit(pay=there("pay", "dc2"), books=external("books", "192.0.2.11"), shop=external("shop", "192.0.2.12"))
    await bench.sync()
    bench.remove("services/pay.yaml")
    bench.commit()
    bench.more = {"consul": {"address": primary.url, "lock_ttl": "10s", "timeout": "2s"}}
    secondary.pause()
    try:
        report = await bench.sync()
    finally:
        secondary.resume()

    assert exit_code(report) in (5, 6), report
    assert json.loads(primary.value("svc-handler/ledger/default/default/pay"))["components"]
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert nodes(primary, "dc2") == []
