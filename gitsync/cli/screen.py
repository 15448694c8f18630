"""The screen: results go to standard output, everything else to standard error, and nothing from outside moves the cursor."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from gitsync.core.describe import Line, lines_as_text
from gitsync.log import SECRETS
from gitsync.model.errors import GitsyncError
from gitsync.model.revision import has_unseen

TONES = {
    "good": "green",
    "bad": "bold red",
    "wait": "yellow",
    "new": "green",
    "gone": "red",
    "changed": "yellow",
    "quiet": "dim",
    "head": "bold",
    "": "",
}
"""What a piece of text is, and how that looks where there are colours. No meaning is in the colour alone."""

Cell = str | tuple[str, str]
"""A text, or a text and its tone."""


class Quiet(Console):
    """A console whose reader may leave: that ends the process at the one place that knows how (`gitsync.cli.app.main`)."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


class Screen:
    """Where one command writes. as_json: the result is one JSON document, and only that is on standard output."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.written = False
        self.out = Quiet(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.err = Quiet(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    # -- the result

    def line(self, *cells: Cell) -> None:
        """One line of the result, for people."""
        if not self.as_json:
            self.out.print(_text(cells))

    def described(self, lines: Iterable[Line]) -> None:
        """A plan or a report, as the core describes it."""
        if not self.as_json:
            colored = self.out.color_system is not None and not self.out.no_color
            width = self.out.width if self.out.is_terminal else 0
            print(SECRETS.clean(lines_as_text(lines, color=colored, width=width)), end="", file=sys.stdout, flush=True)

    def columns(self, rows: Iterable[Sequence[Cell]], *, header: Sequence[str] = (), indent: int = 0) -> None:
        """Rows in aligned columns: no frame, nothing cut off, so that other tools can read it too."""
        table = [[_text([cell]) for cell in row] for row in rows]
        if not table:
            return
        if header:
            table.insert(0, [_text([(name, "head")]) for name in header])
        widths = [max(cell_len(row[at].plain) for row in table if at < len(row)) for at in range(max(map(len, table)))]
        for row in table:
            line = Text(" " * indent)
            for at, cell in enumerate(row):
                last = at == len(row) - 1
                line.append_text(cell)
                line.append("" if last else " " * (widths[at] - cell_len(cell.plain) + 2))
            if not self.as_json:
                self.out.print(line)

    def document(self, value: Any) -> None:
        """The result, for programs."""
        if self.as_json:
            self.written = True
            print(as_json(value), file=sys.stdout, flush=True)

    # -- what happens meanwhile

    def note(self, message: str) -> None:
        self.err.print(_text([message]))

    def warn(self, message: str) -> None:
        self.err.print(_text([("warning: ", "wait"), message]))

    def fail(self, message: str) -> None:
        self.err.print(_text([("error: ", "bad"), message]))


def as_json(value: Any) -> str:
    """*value* as JSON that is safe to show: what is not seen is written `\\uXXXX`."""
    text = SECRETS.clean(json.dumps(value, indent=2, ensure_ascii=False))
    if not has_unseen(text.replace("\n", "")):
        return text
    return "".join(json.dumps(each)[1:-1] if each != "\n" and has_unseen(each) else each for each in text)


def visible(text: str) -> str:
    """*text* without secrets, and with what is not seen written out. Line ends stay."""
    text = SECRETS.clean(text)
    if not has_unseen(text.replace("\n", "")):
        return text
    return "".join(
        each.encode("unicode_escape").decode() if each != "\n" and has_unseen(each) else each for each in text
    )


def error_as_json(error: GitsyncError) -> dict[str, Any]:
    """An error, for programs."""
    kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == GitsyncError.__module__)
    return {"kind": kind.lower(), "message": str(error), "exit_code": error.exit_code, "retryable": error.retryable}


def short(sha: str) -> str:
    """A revision for people: 12 digits of it."""
    return sha[:12] or "–"


def number(count: int, what: str) -> str:
    """`1 service`, `2 services`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _text(cells: Iterable[Cell]) -> Text:
    line = Text()
    for cell in cells:
        text, tone = (cell, "") if isinstance(cell, str) else cell
        line.append(visible(text), Style.parse(TONES[tone]) if tone else None)
    return line
