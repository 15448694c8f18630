"""Every component of every example is taken by a real Consul as it was rendered, and reads back as what was wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from gitsync.core.diff import differs, field_diffs
from gitsync.core.entries.filters import filter_fault
from gitsync.core.normalize import canonical
from gitsync.core.render import render
from gitsync.core.sight import node_body
from gitsync.model.component import CatalogCheck, CatalogNode, CatalogService, Component
from gitsync.model.key import Kind
from tests.examples import GATEWAY, example_context, example_wanted
from tests.servers.consul import ConsulServer, quoted

ORDER = (Kind.CATALOG, Kind.DEFAULTS, Kind.RESOLVER, Kind.SPLITTER, Kind.ROUTER, Kind.INTENTIONS)
FILLED_IN = ("CreateIndex", "ModifyIndex", "Hash")

GOOD_FILTERS = (
    'Service.Meta.version == "v1"', "Service.Meta.version == 2", "Service.Meta.version != v1", 'Service.Meta["a.b-c"] == "x y"',
    '"a" in Service.Tags', '"a" not in Service.Tags', "Service.Tags contains a", "Service.Tags not contains `a`",
    "Service.Tags is empty", "Service.Meta is not empty", "`k` in Service.Meta", "Node.Meta contains k", "Service.ID contains a",
    '"a" not in Node.Node', 'Service.Address matches "10[.].*"', "Service.ID not matches `a+`", "Service.Port == 80",
    "Service.Port != 0", 'Checks.Status == "passing"', "Checks.CheckID == x1", "Node.Datacenter == dc1", 'Node.Address != ""',
    'not Service.ID == "x"', '(Service.ID == "x" or not (Service.Service == y)) and Node.ID != z', 'Node.Meta.k == "v"',
    'Checks.Name == "a b"', "not not Service.ID == a",
)  # fmt: skip
BAD_FILTERS = (
    "((bad", "Service.Nope == 1", "Service.Port == foo", "Service.Tags == a", 'Service.ID matches "(("', "Service.ID is empty",
    "Service.Meta.a-b == 1", 'Node.Meta.x == "a" or (Service.Service in ["a"])', "", "Service.ID ==", "and", "Service.Port == 999999",
    'Service.ID == "a" "b"', "Service.ID", "Service.Tags contains", "Service.Port contains 8",
)  # fmt: skip


def put(consul: ConsulServer, component: Component) -> None:
    if component.key.kind is not Kind.CATALOG:
        consul.put("/v1/config", dict(component.body), cas=0)
        return
    body = dict(component.body)
    if "Check" in body:
        body["Check"] = {**body["Check"], "ServiceID": body["Service"]["ID"], "Status": "passing"}
    consul.put("/v1/catalog/register", body)


def read(consul: ConsulServer, component: Component) -> dict[str, Any]:
    key = component.key
    if key.kind is Kind.CATALOG:
        return node_body(node(consul, key.node), key.service.name)
    if key.kind is Kind.GATEWAY_ROW:
        rows = consul.entry("terminating-gateway", key.at)["Services"]
        return next(row for row in rows if row["Name"] == key.service.name)
    found = consul.entry(key.kind, key.service.name)
    return {name: value for name, value in found.items() if name not in FILLED_IN}


def node(consul: ConsulServer, name: str) -> CatalogNode:
    found = consul.get(f"/v1/catalog/node/{quoted(name)}", consistent=True)
    checks = consul.get(f"/v1/health/node/{quoted(name)}", consistent=True)
    own = found["Node"]
    return CatalogNode(
        own["Datacenter"],
        own["Node"],
        own["Address"],
        own["Meta"],
        own["CreateIndex"],
        own["ModifyIndex"],
        tuple(
            CatalogService(each["ID"], each["Service"], each, each["ModifyIndex"])
            for each in found["Services"].values()
        ),
        tuple(CatalogCheck(each["CheckID"], each["ServiceID"], each, each["ModifyIndex"]) for each in checks),
    )


def in_order(components: Iterable[Component]) -> list[Component]:
    """As a run writes them: by kind, and a resolver that names other services after those."""
    return sorted(
        (component for component in components if component.key.kind is not Kind.GATEWAY_ROW),
        key=lambda component: (
            ORDER.index(component.key.kind),
            bool(component.body.get("Redirect") or component.body.get("Failover")),
            component.key,
        ),
    )


def test_what_the_examples_become_is_taken_and_reads_back_as_wanted(consul: ConsulServer):
    context = example_context(consul.version)
    rendered = [render(wanted.spec, wanted.place, context) for wanted in example_wanted().values()]
    components = [component for each in rendered if not each.refused for component in each.components]
    rows = [component for component in components if component.key.kind is Kind.GATEWAY_ROW]
    assert len(rows) >= 8

    for component in in_order(components):
        put(consul, component)
    consul.put_entry("terminating-gateway", GATEWAY, Services=[dict(row.body) for row in rows])

    for component in components:
        kind, found = component.key.kind, read(consul, component)
        assert field_diffs(kind, found, component.body) == (), component.key
        assert differs(kind, component.body, found) is False, component.key
        assert canonical(kind, component.body) == canonical(kind, found), component.key


def test_writing_the_examples_again_changes_nothing_that_counts(consul: ConsulServer):
    context = example_context(consul.version)
    wanted = example_wanted()
    again = {key: render(each.spec, each.place, context) for key, each in wanted.items()}

    assert again == {key: render(each.spec, each.place, context) for key, each in reversed(wanted.items())}


@pytest.mark.parametrize("text", GOOD_FILTERS)
def test_a_filter_that_passes_can_be_evaluated(consul: ConsulServer, text: str):
    assert filter_fault(text) is None

    for name in ("consul", "nobody"):
        assert consul.request("GET", f"/v1/health/service/{name}", filter=text).status == 200


@pytest.mark.parametrize("text", BAD_FILTERS)
def test_a_filter_that_cannot_be_evaluated_never_passes(consul: ConsulServer, text: str):
    assert filter_fault(text)

    answer = consul.request("GET", "/v1/health/service/consul", filter=text)
    assert answer.status == 500 or text in ("", "Service.Port contains 8", "Service.Port == 999999")
