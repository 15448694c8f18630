"""A commit's own words, read by GitPython from bytes that our git printed. GitPython starts no git here.

GitPython's commands begin with this process's whole environment; ours begin with nothing. So its object database is replaced
by one that holds what was printed, and what is left of it is what it does well: the formats.
"""

from __future__ import annotations

import configparser
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gitsync.model.revision import Revision, escaped
from gitsync.repository.verdict import Corrupt

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else the import fails where git is missing, before we can say so

import git

AUTHOR_LENGTH = 200

_NO_REPOSITORY = (git.InvalidGitRepositoryError, git.NoSuchPathError, configparser.Error, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Printed:
    """One object as `git cat-file --batch` printed it. name: what was asked for. oid: "" if it is missing."""

    name: str
    oid: str = ""
    kind: str = ""
    content: bytes = b""


def parse_batch(output: bytes, names: list[str]) -> Iterator[Printed]:
    """What `git cat-file --batch` printed for *names*, in their order. Raises Corrupt if it ends early."""
    at = 0
    for name in names:
        end = output.find(b"\n", at)
        if end < 0:
            raise Corrupt(f"git printed nothing for {escaped(name, 100)}: the mirror is broken.")
        header = output[at:end].decode(errors="replace").rsplit(" ", 2)
        at = end + 1
        if len(header) != 3 or not header[2].isdigit():  # `<name> missing`, `<name> ambiguous`
            yield Printed(name)
            continue
        size = int(header[2])
        if at + size >= len(output):
            raise Corrupt(f"git printed only a part of {escaped(name, 100)}: the mirror is broken.")
        yield Printed(name, header[0], header[1], output[at : at + size])
        at += size + 1


@dataclass(frozen=True, slots=True)
class Commit:
    """What is known of a commit. tree: of the sync's path, "" if it is not there."""

    revision: Revision
    parents: tuple[str, ...]
    tree: str


class _Memory:
    """The object database that GitPython reads: what was printed, and nothing else."""

    def __init__(self, objects: Mapping[bytes, Printed]) -> None:
        self._objects = objects

    def stream(self, sha: bytes) -> tuple[bytes, bytes, int, io.BytesIO]:
        found = self._objects[sha]
        return sha, found.kind.encode(), len(found.content), io.BytesIO(found.content)


def is_repository(folder: Path) -> bool:
    """Whether GitPython takes *folder* for a bare repository."""
    try:
        with git.Repo(folder, expand_vars=False) as repository:
            return repository.bare
    except _NO_REPOSITORY:
        return False


def read_commit(printed: Printed, repository: Path) -> tuple[Revision, tuple[str, ...]]:
    """The revision and its parents. Raises Corrupt if it is no commit."""
    sha = bytes.fromhex(printed.oid)
    try:
        with git.Repo(repository, expand_vars=False) as opened:
            opened.odb = _Memory({sha: printed})  # type: ignore[assignment]
            commit = git.Commit(opened, sha)
            parents = tuple(parent.hexsha for parent in commit.parents)
            message: Any = commit.message
            author = f"{commit.author.name or ''} <{commit.author.email or ''}>"
            seconds = int(commit.committed_date)
    except (*_NO_REPOSITORY, IndexError) as error:
        raise Corrupt(f"commit {printed.oid} cannot be read: the mirror is broken ({type(error).__name__}).") from error
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    subject = text.lstrip("\n").partition("\n")[0].strip()
    return Revision(printed.oid, escaped(author, AUTHOR_LENGTH), _utc(seconds), escaped(subject)), parents


def _utc(seconds: int) -> str:
    """ISO 8601; what no calendar holds is the nearest that one does. A commit's date is whatever its author wrote."""
    bounded = min(max(seconds, 0), 253_402_300_799)
    return datetime.fromtimestamp(bounded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
