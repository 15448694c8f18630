"""Sight: what was found, indexed for questions about one service or one name. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from gitsync.model.component import Body, CatalogNode, Entry, Found, Observed
from gitsync.model.key import MANAGED_BY, OWNER_MARK, SERVICE_MARK, ComponentKey, Kind, ServiceKey


class Sight:
    """One snapshot, asked many questions. Built once a plan, so that 10,000 services stay linear."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self._rows: dict[str, dict[str, Body]] = {
            gateway: {row["Name"]: row for row in entry.body.get("Services") or ()}
            for gateway, entry in found.gateways.items()
        }
        self._referrers: dict[str, set[tuple[Kind, str]]] = defaultdict(set)
        for (kind, name), entry in found.entries.items():
            for target in references(kind, entry.body):
                self._referrers[target].add((kind, name))

    def entry(self, kind: Kind, name: str) -> Entry | None:
        return self.found.entries.get((kind, name.lower()))

    def row(self, gateway: str, name: str) -> Body | None:
        return self._rows.get(gateway, {}).get(name)

    def gateways_with(self, name: str) -> Iterator[str]:
        """The gateways that have a row of exactly this name."""
        return (gateway for gateway, rows in self._rows.items() if name in rows)

    def node(self, datacenter: str, node: str) -> CatalogNode | None:
        return self.found.nodes.get((datacenter, node))

    def observed(self, key: ComponentKey) -> Observed | None:
        """The component of that key as it stands in Consul, None if it is not there."""
        name = key.service.name
        if key.kind is Kind.GATEWAY_ROW:
            row = self.row(key.at, name)
            gateway = self.found.gateways.get(key.at)
            return (
                Observed(key, row, gateway.create_index, gateway.modify_index) if row is not None and gateway else None
            )
        if key.kind is Kind.CATALOG:
            node = self.node(key.datacenter, key.node)
            return Observed(key, node_body(node, name), node.create_index, node.modify_index) if node else None
        entry = self.entry(key.kind, name)
        return Observed(key, entry.body, entry.create_index, entry.modify_index) if entry else None

    def marked(self, owner: str) -> dict[ServiceKey, set[ComponentKey]]:
        """Everything that carries *owner*'s mark, by service: what a lost ledger can be rebuilt from."""
        kinds: dict[str, list[Kind]] = defaultdict(list)
        for (kind, name), entry in self.found.entries.items():
            if owns(entry.meta, owner):
                kinds[name].append(kind)
        result: dict[ServiceKey, set[ComponentKey]] = defaultdict(set)
        for name, marked in kinds.items():
            service = ServiceKey(name)
            result[service] = {ComponentKey(service, kind) for kind in marked}
        for (datacenter, name), node in self.found.nodes.items():
            if owns(node.meta, owner) and node.meta.get(SERVICE_MARK, "").count("/") == 2:
                service = ServiceKey.from_path(node.meta[SERVICE_MARK])
                if not left_over(node, service.name):
                    result[service].add(ComponentKey(service, Kind.CATALOG, f"{datacenter}/{name}"))
        return dict(result)

    def left_over(self, key: ComponentKey) -> bool:
        """Whether *key* is a node of which only what others registered on it is left, so that it is not ours to delete."""
        node = self.node(key.datacenter, key.node) if key.kind is Kind.CATALOG else None
        return node is not None and left_over(node, key.service.name)

    def referrers(self, name: str) -> AbstractSet[tuple[Kind, str]]:
        """The (kind, lower-cased name) of every entry that names the service *name* somewhere in it."""
        return self._referrers.get(name.lower(), set())


def owns(meta: Mapping[str, str], owner: str) -> bool:
    return meta.get(MANAGED_BY) == "gitsync" and meta.get(OWNER_MARK) == owner


def left_over(node: CatalogNode, service: str) -> bool:
    """Whether others have services on *node* and *service* has nothing on it any more."""
    ours = any(each.id == service for each in node.services) or any(each.service_id == service for each in node.checks)
    return bool(node.services) and not ours


def node_body(node: CatalogNode, service: str) -> dict[str, Any]:
    """A catalog node in the shape of `Component.body`, with the service and the check of ours that stand on it."""
    body: dict[str, Any] = {
        "Node": node.node,
        "Datacenter": node.datacenter,
        "Address": node.address,
        "NodeMeta": dict(node.meta),
    }
    registered = next((each for each in node.services if each.id == service), None)
    if registered:
        body["Service"] = registered.body
    check = next((each for each in node.checks if each.service_id == service and each.id.startswith("gitsync:")), None)
    if check:
        body["Check"] = check.body
    return body


def references(kind: Kind, body: Body) -> frozenset[str]:
    """The lower-cased names of the services that a router, splitter or resolver names, its own left out."""
    names: set[str] = set()
    match kind:
        case Kind.ROUTER:
            names = {(route.get("Destination") or {}).get("Service") or "" for route in body.get("Routes") or ()}
        case Kind.SPLITTER:
            names = {split.get("Service") or "" for split in body.get("Splits") or ()}
        case Kind.RESOLVER:
            names = {each.get("Service") or "" for each in _targets(body)}
    return frozenset(name.lower() for name in names if name) - {str(body.get("Name", "")).lower()}


def references_here(kind: Kind, body: Body) -> frozenset[str]:
    """As `references`, without what is looked for in a datacenter that is named: its catalog is not read."""
    if kind is not Kind.RESOLVER:
        return references(kind, body)
    here = (each for each in _targets(body) if not (each.get("Datacenter") or each.get("Datacenters")))
    return frozenset(str(each.get("Service") or "").lower() for each in here) - {"", str(body.get("Name", "")).lower()}


def subsets_named(kind: Kind, body: Body) -> frozenset[tuple[str, str]]:
    """The (lower-cased service, subset) pairs that an entry names, its own service's included."""
    own = str(body.get("Name", ""))
    pairs: Iterable[tuple[str, str]] = ()
    match kind:
        case Kind.ROUTER:
            destinations = [route.get("Destination") or {} for route in body.get("Routes") or ()]
            pairs = [(each.get("Service") or own, each.get("ServiceSubset") or "") for each in destinations]
        case Kind.SPLITTER:
            pairs = [(each.get("Service") or own, each.get("ServiceSubset") or "") for each in body.get("Splits") or ()]
        case Kind.RESOLVER:
            pairs = [(each.get("Service") or own, each.get("ServiceSubset") or "") for each in _targets(body)]
    return frozenset((service.lower(), subset) for service, subset in pairs if subset)


def _targets(resolver: Body) -> Iterator[Mapping[str, Any]]:
    """Where a resolver leads to in this mesh. A peer's services are not ours to know."""
    failovers = (resolver.get("Failover") or {}).values()
    targets = [each for failover in failovers for each in (failover, *(failover.get("Targets") or ()))]
    return (each for each in (resolver.get("Redirect") or {}, *targets) if not each.get("Peer"))


def redirected(resolver: Body) -> frozenset[str]:
    """The lower-cased name of the other service to which a resolver redirects everything, if it does."""
    redirect = resolver.get("Redirect") or {}
    name = "" if redirect.get("Peer") else str(redirect.get("Service") or "").lower()
    return frozenset({name} - {"", str(resolver.get("Name", "")).lower()})


def permissions(intentions: Body) -> bool:
    """Whether any of these intentions decides by request, which needs an http-like protocol."""
    return any(source.get("Permissions") for source in intentions.get("Sources") or ())


def protocol(body: Body | None) -> str:
    """The protocol a service-defaults gives, "tcp" where it says none."""
    return str((body or {}).get("Protocol") or "tcp").lower()
