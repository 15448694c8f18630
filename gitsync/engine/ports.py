"""What the engine needs of the world: Protocols that the adapters satisfy and `wire` connects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gitsync.model.component import Body, CatalogNode, Entry, Listing
from gitsync.model.desired import ParsedFile
from gitsync.model.features import Features
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Hold
from gitsync.model.review import Promised
from gitsync.model.revision import History, Revision
from gitsync.model.run import RunReport


class Pair(Protocol):
    """One key of Consul's KV."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> bytes: ...
    @property
    def modify_index(self) -> int: ...
    @property
    def session(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a KV transaction. verb: set, cas, delete, delete-cas, delete-tree, check-session or lock."""

    verb: str
    key: str
    value: bytes = b""
    index: int = 0
    session: str = ""


class Failure(Protocol):
    """Why an operation, and with it the whole transaction, was not applied."""

    @property
    def op_index(self) -> int: ...
    @property
    def what(self) -> str: ...


@dataclass(frozen=True, slots=True)
class RowEdit:
    """One row of a gateway: what it is to be (None: gone), and what it was when the plan was made (None: absent)."""

    name: str
    row: Body | None
    before: Body | None


class GatewayOutcome(Protocol):
    """What became of the edits of one gateway. refused: row name → error. contested: row name → what stands there instead."""

    @property
    def refused(self) -> Mapping[str, Exception]: ...
    @property
    def contested(self) -> Mapping[str, Body | None]: ...


class Lease(Protocol):
    """A Consul session that is renewed in the background."""

    @property
    def id(self) -> str: ...

    def check(self) -> None:
        """Raise Fenced if no write may start any more."""

    async def destroy(self) -> None: ...


Fence = tuple[str, str]
"""(lock key, session): a transaction is applied only while that session holds that key."""


class Consul(Protocol):
    """Consul, as the engine reads and writes it. Every method raises Rejected, Forbidden, Unavailable or Unknown."""

    async def lists(self, kinds: Sequence[Kind]) -> Mapping[Kind, Listing]: ...
    async def read_entry(self, kind: Kind, name: str) -> Entry | None: ...
    async def put_entry(self, body: Body, *, index: int) -> None: ...
    async def delete_entry(self, entry: Entry) -> None: ...
    async def edit_gateway(self, gateway: str, edits: Sequence[RowEdit]) -> GatewayOutcome: ...
    async def nodes_index(self, datacenter: str) -> int: ...
    async def external_nodes(
        self, datacenter: str, services: Mapping[str, str], *, index: int | None = None
    ) -> tuple[CatalogNode, ...]:
        """index: what `nodes_index` said a moment ago; None: it is asked now."""

    async def read_node(self, datacenter: str, node: str) -> CatalogNode | None: ...
    async def carried(self, datacenter: str, services: Mapping[str, str]) -> frozenset[str]: ...
    async def register(self, wanted: Body, seen: CatalogNode | None, *, fence: Fence | None) -> None: ...
    async def deregister(
        self, seen: CatalogNode, service_id: str, check_ids: Sequence[str], *, fence: Fence | None
    ) -> None: ...
    async def service_names(self) -> frozenset[str]: ...
    async def service_nodes(self, name: str) -> tuple[str, ...]: ...
    async def datacenters(self) -> tuple[str, ...]: ...
    async def read_tree(self, prefix: str) -> Sequence[Pair]: ...
    async def kept_tree(self, prefix: str) -> Sequence[Pair]:
        """As `read_tree`; the same object while nothing below *prefix* changes. So are unchanged entries and nodes of a list."""

    async def read_key(self, key: str) -> Pair | None: ...
    async def transact(self, ops: Sequence[Op]) -> Sequence[Failure]: ...
    def batches(self, groups: Sequence[Sequence[Op]]) -> list[list[Sequence[Op]]]: ...
    async def open_lease(self, name: str) -> Lease: ...
    async def destroy_session(self, session: str) -> None: ...
    async def session_exists(self, session: str) -> bool: ...


class Specs(Protocol):
    """A spec repository (or a folder): the files of one revision, parsed."""

    async def fetch(self) -> Revision: ...
    async def resolve(self, revision: str) -> Revision: ...
    async def trusted(self, revision: Revision, applied: str) -> None:
        """Raise Untrusted unless *revision* is signed as the sync asks for. applied: the revision before it, "" for none."""

    async def load(self, revision: Revision, applied: str) -> tuple[ParsedFile, ...]:
        """Every spec file at *revision*.

        Raises Rejected if the path is not there, unless a revision with this path was *applied* before ("" for none).
        """

    async def history(self, applied: str, candidate: str) -> History: ...
    async def keep(self, sha: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ServiceVersion:
    """One version of a service, for the store. state: active, deleting, error, deleted."""

    accessor_id: str
    key: ServiceKey
    version: int
    spec: Mapping[str, Any]
    spec_hash: str
    state: str
    origin_path: str
    origin_commit: str
    owner: str


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One component that was read back, for the store."""

    accessor_id: str
    key: ServiceKey
    kind: str
    at: str
    hash: str
    create_index: int
    modify_index: int


class Archive(Protocol):
    """The store, as a run writes it. Losing it loses history only."""

    async def begin_run(self, *, run: str, sync: str, revision: str, trigger: str, started: str) -> None: ...
    async def finish_run(self, report: RunReport) -> None: ...
    async def record_services(self, rows: Sequence[ServiceVersion], components: Sequence[ComponentRow] = ()) -> None:
        """Versions of services, and all that those of *components* have in Consul now."""

    async def record_holds(self, sync: str, holds: Sequence[Hold]) -> None: ...
    async def touch(self, sync: str, *, revision: str, checked: str) -> None: ...


class Contract(Protocol):
    """What was reviewed on the requests that were merged."""

    async def promised(self, sync: str, applied: str, revision: str) -> Promised:
        """Of those that *revision* brings in, after *applied* ("" for none). Raises what reading Git or the store raises."""


class Progress(Protocol):
    """Somebody who watches a run. step: what begins now, and how many parts it has (0: unknown). say: a sentence."""

    def step(self, name: str, total: int = 0) -> None: ...
    def advance(self, count: int = 1) -> None: ...
    def say(self, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, injected. now: UTC. monotonic: seconds. sleep: of asyncio's kind. new_id: a ULID."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    new_id: Callable[[], str]
    jitter: Callable[[], float]

    def stamp(self) -> str:
        """The time now, ISO 8601, UTC."""
        return self.now().isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class World:
    """Everything a run talks to. hostname: what stands in a lock. contract: None where nobody reviews requests."""

    consul: Consul
    features: Features
    specs: Specs
    archive: Archive
    clock: Clock
    hostname: str
    contract: Contract | None = None
