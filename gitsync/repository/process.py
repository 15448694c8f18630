"""Run one program in a process group of its own: bounded in time, memory, files and output, and nothing of it stays behind.

Why not asyncio's own subprocesses: they reap the child as soon as it ended, and from then on its number may belong to somebody
else, so that its group can no longer be killed safely. Here the child stays a zombie until its whole group was killed.

Why a shell sets the limits: `preexec_fn` runs Python between fork and exec of a process that has threads, which may deadlock,
and `prlimit` on a running child leaves a moment in which it forked already. The shell replaces itself by the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any

MIB = 1024 * 1024
STDERR_CAP = 64 * 1024
"""Bytes of stderr that are kept; the rest is read and dropped, so that a talkative child does not block."""

# A limit that is lower already cannot be raised, and need not be. What a child writes is for our user alone: specs name hosts.
_LIMITED = 'umask 077; ulimit -c 0; ulimit -v "$1" || :; ulimit -f "$2" || :; shift 2; exec "$@"'


@dataclass(frozen=True, slots=True)
class Limits:
    """seconds: on the wall. memory: address space of each process. file_size: of each file written. output: bytes of stdout."""

    seconds: float
    memory: int = 1536 * MIB
    file_size: int = 512 * MIB
    output: int = 32 * MIB


class Ending(Enum):
    """How a program's run ended."""

    EXITED = "exited"
    TIMED_OUT = "timed out"
    TOO_MUCH = "printed too much"


@dataclass(frozen=True, slots=True)
class Ended:
    """status: as of a shell, negative for a signal. stderr: the first 64 KiB."""

    ending: Ending
    status: int
    stdout: bytes
    stderr: str

    @property
    def fine(self) -> bool:
        """It ended by itself, with status 0."""
        return self.ending is Ending.EXITED and self.status == 0


async def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    limits: Limits,
    stdin: bytes = b"",
    keep_open: int | None = None,
    started: Callable[[int], None] = lambda _: None,
) -> Ended:
    """Run *command* with exactly *env*; kill its whole group at the end, whatever the end is (also when cancelled).

    keep_open: a file descriptor that it inherits. started: told its process number, which is also its group's and session's.
    A program that is not there ends with status 127, as in a shell.
    """
    loop = asyncio.get_running_loop()
    process = _start(command, env, limits, stdin, keep_open)
    exited: asyncio.Future[None] = loop.create_future()
    threading.Thread(target=_wait, args=(process.pid, loop, exited), name=f"wait-{process.pid}", daemon=True).start()
    out, err = bytearray(), bytearray()
    transports: list[asyncio.ReadTransport] = []
    ending = Ending.EXITED
    try:
        started(process.pid)
        async with asyncio.timeout(limits.seconds):
            await _read_all(process, exited, transports, out, err, limits.output)
    except TimeoutError:
        ending = Ending.TIMED_OUT
    except _Overflow:
        ending = Ending.TOO_MUCH
    finally:
        _kill_group(process.pid)
        for transport in transports:
            transport.close()
        with contextlib.suppress(TimeoutError):
            # Killed, it is gone within milliseconds, unless the kernel itself hangs in a disk.
            await asyncio.wait_for(asyncio.shield(exited), 10)
        if exited.done():
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    return Ended(ending, process.returncode if exited.done() else -9, bytes(out), err.decode(errors="replace"))


class _Overflow(Exception):
    """More output than was allowed."""


async def _read_all(
    process: subprocess.Popen[bytes],
    exited: asyncio.Future[None],
    transports: list[asyncio.ReadTransport],
    out: bytearray,
    err: bytearray,
    cap: int,
) -> None:
    """Read both pipes to their ends and wait for the program's."""
    assert process.stdout is not None
    assert process.stderr is not None
    stdout = await _reader(process.stdout, transports)
    stderr = await _reader(process.stderr, transports)
    reading = asyncio.gather(_take(stdout, out, cap, strict=True), _take(stderr, err, STDERR_CAP, strict=False))
    try:
        either: list[asyncio.Future[Any]] = [reading, exited]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():  # what outlives its parent would keep the pipes open
            _kill_group(process.pid)
        await reading
        await asyncio.shield(exited)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _start(
    command: Sequence[str], env: Mapping[str, str], limits: Limits, stdin: bytes, keep_open: int | None
) -> subprocess.Popen[bytes]:
    bounds = [str(limits.memory // 1024), str(limits.file_size // 512)]  # the units of ulimit -v and -f
    with _source(stdin) as source:
        return subprocess.Popen(  # noqa: S603 -- the command is a list; the shell's text is a constant
            ["/bin/sh", "-c", _LIMITED, "sh", *bounds, *command],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd="/",
            start_new_session=True,
            pass_fds=() if keep_open is None else (keep_open,),
        )


@contextlib.contextmanager
def _source(content: bytes) -> Iterator[int | IO[bytes]]:
    """*content* as a file and not a pipe: whoever writes into a pipe must at the same time read what comes back.

    A file in memory, where there is such a thing: a full or read-only /tmp is no reason not to read the mirror.
    """
    if not content:
        yield subprocess.DEVNULL
        return
    in_memory = hasattr(os, "memfd_create")
    with os.fdopen(os.memfd_create("stdin"), "w+b") if in_memory else tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file


def _wait(pid: int, loop: asyncio.AbstractEventLoop, exited: asyncio.Future[None]) -> None:
    """Tell *exited* when the process ended, and leave it unreaped."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_tell, exited)


def _tell(exited: asyncio.Future[None]) -> None:
    if not exited.done():
        exited.set_result(None)


async def _reader(pipe: IO[bytes], transports: list[asyncio.ReadTransport]) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MIB)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    transports.append(transport)
    return reader


async def _take(reader: asyncio.StreamReader, into: bytearray, cap: int, *, strict: bool) -> None:
    """Read to the end, and keep at most *cap* bytes; raises _Overflow at the first byte beyond if *strict*."""
    while chunk := await reader.read(MIB):
        if strict and len(into) + len(chunk) > cap:
            raise _Overflow
        into += chunk[: max(0, cap - len(into))]


def _kill_group(pid: int) -> None:
    # The leader is our child and not yet reaped, so that the number is still its own. EPERM is what some kernels say when
    # nothing but zombies is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
