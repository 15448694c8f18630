"""One writer a mirror, across processes: a lock that git's own children hold with us, and what killed ones left behind.

Every git that writes inherits the lock's descriptor. So whoever has the lock knows that nobody writes, not even an orphan of
a gitsync that was killed, and that what looks like a lock or a half-written pack in the mirror is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gitsync.model.errors import Unavailable

_LOOK_EVERY = 0.05


@dataclass(frozen=True, slots=True)
class Held:
    """The lock, held. fd: what children inherit."""

    fd: int

    def started(self, pid: int) -> None:
        """Write down that *pid*, of a group of its own, works under this lock for us."""
        note = {"machine": _machine(), "owner": _identity(os.getpid()), "child": _identity(pid)}
        with contextlib.suppress(OSError):  # a full disk: then nobody can end it for us
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, json.dumps(note).encode(), 0)


@contextlib.asynccontextmanager
async def exclusive(path: Path, *, seconds: float) -> AsyncIterator[Held]:
    """Hold the lock at *path*. A git whose gitsync was killed is ended. Raises Unavailable if it is not free in *seconds*."""
    try:
        _private(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be opened: {error.strerror}. Give gitsync's user a state_dir that it may write."
        ) from error
    try:
        end = asyncio.get_running_loop().time() + seconds
        while not _try(fd):
            _end_orphan(fd)
            if asyncio.get_running_loop().time() > end:
                raise Unavailable(
                    f"{path} has been held by another gitsync for {seconds:g} s{_holder(fd)}. Wait for it, or end it if it hangs."
                )
            await asyncio.sleep(_LOOK_EVERY)  # flock has no deadline, and a thread in flock cannot be cancelled
        yield Held(fd)
    finally:
        os.close(fd)


def remove_leftovers(repository: Path) -> int:
    """Remove the locks and half-written files that killed gits left in *repository*, and say how many. Only under the lock."""
    removed = 0
    candidates = [*repository.glob("*.lock"), *repository.glob("refs/**/*.lock"), *repository.glob("objects/*.lock")]
    candidates += [*repository.glob("objects/info/*.lock"), *repository.glob("objects/pack/*.lock")]
    candidates += [*repository.glob("objects/pack/tmp_*"), *repository.glob("objects/pack/.tmp-*")]
    candidates += [*repository.glob("objects/[0-9a-f][0-9a-f]/tmp_obj_*"), *repository.glob("objects/tmp_*")]
    for path in candidates:
        removed += 1
        remove_tree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    return removed


def remove_tree(folder: Path) -> None:
    """Remove *folder* with everything in it (or the file in its place); links are removed, not followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
        return
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files:
            (Path(place) / name).unlink(missing_ok=True)
        for name in folders:
            child = Path(place) / name
            child.unlink() if child.is_symlink() else child.rmdir()
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _private(folder: Path) -> None:
    """Make *folder*, and what is missing above it, for our user alone; `mkdir(parents=True)` opens the upper ones to all."""
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(pid: int) -> list[int]:
    """A process, so that another of the same number is not taken for it: number and start time. Zero if it is not there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return [pid, 0]
    return [pid, 0 if fields[0] == "Z" else int(fields[19])]


def _machine() -> str:
    """Where a process number means something: this boot, and this namespace."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _note(fd: int) -> tuple[list[int], list[int]] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(os.pread(fd, 4096, 0))
        owner, child = note["owner"], note["child"]
        if (
            note["machine"] == _machine()
            and all(type(number) is int and number > 0 for number in (*owner, *child))
            and len(owner) == len(child) == 2
        ):
            return owner, child
    return None


def _end_orphan(fd: int) -> None:
    """End the git that holds the lock if the gitsync that started it is gone: nobody else bounds its time any more."""
    note = _note(fd)
    if note is None or _identity(note[0][0]) == note[0] or _identity(note[1][0]) != note[1]:
        return
    child = note[1][0]
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(child) == child:
            os.killpg(child, signal.SIGKILL)


def _holder(fd: int) -> str:
    note = _note(fd)
    return f" (process {note[0][0]})" if note and _identity(note[0][0]) == note[0] else ""
