"""Observe: read from Consul, consistently, everything that one plan needs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gitsync.engine.ports import Clock, Consul
from gitsync.engine.retry import retried
from gitsync.model import kv
from gitsync.model.component import CatalogNode, Component, Entry, Found, Ledger, Listing
from gitsync.model.errors import Rejected
from gitsync.model.key import ENTRY_KINDS, OWNER_MARK, ComponentKey, Kind, Owner, ServiceKey

T = TypeVar("T")
FEW = 32
"""Up to so many services are read by name after they were locked; more are read by lists."""


@dataclass(frozen=True, slots=True)
class Records:
    """gitsync's own records: the sync's, and the ledgers of everybody."""

    owner: kv.OwnerRecords
    ledgers: Mapping[ServiceKey, Ledger]


async def read_owner(consul: Consul, clock: Clock, owner: Owner) -> kv.OwnerRecords:
    """The sync's own records."""
    pairs = await retried(lambda: consul.read_tree(kv.owner(owner)), clock)
    return kv.parse_owner(owner, ((pair.key, pair.value, pair.modify_index) for pair in pairs))


async def read_ledgers(consul: Consul, clock: Clock) -> dict[ServiceKey, Ledger]:
    """Every ledger, ours and other syncs'. A key below the prefix that is no service's path is nobody's ledger."""
    pairs = await retried(lambda: consul.read_tree(kv.LEDGERS), clock)
    return {
        key: kv.parse_ledger(key, pair.value, pair.modify_index)
        for pair in pairs
        if (key := _service(pair.key)) is not None
    }


def _service(key: str) -> ServiceKey | None:
    try:
        return ServiceKey.from_path(key.removeprefix(kv.LEDGERS))
    except ValueError:
        return None


async def observe_entries(consul: Consul, clock: Clock, *, intentions: bool) -> Found:
    """All config entries and the names in the catalog, one list a kind, in parallel."""
    kinds = [kind for kind in ENTRY_KINDS if kind is not Kind.INTENTIONS or intentions] + [Kind.GATEWAY_ROW]
    listings, names, datacenters = await asyncio.gather(
        asyncio.gather(*(retried(partial(consul.list_entries, kind), clock) for kind in kinds)),
        retried(consul.service_names, clock),
        retried(consul.datacenters, clock),
    )
    by_kind: dict[Kind, Listing] = dict(zip(kinds, listings, strict=True))
    gateways = by_kind.pop(Kind.GATEWAY_ROW)
    return Found(
        entries={(kind, entry.name.lower()): entry for kind, listing in by_kind.items() for entry in listing.entries},
        gateways={entry.name: entry for entry in gateways.entries},
        services=names,
        datacenters=datacenters,
        filtered=frozenset(
            str(kind) for kind, listing in [*by_kind.items(), (Kind.GATEWAY_ROW, gateways)] if listing.filtered
        ),
    )


async def observe_catalog(
    consul: Consul,
    clock: Clock,
    found: Found,
    components: Iterable[Component],
    *,
    owner: str,
    datacenter: str,
    shadowable: Iterable[str],
) -> Found:
    """*found* with the external nodes of every datacenter concerned, and with who else carries the *shadowable* names."""
    catalog = {component.key for component in components if component.key.kind is Kind.CATALOG}
    for ledger in found.ledgers.values():
        if ledger.owner == owner:
            catalog |= {component.key for component in ledger.components if component.key.kind is Kind.CATALOG}
    places: dict[str, dict[str, str]] = defaultdict(dict, {datacenter: {}})
    for key in catalog:
        if key.datacenter in found.datacenters or key.datacenter == datacenter:
            places[key.datacenter][key.node] = key.service.name
    lists = await asyncio.gather(
        *(retried(partial(consul.external_nodes, place, names), clock) for place, names in sorted(places.items()))
    )
    nodes = {(node.datacenter, node.node): node for listed in lists for node in listed}
    own: dict[str, set[str]] = defaultdict(set)
    for node in nodes.values():
        if node.meta.get(OWNER_MARK):
            for service in node.services:
                own[service.name].add(node.node)
    names = sorted(set(shadowable) & found.services)
    carriers = await asyncio.gather(*(retried(partial(consul.service_nodes, name), clock) for name in names))
    shadows = {
        name: strangers
        for name, carrying in zip(names, carriers, strict=True)
        if (strangers := tuple(sorted(set(carrying) - own[name])))
    }
    return replace(found, nodes=nodes, shadows=shadows)


async def observe_again(
    consul: Consul,
    clock: Clock,
    found: Found,
    keys: Iterable[ServiceKey],
    components: Iterable[ComponentKey],
    *,
    intentions: bool,
    owner: str,
    datacenter: str,
) -> Found:
    """*found* with everything of *keys* read anew: by name where they are few, else by the lists.

    *components*: every component key that these services have or want, for their gateways and nodes.
    """
    keys = set(keys)
    wanted = set(components)
    if len(keys) > FEW:
        fresh = await observe_entries(consul, clock, intentions=intentions)
        fresh = replace(fresh, ledgers=found.ledgers)
        return await observe_catalog(
            consul,
            clock,
            fresh,
            [Component(key, {}) for key in wanted],
            owner=owner,
            datacenter=datacenter,
            shadowable=found.shadows,
        )
    kinds = [kind for kind in ENTRY_KINDS if kind is not Kind.INTENTIONS or intentions]
    names = [(kind, key.name) for kind in kinds for key in sorted(keys)]
    gateways = sorted({key.at for key in wanted if key.kind is Kind.GATEWAY_ROW})
    nodes = sorted({(key.datacenter, key.node) for key in wanted if key.kind is Kind.CATALOG})
    entries, rows, places = await asyncio.gather(
        asyncio.gather(*(retried(partial(consul.read_entry, kind, name), clock) for kind, name in names)),
        asyncio.gather(*(retried(partial(consul.read_entry, Kind.GATEWAY_ROW, name), clock) for name in gateways)),
        asyncio.gather(*(retried(partial(consul.read_node, *at), clock) for at in nodes)),
    )
    return replace(
        found,
        entries=_laid_over(
            found.entries, {(kind, name.lower()): entry for (kind, name), entry in zip(names, entries, strict=True)}
        ),
        gateways=_laid_over(found.gateways, dict(zip(gateways, rows, strict=True))),
        nodes=_laid_over(found.nodes, dict(zip(nodes, places, strict=True))),
    )


K = TypeVar("K", bound=object)
V = TypeVar("V", Entry, CatalogNode)


def _laid_over(below: Mapping[K, V], above: Mapping[K, V | None]) -> dict[K, V]:
    result = {key: value for key, value in below.items() if key not in above}
    result.update({key: value for key, value in above.items() if value is not None})
    return result


async def still_there(consul: Consul, clock: Clock, keys: Iterable[ComponentKey]) -> set[ComponentKey]:
    """Which of *keys* still exist, asked by name: a list may leave out what the token may not see."""

    async def exists(key: ComponentKey) -> bool:
        if key.kind is Kind.GATEWAY_ROW:
            gateway = await retried(lambda: consul.read_entry(Kind.GATEWAY_ROW, key.at), clock)
            return gateway is not None and any(
                row["Name"] == key.service.name for row in gateway.body.get("Services") or ()
            )
        if key.kind is Kind.CATALOG:
            try:
                node = await retried(lambda: consul.read_node(key.datacenter, key.node), clock)
            except Rejected:
                return True
            return node is not None and any(service.id == key.service.name for service in node.services)
        return await retried(lambda: consul.read_entry(key.kind, key.service.name), clock) is not None

    ordered = sorted(set(keys))
    answers = await asyncio.gather(*(exists(key) for key in ordered))
    return {key for key, there in zip(ordered, answers, strict=True) if there}
