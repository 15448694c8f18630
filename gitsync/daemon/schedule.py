"""The daemon: the lanes of all syncs and the chores, from the first run to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from gitsync.daemon.alarms import Alarms
from gitsync.daemon.lane import Job, Lane
from gitsync.engine.ports import Clock
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.view import SyncView

GRACE_SECONDS = 4.0
"""How long the runs of a daemon that is told to stop may go on before they are cancelled.

Cleaning up may take five seconds more where Consul does not answer, and after ten the process is to be gone.
"""

DAY = 86_400.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Chore:
    """Something that is done now and then and that no sync waits for.

    every, first: seconds between two times, and before the first. work: says what it did ("" for nothing to tell).
    """

    name: str
    work: Callable[[], Awaitable[str]]
    every: float = DAY
    first: float = 600.0


class Daemon:
    """Every sync on its own interval, until `stop`. What happens in one of them never stops the others.

    grace: seconds that the runs have to end by themselves when it stops.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        chores: Sequence[Chore] = (),
        *,
        clock: Clock,
        alarms: Alarms,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._lanes = {job.name: Lane(job, clock, alarms) for job in jobs}
        self._chores = tuple(chores)
        self._clock, self._alarms, self._grace = clock, alarms, grace
        self._stopped = asyncio.Event()

    def syncs(self) -> Mapping[str, SyncView]:
        """Where each sync stands."""
        return {name: lane.view() for name, lane in self._lanes.items()}

    def wake(self, sync: str, trigger: str, expected: str = "") -> None:
        """Let *sync* run now, or once more after the run that runs. Raises Invalid if there is none of that name.

        expected: the commit that it should find, which the host may not show yet.
        """
        if sync not in self._lanes:
            raise Invalid(f"there is no sync {sync!r}. There is: {', '.join(sorted(self._lanes))}.")
        self._lanes[sync].wake(trigger, expected)

    def wake_all(self, trigger: str) -> None:
        """Let every sync run now."""
        for lane in self._lanes.values():
            lane.wake(trigger)

    def stop(self) -> None:
        """Begin no run any more; `run` returns when those that run have ended or were cancelled."""
        self._stopped.set()

    async def run(self) -> None:
        """Run everything until `stop`."""
        async with asyncio.TaskGroup() as group:
            lanes = [group.create_task(lane.go(), name=f"sync {name}") for name, lane in self._lanes.items()]
            chores = [group.create_task(self._does(chore), name=chore.name) for chore in self._chores]
            try:
                await self._stopped.wait()
            finally:
                for lane in self._lanes.values():
                    lane.close()
                for chore in chores:
                    chore.cancel()
            await self._let_end(lanes)

    async def _let_end(self, lanes: Sequence[asyncio.Task[None]]) -> None:
        """Give the runs their grace, and cancel what is left. The TaskGroup waits for its cleaning up."""
        if not lanes:
            return
        running = sorted(name for name, lane in self._lanes.items() if lane.view().in_flight)
        log.info("no new runs", action="stop", running=running)
        ended = asyncio.ensure_future(asyncio.wait(lanes))
        grace = asyncio.ensure_future(self._clock.sleep(self._grace))
        try:
            await asyncio.wait({ended, grace}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            grace.cancel()
        for task in lanes:
            if not task.done():
                log.warning("%s is stopped in the middle; the next run goes on", task.get_name(), action="stop")
                task.cancel()

    async def _does(self, chore: Chore) -> None:
        """Do *chore* again and again. One that fails is tried again at its next time."""
        pause = chore.first
        while True:
            await self._rang(chore.name, pause)
            pause = chore.every
            try:
                if said := await chore.work():
                    log.info(said, action="chore", chore=chore.name)
            except GitsyncError as error:
                log.warning("%s failed: %s", chore.name, error, action="chore", chore=chore.name)
            except Exception:  # a bug in a chore must not stop the syncs
                log.exception("this is a bug", action="chore", chore=chore.name)

    async def _rang(self, name: str, seconds: float) -> None:
        rung = asyncio.Event()
        alarm = f"chore {name}"
        self._alarms.set(alarm, seconds, rung.set)
        try:
            await rung.wait()
        finally:
            self._alarms.cancel(alarm)
