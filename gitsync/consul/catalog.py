"""The catalog: external nodes with a service and a check, read in few requests and written in transactions."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitsync.consul import txn
from gitsync.consul.answer import Answer
from gitsync.consul.client import Client, segment
from gitsync.consul.entries import CONSISTENT
from gitsync.consul.placing import ESM_CHECK, place, raw_node, service_in, takes_away
from gitsync.consul.shelf import Shelf
from gitsync.consul.txn import MOST_OPERATIONS
from gitsync.model import jsontext
from gitsync.model.component import Body, CatalogCheck, CatalogNode, CatalogService
from gitsync.model.errors import Forbidden, StaleIndex, Unavailable
from gitsync.model.key import SERVICE_MARK

EXTERNAL = "external-node:true"
NOBODY = "gitsync-nobody:has-this"
"""A node meta of no node: the answer is empty, and carries the index of its table."""

INDEXES = frozenset({"CreateIndex", "ModifyIndex"})

Fence = tuple[str, str]
"""(lock key, session)."""


@dataclass(frozen=True, slots=True)
class _Nodes:
    """The external nodes of a datacenter as they were read, and others that were asked for (*unlisted*)."""

    services: Mapping[str, str]
    nodes: tuple[CatalogNode, ...]
    names: frozenset[str]
    unlisted: frozenset[str]


class Catalog:
    """The catalogs of all datacenters, as one Consul shows them."""

    def __init__(self, client: Client, shelf: Shelf) -> None:
        self._client = client
        self._shelf = shelf

    async def external_nodes(
        self, datacenter: str, services: Mapping[str, str], *, index: int | None = None
    ) -> tuple[CatalogNode, ...]:
        """Every external node of a datacenter, and every node of *services* (node → service name) whatever it is.

        index: what `nodes_index` said a moment ago; None asks it now.

        With its checks, and with that service where *services* or the node's own mark names one; others are not looked at, so
        only `read_node` says what else is on a node. Source: Consul HTTP API, GET /v1/catalog/nodes, GET /v1/health/state/any.
        """
        place = ("nodes", datacenter)
        # Indexes first: what moves while the lists are read makes them not current the next time.
        index = await self.nodes_index(datacenter) if index is None else index
        kept: _Nodes | None = self._shelf.current(place, index)
        if kept is not None and kept.services == services:
            return kept.nodes
        if kept is not None:
            fresh = {node: name for node, name in services.items() if kept.services.get(node) != name}
            gone = kept.unlisted - services.keys()
            if not gone and (
                not fresh or not (fresh.keys() & kept.names or await self._nodes(sorted(fresh), datacenter))
            ):
                return kept.nodes
        last: _Nodes | None = self._shelf.last(place)
        nodes = await self._external_nodes(datacenter, services)
        if last is not None:
            known = {node.node: node for node in last.nodes}
            nodes = tuple(known[node.node] if known.get(node.node) == node else node for node in nodes)
        names = frozenset(node.node for node in nodes)
        unlisted = frozenset(node.node for node in nodes if node.meta.get("external-node") != "true")
        self._shelf.keep(place, index, _Nodes(dict(services), nodes, names, unlisted))
        return nodes

    async def nodes_index(self, datacenter: str) -> int:
        """An index that moves with any node, service or check of *datacenter*, 0 if there is none."""
        services, checks = await asyncio.gather(
            self._index_of("services", "/v1/catalog/services", {"dc": datacenter}),
            self._index_of("checks", "/v1/health/state/any", {"dc": datacenter}),
        )
        return max(services, checks) if min(services, checks) > 1 else 0

    async def _index_of(self, what: str, path: str, where: Mapping[str, str]) -> int:
        """The index of a table, from a question that finds nothing."""
        params = {**CONSISTENT, **where, "node-meta": NOBODY}
        return (await self._client.ask("GET", path, params, what=f"index of the {what}")).index

    async def _external_nodes(self, datacenter: str, services: Mapping[str, str]) -> tuple[CatalogNode, ...]:
        params = {**CONSISTENT, "dc": datacenter, "node-meta": EXTERNAL}
        listed, health = await asyncio.gather(
            self._list("/v1/catalog/nodes", params, f"external nodes of {datacenter}"),
            self._list("/v1/health/state/any", params, f"checks of the external nodes of {datacenter}"),
        )
        nodes = {node["Node"]: node for node in listed}
        checks: dict[str, list[CatalogCheck]] = defaultdict(list)
        for check in health:
            checks[check["Node"]].append(_check(check))
        unlisted = [node for node in services if node not in nodes]
        for each in (await self._nodes(unlisted, datacenter)).values():
            nodes[each["Node"]] = each
        wanted = {node: name for node, each in nodes.items() if (name := services.get(node) or _marked(each))}
        carried, hidden = await self._services(wanted, datacenter)
        if not hidden.isdisjoint(services):
            raise _unseen(datacenter, f"the service on {min(hidden & services.keys())}", "service read")
        return tuple(
            _node(each, datacenter, services=(carried[name],) if name in carried else (), checks=checks.get(name, ()))
            for name, each in sorted(nodes.items())
        )

    async def read_node(self, datacenter: str, node: str) -> CatalogNode | None:
        """A node with all that is on it, None if it certainly is not there. Raises Forbidden where the token may not see it.

        Source: Consul HTTP API, GET /v1/catalog/node/:node, GET /v1/health/node/:node.
        """
        return (await self._whole(datacenter, node))[0]

    async def _whole(self, datacenter: str, node: str) -> tuple[CatalogNode | None, bool]:
        """The node, and whether Consul says that there is something on it which the token may not see."""
        what = f"catalog node {datacenter}/{node}"
        params = {**CONSISTENT, "dc": datacenter}
        # A plain read says `null` both for what is absent and for what may not be seen; a transaction tells them apart.
        raw, services, health = await asyncio.gather(
            self._nodes([node], datacenter),
            self._client.ask("GET", f"/v1/catalog/node/{segment(node)}", params, what=what),
            self._client.ask("GET", f"/v1/health/node/{segment(node)}", params, what=what),
        )
        if not raw:
            return None, False
        try:
            found = services.json()
            on_it = tuple(map(_service, found["Services"].values())) if found else ()
            checks = tuple(map(_check, health.json() or ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise _strange(services, what) from error
        return _node(raw[node], datacenter, on_it, checks), services.filtered or health.filtered

    async def carried(self, datacenter: str, services: Mapping[str, str]) -> frozenset[str]:
        """Those nodes of *services* (node → service ID) that have the service, and those where it may not be seen.

        Source: Consul HTTP API, PUT /v1/txn.
        """
        found, hidden = await self._services(services, datacenter)
        return frozenset(found) | hidden

    async def register(self, wanted: Body, seen: CatalogNode | None, *, fence: Fence | None) -> None:
        """Make node, service and check what *wanted* says (Component.body of a catalog node), if they still are as *seen*.

        Only what differs is written. Raises StaleIndex if something changed since, Fenced, Forbidden, Refused, Unknown.
        Source: Consul HTTP API, PUT /v1/txn.
        """
        node, datacenter = wanted["Node"], wanted["Datacenter"]
        what = f"catalog node {datacenter}/{node}"
        there: Mapping[str, Any] | None = None
        if seen is not None:
            there = (await self._nodes([node], datacenter)).get(node)
            if there is None or there["ModifyIndex"] != seen.modify_index:
                raise StaleIndex(what, seen.modify_index)
        operations = place(wanted, seen, there)
        await self._write(operations, fence, datacenter, what, seen.modify_index if seen else 0)

    async def deregister(
        self, seen: CatalogNode, service_id: str, check_ids: Sequence[str], *, fence: Fence | None
    ) -> None:
        """Take our service and our checks away, and the node when nothing else is on it but consul-esm's own check.

        A service that somebody registers between our read and our write goes with the node. Raises StaleIndex if the service
        changed since it was *seen*, Fenced, Forbidden, Unknown.
        """
        what = f"catalog node {seen.datacenter}/{seen.node}"
        now, hidden = await self._whole(seen.datacenter, seen.node)
        if now is None:
            return
        before = {service.id: service.modify_index for service in seen.services}
        ours = next((service for service in now.services if service.id == service_id), None)
        if ours is not None and before.get(service_id) != ours.modify_index:
            raise StaleIndex(f"{what} service {service_id}", before.get(service_id, 0))
        mine = {check.id for check in now.checks if check.id in check_ids or check.service_id == service_id}
        others = [service for service in now.services if service.id != service_id]
        others_checks = [check for check in now.checks if check.id not in mine and check.id != ESM_CHECK]
        with_node = not (others or others_checks or hidden)
        operations = takes_away(now, ours, sorted(mine & set(check_ids)), with_node=with_node)
        await self._write(operations, fence, seen.datacenter, what, now.modify_index)

    async def service_names(self) -> frozenset[str]:
        """The names of all services in the agent's own datacenter that the token may see."""
        index = await self._index_of("services", "/v1/catalog/services", {})
        kept: frozenset[str] | None = self._shelf.current("names", index)
        if kept is not None:
            return kept
        answer = await self._client.ask("GET", "/v1/catalog/services", CONSISTENT, what="names of services")
        names = answer.json() if answer.status == 200 else None
        if not isinstance(names, dict):
            raise _strange(answer, "names of services")
        self._shelf.keep("names", 0 if answer.filtered else index, frozenset(names))
        return frozenset(names)

    async def service_nodes(self, name: str) -> tuple[str, ...]:
        """The nodes that carry a service of that name in the agent's own datacenter, sorted."""
        rows = await self._list(f"/v1/catalog/service/{segment(name)}", CONSISTENT, f"nodes of the service {name}")
        return tuple(sorted({row["Node"] for row in rows}))

    async def datacenters(self) -> tuple[str, ...]:
        """The datacenters that Consul knows, sorted."""
        return tuple(sorted(await self._list("/v1/catalog/datacenters", {}, "datacenters")))

    async def _list(self, path: str, params: Mapping[str, str], what: str) -> list[Any]:
        answer = await self._client.ask("GET", path, params, what=what)
        rows = answer.json() if answer.status == 200 else None
        if not isinstance(rows, list):
            raise _strange(answer, what)
        return rows

    async def _nodes(self, names: Sequence[str], datacenter: str) -> dict[str, Mapping[str, Any]]:
        """Those of the nodes that are there, as Consul has them. Raises Forbidden if the token may not see one that is."""
        parts = await asyncio.gather(
            *(
                self._gets(
                    "Node", "Node", {name: raw_node(name) for name in names[at : at + MOST_OPERATIONS]}, datacenter
                )
                for at in range(0, len(names), MOST_OPERATIONS)
            )
        )
        hidden = {name for _, unseen in parts for name in unseen}
        if hidden:
            raise _unseen(datacenter, f"the node {min(hidden)}", "node read")
        return {name: body for found, _ in parts for name, body in found.items()}

    async def _services(
        self, wanted: Mapping[str, str], datacenter: str
    ) -> tuple[dict[str, CatalogService], frozenset[str]]:
        """For each node of *wanted* (node → service ID) that service, if it is on it; and the nodes where it may not be seen."""
        # A result does not say which node it is of, so no ID stands twice in a transaction.
        portions: list[dict[str, str]] = []
        rounds: dict[str, int] = defaultdict(int)
        layers: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for node, service in wanted.items():
            layers[rounds[service.lower()]].append((service, node))
            rounds[service.lower()] += 1
        for layer in layers.values():
            portions += [dict(layer[at : at + MOST_OPERATIONS]) for at in range(0, len(layer), MOST_OPERATIONS)]
        parts = await asyncio.gather(
            *(
                self._gets(
                    "Service",
                    "ID",
                    {service: service_in(node, service) for service, node in portion.items()},
                    datacenter,
                )
                for portion in portions
            )
        )
        carried = {
            portion[service]: _service(body)
            for portion, (found, _) in zip(portions, parts, strict=True)
            for service, body in found.items()
        }
        hidden = frozenset(
            portion[service] for portion, (_, unseen) in zip(portions, parts, strict=True) for service in unseen
        )
        return carried, hidden

    async def _gets(
        self, kind: str, field: str, operations: Mapping[str, Mapping[str, Any]], datacenter: str
    ) -> tuple[dict[str, Mapping[str, Any]], set[str]]:
        """One transaction of gets, by what *field* of their results says: what is there, and what may not be seen.

        What is absent fails all of it, in every version: the rest is sent again without it.
        """
        what = f"catalog of {datacenter}"
        left = list(operations)
        while left:
            outcome = await txn.run(
                self._client,
                [jsontext.compact(operations[name]) for name in left],
                write=False,
                what=what,
                datacenter=datacenter,
            )
            if denied := txn.denial(outcome.failures, what):
                raise denied
            if not outcome.failures:
                bodies = {result[kind][field].lower(): result[kind] for result in outcome.results}
                found = {name: bodies[name.lower()] for name in left if name.lower() in bodies}
                return found, set(left) - set(found)
            absent = {failure.op_index for failure in outcome.failures if failure.absent}
            if not absent:
                raise Unavailable(f"{what}: {outcome.failures[0].what}")
            left = [name for at, name in enumerate(left) if at not in absent]
        return {}, set()

    async def _write(
        self, operations: Sequence[Mapping[str, Any]], fence: Fence | None, datacenter: str, what: str, index: int
    ) -> None:
        if not operations:
            return
        guard = [{"KV": {"Verb": "check-session", "Key": fence[0], "Session": fence[1]}}] if fence else []
        outcome = await txn.run(
            self._client,
            [jsontext.compact(each) for each in (*guard, *operations)],
            write=True,
            what=what,
            datacenter=datacenter,
        )
        if denied := txn.denial(outcome.failures, what):
            raise denied
        if outcome.failures:
            raise StaleIndex(f"{what} ({outcome.failures[0].what})", index)


def _marked(node: Mapping[str, Any]) -> str:
    """The name of the service that a node says it is for."""
    return str((node.get("Meta") or {}).get(SERVICE_MARK, "")).rpartition("/")[2]


def _node(
    body: Mapping[str, Any], datacenter: str, services: Sequence[CatalogService], checks: Sequence[CatalogCheck]
) -> CatalogNode:
    return CatalogNode(
        datacenter=datacenter,
        node=body["Node"],
        address=body["Address"],
        meta=body.get("Meta") or {},
        create_index=body["CreateIndex"],
        modify_index=body["ModifyIndex"],
        services=tuple(sorted(services, key=lambda service: service.id)),
        checks=tuple(sorted(checks, key=lambda check: check.id)),
    )


def _service(body: Mapping[str, Any]) -> CatalogService:
    return CatalogService(body["ID"], body["Service"], _content(body), body["ModifyIndex"])


def _check(body: Mapping[str, Any]) -> CatalogCheck:
    return CatalogCheck(body["CheckID"], body.get("ServiceID") or "", _content(body), body["ModifyIndex"])


def _content(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without indexes, and without empty lists, which one way of reading shows as `null` and another as `[]`."""
    return {name: value for name, value in body.items() if name not in INDEXES and value is not None and value != []}


def _unseen(datacenter: str, what: str, right: str) -> Forbidden:
    return Forbidden(f"catalog of {datacenter}: the token may not see {what}. It needs {right} on it.")


def _strange(answer: Answer, what: str) -> Unavailable:
    return Unavailable(f"{what}: the answer is {answer.text[:80]!r}. Check the address of Consul.")
