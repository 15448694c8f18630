"""Bounded: an application inside its limits, whatever the server below it and the client beyond it do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gitsync.web.door import Door
from gitsync.web.limits import Limits

SMALL_REST = 64 * 1024
"""How much is still taken, unread, of who was turned away. Of a body whose length was told, and is too long, it is all that one may have."""


class Bounded:
    """An application each of whose requests ends in time and brings no more than it may."""

    def __init__(self, app: ASGIApp, limits: Limits, door: Door) -> None:
        self._app, self._limits, self._door = app, limits, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering, status = False, 0
        whole = not any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in scope["headers"]
        )
        declared = any(name == b"content-length" for name, _ in scope["headers"])
        most, size = self._limits.body_of(scope["path"]), 0

        async def bounded() -> Message:
            nonlocal size, whole
            message = await receive()
            size += len(message.get("body", b""))
            whole = whole or not message.get("more_body", False)
            if size > most:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answering, status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._is_last(scope, whole=whole):
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            answering = True
            if message["type"] == "http.response.body" and not message.get("more_body", False) and not whole:
                await send({**message, "more_body": True})
                await self._rest(receive, most if declared and status == 413 else SMALL_REST)
                async with _emptied(receive):
                    await send({"type": "http.response.body", "body": b""})
                return
            await send(message)

        try:
            async with asyncio.timeout(self._limits.request):
                await self._app(scope, bounded, noted)
        except (TimeoutError, _TooLarge) as error:
            if answering:  # with half an answer only the end of the connection can say so
                self._door.show_out(tuple(scope.get("client") or ()))
                async with _emptied(receive) as emptied:
                    await asyncio.wait({emptied}, timeout=self._limits.linger)
                return
            why = 413 if isinstance(error, _TooLarge) else 408
            await noted({"type": "http.response.start", "status": why, "headers": [(b"content-length", b"0")]})
            end = noted if why == 413 else send  # for whoever was too slow nobody waits again
            await end({"type": "http.response.body", "body": b""})

    async def _rest(self, receive: Receive, most: int) -> None:
        """Let a moment pass in which the client may still send. Else the end of the connection takes the answer with it.

        *most* bytes are taken, unread. Who has more to send has to wait, and reads the answer meanwhile if he is wise.
        Source: RFC 9112, 9.6: data that comes after the close makes TCP reset it, and the client loses what it has not read.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger):
                while most > 0:
                    message = await receive()
                    most -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
                await asyncio.sleep(self._limits.linger)

    def _is_last(self, scope: Scope, *, whole: bool) -> bool:
        """Whether nothing can follow this answer: a part of the request was not read, or the connection is about to end.

        Who is told so opens another one, instead of sending into one that closes. HTTP/2 has no word for it.
        """
        if not scope["http_version"].startswith("1"):
            return False
        old = self._limits.connection - self._limits.request
        return not whole or self._door.age(tuple(scope.get("client") or ())) > old


@asynccontextmanager
async def _emptied(receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
    """While the context lasts, what the client sends is taken and forgotten; the task ends with the connection.

    hypercorn keeps ten pieces of a body for the application, and waits for room among them before it closes a stream: an
    application that reads no more, and whose client sends on, would wait for itself.
    """

    async def empty() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    emptying = asyncio.create_task(empty())
    try:
        yield emptying
    finally:
        emptying.cancel()
        await asyncio.gather(emptying, return_exceptions=True)


class _TooLarge(HTTPException):
    """A body of more bytes than are taken. starlette knows how to answer with it, if the application is its own."""

    def __init__(self) -> None:
        super().__init__(413)
