"""Sight: what was found, indexed for questions about one service or one name. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitsync.core.changed import Changed
from gitsync.model.component import Body, CatalogNode, Entry, Found, Observed
from gitsync.model.grammar import normal_host
from gitsync.model.key import MANAGED_BY, OWNER_MARK, SERVICE_MARK, ComponentKey, Kind, ServiceKey

Host = tuple[str, int]
EntryKey = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Index:
    """What the entries say of each other: who names whom, who has which host, and what carries whose mark.

    referrers: lower-cased name → the entries that name it. hosts: (host, port) → the service-defaults with that Destination.
    marks: owner → name → kinds. shared_hosts: those that more than one has.
    """

    entries: Mapping[EntryKey, Entry]
    referrers: dict[str, frozenset[EntryKey]] = field(default_factory=dict)
    hosts: dict[Host, frozenset[str]] = field(default_factory=dict)
    marks: dict[str, dict[str, frozenset[Kind]]] = field(default_factory=dict)
    shared_hosts: set[Host] = field(default_factory=set)

    @classmethod
    def of(cls, entries: Mapping[EntryKey, Entry], last: Index | None = None) -> Index:
        """The index of *entries*; made from *last*, which is left as it is, where most of them are the same objects."""
        if last is not None and last.entries is entries:
            return last
        if last is None:
            index = cls(entries)
            index._add(entries.items())
            return index
        new, gone = _apart(entries, last.entries)
        if len(new) + len(gone) > len(entries) // 2:
            return cls.of(entries)
        marks = {owner: dict(names) for owner, names in last.marks.items()}
        index = cls(entries, dict(last.referrers), dict(last.hosts), marks, set(last.shared_hosts))
        index._take(gone)
        index._add(new)
        return index

    def _add(self, entries: Iterable[tuple[EntryKey, Entry]]) -> None:
        # Sets first: with one frozenset after the other a name that thousands refer to would cost their square.
        referrers: dict[str, set[EntryKey]] = defaultdict(set)
        hosts: dict[Host, set[str]] = defaultdict(set)
        marks: dict[tuple[str, str], set[Kind]] = defaultdict(set)
        for key, entry in entries:
            kind, name = key
            if kind in NAMING:
                for target in references(kind, entry.body):
                    referrers[target].add(key)
            elif kind is Kind.DEFAULTS:
                for host in hosts_of(entry.body):
                    hosts[host].add(name)
            meta = entry.body.get("Meta")
            if meta and meta.get(MANAGED_BY) == "gitsync" and (owner := meta.get(OWNER_MARK)):
                marks[owner, name].add(kind)
        for target, keys in referrers.items():
            self.referrers[target] = self.referrers.get(target, frozenset()) | keys
        for host, names in hosts.items():
            self.hosts[host] = self.hosts.get(host, frozenset()) | names
            if len(self.hosts[host]) > 1:
                self.shared_hosts.add(host)
        for (owner, name), kinds in marks.items():
            of_owner = self.marks.setdefault(owner, {})
            of_owner[name] = of_owner.get(name, frozenset()) | kinds

    def _take(self, entries: Iterable[tuple[EntryKey, Entry]]) -> None:
        for key, entry in entries:
            kind, name = key
            for target in references(kind, entry.body) if kind in NAMING else ():
                self.referrers[target] = self.referrers[target] - {key}
            for host in hosts_of(entry.body) if kind is Kind.DEFAULTS else ():
                self.hosts[host] = self.hosts[host] - {name}
                if len(self.hosts[host]) < 2:
                    self.shared_hosts.discard(host)
            for names in self.marks.values():
                if name in names and not (left := names[name] - {kind}):
                    del names[name]
                elif name in names:
                    names[name] = left


def _apart(
    entries: Mapping[EntryKey, Entry], old: Mapping[EntryKey, Entry]
) -> tuple[list[tuple[EntryKey, Entry]], list[tuple[EntryKey, Entry]]]:
    """What is in one and not, as that object, in the other."""
    if isinstance(entries, Changed) and (keys := entries.since(old)) is not None:
        return [(key, entries[key]) for key in keys if key in entries], [(key, old[key]) for key in keys if key in old]
    if len(entries) == len(old):  # most often the same keys in the same order
        pairs = zip(entries.items(), old.items(), strict=True)
        both = [(one, two) for one, two in pairs if one[1] is not two[1]]
        if all(one[0] == two[0] for one, two in both):
            return [one for one, _ in both], [two for _, two in both]
    new = [(key, entry) for key, entry in entries.items() if old.get(key) is not entry]
    return new, [(key, entry) for key, entry in old.items() if entries.get(key) is not entry]


class Sight:
    """One snapshot, asked many questions. Built once a plan, so that 10,000 services stay linear; from the *last* one, it costs
    what is new."""

    def __init__(self, found: Found, last: Sight | None = None) -> None:
        self.found = found
        self.index: Index = Index.of(found.entries, last.index if last else None)
        self._rows: dict[str, Mapping[str, Body]] = {
            gateway: last.rows(gateway)
            if last and last.found.gateways.get(gateway) is entry
            else {row["Name"]: row for row in entry.body.get("Services") or ()}
            for gateway, entry in found.gateways.items()
        }
        same = last is not None and last.index is self.index and last.found.nodes is found.nodes
        self.by_owner: dict[str, Mapping[ServiceKey, frozenset[ComponentKey]]] = last.by_owner if last and same else {}

    def entry(self, kind: Kind, name: str) -> Entry | None:
        return self.found.entries.get((kind, name.lower()))

    def row(self, gateway: str, name: str) -> Body | None:
        return self._rows.get(gateway, {}).get(name)

    def rows(self, gateway: str) -> Mapping[str, Body]:
        """The rows of a gateway, by name."""
        return self._rows.get(gateway, {})

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

    def marked(self, owner: str) -> Mapping[ServiceKey, frozenset[ComponentKey]]:
        """Everything that carries *owner*'s mark, by service: what a lost ledger can be rebuilt from."""
        if owner not in self.by_owner:
            self.by_owner[owner] = self._find_marked(owner)
        return self.by_owner[owner]

    def marked_among(self, owner: str, keys: Collection[ServiceKey]) -> Mapping[ServiceKey, frozenset[ComponentKey]]:
        """As `marked`, of *keys* only."""
        if owner in self.by_owner:
            return {key: self.by_owner[owner][key] for key in keys if key in self.by_owner[owner]}
        paths = {key.path for key in keys}
        marks = self.index.marks.get(owner, {})
        nodes = {at: node for at, node in self.found.nodes.items() if node.meta.get(SERVICE_MARK) in paths}
        names = {key.name: marks[key.name] for key in keys if key.name in marks and key == ServiceKey(key.name)}
        return _marked(owner, names, nodes)

    def _find_marked(self, owner: str) -> dict[ServiceKey, frozenset[ComponentKey]]:
        return _marked(owner, self.index.marks.get(owner, {}), self.found.nodes)

    def left_over(self, key: ComponentKey) -> bool:
        """Whether *key* is a node of which only what others registered on it is left, so that it is not ours to delete."""
        node = self.node(key.datacenter, key.node) if key.kind is Kind.CATALOG else None
        return node is not None and left_over(node, key.service.name)

    def referrers(self, name: str) -> frozenset[EntryKey]:
        """The (kind, lower-cased name) of every entry that names the service *name* somewhere in it."""
        return self.index.referrers.get(name.lower(), frozenset())


def _marked(
    owner: str, names: Mapping[str, frozenset[Kind]], nodes: Mapping[tuple[str, str], CatalogNode]
) -> dict[ServiceKey, frozenset[ComponentKey]]:
    result: dict[ServiceKey, frozenset[ComponentKey]] = {}
    for name, kinds in names.items():
        service = ServiceKey(name)
        result[service] = frozenset(ComponentKey(service, kind) for kind in kinds)
    for (datacenter, name), node in nodes.items():
        if owns(node.meta, owner) and node.meta.get(SERVICE_MARK, "").count("/") == 2:
            service = ServiceKey.from_path(node.meta[SERVICE_MARK])
            if not left_over(node, service.name):
                component = ComponentKey(service, Kind.CATALOG, f"{datacenter}/{name}")
                result[service] = result.get(service, frozenset()) | {component}
    return result


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


def hosts_of(body: Body | None) -> frozenset[Host]:
    """The (host in its one spelling, port) pairs of a service-defaults' Destination."""
    destination = (body or {}).get("Destination")
    if not destination:
        return frozenset()
    port = int(destination.get("Port") or 0)
    return frozenset((_spelled(str(address)), port) for address in destination.get("Addresses") or ())


def _spelled(address: str) -> str:
    return normal_host(address) if ":" in address else address.lower()  # only IPv6 has several spellings


NAMING = frozenset({Kind.ROUTER, Kind.SPLITTER, Kind.RESOLVER})
"""The kinds that name other services."""


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
