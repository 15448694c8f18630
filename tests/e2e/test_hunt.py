"""One part that cannot be read (a service, a node's datacenter) is the trouble of its own services, with and without ACLs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitsync.model.key import Kind
from gitsync.model.run import Outcome, RunReport, exit_code
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import Workbench, codes, external, outcomes

LEDGER = "svc-handler/ledger/default/default/"


# -- datacenters


@pytest.fixture(scope="module")
def primary(consul_binary: str) -> Iterator[ConsulServer]:
    with ConsulServer(consul_binary, config={"primary_datacenter": "dc1"}) as server:
        yield server


@pytest.fixture(scope="module")
def secondary(consul_binary: str, primary: ConsulServer) -> Iterator[ConsulServer]:
    with ConsulServer(consul_binary, datacenter="dc2", primary=primary) as server:
        yield server


@pytest.fixture
def two(primary: ConsulServer, secondary: ConsulServer, tmp_path: Path) -> Workbench:
    """A bench of which pay's node stands in dc2, and some others in dc1."""
    primary.reset()
    secondary.reset()
    bench = Workbench(primary, tmp_path)
    bench.commit(
        pay=there("pay", "dc2"),
        **{f"s{number}": external(f"s{number}", f"192.0.2.{number + 1}") for number in range(6)},
    )
    return bench


def there(name: str, dc: str, host: str = "192.0.2.10") -> str:
    return external(name, host).replace("service: tgw }", f"service: tgw, dc: {dc} }}")


async def silenced(bench: Workbench, text: str, words: str = r"dc=dc2") -> RunReport:
    async with FaultProxy(bench.consul.url) as proxy:
        bench.address = proxy.url
        proxy.script(Fault.ERROR_BEFORE, words, times=0, text=text)
        report = await bench.sync()
    bench.address = bench.consul.url
    return report


SILENCE = ["No path to datacenter", "rpc error making call: EOF"]


@pytest.mark.parametrize("text", SILENCE)
async def test_a_datacenter_that_is_away_stops_its_own_services_only(
    two: Workbench, primary: ConsulServer, text: str
) -> None:
    await two.sync()
    entry = primary.entry("service-defaults", "pay")
    two.commit(pay=there("pay", "dc2", "192.0.2.99"), s0=external("s0", "192.0.2.88"))

    report = await silenced(two, text)

    assert outcomes(report) == {"pay": Outcome.FAILED, "s0": Outcome.APPLIED}, report
    assert "datacenter-silent" in codes(report, "pay")
    assert exit_code(report) == 6
    assert primary.entry("service-defaults", "pay") == entry
    report = await two.sync()
    assert exit_code(report) == 0, report
    assert outcomes(report) == {"pay": Outcome.APPLIED}
    assert (await two.plan()).plan.empty


async def test_a_service_leaves_a_datacenter_that_is_away(two: Workbench, primary: ConsulServer) -> None:
    await two.sync()
    two.commit(pay=external("pay", "192.0.2.99"))

    report = await silenced(two, SILENCE[0])

    assert outcomes(report) == {"pay": Outcome.APPLIED}, report
    components = json.loads(primary.value(f"{LEDGER}pay"))["components"]
    assert {each["at"] for each in components if each["kind"] == Kind.CATALOG} == {"dc1/ext-pay", "dc2/ext-pay"}
    report = await two.sync()
    assert exit_code(report) == 0, report
    assert (await two.plan()).plan.empty
    assert [
        each["Node"] for each in primary.get("/v1/catalog/nodes", dc="dc2") if each["Node"].startswith("ext-")
    ] == []


async def test_a_datacenter_that_goes_away_during_the_run_stops_its_own_services_only(
    two: Workbench, primary: ConsulServer
) -> None:
    await two.sync()
    two.commit(pay=there("pay", "dc2", "192.0.2.99"), s0=external("s0", "192.0.2.88"))

    report = await silenced(two, SILENCE[0], r"/v1/(catalog|health)/node/ext-pay\?.*dc=dc2")

    assert outcomes(report) == {"pay": Outcome.FAILED, "s0": Outcome.APPLIED}, report
    assert json.loads(primary.value(f"{LEDGER}pay"))["state"] == "applied"
    assert exit_code(await two.sync()) == 0
    assert (await two.plan()).plan.empty


async def test_a_datacenter_that_consul_no_longer_knows_stays_recorded_and_stops_nobody(
    two: Workbench, primary: ConsulServer
) -> None:
    two.commit(pay=external("pay"))
    await two.sync()
    ledger = json.loads(primary.value(f"{LEDGER}pay"))
    lost = {
        "kind": str(Kind.CATALOG),
        "at": "gone/ext-pay",
        "datacenter": "gone",
        "state": "written",
        "hash": "",
        "meta_keys": [],
    }
    ledger["components"].append(lost)
    primary.put(f"/v1/kv/{LEDGER}pay", json.dumps(ledger).encode())
    two.commit(pay=external("pay", "192.0.2.99"), s0=external("s0", "192.0.2.88"))

    report = await two.sync()

    assert outcomes(report) == {"pay": Outcome.APPLIED, "s0": Outcome.APPLIED}, report
    assert (await two.plan()).plan.empty
    two.remove("services/pay.yaml")
    two.commit(s1=external("s1", "192.0.2.87"))
    report = await two.sync()
    assert outcomes(report) == {"pay": Outcome.FAILED, "s1": Outcome.APPLIED}, report
    message = next(service.message for service in report.services if str(service.key) == "pay")
    assert f"{LEDGER}pay" in message  # what to do when it is gone for good


# -- tokens

RULES = """
key_prefix "svc-handler/" {{ policy = "write" }}
session_prefix ""         {{ policy = "write" }}
agent_prefix ""           {{ policy = "read" }}
node_prefix ""            {{ policy = "read" }}
node_prefix "ext-"        {{ policy = "write" }}
service_prefix ""         {{ policy = "write" intentions = "write" }}
service "s0"              {{ policy = "{s0}" }}
service "s1"              {{ policy = "{s1}" }}
{gateways} = "write"
"""


@pytest.fixture
def bench(consul_acl: ConsulServer, tmp_path: Path) -> Workbench:
    return Workbench(consul_acl, tmp_path)


def may(bench: Workbench, *, s0: str = "write", s1: str = "write") -> None:
    gateways = "mesh" if bench.consul.version >= (1, 12) else "operator"
    token = bench.consul.new_token(RULES.format(s0=s0, s1=s1, gateways=gateways))
    bench.more["consul"] = {"address": bench.consul.url, "lock_ttl": "10s", "token": token}


def static_at(name: str, host: str) -> str:
    return external(name, host).replace("catalog_external", "tgw_static")


async def test_a_token_that_no_longer_sees_two_services_deletes_none_of_them_and_goes_on_with_the_others(
    bench: Workbench, consul_acl: ConsulServer
) -> None:
    may(bench)
    bench.commit(**{f"s{number}": static_at(f"s{number}", f"pay{number}.example.org") for number in range(7)})
    assert exit_code(await bench.sync()) == 0
    before = {name: consul_acl.entry("service-defaults", name) for name in ("s0", "s1")}
    bench.remove("services/s0.yaml")
    bench.commit(s1=static_at("s1", "other1.example.org"), s2=static_at("s2", "other2.example.org"))
    may(bench, s0="deny", s1="deny")

    report = await bench.sync()

    changed = {name: outcome for name, outcome in outcomes(report).items() if outcome is not Outcome.UNCHANGED}
    assert changed == {"s0": Outcome.FAILED, "s1": Outcome.FAILED, "s2": Outcome.APPLIED}, report
    assert exit_code(report) == 5
    assert {name: consul_acl.entry("service-defaults", name) for name in before} == before
    assert {json.loads(consul_acl.value(key))["state"] for key in consul_acl.keys(LEDGER)} == {"applied"}
    may(bench)
    assert exit_code(await bench.sync()) == 0
    assert (await bench.plan()).plan.empty
    assert consul_acl.entry("service-defaults", "s0") is None
