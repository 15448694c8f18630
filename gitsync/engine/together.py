"""Together: several tasks of one run at a time; the first error ends the others and is raised as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
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


def portions(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """*values* in pieces: while one is on its way to Consul, the next is made."""
    return (values[at : at + size] for at in range(0, len(values), size))
