"""Write: the changes of a plan, phase after phase over all services. One that fails leaves; the others go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from gitsync.core.diff import differs
from gitsync.engine.ports import Clock, Consul, Fence, Lease, Progress, RowEdit
from gitsync.engine.retry import retried
from gitsync.engine.together import together
from gitsync.model import kv
from gitsync.model.component import CatalogNode, Entry, Found
from gitsync.model.errors import Fenced, GitsyncError, StaleIndex
from gitsync.model.key import ComponentKey, Kind, ServiceKey
from gitsync.model.plan import Action, Change, Phase


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a service left the run: the step (the kind that was written) and the error."""

    step: str
    error: GitsyncError


@dataclass(slots=True)
class Written:
    """What one pass over the phases did. stale: services whose components moved under us: the next round's."""

    failed: dict[ServiceKey, Failed] = field(default_factory=dict)
    stale: dict[ServiceKey, str] = field(default_factory=dict)
    writes: int = 0

    def out(self, key: ServiceKey) -> bool:
        return key in self.failed or key in self.stale


class Writer:
    """Writes the changes of one round under one lease, at most *width* at a time."""

    def __init__(
        self,
        consul: Consul,
        lease: Lease,
        found: Found,
        *,
        datacenter: str,
        width: int,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._consul, self._lease, self._found = consul, lease, found
        self._datacenter, self._clock, self._progress = datacenter, clock, progress
        self._width = width
        self._before: dict[ComponentKey, Change] = {}
        self.written = Written()

    async def write(self, changes: Iterable[Change]) -> Written:
        """Write them all, in the order of `Phase` and rank. Raises Fenced when the lease is gone: nothing more may be written."""
        ordered = sorted(changes, key=lambda change: (change.phase, change.rank))
        for (phase, _rank), group in groupby(ordered, key=lambda change: (change.phase, change.rank)):
            alive = [change for change in group if not self.written.out(change.key.service)]
            if phase in (Phase.ROWS, Phase.ROWS_GONE):
                await self._rows(alive)
            else:
                await self._all(self._one(change) for change in alive)
        return self.written

    async def _all(self, writes: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run them, *width* at a time; a lost lease stops every one of them."""
        queue = iter(writes)

        async def worker() -> None:
            for write in queue:
                await write

        async with together() as group:
            for _ in range(self._width):
                group.create_task(worker())

    async def _one(self, change: Change) -> None:
        if not self.written.out(change.key.service):
            await self._guarded(change.key.service, str(change.key.kind), lambda: self._put(change))
            self._progress.advance()

    async def _guarded(self, key: ServiceKey, step: str, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await retried(write, self._clock, before=self._lease.check)
        except Fenced:
            raise
        except StaleIndex as lost:
            self.written.stale[key] = str(lost)
        except GitsyncError as error:
            self.written.failed[key] = Failed(step, error)

    async def _put(self, change: Change) -> None:
        self.written.writes += 1
        if change.key.kind is Kind.CATALOG:
            await self._catalog(change)
            return
        index = await self._index(change)
        if change.action is Action.DELETE:
            if index:
                body = change.before or {}
                await self._consul.delete_entry(Entry(str(change.key.kind), change.key.service.name, body, 0, index))
        else:
            await self._consul.put_entry(change.after or {}, index=index)
        self._before[change.key] = change

    async def _index(self, change: Change) -> int:
        """The index to compare with: the one that was planned on, or after a step of our own the one it left."""
        earlier = self._before.get(change.key)
        if earlier is None:
            return change.index
        entry = await self._consul.read_entry(change.key.kind, change.key.service.name)
        if entry is None:
            if earlier.after is None:
                return 0
            raise StaleIndex(str(change.key), change.index)
        if earlier.after is None or differs(change.key.kind, earlier.after, entry.body):
            raise StaleIndex(str(change.key), change.index)
        return entry.modify_index

    async def _catalog(self, change: Change) -> None:
        key = change.key
        seen = self._found.nodes.get((key.datacenter, key.node))
        fence = self._fence(key)
        if change.action is Action.DELETE:
            if seen is not None:
                await self._consul.deregister(seen, key.service.name, _checks(seen, key.service.name), fence=fence)
        else:
            await self._consul.register(change.after or {}, seen, fence=fence)

    def _fence(self, key: ComponentKey) -> Fence | None:
        """Sessions hold in their own datacenter only: a node elsewhere is written without a fence."""
        return (kv.lock(key.service), self._lease.id) if key.datacenter == self._datacenter else None

    async def _rows(self, changes: Sequence[Change]) -> None:
        by_gateway: dict[str, list[Change]] = defaultdict(list)
        for change in changes:
            by_gateway[change.key.at].append(change)
        await self._all(self._gateway(gateway, group) for gateway, group in sorted(by_gateway.items()))

    async def _gateway(self, gateway: str, changes: Sequence[Change]) -> None:
        """One write for all rows of a gateway."""
        by_name: Mapping[str, Change] = {change.key.service.name: change for change in changes}
        edits = [RowEdit(name, change.after, change.before) for name, change in sorted(by_name.items())]
        step = str(Kind.GATEWAY_ROW)
        try:
            self._lease.check()
            self.written.writes += 1
            outcome = await retried(
                lambda: self._consul.edit_gateway(gateway, edits), self._clock, before=self._lease.check
            )
        except Fenced:
            raise
        except GitsyncError as error:
            for change in changes:
                self.written.failed[change.key.service] = Failed(step, error)
            return
        for name, refusal in outcome.refused.items():
            reason = refusal if isinstance(refusal, GitsyncError) else GitsyncError(str(refusal))
            self.written.failed[by_name[name].key.service] = Failed(step, reason)
        for name in outcome.contested:
            self.written.stale[by_name[name].key.service] = f"the row {name} of {gateway} was changed by somebody else"
        self._progress.advance(len(changes))


def _checks(node: CatalogNode, service: str) -> tuple[str, ...]:
    return tuple(check.id for check in node.checks if check.service_id == service)
