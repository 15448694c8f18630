"""What every server of the tests needs: ports from the kernel, a process that ends when we end, waiting for a condition."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class DidNotStart(Exception):
    """A server of the tests is not there. A test that needs it fails; it is never skipped."""


def free_ports(count: int) -> list[int]:
    """That many ports of 127.0.0.1, free for TCP and UDP when this was called."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            tcp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tcp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                udp.bind(tcp.getsockname())
                ports.append(tcp.getsockname()[1])
        return ports


def wait_for(condition: Callable[[], T], what: str, *, seconds: float = 30, every: float = 0.05) -> T:
    """The first true answer of *condition*. Raises TimeoutError, saying *what* did not come, after *seconds*."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


class ServerProcess:
    """A server that we start and that cannot outlive us, not even when we are killed.

    Beside it runs a leash: a shell that reads from a pipe whose other end only we hold. When we end, however that happens,
    the pipe closes, and the leash kills the server and removes its folder. Both are in sessions of their own, so that a
    Ctrl-C at the terminal reaches them through us, in order.
    """

    LEASH = 'read -r word || { kill -9 "$1" 2>/dev/null; rm -rf -- "$2"; }'

    def __init__(self, command: Sequence[str], *, folder: Path, log: Path, env: dict[str, str] | None = None) -> None:
        with log.open("ab") as output:
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        self._leash = subprocess.Popen(
            ["/bin/sh", "-c", self.LEASH, "leash", str(self._server.pid), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._server.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended. A paused one is running."""
        return self._server.poll() is None

    def pause(self) -> None:
        """Freeze it: it keeps its connections and answers nothing."""
        self._server.send_signal(signal.SIGSTOP)
        wait_for(self._stands_still, f"process {self.pid} standing still")  # a thread on another core takes a moment

    def _stands_still(self) -> bool:
        states = [
            file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{self.pid}/task").glob("*/stat")
        ]
        return bool(states) and set(states) <= {"T", "t"}

    def resume(self) -> None:
        """Let a frozen one go on."""
        self._server.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self, *, seconds: float = 10) -> None:
        """Ask it to end; after *seconds*, end it."""
        self._end(signal.SIGTERM, seconds=seconds)

    def _end(self, how: signal.Signals, *, seconds: float = 10) -> None:
        if self.running:
            self._server.send_signal(how)
            self.resume()  # a frozen process acts on no SIGTERM
            try:
                self._server.wait(seconds)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        if self._leash.poll() is None:
            assert self._leash.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                os.write(self._leash.stdin.fileno(), b"over\n")
            self._leash.stdin.close()
            self._leash.wait()
