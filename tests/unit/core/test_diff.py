"""Differences field by field, as a person reads them."""

from __future__ import annotations

import pytest

from gitsync.core.diff import field_diffs
from gitsync.model.key import Kind
from gitsync.model.plan import FieldDiff


def route(prefix: str, **to) -> dict:
    return {"Match": {"HTTP": {"PathPrefix": prefix}}, "Destination": to}


CASES = {
    "a field": (Kind.DEFAULTS, {"Protocol": "tcp"}, {"Protocol": "http"}, [("Protocol", "tcp", "http")]),
    "a field of its own spelling": (Kind.RESOLVER, {"ConnectTimeout": "1.5s"}, {"ConnectTimeout": "1500ms"}, []),
    "a struct that comes": (
        Kind.DEFAULTS,
        {},
        {"Destination": {"Addresses": ["h"], "Port": 80}},
        [("Destination.Addresses", None, ["h"]), ("Destination.Port", None, 80)],
    ),
    "a label": (
        Kind.DEFAULTS,
        {"Meta": {"team": "blue", "tier": "1"}},
        {"Meta": {"team": "red", "new": "x"}},
        [("Meta.new", None, "x"), ("Meta.team", "blue", "red"), ("Meta.tier", "1", None)],
    ),
    "a route in place": (
        Kind.ROUTER,
        {"Routes": [route("/", NumRetries=1)]},
        {"Routes": [route("/", NumRetries=2)]},
        [("Routes[0].Destination.NumRetries", 1, 2)],
    ),
    "a route put first": (
        Kind.ROUTER,
        {"Routes": [route("/a"), route("/b")]},
        {"Routes": [route("/new"), route("/a"), route("/b")]},
        [("Routes[0].Match.HTTP.PathPrefix", None, "/new")],
    ),
    "a route without anything": (
        Kind.ROUTER,
        {"Routes": [route("/a")]},
        {"Routes": [route("/a"), {}]},
        [("Routes[1]", None, {})],
    ),
    "a subset without anything": (Kind.RESOLVER, {}, {"Subsets": {"v1": {}}}, [("Subsets.v1", None, {})]),
    "a subset's filter": (
        Kind.RESOLVER,
        {"Subsets": {"v1": {"Filter": "a"}}},
        {"Subsets": {"v1": {"Filter": "b"}}},
        [("Subsets.v1.Filter", "a", "b")],
    ),
    "a split": (
        Kind.SPLITTER,
        {"Splits": [{"Weight": 100}]},
        {"Splits": [{"Weight": 1, "Service": "pay", "ServiceSubset": "v1"}, {"Weight": 99}]},
        [
            ("Splits[].Weight", 100.0, 99.0),
            ("Splits[pay:v1].Service", None, "pay"),
            ("Splits[pay:v1].ServiceSubset", None, "v1"),
            ("Splits[pay:v1].Weight", None, 1.0),
        ],
    ),
    "a source": (
        Kind.INTENTIONS,
        {"Sources": [{"Name": "web", "Action": "allow"}]},
        {"Sources": [{"Name": "web", "Action": "deny"}]},
        [("Sources[web].Action", "allow", "deny")],
    ),
    "a field of somebody else that goes": (
        Kind.DEFAULTS,
        {"MaxInboundConnections": 5},
        {},
        [("MaxInboundConnections", 5, None)],
    ),
    "a name in another case": (Kind.DEFAULTS, {"Name": "A"}, {"Name": "a"}, [("Name", "A", "a")]),
}


@pytest.mark.parametrize(("kind", "before", "after", "expected"), CASES.values(), ids=CASES)
def test_a_difference_is_named_by_its_path(kind, before, after, expected):
    assert list(field_diffs(kind, before, after)) == [FieldDiff(*each) for each in expected]


def test_of_what_comes_or_goes_the_name_is_not_repeated():
    assert field_diffs(Kind.DEFAULTS, None, {"Name": "a", "Protocol": "http"}) == (FieldDiff("Protocol", None, "http"),)
    assert field_diffs(Kind.DEFAULTS, {"Name": "a", "Protocol": "http"}, None) == (FieldDiff("Protocol", "http", None),)


def test_what_the_server_fills_in_is_no_difference():
    filled = {"Protocol": "http", "MeshGateway": {}, "Expose": {}, "CreateIndex": 1, "ModifyIndex": 2, "Hash": 3}

    assert field_diffs(Kind.DEFAULTS, filled, {"Protocol": "http"}) == ()
