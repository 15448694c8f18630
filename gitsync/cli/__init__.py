"""The command line: Typer and Rich, one file a command. `main` is its entry point."""

from __future__ import annotations

import signal
import threading

# Most of a second goes by until everything is imported, and nothing has begun yet: Ctrl-C then ends the process as it would
# any other program, and not with a traceback. asyncio wants Python's own handler back.
_OURS = threading.current_thread() is threading.main_thread() and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
)
if _OURS:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from gitsync.cli.app import main  # noqa: E402  only now

if _OURS:
    signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["main"]
