"""`gitsync run`: the daemon."""

from __future__ import annotations

import sys

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, settings_of
from gitsync.cli.options import Config, Debug
from gitsync.cli.screen import Screen
from gitsync.log import configure
from gitsync.settings import LogLevel


def run(config: Config = None, debug: Debug = False) -> None:
    """Run every sync, again and again, until told to stop.

    A run begins at every interval, and ends what it writes before the process leaves (SIGTERM, Ctrl-C). /healthz and
    /readyz answer at web.listen. Log lines go to standard error.

    Example:

      gitsync run --config /etc/gitsync/gitsync.yaml
    """

    async def work(screen: Screen) -> int:
        settings = settings_of(config, screen)
        level = LogLevel.DEBUG if debug else settings.log.level
        configure(sys.stderr, level=level.value, style=settings.log.format.value)
        await wire.serve(settings)
        return FINE

    carry_out(work, debug=debug)
