"""The git commands of one mirror: what is asked, of whom, within which bounds. Each raises what the verdict says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

from gitsync.model.errors import Rejected
from gitsync.model.revision import Address
from gitsync.repository import quick
from gitsync.repository.commit import Printed, parse_batch
from gitsync.repository.environment import Access, entered, local, verifying
from gitsync.repository.lock import Held
from gitsync.repository.process import MIB, Ended, Limits, run
from gitsync.repository.source import GitSource, TreeLimits
from gitsync.repository.tree import Entry
from gitsync.repository.verdict import Corrupt, judge

LOCAL_SECONDS = 120.0
LOCAL = Limits(LOCAL_SECONDS)
GC_SECONDS = 1800.0
VERIFY_SECONDS = 30.0
PACK_BYTES = 512 * MIB
"""The largest file that a fetch may write."""

BATCH = 2000
"""Objects a `cat-file`."""

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_PATH_BYTES = 512
"""A generous mean of a path in a listing; a listing that is longer in all is refused."""


_PARTIAL = re.compile(r"^(?!remote:).*(shallow update not allowed|shallow roots are not allowed)", re.MULTILINE)


class Git:
    """git, for one bare repository at *directory* and its origin."""

    def __init__(self, source: GitSource, address: Address, directory: Path, limits: TreeLimits) -> None:
        self.source, self.address, self.directory, self.limits = source, address, directory, limits
        self.pack_bytes = PACK_BYTES

    # -- with the host

    async def fetch(self, refspec: str, held: Held, *, first: bool) -> None:
        """Fetch one ref or object. first: it brings the whole history."""
        access = await entered(self.source, self.address)
        seconds = self.source.timeout * (5 if first else 1)
        command = [
            "fetch",
            "--no-progress",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-gc",
            "--end-of-options",
        ]
        if refspec.endswith("*"):  # of what is only looked through, nothing stands in the way of its successor
            command.insert(1, "--prune")
        limits = Limits(seconds, file_size=self.pack_bytes)
        ended = await self._run([*command, self.address.text, refspec], access, limits, held=held)
        name = refspec.removeprefix("+").partition(":")[0].removeprefix("refs/heads/").removeprefix("refs/tags/")
        what = f"git fetch of {self.address.text} ({name})"
        if not ended.fine and self._cut_off():
            raise Rejected(
                f"{what}: what the host sends at once is larger than the {self.pack_bytes:,} bytes that gitsync takes. "
                "Keep specs in a repository of their own."
            )
        if not ended.fine:
            raise judge(ended, what, seconds=seconds, secrets=access.secrets)
        if _PARTIAL.search(ended.stderr):  # git ends with 0, and leaves the ref where it was
            raise Rejected(
                f"{what}: the host has only a part of the history (a shallow clone). Name the repository it was cloned from in git.url."
            )

    def _cut_off(self) -> bool:
        """Whether a pack ends where the limit is. Of the signal that ended its writer git says nothing."""
        packs = (self.directory / "objects" / "pack").glob("tmp_pack_*")
        return any(pack.stat().st_size >= self.pack_bytes // 512 * 512 for pack in packs)

    # -- in the mirror, with the lock

    async def init(self, held: Held) -> None:
        """Make an empty bare repository."""
        await self._local("init", "--bare", "--quiet", "--template=", str(self.directory), held=held)

    async def update_ref(self, ref: str, sha: str, held: Held) -> None:
        """Let *ref* name *sha*."""
        if await asyncio.to_thread(quick.write_ref, self.directory, ref, sha):
            return
        await self._local("update-ref", "--end-of-options", ref, sha, held=held)

    async def gc(self, held: Held) -> None:
        """Pack everything that a ref leads to, and drop the rest."""
        limits = Limits(GC_SECONDS, file_size=4096 * MIB)
        await self._local("gc", "--quiet", "--force", "--prune=now", held=held, limits=limits)

    # -- in the mirror, reading

    async def objects(self, names: list[str], *, output: int = 64 * MIB) -> list[Printed]:
        """Objects with their contents, by any name that git understands."""
        printed: list[Printed] = []
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            asked = "".join(f"{name}\n" for name in part).encode()
            out = await self._local("cat-file", "--batch", stdin=asked, limits=Limits(LOCAL_SECONDS, output=output))
            printed += parse_batch(out, part)
        return printed

    async def sizes(self, oids: list[str]) -> dict[str, int]:
        """The sizes of blobs. Raises Corrupt if one is missing."""
        if not oids:
            return {}
        asked = "".join(f"{oid}\n" for oid in oids).encode()
        result: dict[str, int] = {}
        for line in (await self._local("cat-file", "--batch-check", stdin=asked)).decode(errors="replace").splitlines():
            oid, _, rest = line.partition(" ")
            if not rest.startswith("blob "):
                raise Corrupt(f"blob {oid} is not in the mirror of {self.address.text}: the mirror is broken.")
            result[oid] = int(rest.removeprefix("blob "))
        return result

    async def leaves(self, tree: str) -> list[Entry]:
        """Every leaf below *tree*."""
        output = Limits(LOCAL_SECONDS, output=self.limits.entries * _PATH_BYTES)
        out = await self._local("ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree, limits=output)
        entries = []
        for line in out.split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, kind, oid, size = head.decode().split()
            if size == "BAD":
                raise Corrupt(f"blob {oid} is not in the mirror of {self.address.text}: the mirror is broken.")
            entries.append(Entry(path, mode, oid, int(size) if kind == "blob" else 0))
        return entries

    async def modes(self, commit: str, paths: list[str]) -> dict[str, str]:
        """The modes of those of *paths* that are in the commit's tree."""
        out = await self._local("ls-tree", "-z", "--full-tree", commit, "--", *paths)
        heads = [line.partition(b"\t") for line in out.split(b"\0")[:-1]]
        return {path.decode(errors="replace"): head.decode().split()[0] for head, _, path in heads}

    async def difference(self, old: str, new: str) -> list[tuple[str, Entry]]:
        """What differs between two trees: a letter and the leaf as it is in *new* (oid "" if it is gone), sizes unknown."""
        command = [
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--no-renames",
            "--no-abbrev",
            "--end-of-options",
            old or EMPTY_TREE,
            new or EMPTY_TREE,
        ]
        output = Limits(LOCAL_SECONDS, output=self.limits.entries * _PATH_BYTES)
        fields = (await self._local(*command, limits=output)).split(b"\0")
        result = []
        for head, path in zip(fields[0:-1:2], fields[1::2], strict=False):
            _, mode, _, oid, status = head.decode().split()
            result.append((status[0], Entry(path, mode, "" if status[0] == "D" else oid, 0)))
        return result

    async def is_ancestor(self, old: str, new: str) -> bool:
        """Whether *new* has *old* in its history."""
        ended = await self._run(["merge-base", "--is-ancestor", old, new], Access(local()), Limits(LOCAL_SECONDS))
        if ended.fine or (ended.status == 1 and not ended.stderr.strip()):
            return ended.fine
        raise judge(ended, f"git merge-base in the mirror of {self.address.text}", seconds=LOCAL_SECONDS)

    async def fork_point(self, one: str, other: str) -> str:
        """The best common ancestor of two commits, "" if they have none here."""
        ended = await self._run(["merge-base", "--end-of-options", one, other], Access(local()), Limits(LOCAL_SECONDS))
        if ended.fine or (ended.status == 1 and not ended.stderr.strip()):
            return ended.stdout.decode().strip()
        raise judge(ended, f"git merge-base in {self.address.text}", seconds=LOCAL_SECONDS)

    async def since(self, old: str, new: str, most: int) -> list[str]:
        """The commits that lead to *new* and not to *old* ("": all), a child before its parents; at most *most*."""
        without = [f"^{old}"] if old else []
        command = ["rev-list", "--topo-order", f"--max-count={most}", "--end-of-options", new, *without]
        return (await self._local(*command)).decode().split()

    async def verify(self, commit: str, config: Mapping[str, str], home: Path) -> Ended:
        """What git and the program that it asks say of a commit's signature. Source: git verify-commit --raw."""
        access = Access(verifying(config, home))
        return await self._run(["verify-commit", "--raw", commit], access, Limits(VERIFY_SECONDS))

    async def beginning_with(self, prefix: str) -> list[str]:
        """The commits that the mirror has whose name begins with *prefix*."""
        found = (await self._local("rev-parse", f"--disambiguate={prefix}")).decode().split()
        if not found:
            return []
        asked = "".join(f"{oid}\n" for oid in found).encode()
        lines = (await self._local("cat-file", "--batch-check", stdin=asked)).decode(errors="replace").splitlines()
        return [line.split()[0] for line in lines if line.split()[1:2] == ["commit"]]

    async def _local(
        self,
        *command: str,
        stdin: bytes = b"",
        held: Held | None = None,
        limits: Limits = LOCAL,
    ) -> bytes:
        ended = await self._run(list(command), Access(local()), limits, stdin=stdin, held=held)
        if not ended.fine:
            raise judge(ended, f"git {command[0]} in the mirror of {self.address.text}", seconds=limits.seconds)
        return ended.stdout

    async def _run(
        self, command: list[str], access: Access, limits: Limits, *, stdin: bytes = b"", held: Held | None = None
    ) -> Ended:
        return await run(
            ["git", f"--git-dir={self.directory}", *command],
            env=access.env,
            limits=limits,
            stdin=stdin,
            keep_open=held.fd if held else None,
            started=held.started if held else _nobody,
        )


def _nobody(pid: int) -> None:
    """Nobody needs to know the number of a process that only reads."""


def kept_commit(repository: Path, ref: str) -> str:
    """The commit that *ref* names, read without git: of a broken repository this may still work. "" if not."""
    with contextlib.suppress(OSError, ValueError):
        return (repository / ref).read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError, ValueError):
        for line in (repository / "packed-refs").read_text(encoding="ascii").splitlines():
            if line.endswith(f" {ref}"):
                return line.partition(" ")[0]
    return ""
