"""Together: several tasks of one run at a time; the first error ends the others and is raised as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


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
