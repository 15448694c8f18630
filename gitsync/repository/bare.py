"""The bare repository on this disk: commits are looked up in it, fetched into it, and it is made again when it is broken.

Writing needs the lock; reading does not, since nothing that a reader can know of is removed under it but by maintenance.
A repository that is broken is made again from the host, once a call, and until that succeeded the broken one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from gitsync.model.errors import GitsyncError, Rejected, Unavailable
from gitsync.model.revision import Ref, RefKind, escaped, lineage, parse_address, parse_path, parse_ref
from gitsync.repository import quick
from gitsync.repository.command import Git, kept_commit
from gitsync.repository.commit import Commit, is_repository, read_commit
from gitsync.repository.lock import Held, exclusive, remove_leftovers, remove_tree
from gitsync.repository.source import GitSource, TreeLimits
from gitsync.repository.tree import FOLDER
from gitsync.repository.verdict import Corrupt, MissingRef, NotOffered

T = TypeVar("T")

APPLIED = "refs/gitsync/applied"
PACKS = 50
"""Every fetch that brings something leaves a pack; with that many they are put together."""

REMEMBERED = 64
"""Commits of which the words are kept in memory."""

SHA = re.compile(r"[0-9a-f]{40}")


class Bare:
    """The bare repository at *directory*. Beside it are its lock, and what was broken while it is replaced."""

    def __init__(self, source: GitSource, directory: Path, limits: TreeLimits) -> None:
        self.source, self.directory = source, directory.absolute()
        self.address, self.ref, self.path = parse_address(source.url), parse_ref(source.ref), parse_path(source.path)
        self.git = Git(source, self.address, self.directory, limits)
        self._commits: dict[str, Commit] = {}
        self._tags: dict[str, str] = {}  # tag object → commit

    # -- reading

    async def commit(self, sha: str) -> Commit:
        """A commit by its full name; fetched if the mirror lacks it."""
        if known := self._commits.get(sha):
            return known
        if not SHA.fullmatch(sha):
            raise Rejected(f"{escaped(sha, 100)!r} is no commit's full name. Write its 40 hex digits.")
        if is_repository(self.directory):
            found = await self.reading(lambda: self._look(sha), sha)
            if found:
                return found
        return await self.writing(lambda held: self._fetch_commit(sha, held))

    async def _look(self, name: str) -> Commit | None:
        """The commit that *name* leads to, None if the mirror has no such name."""
        sha = name if SHA.fullmatch(name) else kept_commit(self.directory, name)
        if SHA.fullmatch(sha):
            here = await asyncio.to_thread(quick.commit_of, self.directory, sha, self.path)
            if here:
                return self._remember(here)
        below = f"{name}^{{commit}}:{self.path}" if self.path else f"{name}^{{tree}}"
        named, commit, tree = await self.git.objects([name, f"{name}^{{commit}}", below])
        if not named.oid:
            return None
        if not commit.oid:
            if named.kind == "commit" or (named.kind == "tag" and b"\ntype commit\n" in named.content[:100]):
                raise Corrupt(f"commit {named.oid} is not in the mirror of {self.address.text}: the mirror is broken.")
            raise Rejected(
                f"{escaped(name, 100)} in {self.address.text} names a {named.kind}, not a commit. Name a branch, tag or commit."
            )
        revision, parents = await asyncio.to_thread(read_commit, commit, self.directory)
        if tree.kind != "tree":
            await self._path_is_absent(revision.sha)
        if named.kind == "tag":
            _put(self._tags, named.oid, revision.sha)
        return self._remember(Commit(revision, parents, tree.oid if tree.kind == "tree" else ""))

    def _fetched(self, private: str) -> Commit | None:
        """The commit that *private* leads to, if it is known. Only after a fetch, which fails where that commit is not there."""
        oid = kept_commit(self.directory, private)
        return self._commits.get(self._tags.get(oid, oid))

    def _remember(self, commit: Commit) -> Commit:
        _put(self._commits, commit.revision.sha, commit)
        return commit

    async def subtree(self, treeish: str) -> str:
        """The tree at the path below a commit or tree, by its full name; "" if there is nothing."""
        (found,) = await self.git.objects([f"{treeish}:{self.path}" if self.path else f"{treeish}^{{tree}}"])
        if found.kind == "tree":
            return found.oid
        await self._path_is_absent(treeish)
        return ""

    async def _path_is_absent(self, sha: str) -> None:
        """Make sure of it: "missing" is also what git says when it cannot read the tree."""
        if not self.path:
            raise Corrupt(f"the tree of {sha} is not in the mirror of {self.address.text}: the mirror is broken.")
        parts = self.path.split("/")
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        modes = await self.git.modes(sha, prefixes)
        if modes.get(self.path) == FOLDER:
            raise Corrupt(f"the tree of {self.where(sha)} is not in the mirror: the mirror is broken.")
        for prefix, mode in modes.items():
            if mode != FOLDER:
                what = {"120000": "a symbolic link", "160000": "a submodule"}.get(mode, "a file")
                raise Rejected(
                    f"{self.where(sha)}: {prefix} is {what}, not a folder. Put the folder there, or correct git.path."
                )

    async def beginning_with(self, prefix: str) -> str:
        """The one commit whose name begins with *prefix*, "" if there is none."""
        found = await self.git.beginning_with(prefix) if is_repository(self.directory) else []
        if not found:
            await self.writing(self.fetch_followed)
            found = await self.git.beginning_with(prefix)
        if len(found) > 1:
            raise Rejected(
                f"{prefix} is the beginning of {len(found)} commits of {self.address.text}. Write more digits, at best all 40."
            )
        return found[0] if found else ""

    async def reading(self, work: Callable[[], Awaitable[T]], *needed: str) -> T:
        """Do *work*; in a broken mirror, make that again with the *needed* commits, and do it once more."""
        try:
            return await work()
        except Corrupt:
            return await self.writing(lambda _: work(), *needed)

    # -- writing

    async def keep(self, sha: str) -> None:
        """Let *sha* and its history stay, instead of what was kept before."""
        if kept_commit(self.directory, APPLIED) == sha:
            return
        await self.commit(sha)
        await self.writing(lambda held: self.git.update_ref(APPLIED, sha, held), sha)

    async def writing(self, work: Callable[[Held], Awaitable[T]], *needed: str) -> T:
        """Do *work* alone, in a mirror that is there and whole. needed: commits that it must hold, if they can be had."""
        async with exclusive(self._beside("lock"), seconds=max(30.0, self.source.timeout)) as held:
            if await asyncio.to_thread(self._tidy):
                try:
                    return await work(held)
                except Corrupt:
                    pass
            return await self._again(held, work, needed)

    def _tidy(self) -> bool:
        """Remove what killed processes left. Says whether a mirror of this repository is there."""
        try:
            if self._beside("old").exists():
                remove_tree(self._beside("old"))
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if (self.directory / "gitsync-origin").read_text() == self._origin() and is_repository(self.directory):
                    remove_leftovers(self.directory)
                    return True
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        return False

    async def _again(self, held: Held, work: Callable[[Held], Awaitable[T]], needed: tuple[str, ...]) -> T:
        """Make the mirror from nothing and do *work* in it. What was there comes back if that fails."""
        old = self._beside("old")
        kept = kept_commit(self.directory, APPLIED)
        try:
            had_one = self.directory.exists()
            if had_one:
                self.directory.rename(old)
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        whole = False
        try:
            await self.git.init(held)
            (self.directory / "gitsync-origin").write_text(self._origin())
            if needed:
                with contextlib.suppress(Rejected):
                    await self.fetch_followed(held)
            for sha in {*needed, kept} - {""}:
                with contextlib.suppress(Rejected):
                    await self._fetch_commit(sha, held)
                    if sha == kept:
                        await self.git.update_ref(APPLIED, sha, held)
            result = await work(held)
            whole = True
            return result
        except Corrupt as error:
            raise Unavailable(
                f"{error} Making it again did not help: the host sends it so, or the disk breaks it. Check both."
            ) from error
        finally:
            if not whole and had_one:
                remove_tree(self.directory)
                old.rename(self.directory)
            elif had_one:
                await asyncio.to_thread(remove_tree, old)

    async def fetch_followed(self, held: Held) -> Commit:
        if self.ref.kind is RefKind.SHA:
            return await self._fetch_commit(self.ref.name, held)
        return await self.fetch_ref(self.ref, held)

    async def fetch_ref(self, ref: Ref, held: Held) -> Commit:
        if ref.kind is RefKind.SHA:
            return await self._fetch_commit(ref.name, held)
        spaces = {RefKind.BRANCH: ("branch",), RefKind.TAG: ("tag",)}.get(ref.kind, ("branch", "tag"))
        for space in spaces:
            # One flat name each, so that a branch a never stands in the way of a branch a/b.
            private = f"refs/gitsync/{space}/{ref.name.replace('/', '%2F')}"
            remote = f"refs/{'heads' if space == 'branch' else 'tags'}/{ref.name}"
            try:
                await self.git.fetch(f"+{remote}:{private}", held, first=not self._has_packs())
            except MissingRef:
                continue
            found = self._fetched(private) or await self._look(private)
            if found is None:
                raise Corrupt(f"{private} is not in the mirror of {self.address.text}: the mirror is broken.")
            await self._pack(held)
            return found
        raise MissingRef(
            f"{self.address.text} has no {ref.kind.value} {ref.name}. What was applied stays; correct git.ref, or push it again."
        )

    async def fetch_as(self, what: str, private: str, held: Held) -> None:
        """Fetch a ref or a commit by its full name, and let *private* name it."""
        await self.git.fetch(f"+{what}:{private}", held, first=not self._has_packs())

    async def _fetch_commit(self, sha: str, held: Held) -> Commit:
        """One commit by its full name, from the mirror or else the host."""
        if found := await self._look(sha):
            return found
        try:
            await self.git.fetch(sha, held, first=not self._has_packs())
        except NotOffered as error:
            found = await self._fetch_everything(sha, held)
            if not found:
                raise NotOffered(
                    f"{error} Nor is it in any branch or tag. Push it to a branch, or name another commit."
                ) from error
            return found
        except Rejected as error:
            raise type(error)(
                f"commit {sha} is not to be had: {error} Push it to a branch, or name another commit."
            ) from error
        if found := await self._look(sha):
            return found
        raise Rejected(f"{self.address.text} was asked for commit {sha} and sent something else. Name another commit.")

    async def _fetch_everything(self, sha: str, held: Held) -> Commit | None:
        """All branches, then all tags: without version 2 of git's protocol a host hands out nothing else."""
        for space in ("heads", "tags"):
            await self.git.fetch(f"+refs/{space}/*:refs/gitsync/seen/{space}/*", held, first=True)
            if found := await self._look(sha):
                return found
        return None

    async def _pack(self, held: Held) -> None:
        if len(list((self.directory / "objects" / "pack").glob("*.pack"))) > PACKS:
            with contextlib.suppress(GitsyncError):  # it only saves space and time
                await self.git.gc(held)

    def _has_packs(self) -> bool:
        return any((self.directory / "objects" / "pack").glob("*.pack"))

    def _origin(self) -> str:
        """Host and path, so that a folder which held another repository is not taken for this one's mirror."""
        return lineage(self.source.url, "main", "")

    def _beside(self, suffix: str) -> Path:
        return self.directory.with_name(f"{self.directory.name}.{suffix}")

    def where(self, sha: str = "") -> str:
        path = f" {self.path}" if self.path else ""
        return f"{self.address.text}{path}" + (f" at {sha}" if sha else "")


def _put(known: dict[str, T], key: str, value: T) -> None:
    """Remember *value*, and forget the oldest."""
    while len(known) >= REMEMBERED and key not in known:
        known.pop(next(iter(known)))
    known[key] = value


def _unwritable(directory: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"the mirror at {directory} cannot be written: {error.strerror}. Give gitsync's user a state_dir that it may write."
    )
