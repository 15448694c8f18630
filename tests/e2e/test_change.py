"""Changes that no naive order survives: protocols, subsets, gateways, hosts, strategies."""

from __future__ import annotations

import pytest

from gitsync.model.features import Feature
from gitsync.model.run import Outcome, RunOutcome, exit_code
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, codes, external, outcomes, static

ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"
SUBSETS = """
default_subset: {default}
subsets: {{ {default}: {{ filter: 'Service.Meta.version == "{default}"' }} }}
"""
ROUTES = "routes:\n  - {{ match: {{ path_prefix: /x }}, destination: {{ service: pay, subset: {} }} }}"


def rows(consul: ConsulServer, gateway: str) -> list[str]:
    entry = consul.entry("terminating-gateway", gateway)
    return [row["Name"] for row in (entry or {}).get("Services") or ()]


async def settled(bench: Workbench) -> None:
    """The last run left nothing to do."""
    assert (await bench.plan()).plan.empty


async def test_a_protocol_goes_from_http_to_tcp_with_its_router_and_back(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay", router=ROUTER))
    await bench.sync()

    bench.commit(pay=external("pay", protocol="tcp"))
    report = await bench.sync()
    assert report.outcome is RunOutcome.APPLIED, report
    assert consul.entry("service-router", "pay") is None
    assert consul.entry("service-defaults", "pay")["Protocol"] == "tcp"
    await settled(bench)

    bench.commit(pay=external("pay", router=ROUTER))
    report = await bench.sync()
    assert report.outcome is RunOutcome.APPLIED, report
    assert consul.entry("service-router", "pay")
    await settled(bench)


async def test_subset_and_router_are_swapped_together(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay", router=ROUTES.format("v1"), resolver=SUBSETS.format(default="v1")))
    assert exit_code(await bench.sync()) == 0

    bench.commit(pay=external("pay", router=ROUTES.format("v2"), resolver=SUBSETS.format(default="v2")))
    report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    assert list(consul.entry("service-resolver", "pay")["Subsets"]) == ["v2"]
    await settled(bench)


async def test_a_router_to_a_service_that_is_not_there_yet_is_healed_by_the_commit_that_brings_it(
    bench: Workbench, consul: ConsulServer
) -> None:
    routes = "routes:\n  - { match: { path_prefix: /b }, destination: { service: books } }"
    bench.commit(pay=external("pay", router=routes), shop=external("shop", "192.0.2.12"))

    report = await bench.sync()

    assert outcomes(report)["shop"] is Outcome.APPLIED
    assert outcomes(report)["pay"] in (Outcome.REFUSED, Outcome.FAILED, Outcome.APPLIED), report
    bench.commit(books=external("books", "192.0.2.11"))
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert consul.entry("service-router", "pay")
    await settled(bench)


async def test_a_service_moves_from_one_gateway_to_another(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.commit(pay=external("pay").replace("tgw }", "tgw-2 }"))

    report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    assert (rows(consul, "tgw"), rows(consul, "tgw-2")) == ([], ["pay"])
    await settled(bench)


async def test_two_services_swap_their_gateways(bench: Workbench, consul: ConsulServer) -> None:
    other = external("books", "192.0.2.11")
    bench.commit(pay=external("pay"), books=other.replace("tgw }", "tgw-2 }"))
    await bench.sync()
    bench.commit(pay=external("pay").replace("tgw }", "tgw-2 }"), books=other)

    report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    assert (rows(consul, "tgw"), rows(consul, "tgw-2")) == (["books"], ["pay"])
    await settled(bench)


async def test_two_services_swap_their_hosts(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=static("pay", "a.example.org"), books=static("books", "b.example.org"))
    await bench.sync()
    bench.commit(pay=static("pay", "b.example.org"), books=static("books", "a.example.org"))

    report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "b.example.org"
    assert consul.entry("service-defaults", "books")["Meta"]["routing-host"] == "a.example.org"
    await settled(bench)


async def test_a_strategy_changes_and_changes_back(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=static("pay"))
    await bench.sync()
    assert not consul.get("/v1/catalog/service/pay")

    bench.commit(pay=external("pay"))
    report = await bench.sync()
    assert report.outcome is RunOutcome.APPLIED, report
    assert consul.get("/v1/catalog/service/pay")[0]["ServiceAddress"] == "192.0.2.10"
    assert not consul.entry("service-defaults", "pay").get("Destination")
    await settled(bench)

    bench.commit(pay=static("pay"))
    report = await bench.sync()
    assert report.outcome is RunOutcome.APPLIED, report
    assert not consul.get("/v1/catalog/service/pay")
    await settled(bench)


async def test_two_static_services_with_one_host_and_port_never_stand_together(
    bench: Workbench, consul: ConsulServer
) -> None:
    async with bench.house() as house:
        destinations = house.features.has(Feature.DESTINATION)
    bench.commit(pay=static("pay", "a.example.org"))
    await bench.sync()
    bench.commit(books=static("books", "a.example.org"))

    report = await bench.sync()

    if destinations:
        assert outcomes(report)["books"] is Outcome.REFUSED
        assert "destination-taken" in codes(report, "books")
        assert consul.entry("service-defaults", "books") is None
    else:  # without Destination there is nothing that two could share
        assert outcomes(report)["books"] is Outcome.APPLIED
    assert consul.entry("service-defaults", "pay")


async def test_a_certificate_that_the_configuration_does_not_list_is_refused_and_hurts_nobody(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(
        pay=external("pay").replace(
            "port: 8080", "port: 8080, tls: { sni: pay.example.org, ca_file: /etc/nowhere.pem }"
        ),
        books=external("books", "192.0.2.11"),
    )

    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.REFUSED, "books": Outcome.APPLIED}
    assert "gateway-file-not-listed" in codes(report, "pay")
    assert rows(consul, "tgw") == ["books"]


async def test_a_datacenter_that_consul_does_not_know_refuses_its_service_alone(bench: Workbench) -> None:
    bench.commit(
        pay=external("pay").replace("service: tgw }", "service: tgw, dc: mars }"), books=external("books", "192.0.2.11")
    )

    report = await bench.sync()

    assert outcomes(report)["books"] is Outcome.APPLIED
    assert "unknown-datacenter" in codes(report, "pay")


@pytest.mark.parametrize("drift", ["enforce", "detect", "off"])
async def test_what_somebody_changed_is_put_back_shown_or_left(
    bench: Workbench, consul: ConsulServer, drift: str
) -> None:
    bench.policy["drift"] = drift
    bench.commit(pay=external("pay"))
    await bench.sync()
    entry = consul.entry("service-defaults", "pay")
    consul.put_entry("service-defaults", "pay", Protocol="http2", Meta=entry["Meta"])

    report = await bench.sync()

    protocol = consul.entry("service-defaults", "pay")["Protocol"]
    assert protocol == ("http" if drift == "enforce" else "http2")
    assert ("drift-detected" in codes(report, "pay")) == (drift == "detect")
    assert [each.drift for each in report.services if str(each.key) == "pay"] == ([] if drift == "off" else [True])
    assert exit_code(report) == 0


async def test_what_somebody_deleted_is_put_back_and_never_held(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    consul.put_entry("terminating-gateway", "tgw", Services=[])
    consul.delete("/v1/config/service-resolver/pay")
    consul.delete("/v1/config/service-defaults/pay")

    report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    assert consul.entry("service-defaults", "pay")
    assert rows(consul, "tgw") == ["pay"]
