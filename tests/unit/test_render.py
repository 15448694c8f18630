"""Render: what one spec becomes in one Consul, and what is said about it."""

from __future__ import annotations

import json
from hashlib import sha1
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings

from gitsync.core.entries.filters import filter_fault
from gitsync.core.entries.patterns import PROGRAM_LIMIT, pattern_fault
from gitsync.core.exposure.registry import STRATEGIES
from gitsync.core.normalize import canonical
from gitsync.core.render import render
from gitsync.core.schema import SCHEMA
from gitsync.model.component import Component
from gitsync.model.context import GatewayFiles, RenderContext, Rendered, TlsFiles
from gitsync.model.features import Features, Version
from gitsync.model.finding import Place, Severity
from gitsync.model.key import ENTRY_KINDS, Kind, ServiceKey
from gitsync.model.routing import Exposure
from gitsync.model.spec import ServiceSpec
from tests.spec_strategy import contexts, specs

PLACE = Place("pay.yaml", 3, 1)
OLD, MIDDLE, NEW = (1, 8, 7), (1, 12, 9), (1, 21, 4)
CA = "/etc/ca.pem"
B = {"mode": "catalog_external", "terminating_gateway": {"service": "tgw"}}
A = {"mode": "tgw_static", "terminating_gateway": {"service": "tgw"}}


def spec(*, exposure: dict[str, Any] | None = None, routing: dict[str, Any] | None = None, **parts: Any) -> ServiceSpec:
    connect = {"mesh_policy": {"protocol": parts.pop("protocol", "http"), "timeouts": parts.pop("timeouts", {})}}
    document = {
        "name": parts.pop("name", "pay"),
        "routing": {"host": "db.example.com", "port": 8080} | (routing or {}),
        "exposure": B if exposure is None else exposure,
        "metadata": parts.pop("metadata", {}),
        "connect": connect | parts,
    }
    return ServiceSpec.from_json(document)


def made(
    wanted: ServiceSpec, version: Version = NEW, *, files: GatewayFiles | None = None, **features: Any
) -> Rendered:
    gateways = {"tgw": files or GatewayFiles(tls=(TlsFiles(CA),))}
    return render(wanted, PLACE, RenderContext("me/pay", Features(version, "dc1", "dc1", **features), gateways, "dc1"))


def body(rendered: Rendered, kind: Kind) -> dict[str, Any]:
    return dict(next(component.body for component in rendered.components if component.key.kind is kind))


def codes(rendered: Rendered) -> set[str]:
    return {finding.code for finding in rendered.findings}


def without_marks(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in ("Kind", "Name", "Meta")}


# -- any spec ---------------------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(specs, contexts)
def test_any_spec_is_rendered_for_any_consul(wanted: ServiceSpec, context: RenderContext):
    rendered = render(wanted, PLACE, context)

    keys = [component.key for component in rendered.components]
    assert len(set(keys)) == len(keys)
    assert {component.key.service for component in rendered.components} == {wanted.key}
    assert {Kind.DEFAULTS, Kind.RESOLVER} <= {key.kind for key in keys}
    assert all((finding.service, finding.place) == (wanted.key, PLACE) for finding in rendered.findings)
    assert wanted.name not in rendered.references
    assert rendered == render(wanted, PLACE, context)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(specs, contexts)
def test_what_is_rendered_is_managed_json_of_ours(wanted: ServiceSpec, context: RenderContext):
    for component in render(wanted, PLACE, context).components:
        kind = component.key.kind
        assert json.loads(json.dumps(component.body)) == component.body
        assert set(component.body) - set(SCHEMA[kind].fields) <= {"Kind"}
        assert canonical(kind, canonical(kind, component.body)) == canonical(kind, component.body)
        marks = component.body.get("NodeMeta") if kind is Kind.CATALOG else component.body.get("Meta")
        if kind is not Kind.GATEWAY_ROW:
            assert (marks["managed-by"], marks["gitsync-owner"]) == ("gitsync", "test/payments")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(specs, contexts)
def test_a_finding_is_one_sentence_and_says_what_to_do(wanted: ServiceSpec, context: RenderContext):
    for finding in render(wanted, PLACE, context).findings:
        assert finding.message[0].isupper() or finding.message.startswith(wanted.name)
        assert finding.message.endswith(".")
        assert finding.hint.endswith((".", "}"))
        assert "\n" not in finding.message + finding.hint


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(specs, contexts)
def test_what_a_consul_does_not_know_is_never_sent_to_it(wanted: ServiceSpec, context: RenderContext):
    rendered = render(wanted, PLACE, context)
    sent = json.dumps([component.body for component in rendered.components])
    version = context.features.version
    for field, first in (
        ("RetryOn\"", (1, 14, 0)), ("IdleTimeout", (1, 14, 2)), ("\"Targets", (1, 14, 0)), ("DisableAutoHostRewrite", (1, 18, 2)),
        ("LoadBalancer", (1, 9, 0)), ("\"Destination\": {\"Addresses", (1, 13, 0)), ("service-intentions", (1, 9, 0)),
    ):  # fmt: skip
        assert version >= first or field not in sent, field
    if not context.features.enterprise:
        assert "Namespace" not in sent
        assert "Partition" not in sent
    resolver = body(rendered, Kind.RESOLVER)
    if version < (1, 13, 7) or version in ((1, 14, 0), (1, 14, 2), (1, 15, 0)):
        assert "RequestTimeout" not in resolver


# -- strategies -------------------------------------------------------------------------------------------------------


def test_every_mode_has_its_strategy():
    assert set(STRATEGIES) == set(get_args(Exposure.model_fields["mode"].annotation))


def test_tgw_static_has_its_address_in_the_defaults_and_nothing_in_the_catalog():
    rendered = made(spec(exposure=A, routing={"port": 80}))

    assert body(rendered, Kind.DEFAULTS)["Destination"] == {"Addresses": ["db.example.com"], "Port": 80}
    assert Kind.CATALOG not in {component.key.kind for component in rendered.components}
    assert codes(rendered) == set()


def test_before_destination_tgw_static_is_kept_in_the_meta_and_says_so():
    rendered = made(spec(exposure=A), MIDDLE)

    defaults = body(rendered, Kind.DEFAULTS)
    assert "Destination" not in defaults
    assert (defaults["Meta"]["routing-host"], defaults["Meta"]["routing-port"]) == ("db.example.com", "8080")
    assert codes(rendered) == {"destination-unsupported"}


@pytest.mark.parametrize(
    ("protocol", "host", "port", "code"),
    [
        ("http", "db.example.com", 80, None),
        ("http", "db.example.com", 8080, "destination-host-port"),
        ("http", "10.0.0.1", 80, "destination-host-port"),
        ("grpc", "db.example.com", 50051, "destination-host-port"),
        ("tcp", "10.0.0.1", 5432, None),
        ("tcp", "2001:db8::7", 5432, None),
        ("tcp", "db.example.com", 5432, "destination-tcp-name"),
    ],
)
def test_tgw_static_says_what_clients_get(protocol: str, host: str, port: int, code: str | None):
    rendered = made(spec(exposure=A, routing={"host": host, "port": port}, protocol=protocol))

    assert codes(rendered) - {"protocol-http2"} == ({code} if code else set())


def test_the_way_out_names_no_datacenter_that_may_not_exist():
    gateway = {"service": "tgw", "dc": "west-1"}
    rendered = made(spec(exposure=A | {"terminating_gateway": gateway}))
    here = made(spec(exposure=A | {"terminating_gateway": gateway | {"dc": "dc1"}}))

    hints = [finding.hint for each in (rendered, here) for finding in each.findings]
    assert "terminating_gateway: {service: tgw}}" in hints[0]
    assert "west-1" not in hints[0]
    assert "{service: tgw, dc: dc1}" in hints[1]


@pytest.mark.parametrize(
    "parts",
    [
        {"router": {"routes": [{"destination": {"service": "other"}}]}},
        {"splitter": [{"weight": 50}, {"weight": 50, "service": "other"}]},
        {"resolver": {"redirect": {"service": "other"}}},
        {"resolver": {"failover": {"*": {"service": "other"}}}},
        {"resolver": {"default_subset": "v1", "subsets": {"v1": {}}}},
    ],
)
def test_tgw_static_with_another_target_is_refused_because_requests_would_go_to_the_server(parts: dict[str, Any]):
    rendered = made(spec(exposure=A, routing={"port": 80}, **parts))

    assert rendered.refused
    assert "destination-ignores-targets" in codes(rendered)


def test_tgw_static_says_once_what_it_ignores():
    rendered = made(
        spec(exposure=A, routing={"port": 80}, timeouts={"connect": "1s", "idle": "1s"}, router={"prefix": "/"})
    )

    assert codes(rendered) == {"destination-ignores-l7"}
    assert "timeouts.connect, timeouts.idle, router have" in rendered.findings[0].message


def test_a_catalog_service_is_a_node_of_its_own():
    check = {"tcp": "db.example.com:8080", "interval": "30s"}
    rendered = made(spec(exposure=B | {"check": check}))
    node = next(component for component in rendered.components if component.key.kind is Kind.CATALOG)

    assert node.key.at == "dc1/ext-pay"
    assert node.body == {
        "Node": "ext-pay",
        "Datacenter": "dc1",
        "Address": "db.example.com",
        "NodeMeta": {
            "external-node": "true",
            "external-probe": "false",
            "managed-by": "gitsync",
            "gitsync-owner": "me/pay",
            "gitsync-service": "default/default/pay",
        },
        "Service": {
            "ID": "pay",
            "Service": "pay",
            "Address": "db.example.com",
            "Port": 8080,
            "Meta": {"managed-by": "gitsync", "gitsync-owner": "me/pay"},
        },
        "Check": {
            "CheckID": "gitsync:pay",
            "Name": "reachable at db.example.com:8080",
            "Definition": {"TCP": "db.example.com:8080", "Interval": "30s", "Timeout": "2s"},
        },
    }
    assert rendered.components[0] is node


def test_each_endpoint_is_a_node_whatever_their_order():
    endpoints = [{"host": "10.0.0.1", "port": 1}, {"host": "10.0.0.2", "port": 1}]

    def nodes(order: list[dict[str, Any]]) -> list[Component]:
        wanted = ServiceSpec.from_json({"name": "pay", "routing": {"endpoints": order}, "exposure": B})
        return [component for component in made(wanted).components if component.key.kind is Kind.CATALOG]

    assert nodes(endpoints) == nodes(endpoints[::-1])
    first = sha1(b"10.0.0.1:1", usedforsecurity=False).hexdigest()[:8]
    assert nodes(endpoints)[0].key.node == f"ext-pay-{first}"
    assert {node.body["Address"] for node in nodes(endpoints)} == {"10.0.0.1", "10.0.0.2"}


@pytest.mark.parametrize(
    "exposure", [B | {"dc": "west-1"}, B | {"terminating_gateway": {"service": "tgw", "dc": "west-1"}}]
)
def test_a_node_is_registered_where_the_gateway_runs(exposure: dict[str, Any]):
    assert made(spec(exposure=exposure)).components[0].key.at == "west-1/ext-pay"


def test_in_a_namespace_the_node_carries_it_in_its_name():
    wanted = ServiceSpec.from_json(spec().to_json() | {"namespace": "team", "partition": "eu"})
    rendered = made(wanted, enterprise=True)

    assert rendered.components[0].key.node == "ext-pay.team.eu"
    assert body(rendered, Kind.DEFAULTS)["Namespace"] == "team"
    assert "enterprise-only" in codes(made(wanted))


# -- timeouts ---------------------------------------------------------------------------------------------------------


def test_timeouts_go_to_the_resolver_and_to_every_route():
    rendered = made(spec(timeouts={"connect": "2s", "request": "5s", "idle": "60s"}, router={"prefix": "/v1/"}))

    assert without_marks(body(rendered, Kind.RESOLVER)) == {"ConnectTimeout": "2s", "RequestTimeout": "5s"}
    waits = {"RequestTimeout": "5s", "IdleTimeout": "1m0s"}
    assert body(rendered, Kind.ROUTER)["Routes"] == [
        {"Match": {"HTTP": {"PathPrefix": "/v1/"}}, "Destination": waits},
        {"Destination": waits},
    ]
    assert codes(rendered) == set()


@pytest.mark.parametrize("last", [{}, {"match": {"path_prefix": "/"}}])
def test_no_route_is_added_where_one_takes_the_rest(last: dict[str, Any]):
    rendered = made(spec(timeouts={"request": "5s"}, router={"routes": [last]}))

    assert len(body(rendered, Kind.ROUTER)["Routes"]) == 1


def test_no_route_is_added_where_there_is_nothing_to_carry():
    rendered = made(spec(router={"prefix": "/v1/"}))

    assert body(rendered, Kind.ROUTER)["Routes"] == [{"Match": {"HTTP": {"PathPrefix": "/v1/"}}}]


@pytest.mark.parametrize(
    ("request_timeout", "route_timeout", "gateway"),
    [("5s", None, "5s"), ("5s", "30s", "30s"), ("5s", "1s", "5s"), (None, "30s", "30s"), (None, "5s", None)],
)
def test_the_gateway_waits_as_long_as_the_longest_route(
    request_timeout: str | None, route_timeout: str | None, gateway: str | None
):
    timeouts = {"request": request_timeout} if request_timeout else {}
    destination = {"request_timeout": route_timeout} if route_timeout else {}
    rendered = made(spec(timeouts=timeouts, router={"routes": [{"destination": destination}]}))

    assert body(rendered, Kind.RESOLVER).get("RequestTimeout") == gateway


@pytest.mark.parametrize(
    ("version", "timeouts", "router", "code"),
    [
        (NEW, {"idle": "1s"}, None, "idle-without-router"),
        (MIDDLE, {"idle": "1s"}, {"prefix": "/"}, "idle-timeout-unsupported"),
        (MIDDLE, {"request": "1s"}, None, "request-timeout-unsupported"),
        (MIDDLE, {"request": "15s"}, {"prefix": "/"}, None),
        (MIDDLE, {"request": "16s"}, {"prefix": "/"}, "request-timeout-capped"),
        (OLD, {"request": "16s"}, {"prefix": "/"}, None),
        (NEW, {"request": "16s"}, {"prefix": "/"}, None),
    ],
)
def test_a_timeout_without_a_place_is_said(
    version: Version, timeouts: dict[str, str], router: dict[str, Any] | None, code: str | None
):
    rendered = made(spec(timeouts=timeouts, **({"router": router} if router else {})), version)

    assert codes(rendered) == ({code} if code else set())


def test_on_tcp_only_the_connect_timeout_has_a_place():
    rendered = made(spec(protocol="tcp", timeouts={"connect": "1s", "request": "1s", "idle": "1s"}))

    assert without_marks(body(rendered, Kind.RESOLVER)) == {"ConnectTimeout": "1s"}
    assert codes(rendered) == {"timeout-on-tcp"}


# -- retries and routes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retries", "version", "fields", "code"),
    [
        ({"attempts": 0, "on": ["5xx"]}, NEW, {}, None),
        ({"attempts": 2}, NEW, {"NumRetries": 2, "RetryOn": ["cancelled", "connect-failure", "refused-stream", "unavailable"]}, None),
        ({"attempts": 2, "on": [], "status_codes": [503]}, NEW, {"NumRetries": 2, "RetryOnStatusCodes": [503]}, None),
        ({"attempts": 2}, MIDDLE, {"NumRetries": 2, "RetryOnConnectFailure": True}, None),
        ({"attempts": 2, "on": ["5xx"]}, MIDDLE, {}, "retry-on-unsupported"),
        ({"attempts": 1, "per_try_timeout": "1s", "on": ["reset"]}, NEW, {"NumRetries": 1, "RetryOn": ["reset"]}, "per-try-timeout"),
    ],
)  # fmt: skip
def test_retries_have_a_number_and_something_to_retry_on(
    retries: dict[str, Any], version: Version, fields: dict[str, Any], code: str | None
):
    rendered = made(spec(router={"prefix": "/", "retries": retries}), version)

    assert body(rendered, Kind.ROUTER)["Routes"][0].get("Destination", {}) == fields
    assert codes(rendered) == ({code} if code else set())


@pytest.mark.parametrize(
    ("prefix", "rewrite", "code"),
    [
        ("/v1", "/", "rewrite-double-slash"),
        ("/v1/", "/", None),
        ("/v1", "/api", None),
        ("/v1/", "/api", "rewrite-without-slash"),
        ("/v1", "/api/", "rewrite-double-slash"),
        ("/", "/api", "rewrite-without-slash"),
    ],
)
def test_a_rewrite_that_breaks_paths_is_said(prefix: str, rewrite: str, code: str | None):
    route = {"match": {"path_prefix": prefix}, "destination": {"prefix_rewrite": rewrite}}

    assert codes(made(spec(router={"routes": [route]}))) == ({code} if code else set())


def test_a_bad_expression_warns_on_a_route_and_is_refused_in_a_permission():
    large = "[a-z0-9]{90}"
    route = made(spec(router={"routes": [{"match": {"path_regex": large}}]}))
    permission = {"action": "allow", "http": {"path_regex": large}}
    gateway = made(spec(intentions=[{"source": "web", "permissions": [permission]}]))

    assert [(each.code, each.severity) for each in route.findings] == [("regex-unsafe", Severity.WARNING)]
    assert [(each.code, each.severity) for each in gateway.findings] == [("regex-unsafe", Severity.ERROR)]


def test_other_services_that_a_spec_names_are_its_references():
    rendered = made(
        spec(
            router={"routes": [{"destination": {"service": "Other"}}, {"destination": {"service": "pay"}}]},
            splitter=[{"weight": 100, "service": "split"}],
            resolver={"failover": {"*": {"targets": [{"service": "spare"}]}}},
        )
    )

    assert rendered.references == {"other", "split", "spare"}
    assert "reference-with-capital" in codes(rendered)


# -- resolver, intentions, row ----------------------------------------------------------------------------------------


def test_a_filter_that_nobody_can_evaluate_is_refused_on_every_consul():
    wanted = spec(resolver={"subsets": {"v1": {"filter": "Service.Nope == 1"}}})

    assert all(made(wanted, version).refused for version in (OLD, MIDDLE, NEW))


def test_failover_targets_are_refused_where_they_do_not_exist():
    wanted = spec(resolver={"failover": {"*": {"targets": [{"service": "b"}]}}})

    assert made(wanted, MIDDLE).refused
    assert not made(wanted, NEW).refused


@pytest.mark.parametrize(
    ("intentions", "severity"),
    [
        ([{"source": "web", "action": "allow"}], Severity.WARNING),
        ([{"source": "*", "action": "deny"}], Severity.ERROR),
        ([{"source": "web", "permissions": [{"action": "allow", "http": {"methods": ["GET"]}}]}], Severity.ERROR),
    ],
)
def test_without_intentions_a_deny_is_refused_and_an_allow_only_said(intentions: Any, severity: Severity):
    rendered = made(spec(intentions=intentions), OLD)

    assert [(each.code, each.severity) for each in rendered.findings] == [("intentions-unsupported", severity)]
    assert Kind.INTENTIONS not in {component.key.kind for component in rendered.components}


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ({"path_prefix": "/admin"}, True),
        ({"path_exact": "/admin"}, True),
        ({"path_prefix": "/"}, False),
        ({"methods": ["POST"]}, False),
    ],
)
def test_a_deny_by_path_is_said_to_be_passable(http: dict[str, Any], said: bool):
    rendered = made(spec(intentions=[{"source": "web", "permissions": [{"action": "deny", "http": http}]}]))

    assert ("l7-path-bypass" in codes(rendered)) is said


def test_an_empty_list_of_intentions_is_no_entry():
    assert Kind.INTENTIONS not in {component.key.kind for component in made(spec(intentions=[])).components}


@pytest.mark.parametrize(
    ("tls", "files", "row", "code"),
    [
        ({"sni": "a.b"}, GatewayFiles(), {"SNI": "a.b"}, "tls-not-originated"),
        ({"sni": "a.b"}, GatewayFiles(CA), {"SNI": "a.b", "CAFile": CA}, None),
        ({"sni": "a.b", "ca_file": CA}, GatewayFiles(), {"SNI": "a.b", "CAFile": CA}, "gateway-file-not-listed"),
        ({"sni": "a.b", "ca_file": CA}, GatewayFiles(tls=(TlsFiles(CA),)), {"SNI": "a.b", "CAFile": CA}, None),
        ({}, GatewayFiles(CA), {"CAFile": CA}, "tls-name-unchecked"),
        ({"sni": "a.b", "verify_peer": False}, GatewayFiles(CA), {"SNI": "a.b", "CAFile": CA}, "verify-peer-off"),
        (None, GatewayFiles(CA), {}, None),
    ],
)
def test_the_row_has_the_files_that_the_gateway_has(
    tls: dict[str, Any] | None, files: GatewayFiles, row: dict[str, str], code: str | None
):
    rendered = made(spec(routing={"tls": tls} if tls is not None else {}), files=files)

    assert body(rendered, Kind.GATEWAY_ROW) == {"Name": "pay", **row}
    assert codes(rendered) == ({code} if code else set())


def test_files_that_are_not_listed_are_never_only_a_warning():
    rendered = made(spec(routing={"tls": {"ca_file": "/etc/other.pem"}}))

    assert rendered.refused


@pytest.mark.parametrize(
    ("version", "host", "protocol", "row", "code"),
    [
        (NEW, "db.example.com", "http", True, None),
        ((1, 18, 1), "db.example.com", "http", None, "preserve-host-unsupported"),
        ((1, 9, 4), "db.example.com", "http", None, "preserve-host-needless"),
        ((1, 18, 1), "10.0.0.1", "http", None, "preserve-host-needless"),
        (NEW, "db.example.com", "tcp", True, "preserve-host-needless"),
    ],
)
def test_the_host_is_kept_where_consul_can(
    version: Version, host: str, protocol: str, row: bool | None, code: str | None
):
    rendered = made(spec(routing={"host": host, "preserve_host": True}, protocol=protocol), version)

    assert body(rendered, Kind.GATEWAY_ROW).get("DisableAutoHostRewrite") is row
    assert codes(rendered) == ({code} if code else set())


@pytest.mark.parametrize(
    ("wanted", "version", "code"),
    [
        (spec(exposure={"mode": "catalog_external", "terminating_gateway": None}), NEW, "no-gateway"),
        (spec(name="tgw"), NEW, "named-like-gateway"),
        (spec(routing={"port": 443}), NEW, "http-without-tls"),
        (spec(protocol="http2"), NEW, "protocol-http2"),
        (spec(name="a.b"), NEW, "name-without-identity"),
        (spec(), (1, 8, 3), "consul-too-old"),
        (spec(routing={"tls": {"sni": "a.b", "ca_file": CA}}), (1, 16, 5), "tls-san-overstrict"),
        (spec(routing={"tls": {"sni": "a.b", "ca_file": CA}}), OLD, "tls-san-unchecked"),
        (spec(resolver={"load_balancer": {"policy": "random"}}), OLD, "load-balancer-unsupported"),
        (spec(resolver={"redirect": {"service": "other"}}), NEW, "redirect-takes-all"),
        (spec(resolver={"failover": {"*": {"service": "other"}}}), NEW, "failover-sees-gateway"),
        (spec(resolver={"subsets": {"v1": {"only_passing": True}}}), NEW, "subset-sees-gateway"),
        (
            spec(routing={"port": 80}, exposure=A, intentions=[{"source": "web", "action": "deny"}]),
            NEW,
            "destination-deny-passed",
        ),
        (spec(intentions=[{"source": "web", "action": "deny"}]), NEW, ""),
    ],
)
def test_what_one_should_know_is_said(wanted: ServiceSpec, version: Version, code: str):
    assert codes(made(wanted, version)) == ({code} if code else set())


def test_labels_stand_beside_our_own_in_the_defaults_only():
    rendered = made(spec(metadata={"owner": "a", "cost center/ä": "b"}, routing={"tls": {"sni": "a.b", "ca_file": CA}}))

    assert body(rendered, Kind.DEFAULTS)["Meta"] == {
        "owner": "a",
        "cost center/ä": "b",
        "routing-host": "db.example.com",
        "routing-port": "8080",
        "tls-sni": "a.b",
        "tls-ca-file": CA,
        "managed-by": "gitsync",
        "gitsync-owner": "me/pay",
    }
    assert all(
        set(component.body["Meta"]) == {"managed-by", "gitsync-owner"}
        for component in rendered.components
        if component.key.kind in set(ENTRY_KINDS) - {Kind.DEFAULTS}
    )


def test_a_name_that_grows_too_long_in_this_datacenter_is_refused():
    wanted = spec(name="a" * 128, exposure=A, routing={"host": "b" * 38 + ".c", "port": 80})
    datacenter = "d" * 60
    rendered = render(wanted, PLACE, RenderContext("me/pay", Features(NEW, datacenter, datacenter), {}, datacenter))

    assert "name-too-long" not in codes(made(wanted))
    assert "name-too-long" in codes(rendered)
    assert rendered.components[0].key.service == ServiceKey("a" * 128)


# -- expressions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "/x/[0-9]+",
        "a|b|",
        "(?i)abc",
        "(?:a|b){3}",
        "[]a]*",
        "[^-a]",
        "[[:alpha:]_-]+?",
        r"\d{1,3}\.\w",
        "^/v1$",
        "é+",
        "x{0}",
        r"\A\z",
    ],
)
def test_an_expression_that_envoy_loads_passes(text: str):
    assert pattern_fault(text) is None


@pytest.mark.parametrize(
    "text",
    ["a**", "a{2}{3}", "*a", "{2}", "a{3,1}", "a{1001}", "(a", "a)", "[z-a]", r"\1", "(?=a)", "(?i)*", r"\pL", "[a", "a\\", "[", "x{2}*",
     "[[:nope:]]{2}*", r"[\d-z]", r"\é"],
)  # fmt: skip
def test_an_expression_that_may_not_load_does_not(text: str):
    assert pattern_fault(text)


@pytest.mark.parametrize(
    "text", ["a" * 97, "a{101}", "[a-z]{98}", "[0-9a-f-]{36}", ".{0,900}", "(" * 2000 + "a" + ")" * 2000]
)
def test_an_expression_that_is_too_large_for_envoy_does_not_pass(text: str):
    fault = pattern_fault(text)

    assert fault
    assert str(PROGRAM_LIMIT) in fault or "nested" in fault or "steps" in fault


def test_a_filter_nested_without_end_does_not_pass():
    assert filter_fault("(" * 5000)
    assert filter_fault("not " * 5000)


@pytest.mark.parametrize(
    ("action", "header", "said"),
    [
        ("deny", {"exact": "yes", "invert": True}, True),
        ("deny", {"prefix": "y", "invert": True}, True),
        ("deny", {"present": True, "invert": True}, False),
        ("deny", {"exact": "yes"}, False),
        ("allow", {"exact": "yes", "invert": True}, False),
    ],
)
def test_a_deny_by_an_inverted_header_is_said_to_be_passable_without_it(
    action: str, header: dict[str, Any], said: bool
):
    http = {"methods": ["GET"], "headers": [{"name": "x-team", **header}]}
    rendered = made(spec(intentions=[{"source": "web", "permissions": [{"action": action, "http": http}]}]))

    assert ("inverted-header" in codes(rendered)) is said
