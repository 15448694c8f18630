"""Memory: what one sync remembers between runs. It only saves work: with none of it the result is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Protocol, TypeVar

from gitsync.core.accept_again import Accepted
from gitsync.core.changed import moved
from gitsync.core.plan import Policy
from gitsync.core.sight import Sight
from gitsync.model.component import CatalogNode, Entry, Ledger
from gitsync.model.context import RenderContext, Rendered
from gitsync.model.desired import Desired, Wanted
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Plan
from gitsync.model.sync import Sync

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Every ledger, ours and other syncs'. unread: those that cannot be read, and why: they are never taken for absent."""

    read: Mapping[ServiceKey, Ledger]
    unread: Mapping[ServiceKey, str]


@dataclass(frozen=True)
class Desires:
    """What one revision wants, rendered for one Consul."""

    desired: Desired
    rendered: Mapping[ServiceKey, Rendered]
    pairs: Mapping[ServiceKey, tuple[Wanted, Rendered]]
    context: RenderContext

    def components(self, key: ServiceKey) -> tuple[Any, ...]:
        rendered = self.rendered.get(key)
        return rendered.components if rendered else ()


class HasPlaces(Protocol):
    """What may stand on catalog nodes: (datacenter, node, service) each."""

    @property
    def places(self) -> tuple[tuple[str, str, str], ...]: ...


H = TypeVar("H", bound=HasPlaces)


class Places(Generic[H]):
    """Datacenter → node → service of everything in a mapping; the next mapping costs what is new in it."""

    def __init__(self) -> None:
        self._of: Mapping[ServiceKey, H] = {}
        self._named: dict[str, dict[str, str]] = {}

    def of(
        self, things: Mapping[ServiceKey, H], *, counts: Callable[[H], bool] = lambda _: True
    ) -> Mapping[str, Mapping[str, str]]:
        """The places of those of *things* that count. Which ones do never changes."""
        keys = moved(things, self._of)
        if keys:
            named = {place: dict(nodes) for place, nodes in self._named.items()}
            for key in keys:
                if (gone := self._of.get(key)) is not None and counts(gone):
                    for place, node, name in gone.places:
                        if named[place].get(node) == name:
                            del named[place][node]
            for key in keys:
                if (new := things.get(key)) is not None and counts(new):
                    for place, node, name in new.places:
                        named.setdefault(place, {})[node] = name
            self._named = named
        self._of = things
        return self._named


class Chosen:
    """The keys of a mapping that a rule chooses by what another mapping has at the same key; the next two cost what is new in them."""

    def __init__(self, rule: Callable[[Any, Any], bool]) -> None:
        self._rule = rule
        self._of: tuple[Mapping[ServiceKey, Any], Mapping[ServiceKey, Any]] = ({}, {})
        self._names: Counter[str] = Counter()
        self._chosen: set[ServiceKey] = set()

    def __copy__(self) -> Chosen:
        other = Chosen(self._rule)
        other._of, other._names, other._chosen = self._of, self._names.copy(), self._chosen.copy()
        return other

    def of(self, things: Mapping[ServiceKey, Any], others: Mapping[ServiceKey, Any]) -> AbstractSet[str]:
        """The names of the chosen keys."""
        for key in {*moved(things, self._of[0]), *moved(others, self._of[1])}:
            chosen = key in things and self._rule(things[key], others.get(key))
            if chosen and key not in self._chosen:
                self._chosen.add(key)
                self._names[key.name] += 1
            elif not chosen and key in self._chosen:
                self._chosen.discard(key)
                self._names[key.name] -= 1
                if not self._names[key.name]:
                    del self._names[key.name]
        self._of = things, others
        return self._names.keys()


def _may_be_shadowed(rendered: Rendered, ledger: Ledger | None) -> bool:
    """All of strategy A, and of B what is new."""
    return ledger is None or not rendered.places


class Kept(Generic[T]):
    """The last result of a pure step, given again while what it was made from is the same."""

    def __init__(self) -> None:
        self._made: tuple[tuple[Any, ...], T] | None = None

    @property
    def last(self) -> T | None:
        """The last result, whatever it was made from."""
        return self._made[1] if self._made else None

    def of(self, make: Callable[[], T], *inputs: Any) -> T:
        """The result for *inputs*: the last one if they are equal to the last ones, else what *make* makes."""
        if self._made is None or self._made[0] != inputs:
            self._made = inputs, make()
        return self._made[1]


@dataclass(frozen=True, slots=True)
class Decision:
    """The last whole plan, and all that it was made from."""

    desires: Desires
    sight: Sight
    sync: Sync
    policy: Policy
    plan: Plan


@dataclass(slots=True)
class Memory:
    """What was made of equal things before, each with what it was made from.

    ledger: by key, with the bytes it was read from. accepted: what the last revision wanted; desires: the same, rendered.
    decision: the last whole plan. followed: the last look followed the ref: nobody had stopped or pinned the sync.
    """

    entries: Kept[Mapping[Any, Entry]] = field(default_factory=Kept)
    gateways: Kept[Mapping[str, Entry]] = field(default_factory=Kept)
    nodes: Kept[Mapping[tuple[str, str], CatalogNode]] = field(default_factory=Kept)
    ledgers: Kept[Ledgers] = field(default_factory=Kept)
    ledger: Mapping[ServiceKey, tuple[bytes, Ledger]] = field(default_factory=dict)
    desires: Kept[Desires] = field(default_factory=Kept)
    accepted: Accepted | None = None
    wanted_places: Places[Rendered] = field(default_factory=Places)
    known_places: Places[Ledger] = field(default_factory=Places)
    shadowable: Chosen = field(default_factory=lambda: Chosen(_may_be_shadowed))
    sight: Sight | None = None
    decision: Decision | None = None
    followed: bool = False

    def copied(self) -> Memory:
        """A memory of its own that begins with all of this one: what is thought with it leaves this one as it is."""
        every: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            every[each.name] = copy(value) if isinstance(value, Kept | Places | Chosen) else value
        return Memory(**every)

    def seen(self, found: Any) -> Sight:
        """The sight of *found*, made from the last one."""
        if self.sight is None or self.sight.found is not found:
            self.sight = Sight(found, self.sight)
        return self.sight
