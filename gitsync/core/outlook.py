"""Outlook: what Consul will hold once a set of plans was written. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from gitsync.core.sight import EntryKey, Sight, protocol, references
from gitsync.model.component import Body
from gitsync.model.key import ENTRY_KINDS, Kind, ServiceKey
from gitsync.model.plan import Change, ServicePlan, Verdict


class Outlook:
    """The entries of *sight*, with the changes of *plans* laid over them. wanted: the services that Git has, planned or not."""

    def __init__(
        self, sight: Sight, plans: Mapping[ServiceKey, ServicePlan], wanted: Collection[ServiceKey] = ()
    ) -> None:
        self.sight = sight
        self.plans = plans
        self.wanted = wanted
        self.changes: dict[EntryKey, Change] = {}
        self._referrers: dict[str, set[EntryKey]] = defaultdict(set)
        for plan in plans.values():
            if not plan.written:
                continue
            for change in plan.changes:
                if change.key.kind in ENTRY_KINDS:
                    key = (change.key.kind, change.key.service.name)
                    self.changes[key] = change
                    for target in references(change.key.kind, change.after or {}):
                        self._referrers[target].add(key)

    def body(self, kind: Kind, name: str) -> Body | None:
        """The entry as it will be, None if there will be none."""
        change = self.changes.get((kind, name.lower()))
        if change:
            return change.after
        entry = self.sight.entry(kind, name)
        return entry.body if entry else None

    def unheard_of(self, name: str) -> bool:
        """Nothing of that name is in Consul, neither an entry nor an instance, and Git does not bring it."""
        lowered, found = name.lower(), self.sight.found
        has_entry = any((kind, lowered) in found.entries for kind in ENTRY_KINDS)
        return not (has_entry or {name, lowered} & found.services or ServiceKey(lowered) in self.wanted)

    def protocol(self, name: str) -> str:
        return protocol(self.body(Kind.DEFAULTS, name))

    def known_protocol(self, name: str) -> str:
        """The protocol that a service-defaults gives, "" where none does: then the proxy-defaults', which we do not read."""
        return str((self.body(Kind.DEFAULTS, name) or {}).get("Protocol") or "").lower()

    def referrers(self, name: str) -> frozenset[EntryKey]:
        """Every entry that will name the service *name*."""
        staying = {key for key in self.sight.referrers(name) if key not in self.changes}
        return frozenset(staying | self._referrers.get(name.lower(), set()))

    def chain_entries(self, name: str) -> Iterator[tuple[EntryKey, Body]]:
        """The found routers, splitters and resolvers of which the service *name* is a part."""
        own = {(kind, name.lower()) for kind in (Kind.ROUTER, Kind.SPLITTER, Kind.RESOLVER)}
        for key in sorted(own | self.sight.referrers(name)):
            entry = self.sight.entry(*key)
            if entry:
                yield key, entry.body

    def writable(self, name: str) -> bool:
        """The entries of that name belong to a service of ours whose plan is written or needs no writing."""
        plan = self.plans.get(ServiceKey(name))
        return plan is not None and (plan.written or plan.verdict is Verdict.UNCHANGED)
