"""The server: hypercorn inside our own event loop, with an end to every connection.

hypercorn drops whoever is slow with the headers (keep_alive_timeout) or silent (read_timeout). A body that comes byte by byte, and
an HTTP/2 connection that only pings, it keeps: what bounds those is in door.py and bounded.py, and docs/asgi-server.md has the
measurements.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import hypercorn.asyncio
import hypercorn.asyncio.run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config, Sockets
from starlette.types import ASGIApp

from gitsync.model.errors import Invalid
from gitsync.web.bounded import Bounded
from gitsync.web.door import Door
from gitsync.web.limits import USUAL, Limits

LOG = logging.getLogger("hypercorn.error")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server shows for https: PEM files, read when it starts."""

    cert_file: Path
    key_file: Path

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 and newer, HTTP/1.1 on it. Raises Invalid if the files are no certificate and its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise Invalid(
                f"web.tls: {self.cert_file} and {self.key_file} are no certificate and its key without a passphrase, "
                f"in PEM, that gitsync may read: {why}."
            ) from error
        return context


@asynccontextmanager
async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    limits: Limits = USUAL,
    tls: Certificate | None = None,
    key: str = "web.listen",
) -> AsyncIterator[tuple[str, int]]:
    """Serve *app* at *host* and *port* (0: a free one) while the context lasts; the address that it has.

    key: which setting named the address. Raises Invalid if there can be no server at that address, or none with *tls*.
    """
    context = await asyncio.to_thread(tls.context) if tls else None
    door = await _door(host, port, limits, key)
    ending = asyncio.Event()
    server = asyncio.create_task(
        hypercorn.asyncio.serve(
            cast(Any, Bounded(app, limits, door)),  # hypercorn and starlette spell ASGI's types differently
            _Configured(door, limits, context),
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


async def _door(host: str, port: int, limits: Limits, key: str) -> Door:
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
            f"{key}: gitsync cannot listen at {host} port {port}: {error.strerror or error}. Choose another address, or "
            "end what listens there."
        ) from error
    return door


class _Configured(Config):
    """hypercorn's configuration, with a socket that is bound already."""

    def __init__(self, door: Door, limits: Limits, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._door, self._tls = door, tls
        self.longest = limits.connection + limits.linger
        self.accesslog = None
        self.errorlog = LOG
        self.loglevel = "WARNING"
        self.include_server_header = False
        self.keep_alive_timeout = limits.header
        self.read_timeout = limits.silence  # type: ignore[assignment]  # hypercorn says int and takes any number
        self.graceful_timeout = limits.closing
        self.shutdown_timeout = limits.closing
        self.ssl_handshake_timeout = limits.header
        self.h2_max_concurrent_streams = limits.streams
        self.keep_alive_max_requests = 1_000_000  # a connection ends by its age

    @property
    def ssl_enabled(self) -> bool:
        return self._tls is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._tls

    def create_sockets(self) -> Sockets:
        return Sockets([self._door], [], []) if self._tls else Sockets([], [self._door], [])


class _Ended(TCPServer):
    """A connection of hypercorn's that is over in the end, also for hypercorn.

    One whose client has sent the next request and goes while it is answered, hypercorn would wait on for ever.
    """

    async def run(self) -> None:
        if not isinstance(self.config, _Configured):
            await super().run()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.longest):
                await super().run()


hypercorn.asyncio.run.TCPServer = _Ended  # type: ignore[attr-defined]  # there is no other way in
