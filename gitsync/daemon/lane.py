"""Lane: the runs of one sync, one after the other: what runs, what waits, when the next begins, and how it went.

idle ──wake──► running ──end──► idle, until the alarm: after the interval, or sooner or later after a failure
                 │ wake: one run waits, whatever else wakes it ──end──► running at once

Who wakes it may expect a commit: a host that tells of a push at times still shows the ref as it was. Where a run has found something
that does not lead to that commit, it looks again soon, a few times, and then leaves it to the interval.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from gitsync.daemon.alarms import Alarms
from gitsync.engine.ports import Clock
from gitsync.log import SECRETS
from gitsync.model.errors import GitsyncError, Suspended
from gitsync.model.run import Outcome, RunOutcome, RunReport
from gitsync.model.view import SyncView

SCHEDULE, START, WEBHOOK = "schedule", "start", "webhook"
"""What triggers the runs that nobody asked for, and those that a Git host did."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds after the first failure, and at most. They double in between."""

JITTER = 0.1
"""Which part of a pause is left to chance, so that many syncs do not all come at the same moment."""

SHORTEST_PAUSE = 1.0
"""Seconds between two runs although the last one took longer than the interval."""

LOOKS = (1.0, 3.0, 10.0)
"""Seconds after which it looks again for a commit that is expected and was not there."""

log = structlog.get_logger()


class Job(Protocol):
    """One sync, to be run. interval: seconds.

    run: one pass. Raises Suspended where a person stopped the sync, another GitsyncError where there could be no pass at all.
    contains: whether the commit *newer* is, or has among its ancestors, *older*. Raises nothing that gitsync knows.
    rest: what makes the next pass quicker, when one has ended. Raises nothing that gitsync knows.
    """

    @property
    def name(self) -> str: ...
    @property
    def interval(self) -> float: ...

    async def run(self, trigger: str) -> RunReport: ...
    async def contains(self, older: str, newer: str) -> bool: ...
    async def rest(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    revision: the commit that it found. good: Git and Consul were looked at with success. again: it failed, and may be tried again soon.
    """

    outcome: str
    applied: str = ""
    revision: str = ""
    good: bool = False
    again: bool = False
    suspended: bool = False
    error: str = ""


class Lane:
    """The runs of one job. `go` lives as long as the daemon; `close` lets it end."""

    def __init__(self, job: Job, clock: Clock, alarms: Alarms) -> None:
        self._job, self._clock, self._alarms = job, clock, alarms
        self._woken = asyncio.Event()
        self._closing = False
        self._resting: asyncio.Future[None] | None = None
        self._waiting, self._running = START, ""
        self._expected, self._looks, self._look_in = "", 0, 0.0
        self._woken.set()
        self._next_at: float | None = None
        self._looked_at: float | None = None
        self._last_success = ""
        self._failures, self._backoff = 0, 0.0
        self._applied = ""
        self._last = Ended("")
        self._told_last: object = None

    # -- what wakes it

    def wake(self, trigger: str, expected: str = "") -> None:
        """Let a run begin at once, or when the one that runs has ended. Whoever comes second shares that run.

        expected: the commit that it should find, or one that came after it. The newest that is expected is the one that counts.
        """
        if self._closing:
            return
        if expected:
            self._expected, self._looks = expected, 0
        self._waiting = self._waiting or trigger
        self._woken.set()

    def close(self) -> None:
        """No run begins any more; the one that runs goes on."""
        self._closing = True
        self._alarms.cancel(self._job.name)
        if self._resting:
            self._resting.cancel()
        self._woken.set()

    # -- its life

    async def go(self) -> None:
        """Run whenever it is woken, until it is closed."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._closing:
                return
            self._alarms.cancel(self._job.name)
            self._running, self._waiting = self._waiting, ""
            self._next_at = None
            began = self._clock.monotonic()
            try:
                with structlog.contextvars.bound_contextvars(sync=self._job.name):
                    ended = await self._once(self._running)
            finally:
                self._running = ""
            self._learn(ended)
            await self._compare(ended)
            if not self._closing:
                self._plan_next(began)
                await self._rest()

    async def _rest(self) -> None:
        """Let the job rest, until it is closed. A bug in what only saves time must not stop the sync."""
        self._resting = asyncio.ensure_future(self._job.rest())
        try:
            await asyncio.wait({self._resting})
        finally:
            self._resting.cancel()
            ended = await asyncio.gather(self._resting, return_exceptions=True)
        if isinstance(ended[0], Exception):
            log.error("this is a bug", action="rest", outcome="failed", exc_info=ended[0])

    async def _once(self, trigger: str) -> Ended:
        log.debug("a run begins", action="run", trigger=trigger)
        try:
            report = await self._job.run(trigger)
        except Suspended as stopped:
            tell = log.debug if self._last.suspended else log.info  # told once, not every minute
            tell("%s", stopped, action="run", outcome="suspended")
            return Ended("suspended", good=True, suspended=True)
        except GitsyncError as error:
            log.warning("no run: %s", error, action="run", outcome="failed", trigger=trigger)
            return Ended("failed", error=SECRETS.clean(str(error)), again=True)
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            return self._bug(error)  # something inside was cancelled, and not this run
        except Exception as error:  # noqa: BLE001  a bug in one sync must not stop the others
            return self._bug(error)
        return self._told(report)

    def _bug(self, error: BaseException) -> Ended:
        log.error("this is a bug", action="run", outcome="failed", exc_info=error)
        return Ended("failed", error=SECRETS.clean(f"this is a bug: {type(error).__name__}: {error}"), again=True)

    def _told(self, report: RunReport) -> Ended:
        """Log one run, and judge it.

        What the plan refuses, holds or finds in conflict is no failure of the run: it is looked at again at the next interval. What was
        not answered is, and so is what Consul could not be asked.
        """
        counts = {str(name): count for name, count in report.counts.items() if count and name is not Outcome.UNCHANGED}
        unanswered = [service for service in report.services if service.retryable]
        error = report.error or (unanswered[0].message if unanswered else "")
        told = (report.outcome, report.revision, error, tuple(sorted(counts.items())))
        tell = log.warning if report.error or report.outcome in (RunOutcome.FAILED, RunOutcome.PARTIAL) else log.info
        if told == self._told_last or (report.outcome is RunOutcome.UNCHANGED and not report.error):
            tell = log.debug  # as it was a minute ago
        self._told_last = told
        tell(
            f"{report.outcome}: {error}" if error else str(report.outcome),
            action="run",
            run=report.id,
            revision=report.revision,
            outcome=str(report.outcome),
            counts=counts,
            trigger=report.trigger,
            seconds=round(sum(step.seconds for step in report.steps), 3),
        )
        return Ended(
            str(report.outcome),
            applied=report.applied_revision,
            revision=report.revision,
            good=report.error is None,
            again=report.error is not None or bool(unanswered),
            error=SECRETS.clean(error),
        )

    def _learn(self, ended: Ended) -> None:
        self._last = ended
        self._applied = ended.applied or self._applied
        if ended.good:
            self._looked_at = self._clock.monotonic()
            if not ended.suspended:
                self._last_success = self._wall(0)
        if ended.again:
            self._failures += 1
            # Where all could be looked at, and a service is what failed, new commits must not wait for it.
            longest = min(self._job.interval, LONGEST_PAUSE) if ended.good else LONGEST_PAUSE
            self._backoff = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 30), longest)
        else:
            self._failures, self._backoff = 0, 0.0

    async def _compare(self, ended: Ended) -> None:
        """Look again soon where the run did not find what is expected. One that could not look comes again anyway."""
        self._look_in = 0.0
        expected = self._expected
        if not expected or not ended.revision:
            return
        found = ended.revision == expected or await self._contains(expected, ended.revision)
        if expected != self._expected:
            return  # somebody expects something newer meanwhile, and that run waits already
        if found or self._looks == len(LOOKS):
            if not found:
                log.info("%s does not come: left to the interval", expected[:12], action="wake", sync=self._job.name)
            self._expected = ""
            return
        self._look_in = LOOKS[self._looks]
        self._looks += 1

    async def _contains(self, older: str, newer: str) -> bool:
        """Ask the job. A bug in what only saves time must not stop the sync."""
        try:
            return await self._job.contains(older, newer)
        except Exception:
            log.exception("this is a bug", action="wake", outcome="failed", sync=self._job.name)
            return True

    def _plan_next(self, began: float) -> None:
        """Set the alarm: an interval after the last beginning, or the backoff after the last end, or soon for what is expected."""
        chance = 1 + JITTER * (2 * self._clock.jitter() - 1)
        now = self._clock.monotonic()
        if self._failures:
            self._backoff *= chance
            pause = self._backoff
        else:
            pause = max(began + self._job.interval * chance - now, SHORTEST_PAUSE)
        if self._look_in:
            pause = min(pause, self._look_in)
        self._next_at = now + pause
        self._alarms.set(self._job.name, pause, lambda: self.wake(WEBHOOK if self._look_in else SCHEDULE))

    # -- what is to be seen of it

    def view(self) -> SyncView:
        """Where it stands now."""
        now = self._clock.monotonic()
        return SyncView(
            name=self._job.name,
            interval=self._job.interval,
            silent=None if self._looked_at is None else now - self._looked_at,
            last_success=self._last_success,
            applied=self._applied,
            outcome=self._last.outcome,
            in_flight=self._running,
            waiting=self._waiting if self._running else "",
            next_run="" if self._next_at is None else self._wall(self._next_at - now),
            failures=self._failures,
            backoff=self._backoff,
            error=self._last.error,
            suspended=self._last.suspended,
        )

    def _wall(self, seconds: float) -> str:
        """The time *seconds* from now, ISO 8601, UTC."""
        at = self._clock.now() + timedelta(seconds=seconds)
        return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _cancelled() -> bool:
    """Whether somebody cancelled the current task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
