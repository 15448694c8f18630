"""`make demo`'s program: however it is ended, nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import wait_for

ROOT = Path(__file__).resolve().parents[2]


def children_of(pid: int) -> dict[int, str]:
    """The processes that *pid* started and that run, with their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def runs(pid: int) -> bool:
    """Whether that process runs. One that has ended and was not asked for its exit code does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", [" agent ", "gitsync sync"], ids=["starting", "syncing"])
def test_a_demo_that_is_ended_leaves_neither_processes_nor_folders(
    consul_binary: str, tmp_path: Path, number: signal.Signals, moment: str
):
    command = [sys.executable, str(ROOT / "scripts" / "demo.py")]
    environ = {**os.environ, "GITSYNC_CONSUL": consul_binary, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        started: dict[int, str] = {}

        def has_come() -> bool:
            started.update(children_of(demo.pid))
            return any(moment in command for command in started.values())

        try:
            wait_for(has_come, moment, every=0.01)
            demo.send_signal(number)
            _, said = demo.communicate(timeout=60)
        finally:
            demo.kill()

    assert demo.returncode == 128 + number
    assert said.rstrip().endswith("demo: stopped, and everything it started with it")
    assert "Traceback" not in said
    assert {command for pid, command in started.items() if runs(pid)} == set()
    assert list(tmp_path.iterdir()) == []
