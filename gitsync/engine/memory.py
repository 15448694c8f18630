"""Memory: what one sync remembers between runs. It only saves work: with none of it the result is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from gitsync.core.accept_again import Accepted
from gitsync.core.plan import Policy
from gitsync.core.sight import Sight
from gitsync.model.component import CatalogNode, Entry, Ledger
from gitsync.model.context import RenderContext, Rendered
from gitsync.model.desired import Desired, Wanted
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Plan
from gitsync.model.sync import Sync

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


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


def moved(new: Mapping[K, V], old: Mapping[K, V]) -> list[K]:
    """The keys of what is not the same in both."""
    if new is old:
        return []
    keys = [key for key, value in new.items() if (was := old.get(key)) is not value and was != value]
    if len(new) != len(old) or keys:
        keys += [key for key in old if key not in new]
    return keys


class HasPlaces(Protocol):
    """What may stand on catalog nodes: (datacenter, node, service) each."""

    @property
    def places(self) -> tuple[tuple[str, str, str], ...]: ...


H = TypeVar("H", bound=HasPlaces)


class Places(Generic[H]):
    """Datacenter → node → service of everything in a mapping; the next mapping costs what is new in it."""

    def __init__(self) -> None:
        self._of: Mapping[Any, H] = {}
        self._named: dict[str, dict[str, str]] = {}

    def of(
        self, things: Mapping[Any, H], *, counts: Callable[[H], bool] = lambda _: True
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
    decision: the last whole plan.
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
    sight: Sight | None = None
    decision: Decision | None = None

    def seen(self, found: Any) -> Sight:
        """The sight of *found*, made from the last one."""
        if self.sight is None or self.sight.found is not found:
            self.sight = Sight(found, self.sight)
        return self.sight
