"""The steps between that a plan needs, and the parts they are made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gitsync.core.diff import field_diffs
from gitsync.model.component import Body, Entry
from gitsync.model.finding import Finding
from gitsync.model.key import ComponentKey, ServiceKey
from gitsync.model.plan import Action, Change, Phase

ELSEWHERE = frozenset({"Redirect", "Failover"})
"""The fields of a resolver that name other services."""


@dataclass(slots=True)
class Bridges:
    """refusals: services that no order can write. steps: the changes of an entry, in place of the one the plan has.

    ranks: the order of the changes that stay as they are, inside their phase.
    """

    refusals: dict[ServiceKey, Finding] = field(default_factory=dict)
    steps: dict[ComponentKey, tuple[Change, ...]] = field(default_factory=dict)
    ranks: dict[ComponentKey, int] = field(default_factory=dict)

    def current(self, change: Change) -> tuple[Change, ...]:
        """The steps so far of the entry that *change* is about."""
        return self.steps.get(change.key, (change,))


def plain(body: Body) -> dict[str, Any]:
    """A resolver without what names other services."""
    return {name: value for name, value in body.items() if name not in ELSEWHERE}


def step(
    key: ComponentKey, action: Action, entry: Entry, after: Body | None, phase: Phase, reason: str, *, interrupts: bool
) -> Change:
    diff = field_diffs(key.kind, entry.body, after)
    return Change(
        key, action, phase, entry.body, after, entry.modify_index, diff, reason, bridge=True, interrupts=interrupts
    )
