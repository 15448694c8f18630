"""Progress in the log: what a run does and says, for whoever reads it there."""

from __future__ import annotations

import structlog

log = structlog.get_logger()


class LoggedProgress:
    """Somebody who watches a run and writes it down. Which sync it is stands in the context of the log."""

    def step(self, name: str, total: int = 0) -> None:
        """A step begins."""
        if total:
            log.debug("%s: %d to do", name, total, action=name)
        else:
            log.debug(name, action=name)

    def advance(self, count: int = 1) -> None:
        """A part of the step is done: no line for each."""

    def say(self, message: str) -> None:
        """A sentence for people."""
        log.info(message, action="say")
