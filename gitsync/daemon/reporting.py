"""Reporting: whoever wants to hear of runs, hears of them: by the archive that a run writes, and by the job that runs it.

    reconcile ──begin_run──► ReportingArchive ──begun──────► Statuses, Notices
              ──finish_run─►                  ──finished───►
    lane ──run──► ReportingJob ──looked, troubled──────────►

The archive hears of every run; the job also of the looks of which nothing is recorded, and of what ended before there was a run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import structlog

from gitsync.daemon.lane import Job
from gitsync.engine.ports import Archive, ComponentRow, ServiceVersion
from gitsync.model.errors import GitsyncError, Suspended
from gitsync.model.plan import Hold
from gitsync.model.run import RunReport

log = structlog.get_logger()


class Ear(Protocol):
    """Somebody who hears of runs, and does not hold them up."""

    async def begun(self, run: str, sync: str, revision: str) -> None: ...
    async def finished(self, report: RunReport) -> None:
        """A run has ended, or one that could not look. revision: "" where it did not come that far."""

    async def held(self, sync: str, holds: Sequence[Hold]) -> None:
        """The deletes that wait now."""

    async def looked(self, report: RunReport) -> None:
        """A pass has ended, recorded or not."""

    async def troubled(self, sync: str, error: str) -> None:
        """There could be no pass."""


class ReportingArchive:
    """An archive whose runs others hear of, whether it keeps them or not."""

    def __init__(self, archive: Archive, ears: Sequence[Ear]) -> None:
        self._archive, self._ears = archive, tuple(ears)

    async def begin_run(self, *, run: str, sync: str, revision: str, trigger: str, started: str) -> None:
        try:
            await self._archive.begin_run(run=run, sync=sync, revision=revision, trigger=trigger, started=started)
        finally:
            await _tell(self._ears, lambda ear: ear.begun(run, sync, revision))

    async def finish_run(self, report: RunReport) -> None:
        try:
            await self._archive.finish_run(report)
        finally:
            await _tell(self._ears, lambda ear: ear.finished(report))

    async def record_services(self, rows: Sequence[ServiceVersion], components: Sequence[ComponentRow] = ()) -> None:
        await self._archive.record_services(rows, components)

    async def record_holds(self, sync: str, holds: Sequence[Hold]) -> None:
        try:
            await self._archive.record_holds(sync, holds)
        finally:
            await _tell(self._ears, lambda ear: ear.held(sync, holds))

    async def touch(self, sync: str, *, revision: str, checked: str) -> None:
        await self._archive.touch(sync, revision=revision, checked=checked)


class ReportingJob:
    """A job whose passes others hear of."""

    def __init__(self, job: Job, ears: Sequence[Ear]) -> None:
        self._job, self._ears = job, tuple(ears)

    @property
    def name(self) -> str:
        return self._job.name

    @property
    def interval(self) -> float:
        return self._job.interval

    async def run(self, trigger: str) -> RunReport:
        try:
            report = await self._job.run(trigger)
        except Suspended:
            raise
        except GitsyncError as error:
            why = str(error)
            await _tell(self._ears, lambda ear: ear.troubled(self.name, why))
            raise
        await _tell(self._ears, lambda ear: ear.looked(report))
        return report

    async def contains(self, older: str, newer: str) -> bool:
        return await self._job.contains(older, newer)

    async def rest(self) -> None:
        await self._job.rest()


async def _tell(ears: Iterable[Ear], what: Callable[[Ear], Awaitable[None]]) -> None:
    for ear in ears:
        try:
            await what(ear)
        except GitsyncError as error:
            log.warning("nobody is told of this: %s", error, action="report")
        except Exception:  # a bug in what only tells of a run must not stop it
            log.exception("this is a bug", action="report", outcome="failed")
