"""Run one program in a process group of its own: bounded in time, memory, files and output, and nothing of it stays behind.

Why not asyncio's own subprocesses: they reap the child as soon as it ended, and from then on its number may belong to somebody
else, so that its group can no longer be killed safely. Here the child stays a zombie until its whole group was killed.

Why limits are set from outside: `preexec_fn` runs Python between fork and exec of a process that has threads, which may
deadlock. `prlimit` on the running child leaves a moment in which it could have forked already; so its session is gone through
until everything in it is limited. What a limited process forks is limited from birth.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gitsync.model.errors import Invalid

MIB = 1024 * 1024
STDERR_CAP = 64 * 1024
"""Bytes of stderr that are kept; the rest is read and dropped, so that a talkative child does not block."""


@dataclass(frozen=True, slots=True)
class Limits:
    """seconds: on the wall. memory: address space of each process. file_size: of each file written. output: bytes of stdout.

    family: the program starts others, which must be limited too.
    """

    seconds: float
    memory: int = 1536 * MIB
    file_size: int = 512 * MIB
    output: int = 32 * MIB
    family: bool = False


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
    started: Callable[[int], None] = lambda pid: None,
) -> Ended:
    """Run *command* with exactly *env*; kill its whole group at the end, whatever the end is (also when cancelled).

    keep_open: a file descriptor that it inherits. started: told its process number, which is also its group's and session's.
    Raises Invalid if the program is not there.
    """
    loop = asyncio.get_running_loop()
    process = _start(command, env, stdin, keep_open)
    exited = loop.create_future()
    threading.Thread(target=_wait, args=(process.pid, loop, exited), name=f"wait-{process.pid}", daemon=True).start()
    pipes: list[asyncio.ReadTransport] = []
    ending = Ending.EXITED
    out, err = bytearray(), bytearray()
    try:
        _restrain(process.pid, limits)
        started(process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(limits.seconds):
            readers = [await _reader(loop, pipe, pipes) for pipe in (process.stdout, process.stderr)]
            reading = asyncio.gather(_take(readers[0], out, limits.output, strict=True), _take(readers[1], err, STDERR_CAP))
            try:
                await asyncio.wait({reading, exited}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():  # what outlives its parent would keep the pipes open
                    _kill_group(process.pid)
                await reading
                await asyncio.shield(exited)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
    except TimeoutError:
        ending = Ending.TIMED_OUT
    except _Overflow:
        ending = Ending.TOO_MUCH
    finally:
        _kill_group(process.pid)
        for transport in pipes:
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


def _start(command: Sequence[str], env: Mapping[str, str], stdin: bytes, keep_open: int | None) -> subprocess.Popen[bytes]:
    # A file and not a pipe: whoever writes into a pipe must at the same time read what comes back.
    with _file_of(stdin) if stdin else contextlib.nullcontext(subprocess.DEVNULL) as source:
        try:
            return subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env),
                cwd="/",
                start_new_session=True,
                pass_fds=() if keep_open is None else (keep_open,),
            )
        except FileNotFoundError as error:
            raise Invalid(f"{command[0]} is not installed, or not in PATH ({env.get('PATH', '')}). Install it.") from error


@contextlib.contextmanager
def _file_of(content: bytes):  # type: ignore[no-untyped-def]
    raise NotImplementedError
