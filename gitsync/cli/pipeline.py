"""The pipeline of a Git host in which gitsync runs: what it takes besides text, and what it must not take for a command."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gitsync.cli.screen import Screen
from gitsync.core.annotations import code_quality, github, github_error
from gitsync.log import SECRETS
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.finding import Finding

SUMMARY_BYTES = 1_000_000
"""A step's summary takes 1 MiB; one that is larger is dropped as a whole. Source: GitHub Actions, workflow commands."""


class Pipeline:
    """Where `gitsync ci` runs, by what the environment says.

    On GitHub, nothing that is printed while it works is a command: specs and messages may hold what looks like one.
    """

    def __init__(self, environ: Mapping[str, str], screen: Screen) -> None:
        self._screen = screen
        self.github = environ.get("GITHUB_ACTIONS") == "true"
        self._summary = environ.get("GITHUB_STEP_SUMMARY", "") if self.github else ""
        self._failure = ""

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Whatever is printed inside is text, also what an error says. What `failed` was told is an annotation after it."""
        if not self.github:
            yield
            return
        token = secrets.token_hex(16)
        self._say(f"::stop-commands::{token}")
        try:
            yield
        finally:
            sys.stdout.flush()
            self._say(f"::{token}::")
            if self._failure:
                self._say(github_error(self._failure))

    def failed(self, error: GitsyncError) -> None:
        """There is nothing to annotate but *error*."""
        self._failure = str(error)

    def annotate(self, findings: Sequence[Finding]) -> None:
        """Show *findings* at their lines: errors first, since GitHub shows ten of a kind."""
        if self.github:
            for finding in sorted(findings, key=lambda each: -each.severity.rank):
                self._say(github(finding))

    def summarize(self, markdown: str) -> None:
        """Put *markdown* on the page of the run. A page that cannot be written stops nobody."""
        if not self._summary:
            return
        try:
            with Path(self._summary).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(SECRETS.clean(markdown)[: SUMMARY_BYTES // 4] + "\n")
        except OSError as error:
            self._screen.warn(f"GITHUB_STEP_SUMMARY cannot be written: {error.strerror}")

    def _say(self, line: str) -> None:
        """Runners read commands from both streams; a JSON document has standard output for itself."""
        print(SECRETS.clean(line), file=sys.stderr if self._screen.as_json else sys.stdout, flush=True)


def write_text(file: Path, text: str, option: str, checkout: Path) -> None:
    """Write what *option* asked for. Raises Invalid if it cannot be, or if a link in *checkout* would lead it elsewhere."""
    not_by_a_link(file, checkout, f"{option} {file}")
    try:
        file.write_text(SECRETS.clean(text), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Invalid(f"{option} {file} cannot be written: {error.strerror}. Name another file.") from None


def not_by_a_link(file: Path, checkout: Path, what: str) -> None:
    """Raise Invalid if *file* is in *checkout*, and a link there leads elsewhere."""
    place = Path(os.path.normpath(file.absolute()))
    for top in (Path(os.path.normpath(checkout.absolute())), checkout.resolve()):
        if place.is_relative_to(top):
            straight(top, str(place.relative_to(top)), what)


def straight(top: Path, below: str, what: str) -> Path:
    """What is at *below* in the checkout *top*. Raises Invalid for a link: whoever proposes a change decides where it leads."""
    if (top / below).resolve() != top.resolve() / below:
        raise Invalid(
            f"{what} is a link in the checkout, or below one, and gitsync follows none there. Remove the link."
        )
    return top / below


def quality_report(findings: Sequence[Finding]) -> str:
    """GitLab's report as JSON."""
    return json.dumps(code_quality(findings), indent=2) + "\n"
