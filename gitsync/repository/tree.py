"""What of a tree is a spec file, and why the rest is not. The same judgement for a commit and for a folder. Pure."""

from __future__ import annotations

from collections.abc import Iterable
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


def sort_out(
    judged: Iterable[TreeFile | Refusal], *, limits: TreeLimits, what: str
) -> tuple[tuple[TreeFile, ...], tuple[Refusal, ...]]:
    """Files and refusals, each once and sorted by path. Raises Rejected if *what* holds more than gitsync reads."""
    files: list[TreeFile] = []
    passed: dict[str, Refusal] = {}
    for each in judged:
        if isinstance(each, TreeFile):
            files.append(each)
        else:
            passed[each.path] = each
    total = sum(file.size for file in files)
    if len(files) > limits.files or total > limits.total_bytes:
        raise Rejected(
            f"{what} holds {len(files):,} spec files of {total:,} bytes together, and gitsync reads at most {limits.files:,} and "
            f"{limits.total_bytes:,}. Split it into several syncs by git.path, or exclude what holds no specs."
        )
    return tuple(sorted(files, key=lambda file: file.path)), tuple(passed[path] for path in sorted(passed))


def too_many(what: str, limits: TreeLimits) -> Rejected:
    """The tree has more leaves than are looked at: a repository can name 10^10 paths in 100 KB."""
    return Rejected(f"{what} holds more than {limits.entries:,} paths. Name a narrower git.path.")


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
