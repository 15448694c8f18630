"""Judge: what is wanted against who else is there."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsync.core.neighbours import BODY_LIMIT, judge
from gitsync.core.render import render
from gitsync.model.component import Entry, Found, Origin
from gitsync.model.context import RenderContext, Rendered
from gitsync.model.desired import Wanted
from gitsync.model.features import Features, Version
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.spec import ServiceSpec, spec_hash
from tests.spec_strategy import contexts, specs

NEW, MIDDLE = (1, 21, 4), (1, 12, 9)
A, B = "tgw_static", "catalog_external"
PAY = ServiceKey("pay")


def spec(name: str = "pay", mode: str = B, **parts: Any) -> ServiceSpec:
    exposure = {"mode": mode, "terminating_gateway": {"service": "tgw"}} | parts.pop("exposure", {})
    routing = {"host": f"{name}.example.com", "port": 80} | parts.pop("routing", {})
    protocol = parts.pop("protocol", "http")
    connect = {"mesh_policy": {"protocol": protocol, "timeouts": parts.pop("timeouts", {})}} | parts
    return ServiceSpec.from_json({"name": name, "routing": routing, "exposure": exposure, "connect": connect})


def context_of(version: Version = NEW, *, deny: bool | None = False) -> RenderContext:
    return RenderContext("me/pay", Features(version, "dc1", "dc1", default_deny=deny), {}, "dc1")


def pairs(wanted: list[ServiceSpec], context: RenderContext) -> dict[ServiceKey, tuple[Wanted, Rendered]]:
    return {
        each.key: (
            Wanted(each, spec_hash(each), Origin(f"{each.name}.yaml"), Place(f"{each.name}.yaml", 1, 1)),
            render(each, Place(f"{each.name}.yaml", 1, 1), context),
        )
        for each in wanted
    }


def gateway(*rows: str, name: str = "tgw") -> Entry:
    return Entry("terminating-gateway", name, {"Name": name, "Services": [{"Name": row} for row in rows]}, 1, 1)


def seen(**parts: Any) -> Found:
    """A Consul in which the gateway and consul-esm run, with *parts*."""
    services = frozenset({"consul", "tgw", "consul-esm"})
    return Found(**{"services": services, "datacenters": ("dc1", "west-1"), "gateways": {"tgw": gateway()}} | parts)


def judged(
    *wanted: ServiceSpec, found: Found | None = None, version: Version = NEW, deny: bool | None = False
) -> dict[ServiceKey | None, tuple[Finding, ...]]:
    context = context_of(version, deny=deny)
    return dict(judge(pairs(list(wanted), context), found or seen(), context))


def said(
    findings: dict[ServiceKey | None, tuple[Finding, ...]], key: ServiceKey | None = PAY
) -> list[tuple[str, Severity]]:
    return [(finding.code, finding.severity) for finding in findings.get(key, ())]


def test_where_all_is_well_nothing_is_said():
    assert judged(spec()) == {}


def test_nothing_wanted_is_nothing_said():
    assert judged(found=Found(gateways={"tgw": gateway("*")})) == {}


# -- one service ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "severity"), [(A, Severity.ERROR), (B, Severity.WARNING)])
def test_a_service_that_others_registered_is_refused_where_it_would_win(mode: str, severity: Severity):
    findings = judged(spec(mode=mode), found=seen(shadows={"pay": ("web-1", "web-2")}))

    assert said(findings) == [("catalog-service-shadows", severity)]
    finding = findings[PAY][0]
    assert "web-1, web-2" in finding.message
    assert (finding.service, finding.place) == (PAY, Place("pay.yaml", 1, 1))


def test_of_many_nodes_some_are_named():
    findings = judged(spec(), found=seen(shadows={"pay": tuple(f"n{number}" for number in range(9))}))

    assert "n0, n1, n2, n3, n4 and 4 more" in findings[PAY][0].message


@pytest.mark.parametrize(("mode", "severity"), [(A, Severity.WARNING), (B, Severity.ERROR)])
def test_a_datacenter_that_consul_does_not_know_is_refused_where_a_node_goes_there(mode: str, severity: Severity):
    findings = judged(spec(mode=mode, exposure={"dc": "mars"}))

    assert said(findings) == [("unknown-datacenter", severity)]
    assert "dc1, west-1" in findings[PAY][0].hint


@pytest.mark.parametrize(
    "resolver", [{"redirect": {"datacenter": "mars"}}, {"failover": {"*": {"datacenters": ["west-1", "mars"]}}}]
)
def test_clients_that_are_sent_to_an_unknown_datacenter_are_warned_of(resolver: dict[str, Any]):
    assert said(judged(spec(resolver=resolver))) == [("unknown-datacenter", Severity.WARNING)]


def test_datacenters_that_were_not_read_are_not_called_unknown():
    assert said(judged(spec(exposure={"dc": "mars"}), found=seen(datacenters=()))) == []


def test_a_service_named_like_somebodys_gateway_is_refused():
    found = seen(gateways={"tgw": gateway(), "Pay": gateway(name="Pay")})

    assert said(judged(spec(), found=found)) == [("named-like-gateway", Severity.ERROR)]


def test_a_name_that_is_too_long_for_the_longest_datacenter_is_refused():
    long = spec(name="a" * 128, mode=A, routing={"host": "b" * 38 + ".c"})
    found = seen(datacenters=("dc1", "d" * 60))

    assert said(judged(long, found=found), long.key) == [("name-too-long", Severity.ERROR)]


def test_a_route_that_waits_longer_than_the_other_ones_gateway_is_said():
    route = {"destination": {"service": "slow", "request_timeout": "30s"}}
    slow = {"timeouts": {"request": "30s"}}

    capped = judged(spec(router={"routes": [route]}), spec("slow"))
    assert said(capped) == [("route-timeout-capped", Severity.WARNING)]
    assert "after 15s instead of 30s" in capped[PAY][0].message
    assert said(judged(spec(router={"routes": [route]}), spec("slow", **slow))) == []
    assert said(judged(spec(router={"routes": [route]}), spec("slow", **slow), version=MIDDLE)) == [
        ("route-timeout-capped", Severity.WARNING)
    ]


# -- default deny -----------------------------------------------------------------------------------------------------


def test_under_default_deny_a_new_link_says_the_rule_and_the_missing_intention():
    findings = judged(spec(), deny=True)

    assert said(findings) == [("gateway-token-rule", Severity.NOTE), ("intention-needed", Severity.NOTE)]
    assert 'service "pay" { policy = "write" }' in findings[PAY][0].hint


def test_what_is_linked_and_permitted_already_is_not_said_again():
    entries = {(Kind.INTENTIONS, "pay"): Entry("service-intentions", "pay", {}, 1, 1)}

    assert judged(spec(), found=seen(gateways={"tgw": gateway("pay")}, entries=entries), deny=True) == {}


def test_intentions_of_the_spec_are_enough():
    wanted = spec(intentions=[{"source": "web", "action": "allow"}])

    assert said(judged(wanted, deny=True)) == [("gateway-token-rule", Severity.NOTE)]


@pytest.mark.parametrize("deny", [False, None])
def test_where_consul_allows_or_does_not_tell_no_intention_is_asked_for(deny: bool | None):
    assert judged(spec(), deny=deny) == {}


# -- said once --------------------------------------------------------------------------------------------------------


def test_a_gateway_that_nobody_runs_is_said_once_with_those_that_run():
    found = seen(
        services=frozenset({"other", "consul-esm"}), gateways={"tgw": gateway(), "other": gateway(name="other")}
    )
    findings = judged(spec("a"), spec("b"), found=found)

    assert said(findings, None) == [("gateway-has-no-instance", Severity.WARNING)]
    assert "2 services name it, the first is a" in findings[None][0].message
    assert "one that runs: other." in findings[None][0].hint


def test_nothing_is_said_of_a_gateway_in_another_datacenter():
    assert judged(spec(exposure={"dc": "west-1"}), found=seen(services=frozenset())) == {}


def test_a_wildcard_row_is_said_once():
    findings = judged(spec("a"), spec("b"), found=seen(gateways={"tgw": gateway("*")}))

    assert said(findings, None) == [("foreign-wildcard-row", Severity.WARNING)]


def test_checks_that_nobody_probes_are_said_once():
    check = {"check": {"tcp": "a.example.com:80"}}
    found = seen(services=frozenset({"tgw"}))
    findings = judged(spec("a", exposure=check), spec("b", exposure=check), spec("c"), found=found)

    assert said(findings, None) == [("check-unprobed", Severity.WARNING)]
    assert "the checks of a, b stay" in findings[None][0].message
    assert judged(spec("a", exposure=check)) == {}


def test_that_tgw_static_needs_transparent_proxies_is_said_once():
    findings = judged(spec("a", A), spec("b", A), spec("c"))

    assert said(findings, None) == [("destination-needs-tproxy", Severity.WARNING)]
    assert said(judged(spec("a", A), version=MIDDLE), None) == []


def test_a_gateway_that_outgrows_what_a_later_consul_takes_is_said():
    row = f"service-{'x' * 90}"
    rows = [f"{row}-{number}" for number in range(BODY_LIMIT // 100)]
    findings = judged(spec(), found=seen(gateways={"tgw": gateway(*rows)}))

    assert said(findings, None) == [("gateway-too-large", Severity.WARNING)]
    assert judged(spec(), found=seen(gateways={"tgw": gateway(*rows[: len(rows) // 2])})) == {}


# -- any specs --------------------------------------------------------------------------------------------------------


founds = st.builds(
    lambda services, datacenters, names, rows: Found(
        services=frozenset(services),
        datacenters=tuple(datacenters),
        gateways={name: gateway(*rows, name=name) for name in names},
        shadows={"pay": ("web-1",)} if "pay" in services else {},
    ),
    st.sets(st.sampled_from(("tgw", "consul-esm", "pay", "TGW-2"))),
    st.lists(st.sampled_from(("dc1", "west-1")), unique=True),
    st.sets(st.sampled_from(("tgw", "orders", "TGW-2"))),
    st.sets(st.sampled_from(("*", "pay", "x"))),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(specs, max_size=4, unique_by=lambda each: each.key), contexts, founds, st.randoms(use_true_random=False)
)
def test_any_specs_are_judged_and_their_order_does_not_matter(
    wanted: list[ServiceSpec], context: RenderContext, found: Found, shuffler: random.Random
):
    first = judge(pairs(wanted, context), found, context)
    shuffler.shuffle(wanted)

    assert judge(pairs(wanted, context), found, context) == first
    assert set(first) <= {None, *(each.key for each in wanted)}
    assert all(first.values())
    for key, findings in first.items():
        assert all(finding.service == key and finding.message.endswith(".") for finding in findings)
