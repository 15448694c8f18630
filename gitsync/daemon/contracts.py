"""Contracts: what was reviewed on the requests that a run brings in, found by the trees and heads of what landed.

A merge of any kind, a squash and a rebase all have the tree that was reviewed, if nothing came between; a merge commit also names
the head that was. So no host has to be asked which request a commit came from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gitsync.model.key import ServiceKey
from gitsync.model.review import Landed, Promised, Reviewed, ReviewRecord

MOST_NAMED = 3


class Landings(Protocol):
    """The mirror of a sync. Raises what reading Git raises."""

    async def landed(self, applied: str, sha: str) -> tuple[Landed, ...]: ...


class Archived(Protocol):
    """What was said of requests. Raises Unavailable."""

    async def landed(self, sync: str, trees: Collection[str], heads: Collection[str]) -> Sequence[ReviewRecord]: ...


class Contracts:
    """A Contract of the engine. landings: the syncs that review requests. archive: opened when it is needed."""

    def __init__(
        self, landings: Mapping[str, Landings], archive: Callable[[], AbstractAsyncContextManager[Archived]]
    ) -> None:
        self._landings, self._archive = landings, archive

    async def promised(self, sync: str, applied: str, revision: str) -> Promised:
        """What was reviewed of what *revision* brings in, after *applied*. Raises what reading Git or the store raises."""
        if sync not in self._landings:
            return Promised()
        landed = await self._landings[sync].landed(applied, revision)
        trees = {each.tree for each in landed}
        heads = {each.sha for each in landed} | {parent for each in landed for parent in each.parents[1:]}
        async with self._archive() as archive:
            found = await archive.landed(sync, trees, heads)
        records = [record for record in found if record.digests is not None]
        services: dict[ServiceKey, list[Reviewed]] = defaultdict(list)
        for record in records:
            for key, seen in (record.digests or {}).items():
                services[key].append(seen)
        numbers = sorted({record.number for record in records})
        more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
        named = ", ".join(f"#{number}" for number in numbers[:MOST_NAMED]) + more
        return Promised({key: tuple(every) for key, every in services.items()}, named)
