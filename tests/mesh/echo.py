"""A real server outside the mesh that says what reached it, and does what the request's headers ask for.

`x-answer: 503` is the status it answers with, `x-wait: 2` how many seconds later. Everything that came is in `seen`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the server got it. sni, client: the name asked for and the certificate shown, over TLS."""

    server: str
    method: str
    path: str
    host: str
    headers: Mapping[str, str]
    sni: str | None
    client: str | None


class Echo:
    """One HTTP or HTTPS server on a port of its own, as a context manager.

    name: what it calls itself in its answers. tls: what it shows, and whom it lets in.
    """

    def __init__(self, name: str = "echo", *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.name, self.host = name, host
        self.seen: list[Seen] = []
        if tls:
            tls.sni_callback = _remember_sni
        self._server = _Server(self, tls)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone: refuse connections, and cut those that are open."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            for connection in list(self._server.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def count(self, **headers: str) -> int:
        """How many requests came with these headers (`x_ask="1"` is `x-ask: 1`)."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        return sum(wanted.items() <= dict(each.headers).items() for each in list(self.seen))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, echo: Echo, tls: ssl.SSLContext | None) -> None:
        self.echo, self._tls = echo, tls
        self.connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in echo.host else socket.AF_INET
        super().__init__((echo.host, 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls:  # the handshake is made by the connection's own thread: a slow one must not hold up the others
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake that failed or a connection that was cut is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets; the second would wait 40 ms for the first one's ACK
    server: _Server

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        seen = self._note()
        if wait := self.headers.get("x-wait"):
            time.sleep(float(wait))  # the server is asked to be slow
        body = json.dumps(asdict(seen)).encode()
        self.send_response(int(self.headers.get("x-answer", 200)))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-echo", seen.server)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815  the parent's spelling

    def _note(self) -> Seen:
        certificate = self.request.getpeercert() if isinstance(self.request, ssl.SSLSocket) else None
        names = [name for _, name in (certificate or {}).get("subjectAltName", ())]
        seen = Seen(
            server=self.server.echo.name,
            method=self.command,
            path=self.requestline.split()[1],  # `self.path` has lost a `//` at its beginning
            host=self.headers.get("host", ""),
            headers={name.lower(): value for name, value in self.headers.items()},
            sni=getattr(self.request, "asked_for", None),
            client=names[0] if names else None,
        )
        self.server.echo.seen.append(seen)
        return seen

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name for it
        """What came is in `seen`."""


def _remember_sni(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
    connection.asked_for = name  # type: ignore[union-attr]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got. status 0: no answer at all, the connection was refused or cut. seconds: how long it took."""

    status: int
    text: str
    headers: Mapping[str, str]
    seconds: float

    @property
    def server(self) -> str:
        """Which server answered; empty where it was a proxy."""
        return self.headers.get("x-echo", "")

    @property
    def seen(self) -> Seen:
        """What the server says it got."""
        return Seen(**json.loads(self.text))


@dataclass(frozen=True, slots=True)
class Caller:
    """A client of one upstream: what an application beside the sidecar is. *prelude*: what it sends before all else."""

    port: int
    prelude: bytes = b""

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        sni: str = "",
    ) -> Reply:
        """One request over a connection of its own. tls: the client speaks TLS itself, through the mesh."""
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain:
                plain.sendall(self.prelude)
                connection = http.client.HTTPConnection("127.0.0.1", self.port)
                connection.sock = tls.wrap_socket(plain, server_hostname=sni) if tls else plain
                try:
                    connection.request(method, path, headers=dict(headers or {}))
                    answer = connection.getresponse()
                    text = answer.read().decode(errors="replace")
                finally:
                    connection.close()
        except (OSError, http.client.HTTPException) as error:
            return Reply(0, str(error), {}, time.monotonic() - began)
        sent = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, text, sent, time.monotonic() - began)


class Deaf:
    """A port that takes no connection and refuses none: its queue is full, so a SYN gets no answer. A context manager."""

    def __enter__(self) -> Self:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.host, self.port = self._listener.getsockname()
        self._queue: list[socket.socket] = []
        while len(self._queue) < 64:
            waiting = socket.socket()
            waiting.settimeout(0.3)
            self._queue.append(waiting)
            try:
                waiting.connect((self.host, self.port))
            except TimeoutError:
                return self
        raise AssertionError("a queue of one does not fill: this machine has no deaf port")

    def __exit__(self, *_: object) -> None:
        for each in (*self._queue, self._listener):
            each.close()
