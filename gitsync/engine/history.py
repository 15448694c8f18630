"""History: a store that cannot be written costs the history of a run, never the run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from gitsync.engine.ports import Archive, ComponentRow, ServiceVersion
from gitsync.model.errors import GitsyncError
from gitsync.model.plan import Hold
from gitsync.model.run import RunReport


class Tolerant:
    """An archive whose failures are told once and survived: what a run did stands in Consul and in Git all the same."""

    def __init__(self, archive: Archive | None, said: Callable[[str], None]) -> None:
        self._archive, self._said = archive, said
        self.trouble = ""

    async def _kept(self, write: Callable[[Archive], Awaitable[None]]) -> None:
        if self._archive is None:
            return
        try:
            await write(self._archive)
        except GitsyncError as error:
            if str(error) != self.trouble:
                self._said(f"the history of this run is not kept: {error}")
            self.trouble = str(error)
        else:
            self.trouble = ""

    async def begin_run(self, *, run: str, sync: str, revision: str, trigger: str, started: str) -> None:
        await self._kept(
            lambda to: to.begin_run(run=run, sync=sync, revision=revision, trigger=trigger, started=started)
        )

    async def finish_run(self, report: RunReport) -> None:
        await self._kept(lambda to: to.finish_run(report))

    # A database that is locked makes each try wait: in the middle of a run one failure is enough.

    async def record_services(self, rows: Sequence[ServiceVersion], components: Sequence[ComponentRow] = ()) -> None:
        if not self.trouble:
            await self._kept(lambda to: to.record_services(rows, components))

    async def record_holds(self, sync: str, holds: Sequence[Hold]) -> None:
        await self._kept(lambda to: to.record_holds(sync, holds))

    async def touch(self, sync: str, *, revision: str, checked: str) -> None:
        await self._kept(lambda to: to.touch(sync, revision=revision, checked=checked))
