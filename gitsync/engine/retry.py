"""Retry: the one place where an answer that does not count is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gitsync.engine.ports import Clock
from gitsync.model.errors import Unavailable

T = TypeVar("T")
PAUSES = (0.1, 0.3, 1.0, 2.0)
"""Seconds between the tries; each is multiplied by up to 1.5 of jitter."""


async def retried(
    call: Callable[[], Awaitable[T]],
    clock: Clock,
    *,
    before: Callable[[], None] = lambda: None,
    final: tuple[type[Unavailable], ...] = (),
) -> T:
    """The result of *call*, tried again while it is Unavailable. Only for calls that may be repeated: reads, and writes by CAS.

    before: called ahead of each try; raises where no try may start any more. final: what is not worth another try.
    """
    for pause in PAUSES:
        before()
        try:
            return await call()
        except final:
            raise
        except Unavailable:
            await clock.sleep(pause * (1 + clock.jitter() / 2))
    before()
    return await call()


async def to_its_end(deed: Coroutine[Any, Any, T]) -> T:
    """The result of *deed*, which is finished whoever cancels meanwhile; the cancel then comes after it.

    `asyncio.shield` alone goes on at once and leaves the deed behind, to write through connections that are closed by then.
    """
    task = asyncio.ensure_future(deed)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # looked at: the cancel is what is told
        raise asyncio.CancelledError
    return task.result()
