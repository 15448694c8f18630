"""Together: several tasks of one run at a time; the first error ends the others and is raised as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


MANY = 500
"""From so many services on, thinking takes long enough for a session to miss its renewal."""


async def aside(size: int, think: Callable[[], T]) -> T:
    """What *think* gives, thought in a thread where it is about many services: the renewal of the session goes on meanwhile."""
    return await asyncio.to_thread(think) if size >= MANY else think()


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup whose first error is not wrapped in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


AHEAD = 4
"""Portions that may be made ahead of what was sent: all of ten thousand services at once would be a hundred megabytes."""


@asynccontextmanager
async def in_portions() -> AsyncIterator[Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]]:
    """A way to begin the sending of a portion, which waits while too much is made ahead. All are sent when the context ends."""
    places = asyncio.Semaphore(AHEAD)

    async def sent(send: Callable[[], Awaitable[object]]) -> None:
        try:
            await send()
        finally:
            places.release()

    async with together() as group:

        async def begin(send: Callable[[], Awaitable[object]]) -> None:
            await places.acquire()
            group.create_task(sent(send))
            await asyncio.sleep(0)

        yield begin


def portions(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """*values* in pieces: while one is on its way to Consul, the next is made."""
    return (values[at : at + size] for at in range(0, len(values), size))
