"""The composition root: from settings to things that work. The only place that knows every class."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
from ulid import ULID

from gitsync.consul.facade import Consul, connect
from gitsync.consul.features import require_primary
from gitsync.consul.verdict import NoConnection
from gitsync.core.load import SpecDefaults, accepts, parse_file
from gitsync.daemon.contracts import Contracts
from gitsync.engine import ports
from gitsync.engine.history import Tolerant
from gitsync.engine.look import Look, look, look_ahead
from gitsync.engine.ports import Clock, World
from gitsync.engine.reconcile import Mind, reconcile
from gitsync.engine.retry import retried
from gitsync.hosts.credentials import StaticToken
from gitsync.model.context import GatewayFiles, TlsFiles
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import GitsyncError, Invalid, Unavailable
from gitsync.model.features import Features
from gitsync.model.key import Owner
from gitsync.model.revision import RefKind, lineage, parse_ref
from gitsync.model.run import RunReport
from gitsync.model.sync import Options, Sync
from gitsync.repository import (
    Changes,
    DirectorySpecs,
    GitSource,
    Login,
    Mirror,
    MirrorSpecs,
    Mode,
    SignaturePolicy,
    Signatures,
)
from gitsync.settings import Settings, SyncSettings
from gitsync.settings.outside import SignatureMode
from gitsync.store import Store
from gitsync.store.reviews import Reviews
from gitsync.wire.hosts import Hosted, hosts_of, token_in

HERE = "the given directory"
"""What stands for a revision where a plain directory is planned."""

COLLECTOR = (100_000, 20, 100)
"""How many objects are made before Python looks for circles among them, and how often it looks among older ones (its own figures
are 700, 10 and 10). A run makes millions, of which hardly any is in a circle; looking for them took a third of it and more
(docs/performance.md)."""

LINK_SECONDS = 3600.0
"""How long the daemon believes what it knows of Consul. Then it asks again: it may have been upgraded."""

log = structlog.get_logger()


NO_HOSTS: Mapping[str, Hosted] = {}


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
        hosts = await stack.enter_async_context(hosts_of(settings))
        mirrors = {name: mirror_of(settings, name, defaults, hosts) for name in settings.syncs}
        contract = contract_of(mirrors, hosts, partial(_reviews, store)) if isinstance(store, Store) else None
        rooms = {
            name: Room(
                sync_of(settings, name),
                each,
                World(consul, features, mirrors[name], archive, clock, socket.gethostname(), contract),
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


@asynccontextmanager
async def _reviews(store: Store) -> AsyncIterator[Reviews]:
    yield store.reviews


def contract_of(
    mirrors: Mapping[str, MirrorSpecs],
    hosts: Mapping[str, Hosted],
    archive: Callable[[], AbstractAsyncContextManager[Reviews]],
) -> Contracts:
    """What was reviewed on the requests of the syncs that review them."""
    return Contracts({name: Changes(mirrors[name]) for name, hosted in hosts.items() if hosted.reviews}, archive)


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
        require_reviewed=sync.require_reviewed_plan,
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


def filter_of(sync: SyncSettings | None) -> Callable[[str], str | None]:
    """Why a path is passed over, None if it is a spec file."""
    if sync is None:
        return partial(accepts, include=(), exclude=())
    return partial(accepts, include=sync.git.include, exclude=sync.git.exclude)


def parser_of(defaults: SpecDefaults) -> Callable[[str, bytes], ParsedFile]:
    return partial(parse_file, defaults=defaults)


def mirror_of(
    settings: Settings, name: str, defaults: SpecDefaults, hosts: Mapping[str, Hosted] = NO_HOSTS
) -> MirrorSpecs:
    """The specs of a sync's repository, through its mirror below `state_dir`."""
    sync = settings.syncs[name]
    source = source_of(sync, hosts.get(name))
    mirror = Mirror(source, settings.state_dir / "mirrors" / f"{name}.git", accepts=filter_of(sync))
    return MirrorSpecs(mirror, parser_of(defaults), signatures_of(settings, name))


def source_of(sync: SyncSettings, hosted: Hosted | None = None) -> GitSource:
    """The repository of a sync, and how to reach it. Raises Invalid where a variable that holds a token is not set."""
    git = sync.git
    login: Login | None = None
    if git.token_env:
        login = StaticToken(token_in(git.token_env, "git.token_env"))
    elif hosted and hosted.reads_git:
        login = hosted.credentials
    return GitSource(
        url=git.url,
        ref=git.ref,
        path=git.path,
        username=git.username or ("x-access-token" if hosted and hosted.reads_git else ""),
        token_file=git.token_file,
        ssh_key_file=git.ssh_key_file,
        known_hosts_file=git.known_hosts_file,
        ca_file=git.ca_file,
        timeout=git.timeout.seconds,
        login=login,
    )


def signatures_of(settings: Settings, name: str) -> Signatures | None:
    """Whose commits the sync takes; None where it does not ask."""
    given = settings.syncs[name].signatures
    if given.mode is SignatureMode.OFF:
        return None
    policy = SignaturePolicy(
        Mode(str(given.mode)),
        gpg_keys_file=given.gpg_keys_file,
        gpg_fingerprints=given.gpg_fingerprints,
        allowed_signers_file=given.allowed_signers_file,
        revoked_signers_file=given.revoked_signers_file,
    )
    return Signatures(policy, settings.state_dir / "signers" / name)


def specs_in(directory: Path, sync: SyncSettings | None, defaults: SpecDefaults) -> DirectorySpecs:
    """The specs in a plain directory."""
    return DirectorySpecs(directory, filter_of(sync), parser_of(defaults))
