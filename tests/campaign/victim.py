"""What a process that is to be killed runs: one sync, from its configuration to its exit code."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from gitsync.model.errors import GitsyncError
from gitsync.model.run import RunReport, exit_code
from gitsync.model.sync import Options
from gitsync.settings import load_settings
from gitsync.wire import Silent, opened

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # so that a process of its own costs no imports


def run_once(config: str, sync: str, report: str) -> None:
    """One sync; the exit code is that of `gitsync sync`, and what it says of itself goes to the file *report*."""

    async def main() -> RunReport:
        async with opened(load_settings(Path(config), {})) as house:
            return await house.room(sync).run(Options(), Silent())

    try:
        done = asyncio.run(main())
    except GitsyncError as error:
        Path(report).write_text(f"could not begin: {error}")
        sys.exit(error.exit_code)
    stopped = [f"{each.key.name} {each.outcome} at {each.step}: {each.message}" for each in done.services if each.step]
    Path(report).write_text("\n".join([f"{done.outcome} {done.error or ''}", *stopped]))
    sys.exit(exit_code(done))


def started(config: Path, sync: str, report: Path) -> BaseProcess:
    """A process of its own that runs one sync."""
    report.unlink(missing_ok=True)
    process = PROCESSES.Process(target=run_once, args=(str(config), sync, str(report)))
    process.start()
    return process
