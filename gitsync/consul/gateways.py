"""Terminating gateways: everybody's rows in one entry each, so all edits of one gateway go into one write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gitsync.consul.entries import Entries
from gitsync.core.normalize import complete
from gitsync.model.component import Body
from gitsync.model.errors import Forbidden, GitsyncError, Rejected, StaleIndex
from gitsync.model.key import DEFAULT, Kind

DEADLINE_SECONDS = 30.0
"""How long a lost compare-and-set is tried again: 12 concurrent writers needed at most nine tries."""

PAUSE_SECONDS = 0.02


class RowEdit(Protocol):
    """One row: what it is to be (None: gone), and what it was when that was decided (None: absent)."""

    @property
    def name(self) -> str: ...
    @property
    def row(self) -> Body | None: ...
    @property
    def before(self) -> Body | None: ...


@dataclass(frozen=True, slots=True)
class GatewayOutcome:
    """What became of the edits of one gateway.

    refused: row name → Consul's refusal of that row. contested: row name → what stands there, changed by somebody else.
    Everything that is in neither is now as it was to be.
    """

    refused: Mapping[str, Exception] = field(default_factory=dict)
    contested: Mapping[str, Body | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timing:
    """sleep: of asyncio's kind. monotonic: seconds. jitter: 0 to 1."""

    sleep: Callable[[float], Awaitable[None]]
    monotonic: Callable[[], float]
    jitter: Callable[[], float]


RowKey = tuple[str, str]
"""(name, namespace). Rows are case-sensitive, unlike entries."""

Rows = dict[RowKey, Body]


@dataclass(eq=False, slots=True)
class _Batch:
    """The edits of one caller, and what became of them."""

    edits: Sequence[RowEdit]
    refused: dict[str, Exception] = field(default_factory=dict)
    contested: dict[str, Body | None] = field(default_factory=dict)
    error: GitsyncError | None = None
    done: bool = False


@dataclass(eq=False, frozen=True, slots=True)
class _Piece:
    """One edit, of one batch."""

    batch: _Batch
    edit: RowEdit


@dataclass(slots=True)
class _Queue:
    """Who waits for one gateway. Whoever has the lock writes for everybody."""

    waiting: list[_Batch] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class GatewayDesk:
    """Where all writers of this process hand in their edits. The only loop of the adapter is here: a lost compare-and-set."""

    def __init__(self, entries: Entries, timing: Timing, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._entries = entries
        self._timing = timing
        self._deadline_seconds = deadline_seconds
        self._queues: dict[str, _Queue] = {}

    async def edit(self, gateway: str, edits: Sequence[RowEdit]) -> GatewayOutcome:
        """Make the rows of *edits* what they are to be, together with those of everybody who waits for the same gateway.

        Other people's rows, Meta and fields are kept; an entry that is not there is made, and none is deleted, also when it is
        left empty. A row that Consul refuses does not stop the others. Raises StaleIndex when others changed the entry all the
        time, Forbidden, Rejected where the entry itself is refused, Unavailable, Unknown.
        """
        queue = self._queues.setdefault(gateway.lower(), _Queue())
        batch = _Batch(edits)
        queue.waiting.append(batch)
        queue.users += 1
        try:
            async with queue.lock:
                if not batch.done:
                    await self._serve(gateway, queue)
        finally:
            if batch in queue.waiting:
                queue.waiting.remove(batch)
            queue.users -= 1
            if not queue.users:
                self._queues.pop(gateway.lower(), None)
        if batch.error:
            raise batch.error
        return GatewayOutcome(batch.refused, batch.contested)

    async def _serve(self, gateway: str, queue: _Queue) -> None:
        """Commit what everybody handed in. If we are cancelled, the others are still waiting, and the next of them does it."""
        taken = list(queue.waiting)
        deadline = self._timing.monotonic() + self._deadline_seconds
        for batch in taken:  # an earlier try, cut short, may have left its mark
            batch.refused.clear()
            batch.contested.clear()
        pieces = [_Piece(batch, edit) for batch in taken for edit in batch.edits]
        try:
            await _Commit(self._entries, self._timing, gateway, deadline).write(pieces)
        except GitsyncError as error:
            for batch in taken:
                batch.error = error
        for batch in taken:
            batch.done = True
        queue.waiting = [batch for batch in queue.waiting if not batch.done]


class _Commit:
    """One commit of one gateway."""

    def __init__(self, entries: Entries, timing: Timing, gateway: str, deadline: float) -> None:
        self._entries, self._timing = entries, timing
        self._gateway, self._deadline = gateway, deadline
        self._sound = False

    async def write(self, pieces: Sequence[_Piece]) -> None:
        """Write *pieces* in one go; where Consul refuses them, find out which ones it means."""
        try:
            await self._put(pieces)
        except Forbidden:
            raise
        except Rejected as refusal:
            if len(pieces) > 1:
                half = len(pieces) // 2
                await self.write(pieces[:half])
                await self.write(pieces[half:])
                return
            await self._check_entry()
            piece = pieces[0]
            piece.batch.refused[piece.edit.name] = refusal

    async def _check_entry(self) -> None:
        """Raise what Consul says of the entry without any edit: else every row of thousands would be tried alone, for nothing."""
        if not self._sound:
            await self._put((), always=True)

    async def _put(self, pieces: Sequence[_Piece], *, always: bool = False) -> None:
        """One read and one write, until the write is not too late any more."""
        while True:
            entry = await self._entries.read_entry(Kind.GATEWAY_ROW, self._gateway)
            body: dict[str, Any] = dict(entry.body) if entry else {"Kind": str(Kind.GATEWAY_ROW), "Name": self._gateway}
            rows: Rows = {_key(row): row for row in body.get("Services") or ()}
            changed = [_apply(piece, rows) for piece in pieces]
            if not any(changed) and not always:
                return
            body["Services"] = [rows[key] for key in sorted(rows)]
            try:
                await self._entries.put_entry(body, index=entry.modify_index if entry else 0)
            except StaleIndex:
                if self._timing.monotonic() > self._deadline:
                    raise
                await self._timing.sleep(PAUSE_SECONDS * (1 + 4 * self._timing.jitter()))
            else:
                self._sound = True
                return


def _apply(piece: _Piece, rows: Rows) -> bool:
    """Make one edit in *rows*; whether that changed anything. Somebody else's change of the row makes it contested."""
    edit, contested = piece.edit, piece.batch.contested
    key = _key({"Name": edit.name, **(edit.row or edit.before or {})})
    there = rows.get(key)
    contested.pop(edit.name, None)
    if _same(there, edit.row):
        return False
    if not _same(there, edit.before):
        contested[edit.name] = there
        return False
    if edit.row is None:
        del rows[key]
    else:
        rows[key] = edit.row
    return True


def _key(row: Mapping[str, Any]) -> RowKey:
    return row["Name"], row.get("Namespace") or DEFAULT


def _same(one: Body | None, other: Body | None) -> bool:
    """Whether two rows say the same, also in the fields that gitsync does not manage."""
    if one is None or other is None:
        return one is other
    return one == other or complete(Kind.GATEWAY_ROW, one) == complete(Kind.GATEWAY_ROW, other)


__all__ = ["GatewayDesk", "GatewayOutcome", "RowEdit", "Timing"]
