"""What the design says of whole runs, sentence by sentence, where no other test has its own place for it."""

from __future__ import annotations

import pytest

from gitsync.model.features import Feature
from gitsync.model.run import Outcome, RunOutcome, exit_code
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, codes, external, outcomes, static

TO_BOOKS = "routes:\n  - { match: { path_prefix: /b }, destination: { service: books } }"
FAILS_OVER = '"*": { service: books }'


async def has(bench: Workbench, feature: Feature) -> bool:
    async with bench.house() as house:
        return house.features.has(feature)


def taken(consul: ConsulServer, kind: str, name: str, **fields: object) -> bool:
    """Whether Consul takes the entry. It says no with a 500."""
    return consul.request("PUT", "/v1/config", {"Kind": kind, "Name": name, **fields}).status == 200


# -- what leads nowhere


def test_consul_refuses_what_leads_from_http_to_nothing_and_takes_it_from_tcp(consul: ConsulServer) -> None:
    for protocol, takes in (("http", False), ("tcp", True)):
        consul.put_entry("service-defaults", "pay", Protocol=protocol)
        assert taken(consul, "service-resolver", "pay", Failover={"*": {"Service": "books"}}) is takes
        assert taken(consul, "service-resolver", "pay", Redirect={"Service": "books"}) is takes
        consul.delete("/v1/config/service-resolver/pay")
    consul.put_entry("service-defaults", "pay", Protocol="http")
    assert not taken(consul, "service-router", "pay", Routes=[{"Destination": {"Service": "books"}}])
    assert not taken(consul, "service-splitter", "pay", Splits=[{"Weight": 50}, {"Weight": 50, "Service": "books"}])


@pytest.mark.parametrize("part", [{"router": TO_BOOKS}, {"resolver": f"failover: {{ {FAILS_OVER} }}"}])
async def test_what_leads_to_nothing_leaves_consul_as_it_was_until_a_commit_brings_it(
    bench: Workbench, consul: ConsulServer, part: dict[str, str]
) -> None:
    bench.commit(pay=external("pay", **part), shop=external("shop", "192.0.2.12"))

    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.REFUSED, "shop": Outcome.APPLIED}
    assert "reference-missing" in codes(report, "pay")
    assert (report.outcome, exit_code(report)) == (RunOutcome.PARTIAL, 3)
    assert consul.entry("service-defaults", "pay") is None
    assert not consul.get("/v1/catalog/service/pay")
    assert consul.keys("svc-handler/ledger/default/default/pay") == []

    bench.commit(books=external("books", "192.0.2.11"))
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert consul.entry("service-resolver", "pay")
    assert (await bench.plan()).plan.empty


async def test_an_applied_service_keeps_all_it_has_while_its_new_route_leads_to_nothing(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay", router="prefix: /v1/"))
    await bench.sync()
    before = consul.dump()
    bench.commit(pay=external("pay", router=TO_BOOKS))

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.REFUSED
    after = consul.dump()
    assert {key: value for key, value in after.items() if "owners" not in str(key)} == {
        key: value for key, value in before.items() if "owners" not in str(key)
    }


async def test_on_tcp_what_leads_to_nothing_is_applied_with_a_warning(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay", protocol="tcp", resolver=f"failover: {{ {FAILS_OVER} }}"))

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.APPLIED, report
    assert "reference-missing" in codes(report, "pay")
    assert (await bench.plan()).plan.empty


# -- whose intentions


async def test_with_an_empty_list_somebody_elses_intentions_are_a_conflict_and_stay(
    bench: Workbench, consul: ConsulServer
) -> None:
    if not await has(bench, Feature.INTENTIONS_ENTRY):  # before there is no such entry, and so nobody's
        bench.commit(pay=external("pay", intentions="[]"))
        assert outcomes(await bench.sync()) == {"pay": Outcome.APPLIED}
        return
    consul.put_entry("service-intentions", "pay", Sources=[{"Name": "web", "Action": "allow"}])
    theirs = consul.entry("service-intentions", "pay")
    bench.commit(pay=external("pay", intentions="[]"))

    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.CONFLICT}
    assert consul.entry("service-intentions", "pay") == theirs
    assert consul.entry("service-defaults", "pay") is None

    bench.policy = {"adopt": True}
    report = await bench.sync()
    assert outcomes(report) == {"pay": Outcome.APPLIED}, report
    assert consul.entry("service-intentions", "pay") is None
    assert (await bench.plan()).plan.empty


# -- what cannot be read


async def test_a_submodule_in_a_folders_place_keeps_the_services_that_were_read_there(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.write("services/vendor/pay.yaml", external("pay"))
    bench.commit(shop=external("shop", "192.0.2.12"))
    await bench.sync()
    bench.git("rm", "-q", "-r", "services/vendor")
    head = bench.git("rev-parse", "HEAD")
    bench.git("update-index", "--add", "--cacheinfo", f"160000,{head},services/vendor")
    bench.git("commit", "-q", "-m", "a submodule")
    bench.policy = {"prune": {"max_count": 10, "max_fraction": 1.0}}

    report = await bench.sync()

    assert outcomes(report)["pay"] is Outcome.REFUSED
    assert "file-unreadable" in codes(report, "pay")
    assert report.holds == ()
    assert consul.entry("service-defaults", "pay")
    assert consul.get("/v1/catalog/service/pay")


# -- checks, labels, hosts


async def test_each_of_several_servers_is_asked_itself(bench: Workbench, consul: ConsulServer) -> None:
    spec = external("pay").replace(
        "{ host: 192.0.2.10, port: 8080 }",
        "{ endpoints: [ { host: 192.0.2.10, port: 8080 }, { host: 192.0.2.11, port: 8081 } ] }",
    )
    bench.commit(
        pay=spec.replace("mode: catalog_external", "check: { tcp: '192.0.2.10:8080' }, mode: catalog_external")
    )
    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.APPLIED}, report
    checked = {each["Node"]["Address"]: each["Checks"] for each in consul.get("/v1/health/service/pay")}
    assert {
        address: [check["Definition"]["TCP"] for check in checks if check["CheckID"] == "gitsync:pay"]
        for address, checks in checked.items()
    } == {"192.0.2.10": ["192.0.2.10:8080"], "192.0.2.11": ["192.0.2.11:8081"]}
    assert (await bench.plan()).plan.empty


async def test_with_the_ledgers_lost_a_label_that_left_stays_and_is_said(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay", metadata="team: blue\ntier: gold"))
    await bench.sync()
    consul.delete("/v1/kv/svc-handler/ledger/", recurse="")
    bench.commit(pay=external("pay", metadata="tier: gold"))

    look = await bench.plan()
    assert "label-kept" in codes(look, "pay")
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert consul.entry("service-defaults", "pay")["Meta"]["team"] == "blue"
    assert "label-kept" not in codes(await bench.plan(), "pay")


async def test_somebody_who_takes_our_host_later_is_said(bench: Workbench, consul: ConsulServer) -> None:
    if not await has(bench, Feature.DESTINATION):  # without Destination there is nothing that two could share
        return
    bench.commit(pay=static("pay", "a.example.org"))
    await bench.sync()
    consul.put_entry(
        "service-defaults", "theirs", Protocol="http", Destination={"Addresses": ["A.example.org"], "Port": 80}
    )

    look = await bench.plan()

    assert look.plan.empty
    assert "destination-taken" in codes(look, "pay")


async def test_more_meta_than_consul_takes_is_refused_before_the_node_is_registered(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    entry = consul.entry("service-defaults", "pay")
    consul.put_entry(
        "service-defaults",
        "pay",
        Protocol="http",
        Meta={**entry["Meta"], **{f"theirs-{at}": "x" for at in range(40)}},
    )
    bench.commit(
        pay=external("pay", "192.0.2.99", metadata="\n".join(f"ours-{at}: x" for at in range(30))),
        shop=external("shop", "192.0.2.12"),
    )

    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.REFUSED, "shop": Outcome.APPLIED}
    assert "too-many-labels" in codes(report, "pay")
    assert consul.get("/v1/catalog/service/pay")[0]["ServiceAddress"] == "192.0.2.10"
