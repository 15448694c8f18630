"""A bare mirror of the one ref that a sync follows. Nothing is ever checked out: files are read by object id.

    fetch ──► refs/gitsync/branch/main     the commit that the ref names now; kept when the host loses the ref
    keep  ──► refs/gitsync/applied         the commit that was applied, so that it outlives a rewritten history

Writing needs the lock; reading does not, since nothing that a reader can know of is removed under it but by `maintain`.
A mirror that is broken is made again from the host, once a call, and until that succeeded the broken one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from gitsync.model.errors import GitsyncError, Rejected, Unavailable
from gitsync.model.revision import (
    FileChange,
    History,
    Ref,
    RefKind,
    Refusal,
    Revision,
    Snapshot,
    Tree,
    TreeFile,
    escaped,
    lineage,
    parse_address,
    parse_path,
    parse_ref,
    pointer_reason,
)
from gitsync.repository.command import Git, kept_commit
from gitsync.repository.commit import Commit, is_repository, read_commit
from gitsync.repository.lock import Held, exclusive, remove_leftovers, remove_tree
from gitsync.repository.source import USUAL, Accepts, GitSource, TreeLimits
from gitsync.repository.tree import FOLDER, Entry, judge, sort_out, too_many
from gitsync.repository.verdict import Corrupt, MissingRef, NotOffered

T = TypeVar("T")

APPLIED = "refs/gitsync/applied"
PACKS = 50
"""Every fetch that brings something leaves a pack; with that many they are put together."""

REMEMBERED = 64
"""Commits of which the words are kept in memory."""

_SHA = re.compile(r"[0-9a-f]{40}")
_PREFIX = re.compile(r"[0-9a-f]{4,39}")


class Mirror:
    """The repository of one sync, at *directory*; beside it are the lock, and a broken mirror while it is replaced.

    accepts: of a path below the sync's, None if it is a spec file, else why it is passed over. Every method raises Rejected
    if the host or the repository is not as it must be, Unavailable if there was no answer, Invalid if *source* is wrong.
    """

    def __init__(self, source: GitSource, directory: Path, *, accepts: Accepts, limits: TreeLimits = USUAL) -> None:
        self.source, self.directory, self.limits = source, directory.absolute(), limits
        self.address, self.ref, self.path = parse_address(source.url), parse_ref(source.ref), parse_path(source.path)
        self._accepts = accepts
        self._git = Git(source, self.address, self.directory, limits)
        self._commits: dict[str, Commit] = {}
        self._listed = ""  # the tree of which _leaves and _judged speak
        self._leaves: dict[bytes, Entry] = {}
        self._judged: dict[bytes, TreeFile | Refusal] = {}
        self._pointers: dict[str, str] = {}  # blob → why it is no spec

    # -- which commit

    async def fetch(self) -> Revision:
        """The commit that the ref names now, with everything that leads to it."""
        if self.ref.kind is RefKind.SHA:
            return await self.resolve(self.ref.name)
        return (await self._writing(lambda held: self._fetch_ref(self.ref, held))).revision

    async def resolve(self, text: str) -> Revision:
        """The commit that *text* names: a SHA, the beginning of one, a branch or a tag. What is missing is fetched."""
        text = text.strip()
        if _SHA.fullmatch(text.lower()):
            return (await self._commit(text.lower())).revision
        if _PREFIX.fullmatch(text.lower()) and (found := await self._beginning_with(text.lower())):
            return (await self._commit(found)).revision
        ref = parse_ref(text)
        return (await self._writing(lambda held: self._fetch_ref(ref, held))).revision

    async def history(self, applied: str, candidate: str) -> History:
        """How *candidate* stands to the commit that was *applied* ("" for none)."""
        if not applied:
            return History.FORWARD
        if applied == candidate:
            return History.SAME
        new = await self._commit(candidate)
        if applied in new.parents:
            return History.FORWARD
        try:
            await self._commit(applied)
        except Rejected:
            return History.UNKNOWN
        if await self._reading(lambda: self._git.is_ancestor(applied, candidate), applied, candidate):
            return History.FORWARD
        back = await self._reading(lambda: self._git.is_ancestor(candidate, applied), applied, candidate)
        return History.BEHIND if back else History.DIVERGED

    async def keep(self, sha: str) -> None:
        """Let *sha* and its history stay in the mirror, instead of what was kept before."""
        if kept_commit(self.directory, APPLIED) == sha:
            return
        await self._commit(sha)
        await self._writing(lambda held: self._git.update_ref(APPLIED, sha, held), sha)

    async def maintain(self) -> None:
        """Put the packs together and drop what no ref leads to any more."""
        await self._writing(self._git.gc)

    # -- what it holds

    async def tree(self, sha: str) -> Tree:
        """What is below the path at *sha*. Costs what differs from the tree that was asked for last."""
        commit = await self._commit(sha)
        if not commit.tree:
            return Tree(commit.revision, (), (), path_exists=False)
        await self._reading(lambda: self._list(commit.tree), sha)
        files, passed = sort_out(self._judged.values(), limits=self.limits, what=self._where(sha))
        return Tree(commit.revision, files, passed, path_exists=True)

    async def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """The contents of blobs, by their ids."""
        wanted = sorted(set(oids))
        return await self._reading(lambda: self._contents(wanted))

    async def changed(self, old: str, new: str) -> tuple[FileChange, ...]:
        """The spec files that differ between two commits, by path."""
        before, after = await self._commit(old), await self._commit(new)
        if before.tree == after.tree:
            return ()
        found = await self._reading(lambda: self._git.difference(before.tree, after.tree), old, new)
        changes = []
        for status, entry in found:
            judged = judge(entry, below=self.path, accepts=self._accepts, limits=self.limits)
            if (
                isinstance(judged, TreeFile)
                or judged.unreadable
                or (not entry.oid and self._accepts(judged.path) is None)
            ):
                changes.append(FileChange(status, judged.path, entry.oid))
        return tuple(sorted(changes, key=lambda change: change.path))

    async def snapshot(self, sha: str, known_oids: Iterable[str] = ()) -> Snapshot:
        """The tree at *sha*, with the contents of every file whose blob is not among *known_oids*."""
        tree = await self.tree(sha)
        known = frozenset(known_oids)
        contents = dict(await self.read(file.oid for file in tree.files if file.oid not in known))
        for oid, content in contents.items():
            if reason := pointer_reason(content):
                self._pointers[oid] = reason
        pointers = tuple(
            Refusal(file.path, self._pointers[file.oid], unreadable=True)
            for file in tree.files
            if file.oid in self._pointers
        )
        if pointers:
            files = tuple(file for file in tree.files if file.oid not in self._pointers)
            passed = tuple(sorted((*tree.passed_over, *pointers), key=lambda refusal: refusal.path))
            tree = Tree(tree.revision, files, passed, path_exists=True)
        return Snapshot(tree, {oid: content for oid, content in contents.items() if oid not in self._pointers})

    # -- reading

    async def _commit(self, sha: str) -> Commit:
        """A commit by its full name; fetched if the mirror lacks it."""
        if known := self._commits.get(sha):
            return known
        if not _SHA.fullmatch(sha):
            raise Rejected(f"{escaped(sha, 100)!r} is no commit's full name. Write its 40 hex digits.")
        if is_repository(self.directory):
            found = await self._reading(lambda: self._look(sha), sha)
            if found:
                return found
        return await self._writing(lambda held: self._fetch_commit(sha, held))

    async def _look(self, name: str) -> Commit | None:
        """The commit that *name* leads to, None if the mirror has no such name."""
        below = f"{name}^{{commit}}:{self.path}" if self.path else f"{name}^{{tree}}"
        named, commit, tree = await self._git.objects([name, f"{name}^{{commit}}", below])
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
        while len(self._commits) >= REMEMBERED:
            self._commits.pop(next(iter(self._commits)))
        found = self._commits[revision.sha] = Commit(revision, parents, tree.oid if tree.kind == "tree" else "")
        return found

    async def _path_is_absent(self, sha: str) -> None:
        """Make sure of it: "missing" is also what git says when it cannot read the tree."""
        if not self.path:
            raise Corrupt(f"the tree of {sha} is not in the mirror of {self.address.text}: the mirror is broken.")
        parts = self.path.split("/")
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        modes = await self._git.modes(sha, prefixes)
        if modes.get(self.path) == FOLDER:
            raise Corrupt(f"the tree of {self._where(sha)} is not in the mirror: the mirror is broken.")
        for prefix, mode in modes.items():
            if mode != FOLDER:
                what = {"120000": "a symbolic link", "160000": "a submodule"}.get(mode, "a file")
                raise Rejected(
                    f"{self._where(sha)}: {prefix} is {what}, not a folder. Put the folder there, or correct git.path."
                )

    async def _beginning_with(self, prefix: str) -> str:
        """The one commit whose name begins with *prefix*, "" if there is none."""
        found = await self._git.beginning_with(prefix) if is_repository(self.directory) else []
        if not found:
            await self._writing(self._fetch_followed)
            found = await self._git.beginning_with(prefix)
        if len(found) > 1:
            raise Rejected(
                f"{prefix} is the beginning of {len(found)} commits of {self.address.text}. Write more digits, at best all 40."
            )
        return found[0] if found else ""

    async def _list(self, tree: str) -> None:
        """Bring _leaves and _judged to *tree*."""
        if tree == self._listed:
            return
        changes: list[tuple[str, Entry]] | None = None
        if self._listed:
            with contextlib.suppress(
                GitsyncError
            ):  # the old tree is gone, or all is new: then the list is what there is
                changes = await self._git.difference(self._listed, tree)
        if changes is None:
            entries = await self._git.leaves(tree)
            leaves, judged = {}, {}
        else:
            blobs = [entry.oid for _, entry in changes if entry.oid and entry.mode != "160000"]
            sizes = await self._git.sizes(sorted(set(blobs)))
            entries = [
                Entry(entry.path, entry.mode, entry.oid, sizes.get(entry.oid, 0)) for _, entry in changes if entry.oid
            ]
            leaves, judged = dict(self._leaves), dict(self._judged)
            for _, entry in changes:
                leaves.pop(entry.path, None)
                judged.pop(entry.path, None)
        for entry in entries:
            leaves[entry.path] = entry
            judged[entry.path] = judge(entry, below=self.path, accepts=self._accepts, limits=self.limits)
        if len(leaves) > self.limits.entries:
            raise too_many(self._where(), self.limits)
        self._leaves, self._judged, self._listed = leaves, judged, tree

    async def _contents(self, oids: list[str]) -> dict[str, bytes]:
        contents: dict[str, bytes] = {}
        for printed in await self._git.objects(oids, output=self.limits.total_bytes + 1024 * 1024):
            if printed.kind != "blob":
                raise Corrupt(f"blob {printed.name} is not in the mirror of {self.address.text}: the mirror is broken.")
            contents[printed.oid] = printed.content
        return contents

    async def _reading(self, work: Callable[[], Awaitable[T]], *needed: str) -> T:
        """Do *work*; in a broken mirror, make that again with the *needed* commits, and do it once more."""
        try:
            return await work()
        except Corrupt:
            return await self._writing(lambda _: work(), *needed)

    # -- writing

    async def _writing(self, work: Callable[[Held], Awaitable[T]], *needed: str) -> T:
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
            await self._git.init(held)
            (self.directory / "gitsync-origin").write_text(self._origin())
            if needed:
                with contextlib.suppress(Rejected):
                    await self._fetch_followed(held)
            for sha in {*needed, kept} - {""}:
                with contextlib.suppress(Rejected):
                    await self._fetch_commit(sha, held)
                    if sha == kept:
                        await self._git.update_ref(APPLIED, sha, held)
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

    async def _fetch_followed(self, held: Held) -> Commit:
        if self.ref.kind is RefKind.SHA:
            return await self._fetch_commit(self.ref.name, held)
        return await self._fetch_ref(self.ref, held)

    async def _fetch_ref(self, ref: Ref, held: Held) -> Commit:
        if ref.kind is RefKind.SHA:
            return await self._fetch_commit(ref.name, held)
        spaces = {RefKind.BRANCH: ("branch",), RefKind.TAG: ("tag",)}.get(ref.kind, ("branch", "tag"))
        for space in spaces:
            # One flat name each, so that a branch a never stands in the way of a branch a/b.
            private = f"refs/gitsync/{space}/{ref.name.replace('/', '%2F')}"
            remote = f"refs/{'heads' if space == 'branch' else 'tags'}/{ref.name}"
            try:
                await self._git.fetch(f"+{remote}:{private}", held, first=not self._has_packs())
            except MissingRef:
                continue
            found = await self._look(private)
            if found is None:
                raise Corrupt(f"{private} is not in the mirror of {self.address.text}: the mirror is broken.")
            await self._pack(held)
            return found
        raise MissingRef(
            f"{self.address.text} has no {ref.kind.value} {ref.name}. What was applied stays; correct git.ref, or push it again."
        )

    async def _fetch_commit(self, sha: str, held: Held) -> Commit:
        """One commit by its full name, from the mirror or else the host."""
        if found := await self._look(sha):
            return found
        try:
            await self._git.fetch(sha, held, first=not self._has_packs())
        except NotOffered as error:
            found = await self._fetch_everything(sha, held)
            if not found:
                raise Rejected(
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
            await self._git.fetch(f"+refs/{space}/*:refs/gitsync/seen/{space}/*", held, first=True)
            if found := await self._look(sha):
                return found
        return None

    async def _pack(self, held: Held) -> None:
        if len(list((self.directory / "objects" / "pack").glob("*.pack"))) > PACKS:
            with contextlib.suppress(GitsyncError):  # it only saves space and time
                await self._git.gc(held)

    def _has_packs(self) -> bool:
        return any((self.directory / "objects" / "pack").glob("*.pack"))

    def _origin(self) -> str:
        """Host and path, so that a folder which held another repository is not taken for this one's mirror."""
        return lineage(self.source.url, "main", "")

    def _beside(self, suffix: str) -> Path:
        return self.directory.with_name(f"{self.directory.name}.{suffix}")

    def _where(self, sha: str = "") -> str:
        path = f" {self.path}" if self.path else ""
        return f"{self.address.text}{path}" + (f" at {sha}" if sha else "")


def _unwritable(directory: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"the mirror at {directory} cannot be written: {error.strerror}. Give gitsync's user a state_dir that it may write."
    )
