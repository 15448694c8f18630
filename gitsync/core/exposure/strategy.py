"""What a strategy is: how one service becomes reachable, from its spec to the components that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gitsync.model.component import Component
from gitsync.model.context import RenderContext
from gitsync.model.finding import Finding
from gitsync.model.spec import ServiceSpec


@dataclass(frozen=True, slots=True)
class Exposed:
    """What a strategy makes of a spec: its components, in the order of writing, and what there is to say about them.

    The findings need neither service nor place; `gitsync.core.render` adds both.
    """

    components: tuple[Component, ...]
    findings: tuple[Finding, ...] = ()


class Strategy(Protocol):
    """One way to expose a service. A module with this function is one."""

    def components(self, spec: ServiceSpec, context: RenderContext) -> Exposed:
        """Everything that *spec* needs in this Consul. Never raises for a valid spec, never asks anybody."""
        ...
