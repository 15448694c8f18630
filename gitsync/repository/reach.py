"""Can the repository be reached, with the credentials as they are now? Asked of the host; nothing is fetched or kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitsync.model.errors import Invalid
from gitsync.model.revision import RefKind, parse_address, parse_ref
from gitsync.repository.environment import Access, entered, local
from gitsync.repository.process import Limits, run
from gitsync.repository.source import GitSource
from gitsync.repository.verdict import MissingRef, judge

_VERSION = re.compile(r"git version (\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Reached:
    """sha: what the ref names there ("" for a commit, which no host lists). git: the version of the git here."""

    sha: str
    git: tuple[int, int]


async def reach(source: GitSource) -> Reached:
    """Ask the host for the ref. Raises as a fetch does. Source: git ls-remote."""
    address, ref = parse_address(source.url), parse_ref(source.ref)
    version = await _git_version()
    access = await entered(source, address)
    names = [] if ref.kind is RefKind.SHA else [f"refs/heads/{ref.name}", f"refs/tags/{ref.name}"]
    command = ["git", "ls-remote", "--end-of-options", address.text, *(names or ["HEAD"])]
    ended = await run(command, env=access.env, limits=Limits(source.timeout))
    if not ended.fine:
        raise judge(ended, f"git ls-remote of {address.text}", seconds=source.timeout, secrets=access.secrets)
    found = {name: sha for sha, _, name in map(_parts, ended.stdout.decode(errors="replace").splitlines())}
    sha = next((found[name] for name in names if name in found), "")
    if names and not sha:
        raise MissingRef(f"{address.text} has no branch or tag {ref.name}. Correct git.ref, or push it.")
    return Reached(sha, version)


def _parts(line: str) -> tuple[str, str, str]:
    return line.partition("\t")


async def _git_version() -> tuple[int, int]:
    ended = await run(["git", "version"], env=Access(local()).env, limits=Limits(10.0))
    found = _VERSION.match(ended.stdout.decode(errors="replace"))
    if found is None:
        raise Invalid("git is not installed, or not in PATH. Install it.")
    return int(found[1]), int(found[2])
