"""A clock that only the test moves, and alarms that ring by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from gitsync.engine.ports import Clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FakeTime:
    """Alarms and a clock on one time line, which `pass_by` moves from alarm to alarm."""

    def __init__(self, chance: float = 0.5) -> None:
        self.now, self.chance = 0.0, chance
        self.due: dict[str, tuple[float, Callable[[], None]]] = {}
        self.sleeps = 0

    def set(self, name: str, seconds: float, ring: Callable[[], None]) -> None:
        self.due[name] = self.now + seconds, ring

    def cancel(self, name: str) -> None:
        self.due.pop(name, None)

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        rung = asyncio.Event()
        self.set(f"sleep {self.sleeps}", seconds, rung.set)
        await rung.wait()

    def clock(self) -> Clock:
        return Clock(
            now=lambda: NOON + timedelta(seconds=self.now),
            monotonic=lambda: self.now,
            sleep=self.sleep,
            new_id=lambda: "01",
            jitter=lambda: self.chance,
        )

    async def settle(self) -> None:
        """Until everybody who waits for a moment waits for the next one."""
        await settled()

    async def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        await self.settle()
        while ready := [(at, name) for name, (at, _) in self.due.items() if at <= end]:
            self.now, name = min(ready)
            self.due.pop(name)[1]()
            await self.settle()
        self.now = end


async def settled() -> None:
    """Until everybody who can go on has done so: nothing here waits for anything outside."""
    for _ in range(30):
        await asyncio.sleep(0)
