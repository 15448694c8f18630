"""Limits: how long a client may take, and how much there may be of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may take, and how many there may be.

    header, silence, request, connection: seconds for the headers (and between two requests), between two bytes, for one request
    from its headers to its answer, and for the connection as a whole. Whoever probes may reconnect: who has less than a request's
    time left on his connection hears with the answer that it was the last one there. linger: seconds in which who still sends may
    read an answer. body_bytes: of a request; bodies: of those whose path begins with something, instead. streams: at a time on one
    connection.
    """

    header: float = 5.0
    silence: float = 5.0
    request: float = 10.0
    connection: float = 30.0
    connections: int = 1000
    body_bytes: int = 1024 * 1024
    bodies: Mapping[str, int] = field(default_factory=dict)
    streams: int = 8
    linger: float = 1.0
    closing: float = 1.0

    def body_of(self, path: str) -> int:
        """The longest body that a request for *path* may bring."""
        return next((size for start, size in self.bodies.items() if path.startswith(start)), self.body_bytes)


USUAL = Limits()

SWITCH_SECONDS = 0.0005
"""What `sys.setswitchinterval` should be in a process that serves while it thinks in threads. With Python's own 0.005 the event loop,
which lets go of the interpreter at every system call, waits that long for it each time (docs/asgi-server.md has figures)."""
