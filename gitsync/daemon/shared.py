"""Shared: one thing that several use, opened when it is first needed and anew when it is out of date."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(slots=True, eq=False)
class _Opened(Generic[T_co]):
    thing: T_co
    stack: AsyncExitStack
    at: float
    users: int = 0


class Shared(Generic[T_co]):
    """What *opens* gives, for whoever holds it.

    lifetime: seconds after which the next holder gets a new one. Who holds the old one keeps it; it is closed when the last has let it
    go. An opening that fails fails for everybody who waits for it, and the next holder tries again.
    """

    def __init__(
        self,
        opens: Callable[[], AbstractAsyncContextManager[T_co]],
        *,
        monotonic: Callable[[], float],
        lifetime: float = math.inf,
    ) -> None:
        self._opens, self._monotonic, self._lifetime = opens, monotonic, lifetime
        self._current: _Opened[T_co] | None = None
        self._opening: asyncio.Task[_Opened[T_co]] | None = None
        self._old: list[_Opened[T_co]] = []
        self.ever_opened = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self.renew()
        for opened in self._old:
            opened.users = 0
        await self._sweep()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[T_co]:
        """The thing, open while the context lasts. Raises what opening it raises."""
        if self._current and self._monotonic() - self._current.at >= self._lifetime:
            self.renew()
        opened = await self._open()
        opened.users += 1
        try:
            yield opened.thing
        finally:
            opened.users -= 1
            await self._sweep()

    def renew(self) -> None:
        """Whoever comes next gets a new one."""
        if self._current is not None:
            self._old.append(self._current)
            self._current = None

    async def _open(self) -> _Opened[T_co]:
        while self._current is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._fresh(), name="opening")
                self._opening.add_done_callback(self._was_opened)
            await asyncio.shield(self._opening)
        return self._current

    async def _fresh(self) -> _Opened[T_co]:
        async with AsyncExitStack() as stack:
            thing = await stack.enter_async_context(self._opens())
            return _Opened(thing, stack.pop_all(), self._monotonic())

    def _was_opened(self, opening: asyncio.Task[_Opened[T_co]]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._current, self.ever_opened = opening.result(), True

    async def _sweep(self) -> None:
        """Close what is out of date and nobody holds any more."""
        unused = [opened for opened in self._old if not opened.users]
        self._old = [opened for opened in self._old if opened.users]
        for opened in unused:
            await asyncio.shield(opened.stack.aclose())
