"""Deliveries in the daemon: what it needs of their store, opened when it is first needed, and a want that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from gitsync.engine.ports import Clock
from gitsync.model.delivery import Delivery, DeliveryKind, Wanted
from gitsync.model.errors import GitsyncError, Rejected

MOST_LATE = 1_000
"""How much that is wanted is remembered while the database is away. What is oldest goes first."""

Body = Mapping[str, Any]
Replaces = Callable[[Body, Body], bool]

log = structlog.get_logger()


def differs(new: Body, old: Body) -> bool:
    return new != old


class Deliveries(Protocol):
    """What still has to be told (gitsync/store/deliveries.py). Every method raises Unavailable."""

    async def want(
        self, wanted: Wanted, *, now: datetime, delay: float = 0.0, replaces: Replaces = differs, revive: bool = False
    ) -> bool: ...
    async def due(
        self, now: datetime, *, syncs: Collection[str], contexts: Collection[str], limit: int = 50
    ) -> Sequence[Delivery]: ...
    async def soonest(self, *, syncs: Collection[str], contexts: Collection[str]) -> str: ...
    async def done(self, delivery: Delivery, *, now: datetime, rest: float = 0.0, reference: str = "") -> None: ...
    async def failed(
        self,
        delivery: Delivery,
        error: str,
        *,
        now: datetime,
        again: float | None,
        counts: bool = True,
        closed: bool = False,
    ) -> None: ...
    async def overtaken(self, delivery: Delivery) -> bool: ...
    async def get(self, sync: str, kind: DeliveryKind, subject: str, context: str) -> Delivery | None: ...
    async def statuses(self, sync: str, context: str, limit: int = 200) -> Sequence[Delivery]: ...
    async def waiting(self) -> Mapping[tuple[str, str], int]: ...
    async def forget(self, before: str) -> int: ...


class LateDeliveries:
    """Every method raises what opening the store raises, Unavailable say, or what the store does."""

    def __init__(self, held: Callable[[], AbstractAsyncContextManager[Deliveries]]) -> None:
        self._held = held

    async def want(
        self, wanted: Wanted, *, now: datetime, delay: float = 0.0, replaces: Replaces = differs, revive: bool = False
    ) -> bool:
        async with self._held() as store:
            return await store.want(wanted, now=now, delay=delay, replaces=replaces, revive=revive)

    async def due(
        self, now: datetime, *, syncs: Collection[str], contexts: Collection[str], limit: int = 50
    ) -> Sequence[Delivery]:
        async with self._held() as store:
            return await store.due(now, syncs=syncs, contexts=contexts, limit=limit)

    async def soonest(self, *, syncs: Collection[str], contexts: Collection[str]) -> str:
        async with self._held() as store:
            return await store.soonest(syncs=syncs, contexts=contexts)

    async def done(self, delivery: Delivery, *, now: datetime, rest: float = 0.0, reference: str = "") -> None:
        async with self._held() as store:
            await store.done(delivery, now=now, rest=rest, reference=reference)

    async def failed(
        self,
        delivery: Delivery,
        error: str,
        *,
        now: datetime,
        again: float | None,
        counts: bool = True,
        closed: bool = False,
    ) -> None:
        async with self._held() as store:
            await store.failed(delivery, error, now=now, again=again, counts=counts, closed=closed)

    async def overtaken(self, delivery: Delivery) -> bool:
        async with self._held() as store:
            return await store.overtaken(delivery)

    async def get(self, sync: str, kind: DeliveryKind, subject: str, context: str) -> Delivery | None:
        async with self._held() as store:
            return await store.get(sync, kind, subject, context)

    async def statuses(self, sync: str, context: str, limit: int = 200) -> Sequence[Delivery]:
        async with self._held() as store:
            return await store.statuses(sync, context, limit)

    async def waiting(self) -> Mapping[tuple[str, str], int]:
        async with self._held() as store:
            return await store.waiting()

    async def forget(self, before: str) -> int:
        async with self._held() as store:
            return await store.forget(before)


@dataclass(frozen=True, slots=True)
class _Late:
    wanted: Wanted
    delay: float
    replaces: Replaces
    revive: bool


class Wants:
    """What is wanted, written down at once, or as soon as the database takes it. It never fails and never holds a run up.

    woken: told that there is something to post.
    """

    def __init__(self, deliveries: Deliveries, clock: Clock, woken: Callable[[], None]) -> None:
        self._deliveries, self._clock, self._woken = deliveries, clock, woken
        self._late: dict[tuple[str, str, str, str], _Late] = {}

    async def want(
        self, wanted: Wanted, *, delay: float = 0.0, replaces: Replaces = differs, revive: bool = False
    ) -> bool:
        """Let *wanted* be told; whether there is, or will be, anything to tell."""
        late = _Late(wanted, delay, replaces, revive)
        before = self._late.get(wanted.place)
        if before is None:
            try:
                return await self._write(late)
            except Rejected as error:
                log.warning("never told: %s", error, action="deliver", sync=wanted.sync)
                return False
            except GitsyncError as error:
                log.debug("kept for later: %s", error, action="deliver", sync=wanted.sync)
        elif not replaces(wanted.body, before.wanted.body):
            return True
        self._late[wanted.place] = late
        while len(self._late) > MOST_LATE:
            self._late.pop(next(iter(self._late)))
        return True

    async def flush(self) -> None:
        """Write down what could not be. Raises Unavailable if that is still so."""
        while self._late:
            place, late = next(iter(self._late.items()))
            try:
                await self._write(late)
            except Exception as error:
                if isinstance(error, GitsyncError) and not isinstance(error, Rejected):
                    raise
                # It must not keep everything else from being told.
                log.warning("never told: %s", error, action="deliver", sync=late.wanted.sync)
            if self._late.get(place) is late:
                del self._late[place]

    async def _write(self, late: _Late) -> bool:
        news = await self._deliveries.want(
            late.wanted, now=self._clock.now(), delay=late.delay, replaces=late.replaces, revive=late.revive
        )
        if news:
            self._woken()
        return news
