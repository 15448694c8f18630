"""A plain folder (or one file) read as if it were a commit: the same files, and the same refusals."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gitsync.model.errors import Invalid
from gitsync.model.revision import NO_REVISION, Refusal, Snapshot, Tree, TreeFile, escaped, pointer_reason
from gitsync.repository.source import USUAL, Accepts, TreeLimits
from gitsync.repository.tree import BLOB, FOLDER, LINK, Entry, check, judge, sort_out, too_many

_OTHER = "000000"
"""A pipe, a socket or a device: Git has no such thing."""


def read_directory(path: Path, accepts: Accepts, limits: TreeLimits = USUAL) -> Snapshot:
    """The spec files below *path*, and their contents. No link is followed, but *path* itself may be one.

    Raises Invalid if *path* is not there or cannot be read, Rejected if it holds more than gitsync reads.
    """
    shown = escaped(str(path), 200)
    try:
        mode = path.stat().st_mode
        root = path if stat.S_ISDIR(mode) else path.parent
        entries = list(_walk(os.fsencode(root), b"", shown, limits)) if stat.S_ISDIR(mode) else [_one(path)]
    except OSError as error:
        raise Invalid(
            f"{shown} cannot be read: {error.strerror}. Name a folder with specs, or one spec file."
        ) from error
    taken: Accepts = accepts if stat.S_ISDIR(mode) else lambda _: None
    judged = [
        each if isinstance(each, Refusal) else judge(each, below="", accepts=taken, limits=limits) for each in entries
    ]
    found = sort_out(judged)
    check(found, limits=limits, what=shown)
    contents: dict[str, bytes] = {}
    kept: list[TreeFile] = []
    refused = list(found.passed)
    for file in found.files:
        read = _read(root / file.path, file, limits)
        if isinstance(read, Refusal):
            refused.append(read)
            continue
        oid = blob_oid(read)
        contents[oid] = read
        kept.append(TreeFile(file.path, file.full_path, oid, len(read)))
    tree = Tree(NO_REVISION, tuple(kept), tuple(sorted(refused, key=lambda each: each.path)), path_exists=True)
    return Snapshot(tree, contents)


def blob_oid(content: bytes) -> str:
    """The name that Git gives to *content*."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def _join(folder: bytes, name: bytes) -> bytes:
    return b"%b/%b" % (folder, name) if folder and name else folder or name


def _one(path: Path) -> Entry:
    return Entry(os.fsencode(path.name), BLOB, "", path.stat().st_size)


def _walk(root: bytes, below: bytes, shown: str, limits: TreeLimits) -> Iterator[Entry | Refusal]:
    """Every leaf below *root*/*below*. A folder whose name begins with a dot is one leaf, as is one that cannot be read."""
    left = [below]
    seen = 0
    while left:
        folder = left.pop()
        try:
            with os.scandir(_join(root, folder)) as found:
                children = list(found)
        except OSError as error:
            if not folder:
                raise
            name = escaped(folder.decode(errors="backslashreplace"))
            yield Refusal(f"{name}/", f"cannot be read: {error.strerror}", unreadable=True)
            continue
        seen += len(children)
        if seen > limits.entries:
            raise too_many(shown, limits)
        for child in children:
            path = _join(folder, child.name)
            is_folder = child.is_dir(follow_symlinks=False)
            if is_folder and child.name.startswith(b"."):
                yield Entry(path + b"/", FOLDER, "", 0)
            elif is_folder and path.count(b"/") < limits.depth:
                left.append(path)
            elif is_folder:
                name = escaped(path.decode(errors="backslashreplace"))
                yield Refusal(f"{name}/", f"more than {limits.depth} folders deep: move it up", unreadable=True)
            else:
                with contextlib.suppress(FileNotFoundError):  # gone since the folder was listed
                    status = child.stat(follow_symlinks=False)
                    mode = LINK if child.is_symlink() else BLOB if stat.S_ISREG(status.st_mode) else _OTHER
                    yield Entry(path, mode, "", status.st_size)


def _read(path: Path, file: TreeFile, limits: TreeLimits) -> bytes | Refusal:
    try:
        # Neither a link nor a pipe that took the file's place since it was listed.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as opened:
            content = opened.read(limits.file_bytes + 1)
    except OSError as error:
        return Refusal(file.path, f"cannot be read: {error.strerror}", unreadable=True)
    if len(content) > limits.file_bytes:
        return Refusal(file.path, f"more than {limits.file_bytes:,} bytes: split it", unreadable=True)
    reason = pointer_reason(content)
    return content if reason is None else Refusal(file.path, reason, unreadable=True)
