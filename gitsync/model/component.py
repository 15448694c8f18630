"""What one service becomes in Consul, and what was found there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gitsync.model.key import ComponentKey, Kind, ServiceKey

Body = Mapping[str, Any]
"""A JSON object as Consul's HTTP API takes it (PascalCase keys). Never mutated after it was made."""


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that a service wants stored.

    `body` by kind: a config entry as PUT /v1/config takes it, with Meta, without indexes; a gateway row as it stands in a
    terminating-gateway's `Services`; for a catalog node `{Node, Datacenter, Address, NodeMeta, Service: {ID, Service, Address,
    Port, Meta}, Check: {CheckID, Name, Definition} | absent}`. hash: its content hash.
    """

    key: ComponentKey
    body: Body
    hash: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A config entry as it was read: `body` without CreateIndex, ModifyIndex and Hash."""

    kind: str
    name: str
    body: Body
    create_index: int
    modify_index: int

    @property
    def meta(self) -> Mapping[str, str]:
        return self.body.get("Meta") or {}


@dataclass(frozen=True, slots=True)
class CatalogService:
    """One service on a catalog node, as read; `body` holds ID, Service, Address, Port, Meta and Tags."""

    id: str
    name: str
    body: Body
    modify_index: int


@dataclass(frozen=True, slots=True)
class CatalogCheck:
    """One check on a catalog node, as read; `body` is the whole HealthCheck object without indexes."""

    id: str
    service_id: str
    body: Body
    modify_index: int


@dataclass(frozen=True, slots=True)
class CatalogNode:
    """A catalog node that carries `external-node`, with what is registered on it."""

    datacenter: str
    node: str
    address: str
    meta: Mapping[str, str]
    create_index: int
    modify_index: int
    services: tuple[CatalogService, ...] = ()
    checks: tuple[CatalogCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as Consul answered it. `filtered`: Consul said that the token may not see all of it (only from 1.11.0)."""

    entries: tuple[Entry, ...]
    index: int
    filtered: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """A component as it stands in Consul now, in the shape of `Component.body`."""

    key: ComponentKey
    body: Body
    create_index: int
    modify_index: int


@dataclass(frozen=True, slots=True)
class LedgerComponent:
    """A component in a ledger.

    state: `intended` (about to be written) or `written` (was read back). hash: of the canonical object that was written, for an
    intended one of what is to be written. meta_keys: the Meta keys that we wrote, for entries.
    """

    key: ComponentKey
    state: str
    hash: str
    meta_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a spec came from: the path in the repository and the commit that last changed it, or the API's actor."""

    path: str
    commit: str = ""


@dataclass(frozen=True)
class Ledger:
    """gitsync's own record of a service, written ahead of every change (design.md section 5). `index` is its ModifyIndex."""

    key: ServiceKey
    owner: str
    state: str  # applying, applied, deleting, released
    spec: Body
    spec_hash: str
    version: int
    accessor_id: str
    origin: Origin
    components: tuple[LedgerComponent, ...] = ()
    index: int = 0

    @functools.cached_property
    def places(self) -> tuple[tuple[str, str, str], ...]:
        """(datacenter, node, service) of the catalog nodes among its components."""
        keys = (each.key for each in self.components if each.key.kind is Kind.CATALOG)
        return tuple((key.datacenter, key.node, key.service.name) for key in keys)

    def component(self, key: ComponentKey) -> LedgerComponent | None:
        return next((component for component in self.components if component.key == key), None)


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was read from Consul for one plan.

    entries: by (kind, lower-cased name), the five entry kinds, ours and foreign. gateways: terminating-gateway entries by name.
    nodes: external nodes by (datacenter, name). services: names in the catalog with their tags, and whether a node of ours
    is all that carries them is not said here. shadows: for names of ours that the catalog also has, the (node) names that carry
    them, ours excluded. filtered: the lists from which Consul said it left something out. silent: datacenters whose nodes could not
    be read, and why. unread: services whose ledger could not be read, and why.
    """

    entries: Mapping[tuple[Kind, str], Entry] = field(default_factory=dict)
    gateways: Mapping[str, Entry] = field(default_factory=dict)
    nodes: Mapping[tuple[str, str], CatalogNode] = field(default_factory=dict)
    services: frozenset[str] = frozenset()
    shadows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    datacenters: tuple[str, ...] = ()
    ledgers: Mapping[ServiceKey, Ledger] = field(default_factory=dict)
    filtered: frozenset[str] = frozenset()
    silent: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[ServiceKey, str] = field(default_factory=dict)
