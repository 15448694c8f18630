"""The composition root: from settings to things that work. The only place that knows every class."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from ulid import ULID

from gitsync import web
from gitsync.consul.facade import Consul, connect
from gitsync.consul.features import require_primary
from gitsync.consul.verdict import NoConnection
from gitsync.core.load import SpecDefaults, accepts, parse_file
from gitsync.daemon.alarms import ScheduledAlarms
from gitsync.daemon.archive import LateArchive
from gitsync.daemon.schedule import Chore, Daemon
from gitsync.daemon.shared import Shared
from gitsync.daemon.signals import obeyed
from gitsync.daemon.sync_job import SyncJob
from gitsync.engine import ports
from gitsync.engine.history import Tolerant
from gitsync.engine.look import Look, look, look_ahead
from gitsync.engine.ports import Clock, World
from gitsync.engine.reconcile import Mind, reconcile
from gitsync.engine.retry import retried
from gitsync.model.context import GatewayFiles, TlsFiles
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import GitsyncError, Invalid, Unavailable
from gitsync.model.features import Features
from gitsync.model.key import Owner
from gitsync.model.revision import RefKind, lineage, parse_ref
from gitsync.model.run import RunReport
from gitsync.model.sync import Options, Sync
from gitsync.repository import DirectorySpecs, GitSource, Mirror, MirrorSpecs
from gitsync.settings import Settings, SyncSettings
from gitsync.settings.grammar import address_and_port
from gitsync.store import Store
from gitsync.web import health_app

HERE = "the given directory"
"""What stands for a revision where a plain directory is planned."""

COLLECTOR = (100_000, 20, 100)
"""How many objects are made before Python looks for circles among them, and how often it looks among older ones (its own figures
are 700, 10 and 10). A run makes millions, of which hardly any is in a circle; looking for them took a third of it and more
(docs/performance.md)."""

LINK_SECONDS = 3600.0
"""How long the daemon believes what it knows of Consul. Then it asks again: it may have been upgraded."""

log = structlog.get_logger()


class Silent:
    """Nobody watches."""

    def step(self, name: str, total: int = 0) -> None: ...
    def advance(self, count: int = 1) -> None: ...
    def say(self, message: str) -> None: ...


@dataclass(slots=True)
class Room:
    """One sync with everything it works with."""

    sync: Sync
    settings: SyncSettings
    world: World
    mind: Mind = field(default_factory=Mind)

    async def run(self, options: Options, progress: ports.Progress) -> RunReport:
        """One pass: from the commit to the verified state."""
        return await reconcile(self.world, self.sync, options, self.mind, progress)

    async def rest(self) -> None:
        """What the daemon does after a run."""
        await look_ahead(self.world, self.sync, self.mind.memory)

    async def plan(
        self, options: Options, progress: ports.Progress, *, directory: Path | None = None, defaults: SpecDefaults
    ) -> Look:
        """What a pass would do; of *directory* instead of the repository, if there is one. Nothing is written."""
        world, mind = self.world, self.mind
        if directory is not None:
            world = replace(world, specs=specs_in(directory, self.settings, defaults))
            options, mind = replace(options, rev=HERE), Mind()
        return await look(world, self.sync, options, mind.memory, progress)


@dataclass(frozen=True, slots=True)
class House:
    """Everything that runs: Consul, the store, and a room for each sync."""

    settings: Settings
    consul: Consul
    features: Features
    opened_store: Store | GitsyncError
    rooms: Mapping[str, Room]
    defaults: SpecDefaults

    @property
    def store(self) -> Store:
        """The history. Raises Unavailable where it could not be opened: a run does without, who wants to read it cannot."""
        if isinstance(self.opened_store, GitsyncError):
            raise self.opened_store
        return self.opened_store

    def room(self, name: str) -> Room:
        """The room of a sync. Raises Invalid with the names there are."""
        if name not in self.rooms:
            raise Invalid(f"there is no sync {name!r} in the configuration. There is: {', '.join(sorted(self.rooms))}.")
        return self.rooms[name]


def system_clock() -> Clock:
    """The clock on the wall, and the chance of this process."""
    chance = random.SystemRandom()
    return Clock(
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
        new_id=lambda: str(ULID()),
        jitter=chance.random,
    )


@asynccontextmanager
async def opened(settings: Settings, *, said: Callable[[str], None] = lambda _: None) -> AsyncIterator[House]:
    """Open everything that *settings* names; it is closed again at the end.

    said: hears what does not stop gitsync but should be known, such as a history that cannot be written.
    """
    gc.set_threshold(*COLLECTOR)
    defaults = spec_defaults(settings)
    async with AsyncExitStack() as stack:
        consul, features = await stack.enter_async_context(connected(settings))
        store: Store | GitsyncError
        try:
            store = await stack.enter_async_context(Store.open(settings.store))
        except Unavailable as error:
            store = error
            said(f"history is neither kept nor shown: {error}")
        archive = Tolerant(store if isinstance(store, Store) else None, said)
        clock = system_clock()
        rooms = {
            name: Room(
                sync_of(settings, name),
                each,
                World(consul, features, mirror_of(settings, name, defaults), archive, clock, socket.gethostname()),
            )
            for name, each in settings.syncs.items()
        }
        yield House(settings, consul, features, store, rooms, defaults)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[Consul, Features]]:
    """Consul, and what it is. Raises Unavailable, Forbidden, or Invalid where it is not the primary datacenter's."""
    consul = settings.consul
    async with AsyncExitStack() as stack:
        connecting = partial(
            connect,
            consul.address,
            token=consul.token.get_secret_value if consul.token else None,
            token_file=consul.token_file,
            ca_file=consul.ca_file,
            cert_file=consul.cert_file,
            key_file=consul.key_file,
            timeout_seconds=consul.timeout.seconds,
            lock_ttl=consul.lock_ttl.seconds,
            session_node=consul.session_node,
            version=consul.version,
            primary_datacenter=consul.primary_datacenter,
        )
        # Several processes of one machine share Consul's 200 connections of an address: the first question may have to wait.
        # Where nobody listens, a person wants to hear it at once, and the daemon comes back by itself.
        adapter, features = await retried(
            lambda: stack.enter_async_context(connecting()), system_clock(), final=(NoConnection,)
        )
        require_primary(features)
        yield adapter, features


def spec_defaults(settings: Settings) -> SpecDefaults:
    """What a spec need not say."""
    return SpecDefaults(
        partition=settings.consul.partition, namespace=settings.consul.namespace, gateway=settings.gateway
    )


def sync_of(settings: Settings, name: str) -> Sync:
    """The identity and the policy of a sync."""
    sync = settings.syncs[name]
    return Sync(
        owner=Owner(settings.instance, name),
        lineage=lineage(sync.git.url, sync.git.ref, sync.git.path),
        pinned_ref=parse_ref(sync.git.ref).kind is RefKind.SHA,
        history=str(sync.git.history),
        strict=sync.strict,
        adopt=sync.adopt,
        drift=str(sync.drift),
        max_count=sync.prune.max_count,
        max_fraction=sync.prune.max_fraction,
        lock_ttl=settings.consul.lock_ttl.seconds,
        width=settings.consul.concurrency,
        gateways=gateways_of(settings),
        redact=frozenset(sync.redact),
    )


def gateways_of(settings: Settings) -> dict[str, GatewayFiles]:
    """What exists on the gateways' hosts."""
    return {
        name: GatewayFiles(
            gateway.default_ca_file or "",
            tuple(TlsFiles(each.ca_file, each.cert_file or "", each.key_file or "") for each in gateway.tls),
        )
        for name, gateway in settings.gateways.items()
    }


def filter_of(sync: SyncSettings) -> Callable[[str], str | None]:
    """Why a path is passed over, None if it is a spec file."""
    return partial(accepts, include=sync.git.include, exclude=sync.git.exclude)


def parser_of(defaults: SpecDefaults) -> Callable[[str, bytes], ParsedFile]:
    return partial(parse_file, defaults=defaults)


def mirror_of(settings: Settings, name: str, defaults: SpecDefaults) -> MirrorSpecs:
    """The specs of a sync's repository, through its mirror below `state_dir`."""
    sync = settings.syncs[name]
    git = sync.git
    source = GitSource(
        url=git.url,
        ref=git.ref,
        path=git.path,
        username=git.username or "",
        token_file=git.token_file,
        ssh_key_file=git.ssh_key_file,
        known_hosts_file=git.known_hosts_file,
        ca_file=git.ca_file,
        timeout=git.timeout.seconds,
    )
    mirror = Mirror(source, settings.state_dir / "mirrors" / f"{name}.git", accepts=filter_of(sync))
    return MirrorSpecs(mirror, parser_of(defaults))


def specs_in(directory: Path, sync: SyncSettings | None, defaults: SpecDefaults) -> DirectorySpecs:
    """The specs in a plain directory."""
    takes = filter_of(sync) if sync else partial(accepts, include=(), exclude=())
    return DirectorySpecs(directory, takes, parser_of(defaults))


async def serve(settings: Settings) -> int:
    """The daemon: every sync at its interval, /healthz and /readyz, until SIGTERM; the exit code.

    Neither Consul nor Git nor the database has to be there at the start. Raises Invalid if the configuration is wrong, also
    where that shows only in what Consul answers first.
    """
    gc.set_threshold(*COLLECTOR)
    clock, defaults = system_clock(), spec_defaults(settings)
    wrong: list[Invalid] = []

    def give_up(error: Invalid) -> None:
        wrong.append(error)
        daemon.stop()

    async with AsyncExitStack() as stack:
        link: Shared[tuple[ports.Consul, Features]] = await stack.enter_async_context(
            Shared(partial(connected, settings), monotonic=clock.monotonic, lifetime=LINK_SECONDS)
        )
        store = await stack.enter_async_context(Shared(partial(Store.open, settings.store), monotonic=clock.monotonic))
        archive = Tolerant(LateArchive(store), partial(log.warning, action="record"))
        mirrors = {name: mirror_of(settings, name, defaults) for name in settings.syncs}
        jobs = [
            SyncJob(
                sync_of(settings, name),
                each.interval.seconds,
                link,
                mirrors[name],
                archive,
                clock,
                socket.gethostname(),
                give_up,
            )
            for name, each in settings.syncs.items()
        ]
        alarms = ScheduledAlarms()
        stack.callback(alarms.close)
        daemon = Daemon(jobs, chores_of(settings, store, mirrors), clock=clock, alarms=alarms)
        host, port = await stack.enter_async_context(
            web.serve(health_app(daemon), *address_and_port(settings.web.listen))
        )
        with obeyed(daemon.stop, partial(daemon.wake_all, "signal")):
            log.info("ready to run", action="start", syncs=sorted(settings.syncs), listen=host, port=port)
            await daemon.run()
    if wrong:
        raise wrong[0]
    log.info("ended in order", action="stop")
    return 0


def chores_of(settings: Settings, store: Shared[Store], mirrors: Mapping[str, MirrorSpecs]) -> list[Chore]:
    """What is done once a day: old history is forgotten, and the mirrors are tidied."""
    keep = timedelta(seconds=settings.retention.runs.seconds)

    async def forget() -> str:
        before = (datetime.now(UTC) - keep).isoformat(timespec="seconds").replace("+00:00", "Z")
        async with store.held() as history:
            gone = await history.prune(before)
        return f"{gone} runs from before {before} are forgotten" if gone else ""

    async def tidy(specs: MirrorSpecs) -> str:
        await specs.mirror.maintain()
        return ""

    return [
        Chore("history", forget),
        *(Chore(f"mirror of {name}", partial(tidy, specs)) for name, specs in mirrors.items()),
    ]
