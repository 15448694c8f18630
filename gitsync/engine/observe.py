"""Observe: read from Consul, consistently, everything that one plan needs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gitsync.engine.ports import Clock, Consul
from gitsync.engine.retry import retried
from gitsync.model import kv
from gitsync.model.component import CatalogNode, Component, Entry, Found, Ledger, Listing
from gitsync.model.errors import GitsyncError, Rejected, Unavailable
from gitsync.model.key import ENTRY_KINDS, OWNER_MARK, ComponentKey, Kind, Owner, ServiceKey

T = TypeVar("T")
FEW = 32
"""Up to so many services are read by name after they were locked; more are read by lists."""


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Every ledger, ours and other syncs'. unread: those that cannot be read, and why: they are never taken for absent."""

    read: Mapping[ServiceKey, Ledger]
    unread: Mapping[ServiceKey, str]


async def read_owner(consul: Consul, clock: Clock, owner: Owner) -> kv.OwnerRecords:
    """The sync's own records."""
    pairs = await retried(lambda: consul.read_tree(kv.owner(owner)), clock)
    return kv.parse_owner(owner, ((pair.key, pair.value, pair.modify_index) for pair in pairs))


async def read_ledgers(consul: Consul, clock: Clock) -> Ledgers:
    """Every ledger. A key below the prefix that is no service's path is nobody's ledger."""
    read: dict[ServiceKey, Ledger] = {}
    unread: dict[ServiceKey, str] = {}
    for pair in await retried(lambda: consul.read_tree(kv.LEDGERS), clock):
        key = _service(pair.key)
        if key is None:
            continue
        try:
            read[key] = kv.parse_ledger(key, pair.value, pair.modify_index)
        except Rejected as error:
            unread[key] = str(error)
    return Ledgers(read, unread)


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
    """*found* with the external nodes of every datacenter concerned, and with who else carries the *shadowable* names.

    A datacenter other than our own that gives no answer is `silent`: it is its own services' trouble.
    """
    catalog = {component.key for component in components if component.key.kind is Kind.CATALOG}
    for ledger in found.ledgers.values():
        if ledger.owner == owner:
            catalog |= {component.key for component in ledger.components if component.key.kind is Kind.CATALOG}
    places: dict[str, dict[str, str]] = defaultdict(dict, {datacenter: {}})
    for key in catalog:
        if key.datacenter in found.datacenters or key.datacenter == datacenter:
            places[key.datacenter][key.node] = key.service.name
    silent: dict[str, str] = {}

    async def listed(place: str, names: Mapping[str, str]) -> tuple[CatalogNode, ...]:
        try:
            return await retried(partial(consul.external_nodes, place, names), clock)
        except (Rejected, Unavailable) as error:
            if place == datacenter:
                raise
            silent[place] = str(error)
            return ()

    lists = await asyncio.gather(*(listed(place, names) for place, names in sorted(places.items())))
    nodes = {(node.datacenter, node.node): node for each in lists for node in each}
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
    return replace(found, nodes=nodes, shadows=shadows, silent=silent)


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
) -> tuple[Found, dict[ServiceKey, GitsyncError]]:
    """*found* with everything of *keys* read anew: by name where they are few, else by the lists; and what could not be read.

    *components*: every component key that these services have or want, for their gateways and nodes.
    """
    keys = set(keys)
    wanted = set(components)
    blocked: dict[ServiceKey, GitsyncError] = {}
    if len(keys) > FEW:
        fresh = await observe_entries(consul, clock, intentions=intentions)
        fresh = replace(fresh, ledgers=found.ledgers, unread=found.unread)
        fresh = await observe_catalog(
            consul,
            clock,
            fresh,
            [Component(key, {}) for key in wanted],
            owner=owner,
            datacenter=datacenter,
            shadowable=found.shadows,
        )
        for key in wanted:
            if key.kind is Kind.CATALOG and key.datacenter in fresh.silent and key.datacenter not in found.silent:
                blocked[key.service] = Unavailable(fresh.silent[key.datacenter])
        return fresh, blocked
    kinds = [kind for kind in ENTRY_KINDS if kind is not Kind.INTENTIONS or intentions]
    names = [(kind, key.name) for kind in kinds for key in sorted(keys)]
    gateways: dict[str, set[ServiceKey]] = defaultdict(set)
    nodes: dict[tuple[str, str], set[ServiceKey]] = defaultdict(set)
    for key in wanted:
        if key.kind is Kind.GATEWAY_ROW:
            gateways[key.at].add(key.service)
        elif key.kind is Kind.CATALOG and _reachable(key.datacenter, found, datacenter):
            nodes[key.datacenter, key.node].add(key.service)

    async def read(
        what: Callable[[], Awaitable[T]], services: Iterable[ServiceKey], *, elsewhere: bool = False
    ) -> T | None:
        """What the token may not see, or another datacenter does not say, is the trouble of the *services* that need it."""
        try:
            return await retried(what, clock)
        except Rejected as error:
            blocked.update(dict.fromkeys(services, error))
        except Unavailable as error:
            if not elsewhere:
                raise
            blocked.update(dict.fromkeys(services, error))
        return None

    by_name: dict[str, list[ServiceKey]] = defaultdict(list)
    for each in keys:
        by_name[each.name].append(each)
    entries, rows, places = await asyncio.gather(
        asyncio.gather(*(read(partial(consul.read_entry, kind, name), by_name[name]) for kind, name in names)),
        asyncio.gather(
            *(read(partial(consul.read_entry, Kind.GATEWAY_ROW, name), users) for name, users in gateways.items())
        ),
        asyncio.gather(
            *(read(partial(consul.read_node, *at), users, elsewhere=at[0] != datacenter) for at, users in nodes.items())
        ),
    )
    fresh = replace(
        found,
        entries=_laid_over(
            found.entries, {(kind, name.lower()): entry for (kind, name), entry in zip(names, entries, strict=True)}
        ),
        gateways=_laid_over(found.gateways, dict(zip(gateways, rows, strict=True))),
        nodes=_laid_over(found.nodes, dict(zip(nodes, places, strict=True))),
    )
    return fresh, blocked


def _reachable(datacenter: str, found: Found, own: str) -> bool:
    return datacenter == own or (datacenter in found.datacenters and datacenter not in found.silent)


K = TypeVar("K", bound=object)
V = TypeVar("V", Entry, CatalogNode)


def _laid_over(below: Mapping[K, V], above: Mapping[K, V | None]) -> dict[K, V]:
    result = {key: value for key, value in below.items() if key not in above}
    result.update({key: value for key, value in above.items() if value is not None})
    return result


async def still_there(
    consul: Consul, clock: Clock, keys: Iterable[ComponentKey], found: Found, *, datacenter: str
) -> set[ComponentKey]:
    """Which of *keys* still exist, asked by name: a list may leave out what the token may not see.

    What cannot be read counts as there: the token may not see it, or its datacenter does not answer.
    """

    async def exists(key: ComponentKey) -> bool:
        elsewhere = key.kind is Kind.CATALOG and key.datacenter != datacenter
        if elsewhere and not _reachable(key.datacenter, found, datacenter):
            return True
        try:
            return await stands(key)
        except Rejected:
            return True
        except Unavailable:
            if not elsewhere:
                raise
            return True

    async def stands(key: ComponentKey) -> bool:
        if key.kind is Kind.GATEWAY_ROW:
            gateway = await retried(lambda: consul.read_entry(Kind.GATEWAY_ROW, key.at), clock)
            return gateway is not None and any(
                row["Name"] == key.service.name for row in gateway.body.get("Services") or ()
            )
        if key.kind is Kind.CATALOG:
            node = await retried(lambda: consul.read_node(key.datacenter, key.node), clock)
            return node is not None and any(service.id == key.service.name for service in node.services)
        return await retried(lambda: consul.read_entry(key.kind, key.service.name), clock) is not None

    ordered = sorted(set(keys))
    answers = await asyncio.gather(*(exists(key) for key in ordered))
    return {key for key, there in zip(ordered, answers, strict=True) if there}
