"""What of a tree is a spec file, and why the rest is not. The same judgement for a commit and for a folder. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gitsync.model.errors import Rejected
from gitsync.model.revision import Refusal, TreeFile, escaped, has_unseen
from gitsync.repository.source import Accepts, TreeLimits

BLOB, EXECUTABLE, LINK, SUBMODULE, FOLDER = "100644", "100755", "120000", "160000", "040000"
PATH_LENGTH = 1024
"""Bytes of a path below the sync's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf of a tree, as Git has it. path: raw, below the sync's path."""

    path: bytes
    mode: str
    oid: str
    size: int


def judge(entry: Entry, *, below: str, accepts: Accepts, limits: TreeLimits) -> TreeFile | Refusal:  # noqa: PLR0911
    """A spec file, or the reason why *entry* is passed over. below: the sync's path."""
    path, wrong = _readable(entry.path)
    hidden = _hidden(path)
    if hidden:
        return Refusal(hidden, "its name begins with a dot")
    if entry.mode == SUBMODULE:
        reason = "a submodule, which is not followed: commit its files themselves, or exclude it"
        return Refusal(f"{path}/", reason, unreadable=_takes(accepts, path) or _takes_below(accepts, path))
    if entry.mode == LINK:
        reason = "a symbolic link, which is not followed: commit the file itself, or exclude it"
        # A link without a suffix may stand where a folder was, and what was read there is then no longer read.
        folder = "." not in path.rpartition("/")[2] and _takes_below(accepts, path)
        return Refusal(path, reason, unreadable=_takes(accepts, path) or folder)
    passed = accepts(path)
    if passed is not None:
        return Refusal(path, passed)
    if entry.mode not in (BLOB, EXECUTABLE, "100664"):
        return Refusal(path, f"no plain file (mode {entry.mode})", unreadable=True)
    if wrong:
        return Refusal(path, wrong, unreadable=True)
    if path.count("/") >= limits.depth:
        return Refusal(path, f"more than {limits.depth} folders deep: move it up", unreadable=True)
    if entry.size > limits.file_bytes:
        reason = f"{entry.size:,} bytes, and a spec file has at most {limits.file_bytes:,}: split it"
        return Refusal(path, reason, unreadable=True)
    return TreeFile(path, f"{below}/{path}" if below else path, entry.oid, entry.size)


Judged = TreeFile | Refusal
Move = tuple[Judged | None, Judged | None]
"""What one raw path was and is judged to be; None: there is nothing."""

MANY = 1000
"""Moves after which everything is sorted anew."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """Files and refusals, each once and sorted by path. total: the bytes of all files."""

    files: tuple[TreeFile, ...] = ()
    passed: tuple[Refusal, ...] = ()
    total: int = 0


def sort_out(judged: Iterable[Judged]) -> Sorted:
    """Put what was judged in order."""
    files: list[TreeFile] = []
    passed: dict[str, Refusal] = {}
    for each in judged:
        if isinstance(each, TreeFile):
            files.append(each)
        else:
            passed[each.path] = each
    files.sort(key=_path)
    return Sorted(tuple(files), tuple(passed[path] for path in sorted(passed)), sum(file.size for file in files))


def sort_in(last: Sorted, moves: Sequence[Move], judged: Iterable[Judged]) -> Sorted:
    """What `sort_out` makes of *judged*, out of what it made before the *moves*. What did not move is the same object."""
    moved = [(was, now) for was, now in moves if was != now]
    if len(moved) > MANY:
        return sort_out(judged)
    files, total = list(last.files), last.total
    for was, now in moved:
        if isinstance(was, TreeFile):
            del files[bisect_left(files, was.path, key=_path)]
            total -= was.size
        if isinstance(now, TreeFile):
            files.insert(bisect_left(files, now.path, key=_path), now)
            total += now.size
    passed = last.passed
    if any(isinstance(each, Refusal) for move in moved for each in move):  # one refusal may stand for many paths
        passed = sort_out(each for each in judged if isinstance(each, Refusal)).passed
    same = not any(isinstance(each, TreeFile) for move in moved for each in move)
    return Sorted(last.files if same else tuple(files), passed, total)


def check(found: Sorted, *, limits: TreeLimits, what: str) -> None:
    """Raise Rejected if *what* holds more than gitsync reads."""
    if len(found.files) > limits.files or found.total > limits.total_bytes:
        raise Rejected(
            f"{what} holds {len(found.files):,} spec files of {found.total:,} bytes together, and gitsync reads at most "
            f"{limits.files:,} and {limits.total_bytes:,}. Split it into several syncs by git.path, or exclude what holds no specs."
        )


def too_many(what: str, limits: TreeLimits) -> Rejected:
    """The tree has more leaves than are looked at: a repository can name 10^10 paths in 100 KB."""
    return Rejected(f"{what} holds more than {limits.entries:,} paths. Name a narrower git.path.")


def _path(file: TreeFile) -> str:
    return file.path


def _readable(raw: bytes) -> tuple[str, str]:
    """The path, escaped where it cannot be shown; and what is wrong with it, "" if nothing is."""
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        return escaped(raw.decode(errors="backslashreplace")), "its name is not UTF-8: rename it"
    if has_unseen(path):
        return escaped(path), "its name has characters that are not seen: rename it"
    if len(raw) > PATH_LENGTH:
        return escaped(path), f"its path is longer than {PATH_LENGTH} bytes: shorten it"
    return path, ""


def _hidden(path: str) -> str:
    """The first part of *path* whose last element begins with a dot, with `/` if it is a folder; "" if there is none."""
    if not path.startswith(".") and "/." not in path:
        return ""
    parts = path.split("/")
    first = next(number for number, part in enumerate(parts) if part.startswith("."))
    return "/".join(parts[: first + 1]) + ("/" if first + 1 < len(parts) else "")


def _takes(accepts: Accepts, path: str) -> bool:
    return accepts(path) is None


def _takes_below(accepts: Accepts, path: str) -> bool:
    """Whether a spec file in a folder of that name would be read."""
    return any(_takes(accepts, f"{path}/spec{suffix}") for suffix in (".yaml", ".yml", ".json"))
