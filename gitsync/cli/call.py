"""One call of a command: its work from the start to the exit code, whatever happens."""

from __future__ import annotations

import asyncio
import errno
import getpass
import os
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from gitsync.cli.screen import Screen, error_as_json
from gitsync.log import configure, hide
from gitsync.model.errors import GitsyncError
from gitsync.settings import Settings, load_settings
from gitsync.settings import warnings as settings_warnings
from gitsync.wire import House

FINE, BUG, CHANGES, REFUSED, CONFLICT, USAGE = 0, 1, 2, 3, 4, 64
INTERRUPTED, NO_READER = 128 + signal.SIGINT, 128 + signal.SIGPIPE


def carry_out(work: Callable[[Screen], Awaitable[int]], *, as_json: bool = False, debug: bool = False) -> NoReturn:
    """Do *work*, and leave with the exit code that it returns or that its error has."""
    screen = Screen(as_json=as_json)
    sink = configure(sys.stderr, level="debug" if debug else "warning")
    told: list[signal.Signals] = []
    try:
        code = asyncio.run(_until_told(work(screen), told))
        sys.stdout.flush()
    except (typer.TyperException, typer.Abort):
        raise
    except GitsyncError as error:
        screen.fail(str(error))
        if debug:
            screen.note(traceback.format_exc())
        if not screen.written:
            screen.document({"error": error_as_json(error)})
        code = error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.note("stopped; what was written is recorded, and the next run goes on from there")
        code = 128 + told[0] if told else INTERRUPTED
    except BrokenPipeError:
        drop_output()
        code = NO_READER
    except Exception as error:  # whatever it is, one line says so, and the exit code
        if is_full(error):
            raise  # `gitsync.cli.app.main` knows what to do
        code = bug(screen, error, debug=debug)
    finally:
        sink.close()
    raise typer.Exit(code)


def is_full(error: Exception) -> bool:
    """Whether the disk did not take what was printed. Where gitsync writes files of its own, that is another error."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def drop_output() -> None:
    """Let what is still buffered for standard output go nowhere: the end of the process would stumble over it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def bug(screen: Screen, error: Exception, *, debug: bool) -> int:
    """Say that this should not have happened, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = f"this is a bug: {type(error).__name__}: {error}{where}"
    if debug:
        screen.note("".join(traceback.format_exception(error)))
    screen.fail(f"{message}. {'Report it with the traceback.' if debug else 'Say --debug to see more, and report it.'}")
    if not screen.written:
        screen.document({"error": {"kind": "bug", "message": message, "exit_code": BUG, "retryable": False}})
    return BUG


async def _until_told(work: Awaitable[int], told: list[signal.Signals]) -> int:
    """*work*, cancelled in order by SIGTERM, and by SIGHUP from a terminal that closes, as asyncio.run does it for Ctrl-C.

    told: learns which it was. Whoever starts us with SIGHUP ignored, as nohup does, wants it so.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def tell(number: signal.Signals) -> None:
        told.append(number)
        task.cancel()

    obeyed = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    for number in obeyed:
        loop.add_signal_handler(number, tell, number)
    try:
        return await work
    finally:
        for number in obeyed:
            loop.remove_signal_handler(number)


def together(codes: Iterable[int]) -> int:
    """One exit code for several: the largest of 3 to 6, which beats a bug's 1, which beats 2 (a plan with changes)."""
    found = set(codes)
    stopped = [code for code in found if code >= REFUSED]
    return max(stopped) if stopped else BUG if BUG in found else CHANGES if CHANGES in found else FINE


def settings_of(config: Path | None, say: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> Settings:
    """The configuration. say: hears what is allowed in it and should be known."""
    settings = load_settings(config, environ)
    if settings.consul.token:
        hide(settings.consul.token.get_secret_value())
    for warning in settings_warnings(settings, environ):
        say(warning)
    return settings


def myself() -> str:
    """Who asks: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


async def told(house: House, sync: str, event: str, body: Mapping[str, Any], screen: Screen) -> None:
    """Write into the history that a person decided something. A history that cannot be written stops nobody."""
    try:
        await house.store.append_outbox(sync, event, {**body, "by": myself()})
    except GitsyncError as error:
        screen.warn(f"this is not in the history: {error}")
