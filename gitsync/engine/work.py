"""What the parts of one run share: whom it works for, what it wants and found, and what became of each service."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from gitsync.core.compare import expected
from gitsync.core.plan import Policy
from gitsync.engine.memory import Desires, Memory
from gitsync.engine.ports import Lease, Progress, World
from gitsync.model.component import Found, Ledger
from gitsync.model.errors import GitsyncError
from gitsync.model.key import ComponentKey, ServiceKey
from gitsync.model.plan import ServicePlan
from gitsync.model.run import Outcome
from gitsync.model.sync import Sync


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a service. step: where it ended, "" if it did not end early. error: why."""

    outcome: Outcome
    step: str = ""
    message: str = ""
    error: GitsyncError | None = None

    @property
    def retryable(self) -> bool:
        return self.error is not None and self.error.retryable


@dataclass(slots=True)
class Work:
    """One run under its lease. plans: the last plan of each service. intents: its ledger as it was written with the lock.

    reviewed: the digest of each service's plan where a person said that nothing else may be written.
    """

    world: World
    sync: Sync
    policy: Policy
    desires: Desires
    found: Found
    lease: Lease
    run: str
    progress: Progress
    memory: Memory
    plans: dict[ServiceKey, ServicePlan]
    intents: dict[ServiceKey, Ledger] = field(default_factory=dict)
    done: dict[ServiceKey, Done] = field(default_factory=dict)
    reviewed: Mapping[ServiceKey, str] | None = None
    writes: int = 0

    @property
    def owner(self) -> str:
        return str(self.sync.owner)

    @property
    def now(self) -> str:
        return self.world.clock.stamp()

    def components_of(self, keys: frozenset[ServiceKey]) -> set[ComponentKey]:
        """Every component that *keys* have or want."""
        result = {component.key for key in keys for component in self.desires.components(key)}
        for key in keys:
            for ledger in (self.found.ledgers.get(key), self.intents.get(key)):
                result.update(component.key for component in (ledger.components if ledger else ()))
            result.update(change.key for change in self.plans[key].changes)
        return result


def fingerprint(desires: Desires, key: ServiceKey) -> Hashable:
    """What is asked of Consul for a service: its components' hashes; nothing, where it is to go."""
    return expected(desires.components(key))


def names(keys: frozenset[ServiceKey] | set[ServiceKey], most: int = 3) -> str:
    """A few of *keys*, for a sentence."""
    shown = [str(key) for key in sorted(keys)[:most]]
    return ", ".join(shown) + (f" and {len(keys) - most} more" if len(keys) > most else "")
