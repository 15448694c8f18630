"""The daemon, put together: the syncs, who hears of their runs, who is told, what wakes them, and what is served.

POST /hooks ──► Inbox ──► Daemon.wake ──► lane ──► run ──► archive, and the ears ──► deliveries ──► Poster ──► Git host
                   └────► Reviews ──────────────────────► status and comment ────────┘
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import structlog

from gitsync import __version__, web
from gitsync.core.status_words import replaces_plan
from gitsync.daemon.alarms import ScheduledAlarms
from gitsync.daemon.archive import LateArchive
from gitsync.daemon.deliveries import LateDeliveries, Wants
from gitsync.daemon.inbox import Inbox, watched
from gitsync.daemon.notify import Notices, Subscriber, Subscription
from gitsync.daemon.poster import Poster
from gitsync.daemon.recipient import HostRecipient
from gitsync.daemon.reporting import Ear, ReportingArchive, ReportingJob
from gitsync.daemon.reviews import Desk, ReviewEar, Reviews
from gitsync.daemon.schedule import Chore, Daemon
from gitsync.daemon.shared import Shared
from gitsync.daemon.signals import obeyed
from gitsync.daemon.statuses import Spoken, Statuses
from gitsync.daemon.sync_job import SyncJob
from gitsync.engine import ports
from gitsync.engine.history import Tolerant
from gitsync.engine.ports import Clock, World
from gitsync.engine.review import Request, review
from gitsync.model.delivery import wanted_comment, wanted_status
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.features import Features
from gitsync.model.host import Status
from gitsync.model.plan import Hold
from gitsync.model.review import Review, ReviewRecord
from gitsync.model.revision import History, Revision
from gitsync.model.run import RunReport
from gitsync.repository import Changes, MirrorSpecs
from gitsync.settings import Settings
from gitsync.settings.grammar import address_and_port
from gitsync.settings.outside import Forks
from gitsync.store import Store
from gitsync.store.deliveries import Deliveries
from gitsync.store.reviews import Reviews as StoredReviews
from gitsync.wire.hosts import Hosted, hooks_of, hosts_of
from gitsync.wire.rooms import (
    COLLECTOR,
    LINK_SECONDS,
    connected,
    contract_of,
    mirror_of,
    spec_defaults,
    sync_of,
    system_clock,
)

NOTIFY_SECONDS = 15.0

log = structlog.get_logger()

Link = Shared[tuple[ports.Consul, Features]]


@dataclass(frozen=True, slots=True)
class Site:
    """What the parts of one daemon share."""

    settings: Settings
    clock: Clock
    alarms: ScheduledAlarms
    link: Link
    store: Shared[Store]
    hosts: Mapping[str, Hosted]
    mirrors: Mapping[str, MirrorSpecs]

    @asynccontextmanager
    async def deliveries(self) -> AsyncIterator[Deliveries]:
        async with self.store.held() as store:
            yield store.deliveries

    @asynccontextmanager
    async def reviews(self) -> AsyncIterator[StoredReviews]:
        async with self.store.held() as store:
            yield store.reviews

    @property
    def pages(self) -> str:
        """The address below which the pages are, "" where nobody said."""
        return self.settings.web.public_url or ""

    def context(self, what: str, sync: str) -> str:
        """The context of a status: the installation is in it, as several may look at one repository."""
        return f"gitsync/{what}/{self.settings.instance}/{sync}"


async def serve(settings: Settings) -> int:
    """The daemon: every sync at its interval or woken by its host, until SIGTERM; the exit code.

    Neither Consul nor Git, the hosts or the database has to be there at the start. Raises Invalid if the configuration is wrong,
    also where that shows only in what Consul answers first.
    """
    gc.set_threshold(*COLLECTOR)
    sys.setswitchinterval(web.SWITCH_SECONDS)
    clock = system_clock()
    wrong: list[Invalid] = []

    def give_up(error: Invalid) -> None:
        wrong.append(error)
        daemon.stop()

    async with AsyncExitStack() as stack:
        link: Link = await stack.enter_async_context(
            Shared(partial(connected, settings), monotonic=clock.monotonic, lifetime=LINK_SECONDS)
        )
        store = await stack.enter_async_context(Shared(partial(Store.open, settings.store), monotonic=clock.monotonic))
        hosts = await stack.enter_async_context(hosts_of(settings))
        defaults = spec_defaults(settings)
        mirrors = {name: mirror_of(settings, name, defaults, hosts) for name in settings.syncs}
        alarms = ScheduledAlarms()
        stack.callback(alarms.close)
        site = Site(settings, clock, alarms, link, store, hosts, mirrors)

        deliveries = LateDeliveries(site.deliveries)
        poster = await stack.enter_async_context(_poster(site, deliveries))
        wants = Wants(deliveries, clock, poster.wake)
        statuses = Statuses(wants, deliveries, _spoken(site), partial(_history, mirrors), clock, poster.wake)
        poster.add_first(statuses.flush)
        metrics = web.Metrics(__version__)
        jobs: dict[str, SyncJob] = {}
        reviews = Reviews([_desk(site, jobs, wants, name) for name, each in hosts.items() if each.reviews], clock)
        ears: Sequence[Ear] = [
            statuses,
            Notices(wants, _subscriptions(site), instance=settings.instance, link=partial(_link, site), clock=clock),
            ReviewEar(reviews),
            Counted(metrics),
        ]
        archive = Tolerant(ReportingArchive(LateArchive(store), ears), partial(log.warning, action="record"))
        contract = contract_of(mirrors, hosts, site.reviews)
        for name, each in settings.syncs.items():
            jobs[name] = SyncJob(
                sync_of(settings, name),
                each.interval.seconds,
                link,
                mirrors[name],
                archive,
                clock,
                socket.gethostname(),
                give_up,
                contract,
            )
        daemon = Daemon(
            [ReportingJob(job, ears) for job in jobs.values()],
            chores_of(settings, store, mirrors),
            clock=clock,
            alarms=alarms,
        )
        inbox = Inbox(
            {
                name: watched(each.repo.full_name, settings.syncs[name].git.ref, reviews=each.reviews)
                for name, each in hosts.items()
            },
            alarms,
            wake=daemon.wake,
            review=reviews.look,
            seen=statuses.seen,
        )
        where = await _served(stack, site, daemon, inbox, metrics)
        with obeyed(daemon.stop, partial(daemon.wake_all, "signal")):
            log.info("ready to run", action="start", syncs=sorted(settings.syncs), **where)
            async with _beside(poster.run(), reviews.run(), *(_preflight(name, each) for name, each in hosts.items())):
                await daemon.run()
    if wrong:
        raise wrong[0]
    log.info("ended in order", action="stop")
    return 0


@asynccontextmanager
async def _beside(*works: object) -> AsyncIterator[None]:
    """Let *works* go on while the context lasts; then they are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    for task in tasks:
        task.add_done_callback(_told_of)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _told_of(task: asyncio.Future[object]) -> None:
    """What goes on beside the syncs has ended: with a bug, that is known at once, and not when the daemon ends."""
    if not task.cancelled() and (error := task.exception()):
        log.error("this is a bug", action="serve", outcome="failed", exc_info=error)


async def _preflight(name: str, hosted: Hosted) -> None:
    """Say once what the credentials may not do, and when they end: it is better known now than on the first commit."""
    try:
        problems = await hosted.provider.preflight()
    except GitsyncError as error:
        log.warning("what the host lets us do is not known: %s", error, action="preflight", sync=name)
        return
    for problem in problems:
        tell = log.warning if problem.fatal else log.info
        tell("%s %s", problem.message, problem.hint, action="preflight", sync=name, expires=problem.expires or None)


# -- who is told ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _poster(site: Site, deliveries: LateDeliveries) -> AsyncIterator[Poster]:
    timeout = httpx.Timeout(NOTIFY_SECONDS)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as client:
        hosts = {
            name: HostRecipient(each.limits_of, each.provider, each.credentials)
            for name, each in site.hosts.items()
            if each.provider.capabilities.statuses
        }
        subscribers = {each.context: Subscriber(each, client, site.clock.now) for each in _subscriptions(site)}
        yield Poster(deliveries, hosts, subscribers, clock=site.clock, alarms=site.alarms)


def _subscriptions(site: Site) -> list[Subscription]:
    return [Subscription(each.url, frozenset(map(str, each.on)), each.secret_file) for each in site.settings.notify]


def _spoken(site: Site) -> dict[str, Spoken]:
    return {
        name: Spoken(site.context("apply", name), each.repo.web_url, each.branch, site.pages)
        for name, each in site.hosts.items()
        if each.provider.capabilities.statuses
    }


def _link(site: Site, _sync: str, run: str) -> str:
    return f"{site.pages}/runs/{run}" if site.pages and run else ""


async def _history(mirrors: Mapping[str, MirrorSpecs], sync: str, older: str, newer: str) -> History:
    return await mirrors[sync].history(older, newer)


class Counted:
    """An Ear: what /metrics counts of runs."""

    def __init__(self, metrics: web.Metrics) -> None:
        self._metrics = metrics

    async def begun(self, run: str, sync: str, revision: str) -> None: ...
    async def finished(self, report: RunReport) -> None: ...
    async def held(self, sync: str, holds: Sequence[Hold]) -> None: ...

    async def looked(self, report: RunReport) -> None:
        self._metrics.run_ended(report)

    async def troubled(self, sync: str, error: str) -> None: ...


# -- pull requests --------------------------------------------------------------------------------------------------------


class LateReviews:
    """What was said of requests, in a store that is opened when it is needed."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def save(self, record: ReviewRecord) -> None:
        async with self._site.reviews() as reviews:
            await reviews.save(record)

    async def get(self, sync: str, number: int) -> ReviewRecord | None:
        async with self._site.reviews() as reviews:
            return await reviews.get(sync, number)

    async def open(self, sync: str) -> Sequence[ReviewRecord]:
        async with self._site.reviews() as reviews:
            return await reviews.open(sync)

    async def close(self, sync: str, number: int, at: str) -> None:
        async with self._site.reviews() as reviews:
            await reviews.close(sync, number, at)


def _desk(site: Site, jobs: Mapping[str, SyncJob], wants: Wants, name: str) -> Desk:
    hosted, sync = site.hosts[name], site.settings.syncs[name]
    changes = Changes(site.mirrors[name])
    context = site.context("plan", name)

    async def judge(request: Request) -> Review:
        job = jobs[name]
        async with site.link.held() as (consul, features):
            world = World(consul, features, job.specs, job.archive, site.clock, job.hostname)
            return await review(world, job.sync, changes, request, job.mind.memory)

    async def want_status(status: Status, *, delay: float = 0.0) -> None:
        await wants.want(wanted_status(name, status), delay=delay, replaces=replaces_plan)

    async def want_comment(number: int, marker: str, body: str) -> None:
        await wants.want(wanted_comment(name, number, context, marker, body))

    def link(number: int) -> str:
        return f"{site.pages}/plans/{name}/{number}" if site.pages else hosted.repo.web_url

    return Desk(
        sync=name,
        base=hosted.branch or "",
        context=context,
        marker=hosted.marker(f"{site.settings.instance}/{name}"),
        host=hosted.provider,
        repository=changes,
        records=LateReviews(site),
        judge=judge,
        want_status=want_status,
        want_comment=want_comment,
        link=link,
        limit=hosted.comment,
        lists=hosted.provider.capabilities.lists_changes,
        forks=hosted.settings.forks is not Forks.OFF,
        every=sync.interval.seconds,
        redact=frozenset(sync.redact),
    )


# -- what is served -------------------------------------------------------------------------------------------------------


async def _served(
    stack: AsyncExitStack, site: Site, daemon: Daemon, inbox: Inbox, metrics: web.Metrics
) -> dict[str, object]:
    """Serve, until *stack* ends; where."""
    given = site.settings.web
    hooks = hooks_of(site.hosts)
    receiver = web.Receiver(hooks, inbox, metrics) if hooks else None
    tls = web.Certificate(given.tls.cert_file, given.tls.key_file) if given.tls else None
    host, port = address_and_port(given.listen)

    async def about(sync: str, sha: str) -> Revision:
        return await site.mirrors[sync].resolve(sha)

    sources = web.Sources(
        daemon,
        site.store,
        {name: frozenset(each.redact) for name, each in site.settings.syncs.items()},
        site.clock.now,
        about,
    )
    app = web.application(
        sources, metrics, web.Access(host, given.anonymous_read), None if given.hooks_listen else receiver
    )
    limits = web.limits_of(receiver, web.USUAL)
    address, bound = await stack.enter_async_context(web.serve(app, host, port, limits=limits, tls=tls))
    where: dict[str, object] = {"listen": address, "port": bound}
    if given.hooks_listen and receiver:
        outside = web.serve(
            web.hooks_application(receiver),
            *address_and_port(given.hooks_listen),
            limits=limits,
            tls=tls,
            key="web.hooks_listen",
        )
        where["hooks_listen"], where["hooks_port"] = await stack.enter_async_context(outside)
    return where


def chores_of(settings: Settings, store: Shared[Store], mirrors: Mapping[str, MirrorSpecs]) -> list[Chore]:
    """What is done once a day: old history is forgotten, and the mirrors are tidied."""
    keep = timedelta(seconds=settings.retention.runs.seconds)

    async def forget() -> str:
        before = (datetime.now(UTC) - keep).isoformat(timespec="seconds").replace("+00:00", "Z")
        async with store.held() as history:
            gone = await history.prune(before)
            await history.deliveries.forget(before)
            await history.reviews.forget(before)
        return f"{gone} runs from before {before} are forgotten" if gone else ""

    async def tidy(specs: MirrorSpecs) -> str:
        await specs.mirror.maintain()
        return ""

    return [
        Chore("history", forget),
        *(Chore(f"mirror of {name}", partial(tidy, specs)) for name, specs in mirrors.items()),
    ]
