"""Watching a run: what it does now, and how far it is, on standard error of a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gitsync.cli.screen import Screen, visible

WORDS = {
    "fetch": "reading the repository",
    "observe": "reading Consul",
    "plan": "planning",
    "lock": "taking locks",
    "write": "writing",
    "verify": "reading back",
    "record": "recording",
}


class Watching:
    """Whoever watches a run of *sync* at a terminal. Elsewhere only what the run says is written."""

    def __init__(self, screen: Screen, sync: str) -> None:
        self._screen, self._sync = screen, visible(sync)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=screen.err,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not screen.err.is_terminal,
        )
        self._task = self._progress.add_task(self._sync, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, name: str, total: int = 0) -> None:
        self._progress.reset(self._task, total=total or None, description=f"{self._sync}: {WORDS.get(name, name)}")

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)

    def say(self, message: str) -> None:
        self._screen.note(f"{self._sync}: {message}")
