"""The composition root: from settings to things that work. The only place that knows every class."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ulid import ULID

from gitsync.consul.facade import Consul, connect
from gitsync.consul.features import require_primary
from gitsync.core.load import SpecDefaults, accepts, parse_file
from gitsync.engine import ports
from gitsync.engine.history import Tolerant
from gitsync.engine.look import Look, look
from gitsync.engine.ports import Clock, World
from gitsync.engine.reconcile import Mind, reconcile
from gitsync.model.context import GatewayFiles, TlsFiles
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Invalid
from gitsync.model.features import Features
from gitsync.model.key import Owner
from gitsync.model.revision import RefKind, lineage, parse_ref
from gitsync.model.run import RunReport
from gitsync.model.sync import Options, Sync
from gitsync.repository import DirectorySpecs, GitSource, Mirror, MirrorSpecs
from gitsync.settings import Settings, SyncSettings
from gitsync.store import Store

HERE = "the given directory"
"""What stands for a revision where a plain directory is planned."""


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
    store: Store
    rooms: Mapping[str, Room]
    defaults: SpecDefaults

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
    defaults = spec_defaults(settings)
    async with AsyncExitStack() as stack:
        consul, features = await stack.enter_async_context(connected(settings))
        store = await stack.enter_async_context(Store.open(settings.store))
        archive = Tolerant(store, said)
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
    async with connect(
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
    ) as (adapter, features):
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
