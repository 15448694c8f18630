"""Where specs come from: a repository and how to reach it, and how much of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Accepts = Callable[[str], str | None]
"""Given a path below the sync's: None if it is to be read, else why it is passed over."""


class Login(Protocol):
    """Where the token for https comes from that stands in no file: the environment, or a GitHub App, whose tokens last an hour."""

    async def token(self) -> str: ...


@dataclass(frozen=True, slots=True)
class GitSource:
    """One repository, ref and path.

    token_file: read again for every fetch. login: asked before every fetch, instead of a file.
    known_hosts_file: required for ssh. timeout: seconds for one fetch; the first one,
    which brings the whole history, may take five times as long.
    """

    url: str
    ref: str = "main"
    path: str = ""
    username: str = ""
    token_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts_file: Path | None = None
    ca_file: Path | None = None
    timeout: float = 60.0
    login: Login | None = None


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """How much is read at one commit. More files or bytes refuse the commit, a larger or deeper file only itself.

    entries: of any kind below the path. files, total_bytes: of spec files.
    """

    files: int = 20_000
    entries: int = 200_000
    file_bytes: int = 1024 * 1024
    total_bytes: int = 200 * 1024 * 1024
    depth: int = 32


USUAL = TreeLimits()
