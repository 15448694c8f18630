"""A plan: the changes that make Consul what is wanted, each with its diff and its reason, and what to know besides."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any

from gitsync.model.component import Body, Ledger
from gitsync.model.finding import Finding
from gitsync.model.key import ComponentKey, ServiceKey


class Action(StrEnum):
    """What happens to a component."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Phase(IntEnum):
    """When a change is written. All services pass one phase before any enters the next (design.md section 6)."""

    MAKE_ROOM = 0  # a Destination is dropped because another service takes its host over
    TAKE_ROUTES = 1  # routers, splitters and redirects that must be out of the way of a protocol
    CATALOG = 2
    DEFAULTS = 3
    RESOLVERS = 4
    SPLITTERS = 5
    ROUTERS = 6
    INTENTIONS = 7
    ROWS = 8
    ROWS_GONE = 9  # only of rows that move between two gateways
    INTENTIONS_GONE = 10
    ROUTERS_GONE = 11
    SPLITTERS_GONE = 12
    CONTRACT = 13  # what a bridge had widened becomes what is wanted
    RESOLVERS_GONE = 14
    DEFAULTS_GONE = 15
    CATALOG_GONE = 16


class Verdict(StrEnum):
    """What a plan says of a service."""

    UNCHANGED = "unchanged"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REFUSED = "refused"
    CONFLICT = "conflict"
    HELD = "held"
    DRIFT = "drift"  # changed outside gitsync, and the sync only looks (`drift: detect`)


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """One field that differs: its path, and its canonical value before and after (None: absent)."""

    path: str
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True)
class Change:
    """One write.

    before, after: the whole body in the shape of `Component.body`; after is what is sent. index: the ModifyIndex that was seen
    (0: absent). bridge: a step between, not the wanted state. take: the component is not ours yet and is adopted by this change.
    interrupts: it takes a live route, split, redirect or Destination away for a moment. rank: the order inside a phase.
    after_hash: the content hash of *after*, "" where it was not asked for yet.
    """

    key: ComponentKey
    action: Action
    phase: Phase
    before: Body | None
    after: Body | None
    index: int
    diff: tuple[FieldDiff, ...] = ()
    reason: str = ""
    bridge: bool = False
    take: bool = False
    interrupts: bool = False
    rank: int = 0
    after_hash: str = ""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What happens to one service.

    records: gitsync's own records have to be written even if no component changes. ledger: what the ledger says now.
    drift: changes are needed although neither the spec nor the configuration changed since the last applied run.
    """

    key: ServiceKey
    verdict: Verdict
    changes: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()
    records: bool = False
    ledger: Ledger | None = None
    drift: bool = False

    @property
    def written(self) -> bool:
        """Its changes may be written: it is not held, refused, in conflict or only looked at."""
        return self.verdict in (Verdict.CREATE, Verdict.UPDATE, Verdict.DELETE)

    @property
    def pending(self) -> bool:
        """Something of it is to be written: components, or our records of an unchanged service."""
        return self.written or (self.records and self.verdict is Verdict.UNCHANGED)


@dataclass(frozen=True, slots=True)
class Hold:
    """Deletes that wait for an approval. `digest` names the set of (service, CreateIndex of its anchor)."""

    digest: str
    services: tuple[tuple[ServiceKey, int], ...]
    reason: str
    empty: bool = False
    """Nothing at all is wanted any more: needs `approve --empty`."""


@dataclass(frozen=True)
class Plan:
    """Everything that happens to the services of one owner, in one revision."""

    owner: str
    revision: str
    services: Mapping[ServiceKey, ServicePlan]
    findings: tuple[Finding, ...] = ()
    holds: tuple[Hold, ...] = ()
    digest: str = ""
    digests: Mapping[ServiceKey, str] = field(default_factory=dict)

    def changes(self) -> Iterator[Change]:
        """Every change that may be written, held and refused ones left out."""
        for service in self.services.values():
            if service.written:
                yield from service.changes

    def renewed(self, anew: frozenset[ServiceKey], part: Plan) -> Plan:
        """*part*, which has the services *anew* only, with all the others as they are here."""
        services = {**self.services, **part.services}
        for key in anew - part.services.keys():
            services.pop(key, None)
        whole = replace(part, services=services)
        # What is known of the others is not asked of ten thousand again.
        whole.__dict__["unsettled"] = (self.unsettled - anew) | part.unsettled
        whole.__dict__["noted"] = (self.noted - anew) | part.noted
        return whole

    @functools.cached_property
    def noted(self) -> frozenset[ServiceKey]:
        """The services of which there is a finding."""
        return frozenset(key for key, plan in self.services.items() if plan.findings)

    @functools.cached_property
    def unsettled(self) -> frozenset[ServiceKey]:
        """The services of which not all is as it is wanted, or may not be made so."""
        return frozenset(
            key for key, plan in self.services.items() if plan.records or plan.verdict is not Verdict.UNCHANGED
        )

    @functools.cached_property
    def pending(self) -> frozenset[ServiceKey]:
        """The services of which something is to be written."""
        return frozenset(key for key in self.unsettled if self.services[key].pending)

    @property
    def empty(self) -> bool:
        """Nothing to write: neither components nor records."""
        return not self.pending
