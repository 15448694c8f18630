"""What hook_storm.py and slow_clients.py send to: gitsync's web room and daemon, with runs that only pretend.

A run reads the head of its repository, which the deliveries move, keeps one core busy in a thread as planning many services does,
waits as for Consul, and is written into a real store. So everything between a delivery and the beginning of a run is the real thing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI
from ulid import ULID

from gitsync.daemon.alarms import ScheduledAlarms
from gitsync.daemon.inbox import Inbox, watched
from gitsync.daemon.schedule import Daemon
from gitsync.daemon.shared import Shared
from gitsync.engine.ports import Clock
from gitsync.hosts.github import GitHub
from gitsync.hosts.provider import Webhooks
from gitsync.model.host import WebhookEvent
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, Verdict
from gitsync.model.run import Outcome, RunOutcome, RunReport, ServiceOutcome, StepTiming
from gitsync.store import Store
from gitsync.web import BODY_BYTES, USUAL, Access, Limits, Metrics, Receiver, Sources, application, limits_of

SECRET = "the secret of the storm"
REPO = "platform/specs"
WAITING = 0.25
"""Seconds of a run in which it waits."""


@dataclass
class Hook:
    """GitHub's deliveries."""

    webhooks: Webhooks = GitHub.webhooks
    body_bytes: int = BODY_BYTES

    def secrets(self) -> Sequence[str]:
        return (SECRET,)


@dataclass
class Job:
    """The runs of one sync. head: the newest commit that its repository has; a commit is a number in hex.

    thinking: seconds of a run in which it keeps a core busy. turn: taken while it does.
    """

    name: str
    store: Shared[Store]
    metrics: Metrics
    thinking: float
    turn: AbstractAsyncContextManager[object]
    head: str = ""
    interval: float = 3600.0

    async def run(self, trigger: str) -> RunReport:
        head, started = self.head, stamp()
        run = str(ULID())
        async with self.store.held() as store:
            await store.begin_run(run=run, sync=self.name, revision=head, trigger=trigger, started=started)
        async with self.turn:
            await asyncio.to_thread(think, self.thinking)
        await asyncio.sleep(WAITING)
        service = ServiceOutcome(ServiceKey("pay"), Outcome.APPLIED, Verdict.UPDATE, Action.UPDATE)
        report = RunReport(
            run,
            self.name,
            head,
            head,
            trigger,
            started,
            stamp(),
            RunOutcome.APPLIED,
            services=(service,),
            counts={Outcome.APPLIED: 1},
            steps=(StepTiming("plan", self.thinking), StepTiming("defaults", WAITING)),
        )
        async with self.store.held() as store:
            await store.finish_run(report)
        self.metrics.run_ended(report)
        return report

    async def contains(self, older: str, newer: str) -> bool:
        return int(older or "0", 16) <= int(newer or "0", 16)

    async def rest(self) -> None:
        """There is nothing to look at ahead."""


@dataclass
class Pushed:
    """The inbox, behind a Git host whose refs have moved before it says so."""

    inbox: Inbox
    jobs: Mapping[str, Job]

    def accept(self, sync: str, event: WebhookEvent) -> str:
        for change in event.refs:
            self.jobs[sync].head = max(self.jobs[sync].head, change.after or "")
        return self.inbox.accept(sync, event)


@dataclass
class Site:
    """An application that is ready to be served."""

    app: FastAPI
    limits: Limits
    daemon: Daemon = field(repr=False)


@asynccontextmanager
async def opened(names: Sequence[str], *, thinking: float = 0.0, in_turn: bool = False) -> AsyncIterator[Site]:
    """A site with these syncs. thinking: seconds of each run. in_turn: they think one after the other."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = f"sqlite:///{folder / 'gitsync.db'}"
        store = await stack.enter_async_context(Shared(partial(Store.open, url), monotonic=time.monotonic))
        metrics, alarms = Metrics(), ScheduledAlarms()
        stack.callback(alarms.close)
        turn = asyncio.Lock() if in_turn else nullcontext()
        jobs = {name: Job(name, store, metrics, thinking, turn) for name in names}
        clock = Clock(lambda: datetime.now(UTC), time.monotonic, asyncio.sleep, lambda: str(ULID()), random.random)
        daemon = Daemon(list(jobs.values()), clock=clock, alarms=alarms)
        inbox = Inbox({name: watched(REPO, "main") for name in names}, alarms, wake=daemon.wake, review=lambda *_: None)
        receiver = Receiver({name: Hook() for name in names}, Pushed(inbox, jobs), metrics)
        sources = Sources(daemon, store, {name: frozenset() for name in names}, lambda: datetime.now(UTC))
        running = asyncio.create_task(daemon.run())
        try:
            yield Site(application(sources, metrics, Access("127.0.0.1"), receiver), limits_of(receiver, USUAL), daemon)
        finally:
            daemon.stop()
            await running


def think(seconds: float) -> None:
    """Keep a core busy with Python, as planning does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sorted(str(number) for number in range(500))


def stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
