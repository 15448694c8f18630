"""The door: a listening socket that lets nobody stay, and not too many in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from gitsync.web.limits import Limits

Address = tuple[Any, ...]
"""The host and the port of a client."""


class Door(socket.socket):
    """A listening socket whose connections end after a while, whatever happens on them, and are not too many."""

    def __init__(self, family: int, kind: int, protocol: int, *, limits: Limits) -> None:
        super().__init__(family, kind, protocol)
        self._limits = limits
        self._inside: set[socket.socket] = set()
        self._known: dict[Address, tuple[float, socket.socket]] = {}

    def age(self, address: Address) -> float:
        """Seconds since who comes from *address* came in."""
        now = asyncio.get_running_loop().time()
        return now - self._known[address][0] if address in self._known else 0.0

    def show_out(self, address: Address) -> None:
        """End the connection of who comes from *address*, whatever happens on it."""
        if address in self._known:
            _end(self._known[address][1])

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection, as `socket.accept`. asyncio calls it in its loop."""
        visitor, address = super().accept()
        if len(self._inside) >= self._limits.connections:
            self._inside = {each for each in self._inside if each.fileno() >= 0}
        if len(self._inside) >= self._limits.connections:
            _end(visitor)
            return visitor, address
        self._inside.add(visitor)
        loop = asyncio.get_running_loop()
        self._known[address[:2]] = loop.time(), visitor
        loop.call_later(self._limits.connection, self._is_over, visitor, address[:2])
        return visitor, address

    def let_go(self) -> None:
        """End every connection once what is being answered had its moment."""
        loop = asyncio.get_running_loop()
        for visitor in self._inside:
            loop.call_later(self._limits.closing / 2, _end, visitor)

    def _is_over(self, visitor: socket.socket, address: Address) -> None:
        self._inside.discard(visitor)
        if address in self._known and self._known[address][1] is visitor:  # else somebody came from there again
            del self._known[address]
        _end(visitor)


def _end(visitor: socket.socket) -> None:
    """Both directions: the server reads the end and closes."""
    with contextlib.suppress(OSError):  # it is closed already
        visitor.shutdown(socket.SHUT_RDWR)
