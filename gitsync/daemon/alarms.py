"""Alarms: what rings once, after a while. APScheduler keeps them; a test brings its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger


class Alarms(Protocol):
    """One alarm a name: setting it anew puts it off, and what rang is gone."""

    def set(self, name: str, seconds: float, ring: Callable[[], None]) -> None: ...
    def cancel(self, name: str) -> None: ...


class ScheduledAlarms:
    """Alarms of APScheduler, in the running event loop.

    An alarm that is late, because the machine slept or the loop was busy, rings all the same.
    """

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(event_loop=asyncio.get_running_loop(), timezone=UTC)
        self._scheduler.start()

    def set(self, name: str, seconds: float, ring: Callable[[], None]) -> None:
        """Ring once, *seconds* from now."""
        self._scheduler.add_job(
            _rung,
            DateTrigger(datetime.now(UTC) + timedelta(seconds=seconds), timezone=UTC),
            args=(ring,),
            id=name,
            replace_existing=True,
            misfire_grace_time=None,
        )

    def cancel(self, name: str) -> None:
        """Ring no more. That there is no such alarm is fine."""
        try:
            self._scheduler.remove_job(name)
        except JobLookupError:
            return

    def close(self) -> None:
        """Forget every alarm."""
        self._scheduler.shutdown(wait=False)


async def _rung(ring: Callable[[], None]) -> None:
    """A coroutine, because APScheduler takes everything else to a thread."""
    ring()
