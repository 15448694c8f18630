"""Signals: SIGTERM and SIGINT end the daemon in order, a second one at once; SIGHUP means: look now."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

DEADLINE_SECONDS = 9.5
"""From the signal to the end of the process, whatever hangs: ten seconds are promised."""

LAST_LINES_SECONDS = 0.05

log = structlog.get_logger()


@contextmanager
def obeyed(
    stop: Callable[[], None],
    look: Callable[[], None],
    *,
    leave: Callable[[int], object] = os._exit,
    deadline: float = DEADLINE_SECONDS,
) -> Iterator[None]:
    """While the context lasts, the first SIGTERM or SIGINT calls *stop*, each SIGHUP *look*.

    leave: ends the process with an exit code without any cleaning up: at the second signal, or *deadline* seconds after the first.
    The deadline stays when the context ends: what hangs may be what comes after it, and the event loop itself.
    """
    loop = asyncio.get_running_loop()
    told_before = False

    def told(number: signal.Signals) -> None:
        nonlocal told_before
        if told_before:
            leave(128 + number)
            return
        told_before = True
        log.info("%s: ending", number.name, action="stop")
        last = threading.Timer(deadline, late, (number,))
        last.daemon = True
        last.start()
        stop()

    def late(number: signal.Signals) -> None:
        log.error("something does not end: it is left behind", action="stop")
        time.sleep(LAST_LINES_SECONDS)
        leave(128 + number)

    def again() -> None:
        log.info("SIGHUP: looking now", action="wake")
        look()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    loop.add_signal_handler(signal.SIGHUP, again)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
