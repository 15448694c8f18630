"""A mirror of the one ref that a sync follows. Nothing is ever checked out: files are read by object id.

fetch ──► refs/gitsync/branch/main     the commit that the ref names now; kept when the host loses the ref
keep  ──► refs/gitsync/applied         the commit that was applied, so that it outlives a rewritten history
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gitsync.model.errors import GitsyncError
from gitsync.model.revision import (
    FileChange,
    History,
    RefKind,
    Refusal,
    Revision,
    Snapshot,
    Tree,
    TreeFile,
    parse_ref,
    pointer_reason,
)
from gitsync.repository import quick
from gitsync.repository.bare import SHA, Bare
from gitsync.repository.process import Ended
from gitsync.repository.source import USUAL, Accepts, GitSource, TreeLimits
from gitsync.repository.tree import SUBMODULE, Entry, Judged, Move, Sorted, check, judge, sort_in, sort_out, too_many
from gitsync.repository.verdict import Corrupt, NotOffered

_PREFIX = re.compile(r"[0-9a-f]{4,39}")


@dataclass(frozen=True, slots=True)
class _Listing:
    """What was judged of every leaf of one tree below the path, by its raw path, and the same in order."""

    tree: str = ""
    judged: Mapping[bytes, Judged] = field(default_factory=dict)
    found: Sorted = field(default_factory=Sorted)


class Mirror:
    """The repository of one sync, at *directory*.

    accepts: of a path below the sync's, None if it is a spec file, else why it is passed over. Every method raises Rejected
    if the host or the repository is not as it must be, Unavailable if there was no answer, Invalid if *source* is wrong.
    """

    def __init__(self, source: GitSource, directory: Path, *, accepts: Accepts, limits: TreeLimits = USUAL) -> None:
        self._bare = Bare(source, directory, limits)
        self.source, self.directory, self.limits = source, self._bare.directory, limits
        self.address, self.ref, self.path = self._bare.address, self._bare.ref, self._bare.path
        self._accepts = accepts
        self._listing = _Listing()
        self._pointers: dict[str, str] = {}  # blob → why it is no spec

    @property
    def bare(self) -> Bare:
        """The repository on this disk."""
        return self._bare

    # -- which commit

    async def fetch(self) -> Revision:
        """The commit that the ref names now, with everything that leads to it."""
        if self.ref.kind is RefKind.SHA:
            return await self.resolve(self.ref.name)
        return (await self._bare.writing(lambda held: self._bare.fetch_ref(self.ref, held))).revision

    async def resolve(self, text: str) -> Revision:
        """The commit that *text* names: a SHA, the beginning of one, a branch or a tag. What is missing is fetched."""
        text = text.strip()
        if SHA.fullmatch(text.lower()):
            return (await self._bare.commit(text.lower())).revision
        if _PREFIX.fullmatch(text.lower()) and (found := await self._bare.beginning_with(text.lower())):
            return (await self._bare.commit(found)).revision
        ref = parse_ref(text)
        return (await self._bare.writing(lambda held: self._bare.fetch_ref(ref, held))).revision

    async def history(self, applied: str, candidate: str) -> History:
        """How *candidate* stands to the commit that was *applied* ("" for none)."""
        if not applied:
            return History.FORWARD
        if applied == candidate:
            return History.SAME
        new = await self._bare.commit(candidate)
        if applied in new.parents or await asyncio.to_thread(quick.leads_to, self.directory, applied, candidate):
            return History.FORWARD
        try:
            await self._bare.commit(applied)
        except NotOffered:
            return History.UNKNOWN
        if await self._bare.reading(lambda: self._bare.git.is_ancestor(applied, candidate), applied, candidate):
            return History.FORWARD
        back = await self._bare.reading(lambda: self._bare.git.is_ancestor(candidate, applied), applied, candidate)
        return History.BEHIND if back else History.DIVERGED

    async def since(self, applied: str, sha: str, *, most: int) -> list[str]:
        """The commits that lead to *sha* and not to *applied*, a child before its parents; at most *most*.

        All that lead to *sha*, where *applied* is nowhere to be had any more: then nobody knows which are new.
        """
        await self._bare.commit(sha)
        try:
            await self._bare.commit(applied)
        except NotOffered:
            applied = ""
        return await self._bare.reading(lambda: self._bare.git.since(applied, sha, most), sha)

    async def commit_object(self, sha: str) -> bytes:
        """A commit as its author's git wrote it."""
        (printed,) = await self._bare.reading(lambda: self._bare.git.objects([sha]), sha)
        if printed.kind != "commit" or printed.oid != sha:
            raise Corrupt(f"commit {sha} is not in the mirror of {self.address.text}: the mirror is broken.")
        return printed.content

    async def verify(self, sha: str, config: Mapping[str, str], home: Path) -> Ended:
        """What git says of the signature of *sha*. config: git's settings for it. home: a GNUPGHOME with the keys that count."""
        return await self._bare.git.verify(sha, config, home)

    async def keep(self, sha: str) -> None:
        """Let *sha* and its history stay in the mirror, instead of what was kept before."""
        await self._bare.keep(sha)

    async def maintain(self) -> None:
        """Put the packs together and drop what no ref leads to any more."""
        await self._bare.writing(self._bare.git.gc)

    # -- what it holds

    async def tree(self, sha: str) -> Tree:
        """What is below the path at *sha*. Costs what differs from the tree that was asked for last.

        What does not differ is the same object: a file, and all files or refusals if none of them differs.
        """
        commit = await self._bare.commit(sha)
        if not commit.tree:
            return Tree(commit.revision, (), (), path_exists=False)
        listing = await self._bare.reading(lambda: self._list(commit.tree), sha)
        check(listing.found, limits=self.limits, what=self._bare.where(sha))
        return Tree(commit.revision, listing.found.files, listing.found.passed, path_exists=True)

    async def tree_at(self, revision: Revision, treeish: str) -> Tree:
        """What is below the path of a commit or tree, by its full name; *revision* is only what it is called."""
        below = await self._bare.subtree(treeish)
        if not below:
            return Tree(revision, (), (), path_exists=False)
        listing = await self._list(below)
        check(listing.found, limits=self.limits, what=self._bare.where(revision.sha))
        return Tree(revision, listing.found.files, listing.found.passed, path_exists=True)

    def beside(self) -> Mirror:
        """The same repository for another reader, so that each finds what it asked for last."""
        return Mirror(self.source, self.directory, accepts=self._accepts, limits=self.limits)

    async def read(self, oids: Iterable[str]) -> Mapping[str, bytes]:
        """The contents of blobs, by their ids."""
        wanted = sorted(set(oids))
        return await self._bare.reading(lambda: self._contents(wanted))

    async def changed(self, old: str, new: str) -> tuple[FileChange, ...]:
        """The spec files that differ between two commits, by path."""
        before, after = await self._bare.commit(old), await self._bare.commit(new)
        if before.tree == after.tree:
            return ()
        found = await self._bare.reading(lambda: self._bare.git.difference(before.tree, after.tree), old, new)
        changes = []
        for status, entry in found:
            judged = self._judge(entry)
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

    # -- how

    async def _list(self, tree: str) -> _Listing:
        """What is below *tree*, made from the last listing and what differs."""
        last = self._listing
        if tree == last.tree:
            return last
        changed = await self._difference(last.tree, tree) if last.tree else None
        entries = await self._bare.git.leaves(tree) if changed is None else changed
        judged: dict[bytes, Judged] = {} if changed is None else dict(last.judged)
        moves: list[Move] = []
        for entry in entries:
            was, now = judged.get(entry.path), self._judge(entry) if entry.oid else None
            if now:
                judged[entry.path] = now
            else:
                judged.pop(entry.path, None)
            moves.append((was, now))
        if len(judged) > self.limits.entries:
            raise too_many(self._bare.where(), self.limits)
        found = sort_out(judged.values()) if changed is None else sort_in(last.found, moves, judged.values())
        self._listing = _Listing(tree, judged, found)
        return self._listing

    async def _difference(self, old: str, new: str) -> list[Entry] | None:
        """The leaves of *new* that differ from *old* (oid "" if one is gone). None: all is new, or the old tree is gone."""
        here = await asyncio.to_thread(quick.difference, self.directory, old, new)
        if here is not None:
            return here
        try:
            changes = [entry for _, entry in await self._bare.git.difference(old, new)]
        except GitsyncError:
            return None
        sizes = await self._bare.git.sizes(
            sorted({entry.oid for entry in changes if entry.oid and entry.mode != SUBMODULE})
        )
        return [Entry(entry.path, entry.mode, entry.oid, sizes.get(entry.oid, 0)) for entry in changes]

    def _judge(self, entry: Entry) -> Judged:
        return judge(entry, below=self.path, accepts=self._accepts, limits=self.limits)

    async def _contents(self, oids: list[str]) -> dict[str, bytes]:
        here = await asyncio.to_thread(quick.contents, self.directory, oids) if len(oids) <= quick.FEW else None
        if here is not None:
            return here
        contents: dict[str, bytes] = {}
        for printed in await self._bare.git.objects(oids, output=self.limits.total_bytes + 1024 * 1024):
            if printed.kind != "blob":
                raise Corrupt(f"blob {printed.name} is not in the mirror of {self.address.text}: the mirror is broken.")
            contents[printed.oid] = printed.content
        return contents
