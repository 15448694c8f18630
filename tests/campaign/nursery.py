"""A nursery of victims: it has imported gitsync, runs nothing of it, and forks a process for each order, so that none costs imports.

One thread, no event loop, no connection, no database: nothing that a fork would tear in two. It checks that before each fork.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 120.0
"""Seconds that one run may take, whatever is done to it."""

DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
LATE = -1


@dataclass(slots=True)
class Child:
    """One process, as the campaign sees it."""

    pid: int
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    over: bool = False

    def signal(self, number: signal.Signals) -> None:
        if not self.over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def gone(self) -> bool:
        """Whether it ended."""
        return self.over or not Path(f"/proc/{self.pid}").exists()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    async def ended(self, seconds: float = LONGEST) -> int | None:
        """Its exit code, None if it was killed. One that does not end is killed, and has the exit code -1."""
        late = False
        status = asyncio.ensure_future(self._reader.readline())
        await asyncio.wait({status}, timeout=seconds)
        if not status.done():
            late = True
            self.kill()
        word = await status
        self.over = True
        self._writer.close()
        code = os.waitstatus_to_exitcode(int(word or b"-1"))
        return LATE if late else None if code == -signal.SIGKILL else code


class Nursery:
    """The process that forks, one for all campaigns of this one. It ends when this one does, and its children with it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gitsync-nursery-")
        self._address = str(Path(self._folder.name) / "orders")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.nursery", self._address],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n", "the nursery did not start"
        atexit.register(self.close)

    async def start(self, order: Mapping[str, Any]) -> Child:
        """A process of its own that does what `victim.obey` makes of *order*."""
        reader, writer = await asyncio.open_unix_connection(self._address)
        writer.write(json.dumps(order).encode() + b"\n")
        pid = await reader.readline()
        assert pid, "the nursery is gone"
        return Child(int(pid), reader, writer)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)
        self._folder.cleanup()


_ONE: list[Nursery] = []


def nursery() -> Nursery:
    """The one of this process."""
    if not _ONE:
        _ONE.append(Nursery())
    return _ONE[0]


# -- what happens in it ---------------------------------------------------------------------------------------------------


def _is_own(file: Path) -> bool:
    """Whether a descriptor is one of ours: the first three, the sockets to whom we serve, the watch, and children."""
    try:
        return int(file.name) < 3 or file.readlink().name.startswith(("socket:", "anon_inode:", "fd"))
    except OSError:  # it was the listing itself
        return True


def _fork(order: Mapping[str, Any]) -> int:
    assert threading.active_count() == 1, threading.enumerate()
    assert all(_is_own(file) for file in Path("/proc/self/fd").iterdir()), (
        "something is open that a fork would tear in two"
    )
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
        os.closerange(3, 1024)
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in ((0, nothing), (1, output), (2, output)):
            os.dup2(file, number)
        code = victim.obey(order)
    except BaseException as error:  # noqa: BLE001 (whatever it is, a fork must not run on as the nursery)
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        code = 70
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _serve(address: str) -> None:
    """Fork for each connection; tell it the child's number and how the child ended."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(64)
    watch = selectors.DefaultSelector()
    watch.register(server, selectors.EVENT_READ)
    watch.register(sys.stdin, selectors.EVENT_READ)
    victim.warm_up()
    gc.collect()
    gc.freeze()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _ in watch.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is server:
                caller, _ = server.accept()
                pid = _fork(json.loads(_line(caller)))
                caller.sendall(f"{pid}\n".encode())
                ended = os.pidfd_open(pid)
                children[ended] = (pid, caller)
                watch.register(ended, selectors.EVENT_READ)
            else:
                assert isinstance(key.fileobj, int)
                pid, caller = children.pop(key.fileobj)
                watch.unregister(key.fileobj)
                os.close(key.fileobj)
                _, status = os.waitpid(pid, 0)
                with contextlib.suppress(OSError), caller:
                    caller.sendall(f"{status}\n".encode())


def _line(caller: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += caller.recv(65536)
    return line


def _main(arguments: Sequence[str]) -> None:
    _serve(arguments[1])


if __name__ == "__main__":
    from tests.campaign import victim  # only the nursery itself needs what its children run

    _main(sys.argv)
