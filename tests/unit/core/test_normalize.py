"""One spelling for what means the same: what Consul fills in, lower-cases, sorts and prints in its own way."""

from __future__ import annotations

import pytest

from gitsync.core.diff import differs
from gitsync.core.merge import merged
from gitsync.core.normalize import canonical, content_hash
from gitsync.model.key import Kind

MEANS_THE_SAME = [
    (
        Kind.DEFAULTS,
        {"Protocol": "http"},
        {"Protocol": "HTTP", "MeshGateway": {}, "Expose": {}, "TransparentProxy": {}},
    ),
    (
        Kind.DEFAULTS,
        {"Protocol": "http", "Meta": {}},
        {"Kind": "service-defaults", "Protocol": "http", "Hash": 2**63, "CreateIndex": 5, "ModifyIndex": 6},
    ),
    (Kind.RESOLVER, {"ConnectTimeout": "1500ms"}, {"ConnectTimeout": "1.5s"}),
    (
        Kind.RESOLVER,
        {"ConnectTimeout": "90s"},
        {"ConnectTimeout": "1m30s", "RequestTimeout": "0s", "DefaultSubset": ""},
    ),
    (
        Kind.RESOLVER,
        {"LoadBalancer": {"HashPolicies": [{"CookieConfig": {"TTL": "10s"}}]}},
        {"LoadBalancer": {"HashPolicies": [{"CookieConfig": {"TTL": 10_000_000_000, "Path": ""}}]}},
    ),
    (Kind.RESOLVER, {"Subsets": {"v1": {}}}, {"Subsets": {"v1": {"Filter": "", "OnlyPassing": False}}}),
    (
        Kind.ROUTER,
        {
            "Routes": [
                {"Match": {"HTTP": {"PathPrefix": "/", "Methods": ["get", "PUT"]}}, "Destination": {"NumRetries": 0}}
            ]
        },
        {
            "Routes": [
                {
                    "Match": {"HTTP": {"PathPrefix": "/", "Methods": ["PUT", "GET"]}},
                    "Destination": {"Namespace": "default"},
                }
            ]
        },
    ),
    (Kind.ROUTER, {"Routes": [{}]}, {"Routes": [{"Match": None, "Destination": {}}]}),
    (Kind.ROUTER, {}, {"Routes": None}),
    (
        Kind.SPLITTER,
        {"Splits": [{"Weight": 33.333}, {"Weight": 66.667, "Service": "b"}]},
        {"Splits": [{"Weight": 66.67, "Service": "b"}, {"Weight": 33.33}]},
    ),
    (
        Kind.INTENTIONS,
        {"Sources": [{"Name": "web", "Action": "allow"}, {"Name": "*", "Action": "deny"}]},
        {
            "Sources": [
                {"Name": "*", "Action": "deny", "Precedence": 8, "Type": "consul"},
                {"Name": "web", "Action": "allow", "Precedence": 9, "Type": "consul"},
            ]
        },
    ),
    (Kind.GATEWAY_ROW, {"Name": "a"}, {"Name": "a", "CAFile": "", "Namespace": "default"}),
    (
        Kind.CATALOG,
        {"Node": "n", "Service": {"ID": "a", "Port": 80}},
        {
            "Node": "n",
            "Service": {
                "ID": "a",
                "Port": 80,
                "Weights": {"Passing": 1, "Warning": 1},
                "Proxy": {},
                "Connect": {},
                "EnableTagOverride": False,
            },
        },
    ),
    (
        Kind.CATALOG,
        {"Node": "n", "Check": {"CheckID": "gitsync:a", "Definition": {"TCP": "h:80", "Interval": "10s"}}},
        {
            "Node": "n",
            "Check": {
                "CheckID": "gitsync:a",
                "Status": "critical",
                "Output": "no",
                "Type": "",
                "ServiceName": "a",
                "Definition": {"TCP": "h:80", "Interval": "10s"},
            },
        },
    ),
    (
        Kind.CATALOG,
        {"Node": "n", "NodeMeta": {"external-node": "true"}},
        {"Node": "n", "NodeMeta": {"external-node": "true", "rack": "7"}},
    ),
]
DIFFERS = [
    (Kind.DEFAULTS, {"Protocol": "http"}, {"Protocol": "grpc"}),
    (Kind.DEFAULTS, {"Protocol": "http", "Destination": {"Addresses": ["h"], "Port": 80}}, {"Protocol": "http"}),
    (Kind.RESOLVER, {"Subsets": {"v1": {}}}, {}),
    (Kind.RESOLVER, {"LoadBalancer": {"LeastRequestConfig": {}}}, {}),
    (Kind.RESOLVER, {}, {"Redirect": {"Peer": "elsewhere", "Service": "a"}}),
    (Kind.ROUTER, {"Routes": [{}, {}]}, {"Routes": [{}]}),
    (
        Kind.ROUTER,
        {"Routes": [{"Destination": {"Service": "a"}}, {"Destination": {"Service": "b"}}]},
        {"Routes": [{"Destination": {"Service": "b"}}, {"Destination": {"Service": "a"}}]},
    ),
    (Kind.SPLITTER, {"Splits": [{"Weight": 100}, {"Weight": 0, "Service": "b"}]}, {"Splits": [{"Weight": 100}]}),
    (
        Kind.INTENTIONS,
        {"Sources": [{"Name": "web", "Action": "allow"}]},
        {"Sources": [{"Name": "web", "Action": "deny"}]},
    ),
    (Kind.GATEWAY_ROW, {"Name": "a", "SNI": "x"}, {"Name": "a"}),
    (Kind.CATALOG, {"Node": "n", "Address": "h"}, {"Node": "n", "Address": "i"}),
]


@pytest.mark.parametrize(("kind", "wanted", "found"), MEANS_THE_SAME)
def test_what_consul_makes_of_a_body_means_the_same(kind, wanted, found):
    body, _ = merged(kind, wanted, found, our_meta_keys=frozenset())

    assert not differs(kind, body, found)
    assert canonical(kind, wanted) == canonical(kind, found)
    assert content_hash(kind, wanted) == content_hash(kind, found)


@pytest.mark.parametrize(("kind", "one", "two"), DIFFERS)
@pytest.mark.parametrize("turned", [False, True])
def test_what_means_something_else_differs(kind, one, two, turned):
    wanted, found = (two, one) if turned else (one, two)
    body, _ = merged(kind, wanted, found, our_meta_keys=None)

    assert differs(kind, body, found)
    assert canonical(kind, wanted) != canonical(kind, found)
    assert content_hash(kind, wanted) != content_hash(kind, found)


def test_inside_an_entry_its_own_namespace_is_the_default():
    one = {"Name": "a", "Namespace": "team", "Routes": [{"Destination": {"Service": "b"}}]}
    two = {"Name": "a", "Namespace": "team", "Routes": [{"Destination": {"Service": "b", "Namespace": "team"}}]}
    three = {"Name": "a", "Namespace": "team", "Routes": [{"Destination": {"Service": "b", "Namespace": "default"}}]}

    assert canonical(Kind.ROUTER, one) == canonical(Kind.ROUTER, two) != canonical(Kind.ROUTER, three)


def test_labels_become_the_text_that_consul_makes_of_them():
    assert canonical(Kind.DEFAULTS, {"Meta": {"pii": True, "tier": 1, "off": False}})["Meta"] == {
        "pii": "1",
        "tier": "1",
        "off": "0",
    }


def test_a_duration_that_is_none_is_shown_as_it_stands():
    assert canonical(Kind.RESOLVER, {"ConnectTimeout": "soon"}) == {"ConnectTimeout": "soon"}
