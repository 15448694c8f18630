"""Observe: read from Consul, consistently, everything that one plan needs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gitsync.core.changed import Changed
from gitsync.engine.memory import Ledgers, Memory
from gitsync.engine.ports import Clock, Consul, Pair
from gitsync.engine.retry import retried
from gitsync.model import kv
from gitsync.model.component import CatalogNode, Entry, Found, Ledger
from gitsync.model.errors import GitsyncError, Rejected, Unavailable
from gitsync.model.features import Feature, Features
from gitsync.model.key import ENTRY_KINDS, OWNER_MARK, ComponentKey, Kind, Owner, ServiceKey

T = TypeVar("T")
FEW = 32
"""Up to so many services are read by name after they were locked; more are read by lists."""


async def read_owner(consul: Consul, clock: Clock, owner: Owner) -> kv.OwnerRecords:
    """The sync's own records."""
    pairs = await retried(lambda: consul.read_tree(kv.owner(owner)), clock)
    return kv.parse_owner(owner, ((pair.key, pair.value, pair.modify_index) for pair in pairs))


async def read_ledgers(consul: Consul, clock: Clock, memory: Memory | None = None) -> Ledgers:
    """Every ledger. A key below the prefix that is no service's path is nobody's ledger."""
    pairs = await retried(lambda: consul.kept_tree(kv.LEDGERS), clock)
    if memory is None:
        return _parsed(pairs, Memory())
    return memory.ledgers.of(lambda: _parsed(pairs, memory), pairs)


def _parsed(pairs: Iterable[Pair], memory: Memory) -> Ledgers:
    read: dict[ServiceKey, Ledger] = {}
    unread: dict[ServiceKey, str] = {}
    known: dict[ServiceKey, tuple[bytes, Ledger]] = {}
    for pair in pairs:
        key = _service(pair.key)
        if key is None:
            continue
        before = memory.ledger.get(key)
        if before and before[1].index == pair.modify_index and before[0] == pair.value:
            known[key] = before
            read[key] = before[1]
            continue
        try:
            read[key] = kv.parse_ledger(key, pair.value, pair.modify_index)
            known[key] = (pair.value, read[key])
        except Rejected as error:
            unread[key] = str(error)
    memory.ledger = known
    return Ledgers(read, unread)


def _service(key: str) -> ServiceKey | None:
    try:
        return ServiceKey.from_path(key.removeprefix(kv.LEDGERS))
    except ValueError:
        return None


async def observe_entries(consul: Consul, clock: Clock, *, intentions: bool, memory: Memory | None = None) -> Found:
    """All config entries and the names in the catalog, one list a kind, in parallel."""
    memory = memory or Memory()
    kinds = [kind for kind in ENTRY_KINDS if kind is not Kind.INTENTIONS or intentions]
    by_kind, names, datacenters = await asyncio.gather(
        retried(lambda: consul.lists([*kinds, Kind.GATEWAY_ROW]), clock),
        retried(consul.service_names, clock),
        retried(consul.datacenters, clock),
    )
    lists = tuple(by_kind[kind].entries for kind in kinds)
    gateways = by_kind[Kind.GATEWAY_ROW].entries
    return Found(
        entries=memory.entries.of(
            lambda: Changed(((kind, entry.name.lower()), entry) for kind in kinds for entry in by_kind[kind].entries),
            lists,
        ),
        gateways=memory.gateways.of(lambda: {entry.name: entry for entry in gateways}, gateways),
        services=names,
        datacenters=datacenters,
        filtered=frozenset(str(kind) for kind, listing in by_kind.items() if listing.filtered),
    )


@dataclass(frozen=True, slots=True)
class Home:
    """Our own datacenter. index: of its nodes, where it was asked a moment ago."""

    datacenter: str
    index: int | None = None


async def observe_catalog(
    consul: Consul,
    clock: Clock,
    found: Found,
    wanted: Mapping[str, Mapping[str, str]],
    *,
    owner: str,
    home: Home,
    shadowable: Collection[str],
    memory: Memory,
) -> Found:
    """*found* with the external nodes of every datacenter concerned, and with who else carries the *shadowable* names.

    wanted: datacenter → node → service of the nodes that are to be there; those that our ledgers name are looked at as well.

    A datacenter other than our own that gives no answer is `silent`: it is its own services' trouble.
    """
    recorded = memory.known_places.of(found.ledgers, counts=lambda ledger: ledger.owner == owner)
    places = {
        place: {**wanted.get(place, {}), **recorded.get(place, {})}
        for place in {home.datacenter, *wanted, *recorded}
        if place in found.datacenters or place == home.datacenter
    }
    silent: dict[str, str] = {}

    async def listed(place: str, names: Mapping[str, str]) -> tuple[CatalogNode, ...]:
        try:
            known = home.index if place == home.datacenter else None
            return await retried(partial(consul.external_nodes, place, names, index=known), clock)
        except (Rejected, Unavailable) as error:
            if place == home.datacenter:
                raise
            silent[place] = str(error)
            return ()

    lists = await asyncio.gather(*(listed(place, names) for place, names in sorted(places.items())))
    nodes = memory.nodes.of(
        lambda: Changed(((node.datacenter, node.node), node) for each in lists for node in each), *lists
    )
    names = sorted(found.services.intersection(shadowable))
    own: dict[str, set[str]] = defaultdict(set)
    for node in nodes.values() if names else ():
        if node.meta.get(OWNER_MARK):
            for service in node.services:
                own[service.name].add(node.node)
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
    features: Features,
    owner: str,
    memory: Memory,
) -> tuple[Found, dict[ServiceKey, GitsyncError]]:
    """*found* with everything of *keys* read anew: by name where they are few, else by the lists; and what could not be read.

    *components*: every component key that these services have or want, for their gateways and nodes.
    """
    keys = set(keys)
    wanted = set(components)
    datacenter, intentions = features.datacenter, features.has(Feature.INTENTIONS_ENTRY)
    blocked: dict[ServiceKey, GitsyncError] = {}
    if len(keys) > FEW:
        named: dict[str, dict[str, str]] = defaultdict(dict)
        for key in wanted:
            if key.kind is Kind.CATALOG:
                named[key.datacenter][key.node] = key.service.name
        fresh = await observe_entries(consul, clock, intentions=intentions, memory=memory)
        fresh = replace(fresh, ledgers=found.ledgers, unread=found.unread)
        fresh = await observe_catalog(
            consul,
            clock,
            fresh,
            named,
            owner=owner,
            home=Home(datacenter),
            shadowable=found.shadows,
            memory=memory,
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


def _laid_over(below: Mapping[K, V], above: Mapping[K, V | None]) -> Mapping[K, V]:
    """*below* with *above* over it, None being nothing; *below* itself where that makes no difference."""
    new = {key: value for key, value in above.items() if below.get(key) != value}
    return Changed.of(below, new) if new else below


async def still_there(
    consul: Consul, clock: Clock, keys: Iterable[ComponentKey], found: Found, *, datacenter: str
) -> set[ComponentKey]:
    """Which of *keys* still exist, asked by name: a list may leave out what the token may not see.

    What cannot be read counts as there: the token may not see it, or its datacenter does not answer.
    """
    ordered = sorted(set(keys))
    entries = [key for key in ordered if key.kind not in (Kind.GATEWAY_ROW, Kind.CATALOG)]
    rows: dict[str, list[ComponentKey]] = defaultdict(list)
    nodes: dict[str, list[ComponentKey]] = defaultdict(list)
    for key in ordered:
        if key.kind is Kind.GATEWAY_ROW:
            rows[key.at].append(key)
        elif key.kind is Kind.CATALOG:
            nodes[key.datacenter].append(key)

    async def entry(key: ComponentKey) -> list[ComponentKey]:
        there = await retried(partial(consul.read_entry, key.kind, key.service.name), clock)
        return [key] if there is not None else []

    async def gateway(name: str) -> list[ComponentKey]:
        there = await retried(partial(consul.read_entry, Kind.GATEWAY_ROW, name), clock)
        names = {row["Name"] for row in there.body.get("Services") or ()} if there else set()
        return [key for key in rows[name] if key.service.name in names]

    async def place(name: str) -> list[ComponentKey]:
        there = await retried(partial(consul.carried, name, {key.node: key.service.name for key in nodes[name]}), clock)
        return [key for key in nodes[name] if key.node in there]

    async def asked(
        question: Awaitable[list[ComponentKey]], about: list[ComponentKey], *, elsewhere: bool = False
    ) -> list[ComponentKey]:
        try:
            return await question
        except Rejected:
            return about
        except Unavailable:
            if not elsewhere:
                raise
            return about

    unreachable = [name for name in nodes if name != datacenter and not _reachable(name, found, datacenter)]
    answers = await asyncio.gather(
        *(asked(entry(key), [key]) for key in entries),
        *(asked(gateway(name), rows[name]) for name in rows),
        *(asked(place(name), nodes[name], elsewhere=name != datacenter) for name in nodes if name not in unreachable),
    )
    return {key for answer in answers for key in answer} | {key for name in unreachable for key in nodes[name]}
