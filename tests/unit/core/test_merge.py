"""What is sent: what is wanted, and what somebody else put there that no spec can express."""

from __future__ import annotations

import pytest

from gitsync.core.diff import differs
from gitsync.core.merge import merged
from gitsync.model.key import Kind

ROUTE = {"Match": {"HTTP": {"PathPrefix": "/v1/"}}, "Destination": {"NumRetries": 2}}


def test_without_anything_there_the_wanted_body_is_sent():
    assert merged(Kind.DEFAULTS, {"Protocol": "http"}, None, our_meta_keys=None) == ({"Protocol": "http"}, ())


def test_fields_that_no_spec_can_express_are_carried_over_and_named():
    found = {
        "Protocol": "tcp",
        "EnvoyExtensions": [{"Name": "builtin/lua"}],
        "MeshGateway": {},
        "MaxInboundConnections": 0,
    }
    body, carried = merged(Kind.DEFAULTS, {"Protocol": "http"}, found, our_meta_keys=None)

    assert body == {"Protocol": "http", "EnvoyExtensions": [{"Name": "builtin/lua"}]}
    assert carried == ("EnvoyExtensions",)


def test_fields_that_a_spec_can_express_are_absent_if_the_spec_does_not_have_them():
    body, carried = merged(
        Kind.RESOLVER, {"Name": "a"}, {"Name": "a", "DefaultSubset": "v1", "Subsets": {"v1": {}}}, our_meta_keys=None
    )

    assert body == {"Name": "a"}
    assert carried == ()


def test_a_route_is_recognised_by_its_match_wherever_it_stands():
    theirs = {"Match": ROUTE["Match"], "Destination": {"NumRetries": 5, "RequestHeaders": {"Set": {"x": "y"}}}}
    body, carried = merged(Kind.ROUTER, {"Routes": [{}, ROUTE]}, {"Routes": [theirs]}, our_meta_keys=None)

    assert body["Routes"] == [{}, {**ROUTE, "Destination": {"NumRetries": 2, "RequestHeaders": {"Set": {"x": "y"}}}}]
    assert carried == ("Routes[1].Destination.RequestHeaders",)


def test_a_group_that_we_leave_empty_keeps_what_others_put_into_it():
    wanted = {"Routes": [{"Match": {"HTTP": {"PathPrefix": "/"}}}]}
    found = {
        "Routes": [
            {
                "Match": {"HTTP": {"PathPrefix": "/"}},
                "Destination": {"NumRetries": 1, "ResponseHeaders": {"Add": {"a": "b"}}},
            }
        ]
    }
    body, _ = merged(Kind.ROUTER, wanted, found, our_meta_keys=None)

    assert body["Routes"][0]["Destination"] == {"ResponseHeaders": {"Add": {"a": "b"}}}


def test_two_routes_with_one_match_keep_apart_what_others_put_there():
    found = {"Routes": [{**ROUTE, "Extra": 1}, {**ROUTE, "Extra": 2}]}
    body, _ = merged(Kind.ROUTER, {"Routes": [ROUTE, ROUTE, ROUTE]}, found, our_meta_keys=None)

    assert [route.get("Extra") for route in body["Routes"]] == [1, 2, None]


def test_splits_sources_subsets_and_failovers_are_recognised_by_their_keys():
    splits, carried = merged(
        Kind.SPLITTER,
        {"Splits": [{"Weight": 10, "Service": "b"}, {"Weight": 90}]},
        {"Splits": [{"Weight": 50}, {"Weight": 50, "Service": "b", "RequestHeaders": {"Add": {"a": "b"}}}]},
        our_meta_keys=None,
    )
    assert splits["Splits"][0] == {"Weight": 10, "Service": "b", "RequestHeaders": {"Add": {"a": "b"}}}
    assert carried == ("Splits[b].RequestHeaders",)

    sources, carried = merged(
        Kind.INTENTIONS,
        {"Sources": [{"Name": "web", "Action": "deny"}]},
        {
            "Sources": [
                {"Name": "web", "Action": "allow", "Description": "by hand", "Precedence": 9},
                {"Name": "gone", "Action": "allow"},
            ]
        },
        our_meta_keys=None,
    )
    assert sources["Sources"] == [{"Name": "web", "Action": "deny", "Description": "by hand"}]
    assert carried == ("Sources[web].Description",)

    resolver, carried = merged(
        Kind.RESOLVER,
        {"Failover": {"*": {"Service": "b"}}},
        {"Failover": {"*": {"Service": "c", "Policy": {"Mode": "order-by-locality"}}, "v1": {"Service": "d"}}},
        our_meta_keys=None,
    )
    assert resolver["Failover"] == {"*": {"Service": "b", "Policy": {"Mode": "order-by-locality"}}}
    assert carried == ("Failover.*.Policy",)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (frozenset({"team", "tier"}), {"team": "red", "by-hand": "x"}),
        (frozenset(), {"team": "red", "tier": "1", "by-hand": "x"}),
        (None, {"team": "red", "tier": "1", "by-hand": "x"}),
    ],
)
def test_meta_is_compared_three_ways(written, expected):
    found = {"Meta": {"team": "blue", "tier": "1", "by-hand": "x"}}

    assert merged(Kind.DEFAULTS, {"Meta": {"team": "red"}}, found, our_meta_keys=written)[0]["Meta"] == expected


def test_what_belongs_to_others_on_a_node_is_carried_without_a_word():
    wanted = {
        "Node": "n",
        "NodeMeta": {"external-node": "true"},
        "Service": {"ID": "a", "Port": 81},
        "Check": {"CheckID": "gitsync:a", "Definition": {"TCP": "h:81"}},
    }
    found = {
        "Node": "n",
        "NodeMeta": {"external-node": "true", "rack": "7"},
        "Service": {"ID": "a", "Port": 80, "Weights": {"Passing": 3, "Warning": 1}},
        "Check": {"CheckID": "gitsync:a", "Status": "critical", "Output": "refused", "Definition": {"TCP": "h:80"}},
    }
    body, carried = merged(Kind.CATALOG, wanted, found, our_meta_keys=None)

    assert body["NodeMeta"]["rack"] == "7"
    assert body["Service"] == {"ID": "a", "Port": 81, "Weights": {"Passing": 3, "Warning": 1}}
    assert body["Check"]["Status"] == "critical"
    assert carried == ()


def test_what_was_merged_and_stored_does_not_differ_again():
    found = {"Protocol": "tcp", "EnvoyExtensions": [{"Name": "x"}], "Meta": {"a": "1"}}
    body, _ = merged(Kind.DEFAULTS, {"Protocol": "http", "Meta": {"b": "2"}}, found, our_meta_keys=None)
    again, _ = merged(Kind.DEFAULTS, {"Protocol": "http", "Meta": {"b": "2"}}, body, our_meta_keys=frozenset({"b"}))

    assert differs(Kind.DEFAULTS, body, found)
    assert not differs(Kind.DEFAULTS, again, body)
