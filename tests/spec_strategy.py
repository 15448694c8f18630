"""Any valid spec, for properties that hold of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from gitsync.model.context import GatewayFiles, RenderContext, TlsFiles
from gitsync.model.features import Features, Version
from gitsync.model.grammar import METHODS, RETRY_CONDITIONS
from gitsync.model.spec import ServiceSpec

NAMES = ("pay", "orders", "dev.credit", "a_b", "ledger")
HOSTS = ("db.example.com", "10.0.0.1", "2001:db8::7")
DATACENTERS = ("dc1", "west-1")
PATHS = ("/", "/v1", "/v1/", "/a/b", "/orders/")
REGEXES = ("/x/[0-9]+", "a|b", "(?i)abc", "[a-z]{200}", "x{2}*", "(?P<n>a)")
FILTERS = ('Service.Meta.version == "v1"', "Service.Nope == 1", "((", '"a" in Service.Tags')
CA, CERT, KEY = "/etc/ca.pem", "/etc/cert.pem", "/etc/key.pem"

periods = st.sampled_from(("1ms", "250ms", "1s", "5s", "15s", "16s", "1m30s", "24h"))
references = st.sampled_from((*NAMES, "Pay"))


def some(required: dict[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required or {}, optional=optional)


def exactly_one(build: Callable[[str], dict[str, Any]], *keys: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(keys).flatmap(lambda key: st.fixed_dictionaries(build(key)))


def _header(key: str) -> dict[str, Any]:
    values = {"present": st.just(True), "regex": st.sampled_from(REGEXES)}
    return {"name": st.just("x-a"), key: values.get(key, st.just("v")), "invert": st.booleans()}


def _query(key: str) -> dict[str, Any]:
    values = {"present": st.just(True), "regex": st.sampled_from(REGEXES)}
    return {"name": st.just("q"), key: values.get(key, st.just("v"))}


headers = st.lists(exactly_one(_header, "present", "exact", "prefix", "suffix", "regex"), max_size=2)
queries = st.lists(exactly_one(_query, "present", "exact", "regex"), max_size=2)
methods = st.lists(st.sampled_from(METHODS), max_size=3)
paths = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"path_exact": st.sampled_from(PATHS)}),
    st.fixed_dictionaries({"path_prefix": st.sampled_from(PATHS)}),
    st.fixed_dictionaries({"path_regex": st.sampled_from(REGEXES)}),
)
matches = st.builds(lambda path, rest: {**path, **rest}, paths, some(methods=methods, headers=headers, query=queries))
retries = some(
    {"attempts": st.integers(0, 5)},
    per_try_timeout=periods,
    on=st.lists(st.sampled_from(RETRY_CONDITIONS), max_size=3),
    status_codes=st.lists(st.integers(100, 599), max_size=2),
)
destinations = some(
    service=references,
    subset=st.just("v1"),
    prefix_rewrite=st.sampled_from(PATHS),
    request_timeout=periods,
    idle_timeout=periods,
    retries=retries,
)
routers = st.one_of(
    some({"prefix": st.sampled_from(PATHS)}, retries=retries),
    some({"routes": st.lists(some(match=matches, destination=destinations), min_size=1, max_size=3)}),
)
targets = some(service=references, subset=st.just("v1"), datacenter=st.sampled_from(DATACENTERS))
failovers = st.one_of(
    some(service=references, subset=st.just("v1"), datacenters=st.lists(st.sampled_from(DATACENTERS), unique=True)),
    some({"targets": st.lists(targets, min_size=1, max_size=2)}),
)
hash_policies = st.one_of(
    st.just({"source_ip": True}),
    some({"field": st.just("header"), "field_value": st.just("x-a")}, terminal=st.booleans()),
    some(
        {"field": st.just("cookie"), "field_value": st.just("c")},
        cookie_config=st.one_of(st.just({"session": True}), some(ttl=periods, path=st.sampled_from(PATHS))),
    ),
)
balancers = st.one_of(
    st.fixed_dictionaries({"policy": st.sampled_from(("random", "round_robin"))}),
    some({"policy": st.just("least_request")}, least_request=st.just({"choice_count": 3})),
    some(
        {"policy": st.just("ring_hash")},
        ring_hash=some(minimum=st.integers(1, 100), maximum=st.integers(100, 8_388_608)),
        hash_policies=st.lists(hash_policies, max_size=2),
    ),
    some({"policy": st.just("maglev")}, hash_policies=st.lists(hash_policies, max_size=2)),
)
subsets = st.fixed_dictionaries({"v1": some(filter=st.sampled_from(FILTERS), only_passing=st.booleans())})
resolvers = st.one_of(
    some(
        {"subsets": subsets},
        default_subset=st.just("v1"),
        failover=st.dictionaries(st.sampled_from(("*", "v1")), failovers, max_size=2),
        load_balancer=balancers,
    ),
    some(
        {"redirect": some({"service": references}, subset=st.just("v1"), datacenter=st.sampled_from(DATACENTERS))},
        load_balancer=balancers,
    ),
)
splitters = st.one_of(
    st.just([{"weight": 100}]),
    st.just([{"weight": 50, "subset": "v1"}, {"weight": 50, "service": "ledger"}]),
    st.just([{"weight": 33.33, "service": "pay"}, {"weight": 66.67, "service": "orders"}]),
)
verdicts = st.sampled_from(("allow", "deny"))
permissions = st.fixed_dictionaries(
    {
        "action": verdicts,
        "http": st.builds(lambda path, rest: {**path, **rest}, paths, some(methods=methods, headers=headers)),
    }
)
intentions = st.lists(
    st.one_of(
        st.fixed_dictionaries({"source": st.sampled_from(("*", "Web", "web2")), "action": verdicts}),
        st.fixed_dictionaries(
            {"source": st.sampled_from(("api", "batch")), "permissions": st.lists(permissions, min_size=1, max_size=2)}
        ),
    ),
    max_size=3,
    unique_by=lambda each: each["source"],
)
tls = some(
    sni=st.sampled_from(HOSTS),
    verify_peer=st.booleans(),
    ca_file=st.sampled_from((CA, "/etc/other.pem")),
)
mutual = st.just({"sni": "db.example.com", "ca_file": CA, "cert_file": CERT, "key_file": KEY})
places = st.one_of(
    st.fixed_dictionaries({"host": st.sampled_from(HOSTS), "port": st.sampled_from((80, 443, 8443, 49519))}),
    st.just({"endpoints": [{"host": "10.0.0.1", "port": 1}, {"host": "2001:db8::7", "port": 2}]}),
)
routings = st.builds(
    lambda place, rest: {**place, **rest}, places, some(preserve_host=st.booleans(), tls=st.one_of(tls, mutual))
)
gateways = st.one_of(
    st.none(), some({"service": st.sampled_from(("tgw", "TGW-2", "pay"))}, dc=st.sampled_from(DATACENTERS))
)
exposures = some(
    {"mode": st.sampled_from(("tgw_static", "catalog_external"))},
    terminating_gateway=gateways,
    dc=st.sampled_from(DATACENTERS),
    check=st.one_of(
        some({"tcp": st.just("10.0.0.1:1")}, interval=periods, timeout=periods),
        some({"http": st.just("http://db.example.com/h")}),
    ),
)
connects = some(
    {
        "mesh_policy": some(
            protocol=st.sampled_from(("tcp", "http", "http", "http2", "grpc")),
            timeouts=some(connect=periods, request=periods, idle=periods),
        )
    },
    router=routers,
    resolver=resolvers,
    splitter=splitters,
    intentions=intentions,
)
documents = some(
    {"name": st.sampled_from(NAMES), "routing": routings, "exposure": exposures, "connect": connects},
    namespace=st.sampled_from(("default", "team")),
    metadata=st.dictionaries(st.sampled_from(("owner", "ä/b", "x")), st.text("ab ", max_size=4), max_size=2),
)


def _spec(document: dict[str, Any]) -> ServiceSpec | None:
    """The spec of *document*; parts that exclude each other are left out until it is one."""
    for drop in (
        (), ("exposure", "check"), ("exposure", "dc"), ("connect", "router"), ("connect", "splitter"), ("connect", "intentions"),
        ("connect", "resolver"), ("routing", "endpoints"),
    ):  # fmt: skip
        if drop == ("routing", "endpoints"):
            document = {**document, "routing": {"host": "db.example.com", "port": 80}}
        elif drop:
            part = {key: value for key, value in document[drop[0]].items() if key != drop[1]}
            document = {**document, drop[0]: part}
        try:
            return ServiceSpec.from_json(document)
        except ValidationError:
            continue
    return None


specs: st.SearchStrategy[ServiceSpec] = documents.map(_spec).filter(lambda spec: spec is not None)
versions: st.SearchStrategy[Version] = st.sampled_from(
    (
        (1, 8, 0), (1, 8, 4), (1, 8, 7), (1, 9, 0), (1, 9, 5), (1, 9, 17), (1, 10, 0), (1, 12, 9), (1, 13, 0), (1, 13, 7), (1, 14, 0),
        (1, 14, 2), (1, 14, 5), (1, 15, 0), (1, 16, 5), (1, 17, 2), (1, 18, 1), (1, 18, 2), (1, 20, 0), (1, 21, 4), (2, 0, 1),
    )
)  # fmt: skip
contexts: st.SearchStrategy[RenderContext] = st.builds(
    lambda version, files, enterprise, deny: RenderContext(
        "test/payments",
        Features(version, "dc1", "dc1", enterprise=enterprise, default_deny=deny),
        {"tgw": files},
        "dc1",
    ),
    versions,
    st.sampled_from((GatewayFiles(), GatewayFiles(CA), GatewayFiles(tls=(TlsFiles(CA), TlsFiles(CA, CERT, KEY))))),
    st.booleans(),
    st.sampled_from((True, False, None)),
)
