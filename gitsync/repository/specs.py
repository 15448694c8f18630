"""The specs of a repository or a folder, parsed. A file is parsed once for each content that it ever had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import attrgetter, is_not
from pathlib import Path

from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Rejected
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.revision import NO_REVISION, History, Refusal, Revision, Tree, TreeFile, pointer_reason
from gitsync.repository.directory import read_directory
from gitsync.repository.mirror import Mirror
from gitsync.repository.signatures import Signatures
from gitsync.repository.source import USUAL, Accepts, TreeLimits

_UNREADABLE = attrgetter("unreadable")

Parse = Callable[[str, bytes], ParsedFile]
"""Path and content → what the file holds. It is called in a thread."""

REFUSED = "file-refused"
PORTION_FILES, PORTION_BYTES = 200, 4 * 1024 * 1024
"""How much is read and parsed at a time, so that 200 MiB of specs are never in memory at once."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was loaded last. parsed: of the tree's files. refused: of those that the tree passes over. files: both, by path."""

    tree: Tree = field(default_factory=lambda: Tree(NO_REVISION, (), (), path_exists=False))
    parsed: Sequence[ParsedFile] = ()
    refused: Mapping[Refusal, ParsedFile] = field(default_factory=dict)
    files: tuple[ParsedFile, ...] = ()
    passed_over: tuple[Refusal, ...] = ()


class MirrorSpecs:
    """The specs of a mirror. passed_over: of the revision that was loaded last."""

    def __init__(self, mirror: Mirror, parse: Parse, signatures: Signatures | None = None) -> None:
        self.mirror, self.signatures = mirror, signatures
        self.passed_over: tuple[Refusal, ...] = ()
        self._parse = parse
        self._cache: dict[tuple[str, str], ParsedFile] = {}
        self._last = _Loaded()

    async def fetch(self) -> Revision:
        """The commit that the sync's ref names now."""
        return await self.mirror.fetch()

    async def resolve(self, revision: str) -> Revision:
        """The commit that *revision* names."""
        return await self.mirror.resolve(revision)

    async def trusted(self, revision: Revision, applied: str) -> None:
        """Raise Untrusted unless *revision*, and what leads to it from *applied*, is signed as the sync asks for."""
        if self.signatures:
            await self.signatures.check(self.mirror, revision, applied)

    async def history(self, applied: str, candidate: str) -> History:
        """How *candidate* stands to *applied*."""
        return await self.mirror.history(applied, candidate)

    async def keep(self, sha: str) -> None:
        """Keep the applied commit in the mirror."""
        await self.mirror.keep(sha)

    async def load(self, revision: Revision, applied: str) -> tuple[ParsedFile, ...]:
        """Every spec file at *revision*, by path. What is as it was last time is the same object: a file, and all of them.

        Raises Rejected if the path is not there, unless a revision with this path was *applied* before ("" for none): then it
        was deleted, which is a commit without specs, since Git keeps no empty directories.
        """
        tree = await self.mirror.tree(revision.sha)
        if not tree.path_exists and not applied:
            raise Rejected(
                f"{self.mirror.address.text} has no {self.mirror.path} at {revision.sha}, nor had it before. Correct git.path, or push "
                "the folder."
            )
        return await self._load(tree)

    async def load_tree(self, revision: Revision, treeish: str) -> tuple[ParsedFile, ...]:
        """Every spec file of a commit or tree, by its full name, of which *revision* is the name; none where the path is not there."""
        return await self._load(await self.mirror.tree_at(revision, treeish))

    def beside(self) -> MirrorSpecs:
        """The same specs for another reader: nothing is parsed twice, and what this one loaded last stays."""
        other = MirrorSpecs(self.mirror.beside(), self._parse)
        other._cache = self._cache
        return other

    async def _load(self, tree: Tree) -> tuple[ParsedFile, ...]:
        last = self._last
        if tree.files is last.tree.files and tree.passed_over is last.tree.passed_over:
            self.passed_over = last.passed_over
            return last.files
        parsed = await self._parsed(tree.files, last)
        self._last = _arranged(tree, parsed, last)
        self.passed_over = self._last.passed_over
        return self._last.files

    async def _parsed(self, files: tuple[TreeFile, ...], last: _Loaded) -> list[ParsedFile]:
        """What each of *files* holds."""
        before, after = _ends(last.tree.files, files)
        between = files[before : len(files) - after]
        found = [self._cache.get((file.path, file.oid)) for file in between]
        new: dict[tuple[str, str], ParsedFile] = {}
        for portion in portions(file for file, each in zip(between, found, strict=True) if each is None):
            contents = await self.mirror.read(file.oid for file in portion)
            read = await asyncio.to_thread(self._parse_all, portion, [contents[file.oid] for file in portion])
            new.update(((file.path, file.oid), each) for file, each in zip(portion, read, strict=True))
        parsed = [
            *last.parsed[:before],
            *(each or new[file.path, file.oid] for file, each in zip(between, found, strict=True)),
            *last.parsed[len(last.parsed) - after :],
        ]
        # What other commits hold stays for a while: a plan for a pull request and a run take turns.
        self._cache.update(new)
        if len(self._cache) > 2 * len(files) + 1000:
            self._cache = {(file.path, file.oid): each for file, each in zip(files, parsed, strict=True)}
        return parsed

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

    async def trusted(self, revision: Revision, applied: str) -> None:
        """Whoever may write the folder has signed it by that."""

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
        return merged(files, [refused_file(each) for each in snapshot.tree.passed_over if each.unreadable])


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


def _ends(old: Sequence[TreeFile], new: Sequence[TreeFile]) -> tuple[int, int]:
    """How many files both begin with, and how many of the rest both end with."""
    shorter = min(len(old), len(new))
    before = next(compress(count(), map(is_not, old, new)), shorter)
    after = next(compress(count(), map(is_not, reversed(old), reversed(new))), shorter)
    return before, min(after, shorter - before)


def _arranged(tree: Tree, parsed: Sequence[ParsedFile], last: _Loaded) -> _Loaded:
    refused = last.refused
    if tree.passed_over is not last.tree.passed_over:
        refused = {each: refused.get(each) or refused_file(each) for each in tree.passed_over if each.unreadable}
    pointers = [
        Refusal(file.path, _reason(each), unreadable=True)
        for file, each in (zip(tree.files, parsed, strict=True) if any(map(_UNREADABLE, parsed)) else ())
        if each.unreadable and _refused(each)
    ]
    passed_over = _by_path([*tree.passed_over, *pointers]) if pointers else tree.passed_over
    return _Loaded(tree, parsed, refused, merged(parsed, refused.values()), passed_over)


def merged(parsed: Iterable[ParsedFile], refused: Collection[ParsedFile]) -> tuple[ParsedFile, ...]:
    return tuple(sorted([*parsed, *refused], key=lambda file: file.path)) if refused else tuple(parsed)


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
