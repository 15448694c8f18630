"""The command line as a whole: its commands, and how a process of gitsync ends."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import typer

from gitsync.cli.adopt import adopt
from gitsync.cli.approve import approve
from gitsync.cli.call import INTERRUPTED, USAGE, bug, drop_output, is_full
from gitsync.cli.ci import ci
from gitsync.cli.doctor import doctor
from gitsync.cli.init import init
from gitsync.cli.plan import plan
from gitsync.cli.release import release
from gitsync.cli.resume import resume
from gitsync.cli.run import run
from gitsync.cli.runs import runs
from gitsync.cli.schema import schema
from gitsync.cli.screen import Screen
from gitsync.cli.show import show
from gitsync.cli.status import status
from gitsync.cli.suspend import suspend
from gitsync.cli.sync import sync
from gitsync.cli.validate import validate
from gitsync.cli.version import version
from gitsync.model.errors import Unavailable

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Begin": (init, validate, ci, schema),
    "Apply": (plan, sync, run, approve),
    "Look": (status, show, runs, doctor, version),
    "Decide": (adopt, release, suspend, resume),
}

app = typer.Typer(
    name="gitsync",
    help="Bring Consul to what a Git repository of service specs says.\n\n"
    "Exit codes: 0 fine, 1 a bug, 2 the plan has changes, 3 refused or invalid, 4 conflict, busy or held, "
    "5 Consul or Git refuses, 6 unavailable, 64 wrong usage.",
    epilog="Start with: gitsync init GIT_URL",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def help_of(command: Callable[..., None]) -> str:
    """The help of a command: its docstring with paragraphs as one line each, so that they fit every terminal."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(each if each.startswith(" ") else each.replace("\n", " ") for each in paragraphs)


for panel, commands in PANELS.items():
    for command in commands:
        app.command(help=help_of(command), rich_help_panel=panel)(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and end the process."""
    if sys.stdout is None or sys.stderr is None:  # `>&-`: what is printed goes nowhere, and the exit code still tells
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  until the process ends
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=given or ["--help"], prog_name="gitsync", standalone_mode=False)
    except typer.TyperException as error:
        code = _misused(error)
    except typer.Abort:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  the last line of defence: one line instead of a traceback
        code = _unwritten(error) if is_full(error) else bug(Screen(), error, debug="--debug" in given)
    sys.exit(code or 0)


def _unwritten(error: Exception) -> int:
    """Say that what was printed is not all there."""
    with contextlib.suppress(OSError):  # both streams may go to that disk
        cause = error.strerror if isinstance(error, OSError) else error
        Screen().fail(f"the output cannot be written: {cause}. What was done stays done; free some space.")
    drop_output()
    return Unavailable.exit_code


def _misused(error: typer.TyperException) -> int:
    """Click ends with 2, which here means that a plan has changes: a typo must not look like a plan."""
    screen = Screen()
    screen.fail(error.format_message())
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "gitsync"
    screen.note(f"`{path} --help` shows what there is.")
    return USAGE
