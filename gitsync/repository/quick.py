"""What a run needs of a small change, read out of the packs by this process. None: ask git, it is not small or not plain.

Whether something is missing, refused or broken is never decided here: that is git's word, and the caller asks it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from gitsync.repository.commit import Commit, read_commit
from gitsync.repository.pack import NotHere, Packs
from gitsync.repository.tree import BLOB, EXECUTABLE, FOLDER, LINK, SUBMODULE, Entry
from gitsync.repository.verdict import Corrupt

FEW = 64
"""Changed files, contents asked for, or commits looked through: with more of them, one git is quicker."""

_LINE = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{20})", re.DOTALL)
_WHOLE = re.compile(rb"(?:[0-7]{5,6} [^\0]++\0.{20})*+", re.DOTALL)
_COMMIT = re.compile(rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)")
_MODES = {
    b"40000": FOLDER,
    b"100644": BLOB,
    b"100755": EXECUTABLE,
    b"120000": LINK,
    b"160000": SUBMODULE,
}

Line = tuple[bytes, bytes, bytes]
"""A mode, a name and an object, as a tree has them."""


def commit_of(repository: Path, sha: str, path: str) -> Commit | None:
    """The commit *sha*, if it is one and has a folder at *path*."""
    try:
        with Packs(repository) as packs:
            printed = packs.read(sha)
            root = _COMMIT.match(printed.content)
            if printed.kind != "commit" or root is None:
                return None
            tree = root[1].decode()
            for part in path.encode().split(b"/") if path else ():
                found = [line for line in lines(_tree(packs, tree)) if line[1] == part]
                if len(found) != 1 or _MODES.get(found[0][0]) != FOLDER:
                    return None
                tree = found[0][2].hex()
            if packs.size(tree)[0] != "tree":
                return None
        revision, parents = read_commit(printed, repository)
    except (NotHere, Corrupt):
        return None
    return Commit(revision, parents, tree)


def leads_to(repository: Path, old: str, new: str) -> bool:
    """Whether *old* is among the nearest ancestors of *new*. False: it may still be among the others."""
    seen, left = {new}, [new]
    try:
        with Packs(repository) as packs:
            for sha in left:
                head = _COMMIT.match(packs.read(sha).content)
                parents = head[2].decode().split()[1::2] if head else []
                if old in parents:
                    return True
                left += [parent for parent in dict.fromkeys(parents) if parent not in seen]
                seen.update(parents)
                if len(seen) > FEW:
                    break
    except NotHere:
        pass
    return False


def difference(repository: Path, old: str, new: str) -> list[Entry] | None:
    """The leaves that differ between two trees, as they are in *new*, with their sizes (oid "" if it is gone)."""
    try:
        with Packs(repository) as packs:
            leaves = _difference(packs, old, new)
            return [Entry(path, mode, oid, _size(packs, mode, oid)) for path, (mode, oid) in leaves.items()]
    except NotHere:
        return None


def contents(repository: Path, oids: Iterable[str]) -> dict[str, bytes] | None:
    """The contents of a few blobs."""
    try:
        with Packs(repository) as packs:
            printed = [packs.read(oid) for oid in oids]
    except NotHere:
        return None
    return {each.oid: each.content for each in printed} if all(each.kind == "blob" for each in printed) else None


def write_ref(repository: Path, ref: str, sha: str) -> bool:
    """Let *ref* name the commit *sha*, as git does it where refs are files. False: git must do it. Only under the lock."""
    path = repository / ref
    lock = path.with_name(f"{path.name}.lock")
    try:
        with Packs(repository) as packs:
            if packs.read(sha).kind != "commit" or path.is_symlink():
                return False
        file = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (NotHere, OSError):
        return False
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(b"%b\n" % sha.encode())
            opened.flush()
            os.fsync(opened.fileno())
        lock.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            lock.unlink()
        return False
    return True


def _difference(packs: Packs, old: str, new: str) -> Mapping[bytes, tuple[str, str]]:
    leaves: dict[bytes, tuple[str, str]] = {}
    left = [(b"", old, new)]
    while left:
        below, old, new = left.pop()
        before, after = apart(_tree(packs, old), _tree(packs, new))
        gone, come = _by_name(before - after), _by_name(after - before)
        for name in {*gone, *come}:
            was, now = gone.get(name), come.get(name)
            path = below + name
            folders = [each[1] if each and each[0] == FOLDER else "" for each in (was, now)]
            if any(folders):
                left.append((path + b"/", folders[0], folders[1]))
            if now and now[0] != FOLDER:
                leaves[path] = now
            elif was and was[0] != FOLDER:
                leaves[path] = (was[0], "")
            if len(leaves) > FEW:
                raise NotHere
    return leaves


def _by_name(lines: Iterable[Line]) -> dict[bytes, tuple[str, str]]:
    try:
        found = [(name, (_MODES[mode], oid.hex())) for mode, name, oid in lines]
    except KeyError:  # a mode that git itself reads in its own way
        raise NotHere from None
    named = dict(found)
    if len(named) != len(found):
        raise NotHere
    return named


def _tree(packs: Packs, oid: str) -> bytes:
    if not oid:
        return b""
    printed = packs.read(oid)
    if printed.kind != "tree":
        raise NotHere
    return printed.content


def lines(tree: bytes) -> list[Line]:
    """All lines of a tree. Raises NotHere if that is not all that it is."""
    found: list[Line] = _LINE.findall(tree)
    if sum(len(mode) + len(name) + 22 for mode, name, _ in found) != len(tree):
        raise NotHere
    return found


def apart(old: bytes, new: bytes) -> tuple[set[Line], set[Line]]:
    """The lines of two trees, without most of those that both begin or end with: 10,000 lines are not read for one."""
    begin = _WHOLE.match(old, 0, _common(old, new))
    start = begin.end() if begin else 0
    olds, news = set[Line](), set[Line]()
    old_at = new_at = start
    # Where as much is left of both, and less than both end with, the rest is the same.
    ending = min(_common(old[:start:-1], new[:start:-1]), len(old) - start, len(new) - start)
    while old_at < len(old) or new_at < len(new):
        old_left, new_left = len(old) - old_at, len(new) - new_at
        if old_left == new_left <= ending:
            break
        if old_left >= new_left:
            old_at = _line(old, old_at, olds)
        else:
            new_at = _line(new, new_at, news)
    return olds, news


def _line(tree: bytes, at: int, into: set[Line]) -> int:
    found = _LINE.match(tree, at)
    if found is None:
        raise NotHere
    into.add((found[1], found[2], found[3]))
    return found.end()


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _size(packs: Packs, mode: str, oid: str) -> int:
    if not oid or mode == SUBMODULE:
        return 0
    kind, size = packs.size(oid)
    if kind != "blob":
        raise NotHere
    return size
