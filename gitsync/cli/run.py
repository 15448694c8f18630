"""`gitsync run`: the daemon."""

from __future__ import annotations

import sys

import structlog

from gitsync import wire
from gitsync.cli.call import carry_out, settings_of
from gitsync.cli.options import Config, Debug
from gitsync.cli.screen import Screen
from gitsync.log import configure
from gitsync.settings import LogLevel

log = structlog.get_logger()


def run(config: Config = None, debug: Debug = False) -> None:
    """Run every sync, again and again, until told to stop.

    A run begins at every interval. At SIGTERM or Ctrl-C a run that is going on gets four seconds to end, then it stops in
    order; SIGHUP means look now. /healthz and /readyz answer at web.listen. Log lines go to standard error.

    Example:

      gitsync run --config /etc/gitsync/gitsync.yaml
    """

    async def work(_: Screen) -> int:
        warnings: list[str] = []
        settings = settings_of(config, warnings.append)
        level = LogLevel.DEBUG if debug else settings.log.level
        configure(sys.stderr, level=level.value, style=settings.log.format.value)
        for warning in warnings:
            log.warning(warning, action="configure")
        return await wire.serve(settings)

    carry_out(work, debug=debug)
