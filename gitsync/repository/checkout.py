"""A repository that somebody else checked out, such as a pipeline of a Git host: its commits are read, its work tree is not touched."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Invalid, Rejected
from gitsync.model.revision import NO_REVISION, Address, History, Refusal, Revision, TreeFile, escaped, parse_path
from gitsync.repository.command import Git
from gitsync.repository.source import USUAL, Accepts, GitSource, TreeLimits
from gitsync.repository.specs import Parse, merged, parse_one, portions, refused_file
from gitsync.repository.tree import check, judge, sort_out, too_many

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/^~-]{0,255}")
_GIT_FILE = re.compile(r"gitdir: (.+)\n?")


class Checkout:
    """The repository whose work tree is *folder*. Every method raises Invalid where something is not there."""

    def __init__(self, folder: Path, limits: TreeLimits = USUAL) -> None:
        self.folder, self.limits = folder.absolute(), limits
        shown = escaped(str(self.folder), 200)
        # With its git directory named, git asks neither whose the work tree is nor what its hooks are.
        self._git = Git(GitSource(shown), Address(shown, "file", "", None, shown), _git_directory(self.folder), limits)

    async def head(self) -> str:
        """The commit that is checked out, "" before the first one."""
        (here,) = await self._git.objects(["HEAD^{commit}"])
        return here.oid

    async def fork_point(self, base: str) -> str:
        """The commit at which what is checked out left *base*: a branch, a tag, a commit, or `HEAD^1` for a merge's first parent."""
        if not _NAME.fullmatch(base) or ".." in base:
            raise Invalid(
                f"--base {escaped(base, 100)!r} names no commit. Write a branch such as origin/main, or a SHA."
            )
        here, there = await self._git.objects(["HEAD^{commit}", f"{base}^{{commit}}"])
        if not here.oid or not there.oid:
            what = "HEAD" if not here.oid else base
            raise Invalid(
                f"{what} is not in the checkout at {self.folder}. Fetch it: pipelines bring one commit, unless told otherwise."
            )
        found = await self._git.fork_point(there.oid, here.oid)
        if not found:
            raise Invalid(
                f"{base} and what is checked out at {self.folder} have no commit in common here. Fetch more of the history."
            )
        return found

    def specs(self, sha: str, path: str, accepts: Accepts, parse: Parse) -> CommitSpecs:
        """The specs of a commit, below *path*."""
        return CommitSpecs(self._git, sha, parse_path(path), accepts, parse, self.limits)


class CommitSpecs:
    """The specs of one commit; it has no revision, as a folder has none. passed_over: of what was loaded last."""

    def __init__(self, git: Git, sha: str, path: str, accepts: Accepts, parse: Parse, limits: TreeLimits) -> None:
        self._git, self._tree, self._path = git, f"{sha}:{path}", path
        self._accepts, self._parse, self._limits = accepts, parse, limits
        self.passed_over: tuple[Refusal, ...] = ()

    async def fetch(self) -> Revision:
        """There is nothing to fetch."""
        return NO_REVISION

    async def resolve(self, revision: str) -> Revision:  # noqa: ARG002 -- as the Protocol names it
        """The commit is what it is."""
        return NO_REVISION

    async def trusted(self, revision: Revision, applied: str) -> None:
        """Nothing of it is applied."""

    async def history(self, applied: str, candidate: str) -> History:  # noqa: ARG002
        """It is looked at as if it came next."""
        return History.FORWARD

    async def keep(self, sha: str) -> None:
        """There is nothing to keep."""

    async def load(self, revision: Revision, applied: str) -> tuple[ParsedFile, ...]:  # noqa: ARG002
        """Every spec file, by path; none where the path is not there."""
        (tree,) = await self._git.objects([self._tree])
        if not tree.oid:
            return ()
        if tree.kind != "tree":
            raise Rejected(f"{self._path} is no folder in {self._tree.partition(':')[0][:12]}. Correct git.path.")
        entries = await self._git.leaves(tree.oid)
        if len(entries) > self._limits.entries:
            raise too_many(self._git.address.text, self._limits)
        found = sort_out(judge(each, below=self._path, accepts=self._accepts, limits=self._limits) for each in entries)
        check(found, limits=self._limits, what=self._git.address.text)
        self.passed_over = found.passed
        files: list[ParsedFile] = []
        for portion in portions(found.files):
            files += await self._read(portion)
        return merged(files, [refused_file(each) for each in found.passed if each.unreadable])

    async def _read(self, portion: list[TreeFile]) -> list[ParsedFile]:
        printed = await self._git.objects([file.oid for file in portion], output=self._limits.total_bytes)
        contents = {each.oid: each.content for each in printed}
        return await asyncio.to_thread(
            lambda: [parse_one(self._parse, file.path, contents[file.oid]) for file in portion]
        )


def _git_directory(folder: Path) -> Path:
    """Where Git keeps what it knows of the work tree *folder*. A linked work tree and a submodule have a file that says it."""
    place = folder / ".git"
    if place.is_dir():
        return place
    try:
        said = _GIT_FILE.fullmatch(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        said = None
    if said is None:
        raise Invalid(
            f"{folder} is not the top of a Git checkout, so there is no --base. Name the top, or leave out --base."
        )
    return folder / said[1]
