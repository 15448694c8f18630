"""The specs of a repository or a folder, parsed. A file is parsed once for each content that it ever had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Rejected
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.revision import NO_REVISION, History, Refusal, Revision, Tree, TreeFile, pointer_reason
from gitsync.repository.directory import read_directory
from gitsync.repository.mirror import Mirror
from gitsync.repository.source import USUAL, Accepts, TreeLimits

Parse = Callable[[str, bytes], ParsedFile]
"""Path and content → what the file holds. It is called in a thread."""

REFUSED = "file-refused"
PORTION_FILES, PORTION_BYTES = 200, 4 * 1024 * 1024
"""How much is read and parsed at a time, so that 200 MiB of specs are never in memory at once."""


class MirrorSpecs:
    """The specs of a mirror. passed_over: of the revision that was loaded last."""

    def __init__(self, mirror: Mirror, parse: Parse) -> None:
        self.mirror = mirror
        self.passed_over: tuple[Refusal, ...] = ()
        self._parse = parse
        self._cache: dict[tuple[str, str], ParsedFile] = {}

    async def fetch(self) -> Revision:
        """The commit that the sync's ref names now."""
        return await self.mirror.fetch()

    async def resolve(self, revision: str) -> Revision:
        """The commit that *revision* names."""
        return await self.mirror.resolve(revision)

    async def history(self, applied: str, candidate: str) -> History:
        """How *candidate* stands to *applied*."""
        return await self.mirror.history(applied, candidate)

    async def keep(self, sha: str) -> None:
        """Keep the applied commit in the mirror."""
        await self.mirror.keep(sha)

    async def load(self, revision: Revision, applied: str) -> tuple[ParsedFile, ...]:
        """Every spec file at *revision*, by path.

        Raises Rejected if the path is not there, unless a revision with this path was *applied* before ("" for none): then it
        was deleted, which is a commit without specs, since Git keeps no empty directories.
        """
        tree = await self.mirror.tree(revision.sha)
        if not tree.path_exists and not applied:
            raise Rejected(
                f"{self.mirror.address.text} has no {self.mirror.path} at {revision.sha}, nor had it before. Correct git.path, or push "
                "the folder."
            )
        known = {key: self._cache[key] for file in tree.files if (key := (file.path, file.oid)) in self._cache}
        for portion in portions(file for file in tree.files if (file.path, file.oid) not in known):
            contents = await self.mirror.read(file.oid for file in portion)
            parsed = await asyncio.to_thread(self._parse_all, portion, [contents[file.oid] for file in portion])
            known.update(((file.path, file.oid), each) for file, each in zip(portion, parsed, strict=True))
        # What other commits hold stays for a while: a plan for a pull request and a run take turns.
        self._cache = known if len(self._cache) > 2 * len(known) + 1000 else {**self._cache, **known}
        files = [known[file.path, file.oid] for file in tree.files]
        pointers = [
            Refusal(file.path, _reason(each), unreadable=True)
            for file, each in zip(tree.files, files, strict=True)
            if _refused(each)
        ]
        self.passed_over = _by_path([*tree.passed_over, *pointers])
        return _with_refused(files, tree)

    def _parse_all(self, files: Sequence[TreeFile], contents: Sequence[bytes]) -> list[ParsedFile]:
        return [parse_one(self._parse, file.path, content) for file, content in zip(files, contents, strict=True)]


class DirectorySpecs:
    """The specs of a plain folder, which has no revisions. passed_over: of what was loaded last."""

    def __init__(self, path: Path, accepts: Accepts, parse: Parse, limits: TreeLimits = USUAL) -> None:
        self.path = path
        self.passed_over: tuple[Refusal, ...] = ()
        self._accepts, self._parse, self._limits = accepts, parse, limits

    async def fetch(self) -> Revision:
        """No revision: the folder as it is."""
        return NO_REVISION

    async def resolve(self, revision: str) -> Revision:  # noqa: ARG002 -- as the Protocol names it
        """No revision: a folder is what it is now, also for a sync that is held at some commit."""
        return NO_REVISION

    async def history(self, applied: str, candidate: str) -> History:  # noqa: ARG002 -- as the Protocol names them
        """A folder is always ahead of what was applied."""
        return History.FORWARD

    async def keep(self, sha: str) -> None:
        """There is nothing to keep."""

    async def load(self, revision: Revision, applied: str) -> tuple[ParsedFile, ...]:  # noqa: ARG002
        """Every spec file, by path. Raises Invalid if the folder is not there."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> tuple[ParsedFile, ...]:
        snapshot = read_directory(self.path, self._accepts, self._limits)
        self.passed_over = snapshot.tree.passed_over
        files = [parse_one(self._parse, file.path, snapshot.contents[file.oid]) for file in snapshot.tree.files]
        return _with_refused(files, snapshot.tree)


def parse_one(parse: Parse, path: str, content: bytes) -> ParsedFile:
    """What a file holds; one that only points to its content is refused."""
    reason = pointer_reason(content)
    return parse(path, content) if reason is None else refused_file(Refusal(path, reason, unreadable=True))


def refused_file(refusal: Refusal) -> ParsedFile:
    """A file that may hold specs and was not read: what is recorded at its path stays."""
    finding = Finding(
        REFUSED,
        Severity.ERROR,
        f"{refusal.path} is not read: {refusal.reason}.",
        "Services recorded there keep what they have.",
        place=Place(refusal.path),
    )
    return ParsedFile(refusal.path, findings=(finding,), unreadable=True)


def portions(files: Iterable[TreeFile]) -> Iterator[list[TreeFile]]:
    """*files* in portions that are parsed at a time."""
    portion: list[TreeFile] = []
    size = 0
    for file in files:
        if portion and (len(portion) >= PORTION_FILES or size + file.size > PORTION_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(file)
        size += file.size
    if portion:
        yield portion


def _with_refused(files: list[ParsedFile], tree: Tree) -> tuple[ParsedFile, ...]:
    refused = [refused_file(refusal) for refusal in tree.passed_over if refusal.unreadable]
    return tuple(sorted([*files, *refused], key=lambda file: file.path))


def _refused(file: ParsedFile) -> bool:
    return file.unreadable and any(finding.code == REFUSED for finding in file.findings)


def _reason(file: ParsedFile) -> str:
    return (
        next(finding.message for finding in file.findings if finding.code == REFUSED)
        .partition(" is not read: ")[2]
        .rstrip(".")
    )


def _by_path(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    return tuple(sorted(refusals, key=lambda refusal: refusal.path))
