"""A real server that speaks HTTP/2 without TLS, and ends as gRPC does where it is asked as gRPC."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, Self

from hypercorn.asyncio import serve
from hypercorn.config import Config


class Http2:
    """The server, as a context manager. seen: version, method and path of each request."""

    def __init__(self, name: str = "http2") -> None:
        self.name = name
        self.seen: list[tuple[str, str, str]] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = listener.getsockname()
        self._file = listener.detach()  # the server closes it

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        config = Config()
        config.bind = [f"fd://{self._file}"]
        config.errorlog = config.accesslog = None
        config.graceful_timeout = 0.1
        self._loop.run_until_complete(serve(self._application, config, shutdown_trigger=self._over.wait))  # type: ignore[arg-type]

    async def _application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.seen.append((scope["http_version"], scope["method"], scope["path"]))
        grpc = dict(scope["headers"]).get(b"content-type") == b"application/grpc"
        headers = [(b"x-echo", self.name.encode())]
        headers += [(b"content-type", b"application/grpc"), (b"trailer", b"grpc-status")] if grpc else []
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": grpc})
        await send({"type": "http.response.body", "body": b"\0\0\0\0\0" if grpc else b"yes"})
        if grpc:
            await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})
