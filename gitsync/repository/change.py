"""A pull request in the mirror: its exact head, and what the base would be with it merged. Nothing is ever checked out.

refs/gitsync/changes/<n>/head     the commit that was asked for; both go when the request is closed
refs/gitsync/changes/<n>/merged   the tree of the merge, which no commit names
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Rejected
from gitsync.model.review import Landed, Merged, NotThere, Unmergeable
from gitsync.model.revision import Revision, escaped, has_unseen
from gitsync.repository.bare import Bare
from gitsync.repository.command import kept_commit
from gitsync.repository.commit import read_commit
from gitsync.repository.environment import local
from gitsync.repository.lock import Held, remove_tree
from gitsync.repository.process import Ended, Ending, Limits, run
from gitsync.repository.specs import MirrorSpecs
from gitsync.repository.verdict import Corrupt, MissingRef, NotOffered, judge

MERGE = Limits(20.0)
"""A merge is a matter of milliseconds, unless somebody made it to be none; the mirror's lock is held meanwhile."""

RENAMES = 1000
"""Files on one side that are compared with as many on the other, to find out which were renamed: each pair costs about half a µs.

With more of them only renames without a change are found. Else whoever opens a request holds the lock for those seconds.
"""

PATHS = 50
"""Conflicting paths that are named."""

LANDED = 200
"""Commits of the watched ref that are looked through for requests that were merged."""

_FULL, _SHORT = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{7,40}")
_NOT_IN_A_REF = re.compile(r"[ ~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|[./]$")
_NO_SUCH_OPTION = 129
"""How git ends that does not know what it is asked: `merge-tree --write-tree` came with 2.38."""


class Changes:
    """The requests of one repository. Raises as `Mirror` does; what a request's author decides is an outcome."""

    def __init__(self, specs: MirrorSpecs) -> None:
        self._specs = specs.beside()
        self._bare: Bare = self._specs.mirror.bare
        self.merges = True
        """Whether this git can merge without a work tree."""

    async def base(self) -> Revision:
        """The commit that the watched ref names now."""
        return await self._specs.fetch()

    async def load_tree(self, revision: Revision, treeish: str) -> tuple[ParsedFile, ...]:
        """Every spec file of a commit or tree, by its full name; none where the sync's path is not there."""
        return await self._specs.load_tree(revision, treeish)

    # -- the head

    async def fetch(self, number: int, sha: str, refs: Sequence[str] = ()) -> Revision | NotThere:
        """The commit *sha* of request *number*, with what leads to it.

        It is asked for by its name, and where the host gives none out by name, by *refs*, the best first. A ref lags behind what
        the host told: then, and where the commit is gone, it is NotThere. Of a shortened *sha* only the refs can say which it is.
        """
        sha = sha.lower()
        if not _SHORT.fullmatch(sha):
            return NotThere(f"{escaped(sha, 100)!r} is no commit's name")
        return await self._bare.writing(lambda held: self._fetch(number, sha, refs, held))

    async def _fetch(self, number: int, sha: str, refs: Sequence[str], held: Held) -> Revision | NotThere:
        private = f"{_folder(number)}/head"
        if _FULL.fullmatch(sha):
            if found := await self._known(sha, private, held):
                return found
            try:
                await self._bare.fetch_as(sha, private, held)
            except (NotOffered, MissingRef):
                pass  # it is gone, not there yet, or the host hands out refs only
            else:
                if found := await self._known(sha, private, held):
                    return found
        named = ""
        for ref in refs:
            if not _is_ref(ref):
                continue
            try:
                await self._bare.fetch_as(ref, private, held)
            except (NotOffered, MissingRef):
                continue
            now = kept_commit(self._bare.directory, private)
            named = named or now
            wanted = now if now.startswith(sha) else sha
            if _FULL.fullmatch(wanted) and (found := await self._known(wanted, private, held)):
                return found
        await self._drop(number, held)
        where = f"the host hands out {named[:12]} instead" if named else "the host does not hand it out"
        return NotThere(f"commit {sha[:12]} of request {number} cannot be fetched: {where}", named)

    async def _known(self, sha: str, private: str, held: Held) -> Revision | None:
        """The commit *sha*, if the mirror has it; *private* names it then."""
        (found,) = await self._bare.git.objects([f"{sha}^{{commit}}"])
        if found.oid != sha:
            return None
        await self._bare.git.update_ref(private, sha, held)
        revision, _ = await asyncio.to_thread(read_commit, found, self._bare.directory)
        return revision

    async def drop(self, number: int) -> None:
        """Forget request *number*: it is closed."""
        await self._bare.writing(lambda held: self._drop(number, held))

    async def _drop(self, number: int, held: Held) -> None:
        for name in ("head", "merged"):
            ref = f"{_folder(number)}/{name}"
            if kept_commit(self._bare.directory, ref):
                await self._git("update-ref", "-d", "--end-of-options", ref, held=held)
        await asyncio.to_thread(remove_tree, self._bare.directory / _folder(number))

    # -- the merge

    async def merge(self, number: int, base: str, head: str) -> Merged | Unmergeable:
        """What *base* would be with *head* merged into it, as hosts do it: three ways, from what both have in common."""
        return await self._bare.writing(lambda held: self._merge(number, base, head, held), base, head)

    async def _merge(self, number: int, base: str, head: str, held: Held) -> Merged | Unmergeable:
        result: Merged | Unmergeable | None = None
        if self.merges:
            result = await self._merge_trees(base, head, held)
        if result is None:
            self.merges = False
            result = await self._merge_paths(base, head, held)
        if isinstance(result, Merged):
            ref = f"{_folder(number)}/merged"
            await self._git("update-ref", "--end-of-options", ref, result.tree, held=held)
        return result

    async def _merge_trees(self, base: str, head: str, held: Held) -> Merged | Unmergeable | None:
        """By git's own merge; None where this git has none that leaves work trees alone."""
        few = ["-c", f"merge.renameLimit={RENAMES}"]
        command = [*few, "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", base, head]
        ended = await self._run(command, held=held)
        if ended.status == _NO_SUCH_OPTION:
            return None
        if ended.ending is not Ending.EXITED:
            return Unmergeable(f"merging it is not done within {MERGE.seconds:g} s, or there is too much of it")
        tree, *paths = ended.stdout.decode(errors="replace").rstrip("\0").split("\0")
        if ended.status in (0, 1) and _FULL.fullmatch(tree):
            return Merged(tree) if ended.fine else _conflict(paths)
        return self._unmergeable(ended)

    async def _merge_paths(self, base: str, head: str, held: Held) -> Merged | Unmergeable:
        """Path by path, for a git before 2.38: the same where no file was changed on both sides, else it is no merge."""
        ended = await self._run(["merge-base", "--all", base, head], held=held)
        ancestors = ended.stdout.decode().split()
        if len(ancestors) != 1:
            if ended.stderr.strip():
                return self._unmergeable(ended)
            return Unmergeable(
                "base and head have several commits in common, and this git is too old to merge them"
                if ancestors
                else "it has no history in common with its base"
            )
        index = self._bare.directory / "gitsync-merge"
        try:
            command = ["read-tree", "-i", "-m", "--aggressive", ancestors[0], base, head]
            ended = await self._run(command, held=held, index=str(index))
            if not ended.fine:
                return self._unmergeable(ended)
            unmerged = await self._git("ls-files", "-u", "-z", held=held, index=str(index))
            if unmerged:
                return _conflict([line.partition(b"\t")[2].decode(errors="replace") for line in unmerged.split(b"\0")])
            tree = (await self._git("write-tree", held=held, index=str(index))).decode().strip()
        finally:
            index.unlink(missing_ok=True)
        return Merged(tree)

    def _unmergeable(self, ended: Ended) -> Unmergeable:
        """What git said is the request's fault; all else is raised."""
        if "unrelated histories" in ended.stderr:
            return Unmergeable("it has no history in common with its base")
        if "not something we can merge" in ended.stderr or "Not a valid" in ended.stderr:
            raise Corrupt(f"base or head is not in the mirror of {self._bare.address.text}: the mirror is broken.")
        raise judge(ended, f"git merge in the mirror of {self._bare.address.text}", seconds=MERGE.seconds)

    # -- what became of it

    async def landed(self, applied: str, sha: str) -> tuple[Landed, ...]:
        """The commits of the watched ref from *sha* back to *applied*, the newest first; at least *sha* itself.

        Each may be a request that was merged: it has the tree that was reviewed, or joins the head that was.
        """
        for name in (applied, sha):
            if name and not _FULL.fullmatch(name):
                raise Rejected(f"{escaped(name, 100)!r} is no commit's full name.")
        command = ["log", "--first-parent", f"--max-count={LANDED}", "--format=%H %T %P", "--no-show-signature", sha]
        out = await self._bare.reading(lambda: self._git(*command, "--"), sha)
        commits: list[Landed] = []
        for line in out.decode().splitlines():
            commit, tree, *parents = line.split()
            if commit == applied and commits:
                break
            commits.append(Landed(commit, tree, tuple(parents)))
        return tuple(commits)

    # -- how

    async def _git(self, *command: str, held: Held | None = None, index: str = "") -> bytes:
        ended = await self._run(command, held=held, index=index)
        if not ended.fine:
            what = f"git {command[0]} in the mirror of {self._bare.address.text}"
            raise judge(ended, what, seconds=MERGE.seconds)
        return ended.stdout

    async def _run(self, command: Sequence[str], *, held: Held | None = None, index: str = "") -> Ended:
        env = local() | ({"GIT_INDEX_FILE": index} if index else {})
        return await run(
            ["git", f"--git-dir={self._bare.directory}", *command],
            env=env,
            limits=MERGE,
            keep_open=held.fd if held else None,
            started=held.started if held else lambda _: None,
        )


def _folder(number: int) -> str:
    if not 0 < number < 10**12:
        raise Rejected(f"{number} is no request's number.")
    return f"refs/gitsync/changes/{number:d}"


def _is_ref(ref: str) -> bool:
    """Whether *ref* is the full name of one ref and nothing else. Source: git check-ref-format."""
    return (
        ref.startswith("refs/")
        and len(ref) <= 300
        and not has_unseen(ref)
        and ref.isprintable()
        and not _NOT_IN_A_REF.search(ref)
    )


def _conflict(paths: Sequence[str]) -> Unmergeable:
    names = sorted({escaped(path, 300) for path in paths if path})
    count = "one file" if len(names) == 1 else f"{len(names)} files"
    return Unmergeable(f"it conflicts with its base in {count}", tuple(names[:PATHS]))
