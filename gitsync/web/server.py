"""The server: hypercorn inside our own event loop, with an end to every connection.

hypercorn drops whoever is slow with the headers (keep_alive_timeout) or silent (read_timeout). A body that comes byte by byte, and
an HTTP/2 connection that only pings, it keeps: what bounds those is here, and docs/asgi-server.md has the measurements.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import hypercorn.asyncio
from hypercorn.config import Config, Sockets
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gitsync.model.errors import Invalid

LOG = logging.getLogger("hypercorn.error")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may take, and how many there may be.

    header, silence, request, connection: seconds for the headers (and between two requests), between two bytes, for one request
    from its headers to its answer, and for the connection as a whole. Whoever probes may reconnect.
    """

    header: float = 5.0
    silence: float = 5.0
    request: float = 10.0
    connection: float = 30.0
    connections: int = 1000
    body_bytes: int = 1024 * 1024
    closing: float = 1.0


USUAL = Limits()


@asynccontextmanager
async def serve(app: ASGIApp, host: str, port: int, *, limits: Limits = USUAL) -> AsyncIterator[tuple[str, int]]:
    """Serve *app* at *host* and *port* (0: a free one) while the context lasts; the address that it has.

    Raises Invalid if there can be no server at that address.
    """
    door = await _door(host, port, limits)
    ending = asyncio.Event()
    server = asyncio.create_task(
        hypercorn.asyncio.serve(
            cast(Any, Bounded(app, limits)),  # hypercorn and starlette spell ASGI's types differently
            _Configured(door, limits),
            shutdown_trigger=ending.wait,
            mode="asgi",
        ),
        name="web",
    )
    try:
        where = door.getsockname()
        yield str(where[0]), int(where[1])
    finally:
        ending.set()
        door.let_go()
        try:
            async with asyncio.timeout(limits.closing + 1):
                await server
        except TimeoutError:
            LOG.warning("the web server did not close in time")
        finally:
            door.close()


async def _door(host: str, port: int, limits: Limits) -> Door:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        door = Door(family, kind, protocol, limits=limits)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
            door.listen(256)  # from here on a client is answered, if not yet now
            door.setblocking(False)
        except BaseException:
            door.close()
            raise
    except OSError as error:
        raise Invalid(
            f"web.listen: gitsync cannot listen at {host} port {port}: {error.strerror or error}. Choose another address, or "
            "end what listens there."
        ) from error
    return door


class Door(socket.socket):
    """A listening socket whose connections end after a while, whatever happens on them, and are not too many."""

    def __init__(self, family: int, kind: int, protocol: int, *, limits: Limits) -> None:
        super().__init__(family, kind, protocol)
        self._limits = limits
        self._inside: set[socket.socket] = set()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection, as `socket.accept`. asyncio calls it in its loop."""
        visitor, address = super().accept()
        if len(self._inside) >= self._limits.connections:
            self._inside = {each for each in self._inside if each.fileno() >= 0}
        if len(self._inside) >= self._limits.connections:
            _end(visitor)
            return visitor, address
        self._inside.add(visitor)
        asyncio.get_running_loop().call_later(self._limits.connection, self._show_out, visitor)
        return visitor, address

    def let_go(self) -> None:
        """End every connection once what is being answered had its moment."""
        loop = asyncio.get_running_loop()
        for visitor in self._inside:
            loop.call_later(self._limits.closing / 2, _end, visitor)

    def _show_out(self, visitor: socket.socket) -> None:
        self._inside.discard(visitor)
        _end(visitor)


def _end(visitor: socket.socket) -> None:
    """Both directions: the server reads the end and closes."""
    with contextlib.suppress(OSError):  # it is closed already
        visitor.shutdown(socket.SHUT_RDWR)


class _Configured(Config):
    """hypercorn's configuration, with a socket that is bound already."""

    def __init__(self, door: Door, limits: Limits) -> None:
        super().__init__()
        self._door = door
        self.accesslog = None
        self.errorlog = LOG
        self.loglevel = "WARNING"
        self.include_server_header = False
        self.keep_alive_timeout = limits.header
        self.read_timeout = limits.silence  # type: ignore[assignment]  # hypercorn says int and takes any number
        self.graceful_timeout = limits.closing
        self.shutdown_timeout = limits.closing

    def create_sockets(self) -> Sockets:
        return Sockets([], [self._door], [])


class Bounded:
    """An application each of whose requests ends in time and brings no more than it may."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = False
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limits.body_bytes:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            async with asyncio.timeout(self._limits.request):
                await self._app(scope, bounded, noted)
        except (TimeoutError, _TooLarge) as error:
            if answering:
                raise  # half an answer: only the end of the connection can say so
            status = 413 if isinstance(error, _TooLarge) else 408
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})


class _TooLarge(HTTPException):
    """A body of more bytes than are taken. starlette knows how to answer with it, if the application is its own."""

    def __init__(self) -> None:
        super().__init__(413, headers={"connection": "close"})
