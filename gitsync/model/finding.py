"""Findings: what a plan says besides its changes. Every code is declared here once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from gitsync.model.key import ServiceKey


class Severity(StrEnum):
    """How much a finding matters. An `error` on a service stops that service, and only it."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in the repository: a path, and from 1 a line and a column (0: the file as a whole).

    fields: of a spec's place, where its parts stand: lines of `<spec path> <line> <column>`. A part on the line of what
    surrounds it has none of its own.
    """

    path: str
    line: int = 0
    column: int = 0
    fields: str = field(default="", repr=False)

    def at(self, spec_path: str) -> Place:
        """The place of a part of the spec that stands here: of the innermost part on the way to it that is known."""
        line, column = _innermost(self.fields, spec_path) or (self.line, self.column)
        return Place(self.path, line, column)

    def __str__(self) -> str:
        return self.path if not self.line else f"{self.path}:{self.line}" + (f":{self.column}" if self.column else "")


@lru_cache(maxsize=16384)  # a plan asks the same of every spec that did not change
def _innermost(fields: str, spec_path: str) -> tuple[int, int] | None:
    if not fields or not spec_path:
        return None
    known = {path: (int(line), int(column)) for path, line, column in (each.split(" ") for each in fields.splitlines())}
    while spec_path:
        if spec_path in known:
            return known[spec_path]
        spec_path = spec_path[: max(spec_path.rfind("."), spec_path.rfind("["), 0)]
    return None


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: its usual severity and what it says in general.

    `since` is the first Consul version in which it can be expressed after all ("" where no version can, or where it is not
    a matter of the version).
    """

    name: str
    severity: Severity
    title: str
    since: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know: what is wrong, what a client will see, and what to do.

    `message` is one sentence; `hint` says what to write or to do instead; `spec_path` is the path inside the spec, such as
    `connect.router.retries.per_try_timeout`.
    """

    code: str
    severity: Severity
    message: str
    hint: str = ""
    service: ServiceKey | None = None
    place: Place | None = None
    spec_path: str = ""

    def __str__(self) -> str:
        where = " ".join(str(part) for part in (self.place, self.service, self.spec_path) if part)
        return (
            f"{self.severity} {self.code}"
            + (f" [{where}]" if where else "")
            + f": {self.message}"
            + (f" {self.hint}" if self.hint else "")
        )


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The highest severity among *findings*, None if there are none."""
    return max((finding.severity for finding in findings), key=lambda severity: severity.rank, default=None)
