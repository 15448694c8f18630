"""One sync as a job: each run gets the Consul of the moment, and what it is now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from gitsync.daemon.progress import LoggedProgress
from gitsync.daemon.shared import Shared
from gitsync.engine.look import look_ahead, suspended
from gitsync.engine.observe import read_owner
from gitsync.engine.ports import Archive, Clock, Consul, Contract, Specs, World
from gitsync.engine.reconcile import Mind, reconcile
from gitsync.model.errors import GitsyncError, Invalid, Suspended, Unavailable
from gitsync.model.features import Features
from gitsync.model.revision import History
from gitsync.model.run import Outcome, RunReport
from gitsync.model.sync import Options, Sync


@dataclass(slots=True)
class SyncJob:
    """A sync with everything that its runs need.

    link: Consul and what it is, opened anew after it did not answer, because it may be another version when it is back.
    give_up: told what is wrong with the configuration, where that shows only when Consul is asked for the first time.
    """

    sync: Sync
    interval: float
    link: Shared[tuple[Consul, Features]]
    specs: Specs
    archive: Archive
    clock: Clock
    hostname: str
    give_up: Callable[[Invalid], None]
    contract: Contract | None = None
    mind: Mind = field(default_factory=Mind)
    _moved: bool = False

    @property
    def name(self) -> str:
        return self.sync.name

    async def run(self, trigger: str) -> RunReport:
        """One pass. Raises Suspended where a person stopped the sync, and what connecting to Consul raises."""
        try:
            async with self.link.held() as (consul, features):
                world = self._world(consul, features)
                report = await reconcile(world, self.sync, Options(trigger=trigger), self.mind, LoggedProgress())
                if report.error_exit == Suspended.exit_code and await self._is_suspended(world):
                    raise Suspended(report.error)
        except Invalid as wrong:
            if not self.link.ever_opened:
                self.give_up(wrong)
            raise
        if report.error_exit == Unavailable.exit_code or any(service.retryable for service in report.services):
            self.link.renew()
        self._moved = any(service.outcome is Outcome.APPLIED for service in report.services)
        return report

    async def contains(self, older: str, newer: str) -> bool:
        """Whether *newer* is, or leads to, *older*."""
        try:
            return await self.specs.history(older, newer) in (History.SAME, History.FORWARD)
        except GitsyncError:
            return False

    async def rest(self) -> None:
        """Read again what the last run moved, while nobody waits."""
        if self._moved:
            with contextlib.suppress(GitsyncError):
                async with self.link.held() as (consul, features):
                    world = self._world(consul, features)
                    await look_ahead(world, self.sync, self.mind.memory)
        self._moved = False

    def _world(self, consul: Consul, features: Features) -> World:
        return World(consul, features, self.specs, self.archive, self.clock, self.hostname, self.contract)

    async def _is_suspended(self, world: World) -> bool:
        """A report tells conflicts apart by their text only, so the record is asked."""
        try:
            records = await read_owner(world.consul, world.clock, self.sync.owner)
        except GitsyncError:
            return False
        return suspended(records.suspension, world.clock.now())
