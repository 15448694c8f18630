"""An archive that is opened when something is to be written: the daemon starts, and works, while its database is away."""

from __future__ import annotations

from collections.abc import Sequence

from gitsync.daemon.shared import Shared
from gitsync.engine.ports import Archive, ComponentRow, ServiceVersion
from gitsync.model.plan import Hold
from gitsync.model.run import RunReport


class LateArchive:
    """Every method raises what opening the archive raises, Unavailable say, or what the archive does."""

    def __init__(self, archive: Shared[Archive]) -> None:
        self._archive = archive

    async def begin_run(self, *, run: str, sync: str, revision: str, trigger: str, started: str) -> None:
        async with self._archive.held() as archive:
            await archive.begin_run(run=run, sync=sync, revision=revision, trigger=trigger, started=started)

    async def finish_run(self, report: RunReport) -> None:
        async with self._archive.held() as archive:
            await archive.finish_run(report)

    async def record_services(self, rows: Sequence[ServiceVersion], components: Sequence[ComponentRow] = ()) -> None:
        async with self._archive.held() as archive:
            await archive.record_services(rows, components)

    async def record_holds(self, sync: str, holds: Sequence[Hold]) -> None:
        async with self._archive.held() as archive:
            await archive.record_holds(sync, holds)

    async def touch(self, sync: str, *, revision: str, checked: str) -> None:
        async with self._archive.held() as archive:
            await archive.touch(sync, revision=revision, checked=checked)
