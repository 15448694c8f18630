"""Memory: what one sync remembers between runs. It only saves work: with none of it the result is the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

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
    context: RenderContext

    def components(self, key: ServiceKey) -> tuple[Any, ...]:
        rendered = self.rendered.get(key)
        return rendered.components if rendered else ()

    @functools.cached_property
    def pairs(self) -> Mapping[ServiceKey, tuple[Wanted, Rendered]]:
        wanted = self.desired.services
        return {key: (wanted[key], rendered) for key, rendered in self.rendered.items() if key in wanted}


class Kept(Generic[T]):
    """The last result of a pure step, given again while what it was made from is the same."""

    def __init__(self) -> None:
        self._made: tuple[tuple[Any, ...], T] | None = None

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

    ledger: by key, with the bytes it was read from. accepted: what the last revision wanted; desired: the same, rendered.
    decision: the last whole plan.
    """

    entries: Kept[Mapping[Any, Entry]] = field(default_factory=Kept)
    gateways: Kept[Mapping[str, Entry]] = field(default_factory=Kept)
    nodes: Kept[Mapping[tuple[str, str], CatalogNode]] = field(default_factory=Kept)
    ledgers: Kept[Ledgers] = field(default_factory=Kept)
    ledger: Mapping[ServiceKey, tuple[bytes, Ledger]] = field(default_factory=dict)
    desires: Kept[Desires] = field(default_factory=Kept)
    desired: Desires | None = None
    accepted: Accepted | None = None
    sight: Sight | None = None
    decision: Decision | None = None

    def seen(self, found: Any) -> Sight:
        """The sight of *found*, made from the last one."""
        if self.sight is None or self.sight.found is not found:
            self.sight = Sight(found, self.sight)
        return self.sight
