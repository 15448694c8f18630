"""Who this process is, and whether another one on this host still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUNNING: set[str] = set()
"""The runs that this process is at: a holder record of any other that it wrote is what an outage left behind."""


def identity() -> dict[str, Any]:
    """Host, boot, pid namespace, pid and start time: together they never name two processes."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot_id": _boot(),
        "pid_namespace": _namespace(),
        "pid": pid,
        "process_start": _start(pid),
    }


def is_dead(record: Mapping[str, Any]) -> bool:
    """True only if the run of *record* was here, in this boot and pid namespace, and is over: never a guess.

    Its process is gone, or it is this one, which is not at that run any more.
    """
    me = identity()
    here = all(record.get(part) and record.get(part) == me[part] for part in ("host", "boot_id", "pid_namespace"))
    pid = record.get("pid")
    if not here or not isinstance(pid, int):
        return False
    if _start(pid) != record.get("process_start"):
        return True
    return pid == me["pid"] and bool(record.get("run")) and record.get("run") not in RUNNING


def _boot() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id"))


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start(pid: int) -> str:
    """The start time of a process in clock ticks since boot, "" if there is none (a zombie counts as none)."""
    text = _read(Path(f"/proc/{pid}/stat"))
    fields = text.rpartition(")")[2].split()
    return "" if len(fields) < 20 or fields[0] in "ZX" else fields[19]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
