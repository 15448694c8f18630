"""A proxy in front of Consul that does, to the requests a test names, what networks and servers do to requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self
from urllib.parse import urlsplit

LARGEST = 64 * 1024 * 1024


class Fault(Enum):
    """What happens to a request."""

    CUT_BEFORE = auto()  # the connection breaks, and Consul never saw it
    CUT_AFTER = auto()  # Consul did it, and the connection breaks instead of an answer
    HALF = auto()  # Consul did it, and half of its answer arrives
    ERROR_BEFORE = auto()  # 500 with a text (default: an unclear one), and Consul never saw it
    ERROR_AFTER = auto()  # the same, after Consul did it
    NO_LEADER = auto()  # 500 No cluster leader, as Consul says it
    THROTTLED = auto()  # 429
    FORBIDDEN = auto()  # 403 Permission denied
    FALSE = auto()  # 200 false: a lost compare-and-set
    STRANGE = auto()  # 200 with a page of something that is not Consul
    REDIRECT = auto()  # 301 to somewhere else
    SLOW = auto()  # `seconds` late
    HANG = auto()  # never
    HANG_AFTER = auto()  # Consul did it, and the answer never comes


ANSWERS = {
    Fault.ERROR_BEFORE: (500, "rpc error making call: EOF"),
    Fault.ERROR_AFTER: (500, "rpc error making call: EOF"),
    Fault.NO_LEADER: (500, "No cluster leader"),
    Fault.THROTTLED: (429, "Your IP is issuing too many concurrent connections, please rate limit your calls\n"),
    Fault.FORBIDDEN: (403, "Permission denied"),
    Fault.FALSE: (200, "false"),
    Fault.STRANGE: (200, "<html><body>Sign in to the corporate network</body></html>"),
    Fault.REDIRECT: (301, "moved"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. `target`: path and query."""

    method: str
    target: str
    head: bytes
    body: bytes

    @property
    def words(self) -> str:
        """Method and target, `PUT /v1/config?cas=0`."""
        return f"{self.method} {self.target}"

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


@dataclass(slots=True)
class Script:
    """A fault and the requests that it is for: the *nth* that `matches`, and *times* of them from there on (0: all)."""

    fault: Fault
    matches: Callable[[Request], bool]
    nth: int
    times: int
    seconds: float
    text: str | None
    seen: int = 0
    hits: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)  # of HANG_AFTER: Consul did it
    _hit: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, request: Request) -> bool:
        """Whether this request gets it; counts."""
        if not self.matches(request):
            return False
        self.seen += 1
        taken = self.seen >= self.nth and (not self.times or self.hits < self.times)
        if taken:
            self.hits += 1
            self._hit.set()
        return taken

    async def reached(self, seconds: float = 30) -> None:
        """Wait until it was needed."""
        async with asyncio.timeout(seconds):
            await self._hit.wait()


class FaultProxy:
    """An HTTP/1.1 proxy on 127.0.0.1, an async context manager.

    upstream: `http://host:port`. `url` is where it listens, `requests` is what came, in order. Without a script it passes
    everything on as it is.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname
        assert parts.port
        self._upstream = (parts.hostname, parts.port)
        self._scripts: list[Script] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[Request] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=LARGEST)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Its HTTP address."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def script(
        self,
        fault: Fault,
        words: str = "",
        *,
        when: Callable[[Request], bool] | None = None,
        nth: int = 1,
        times: int = 1,
        seconds: float = 0.2,
        text: str | None = None,
    ) -> Script:
        """Do *fault* to a request. words: a regular expression found in `PUT /v1/config?cas=0`; when: a further condition.

        nth, times: the nth such request from now on, and so many from there (0: all). seconds: of SLOW. text: of an error.
        """
        pattern = re.compile(words)
        further = when or (lambda _: True)
        made = Script(
            fault, lambda request: bool(pattern.search(request.words)) and further(request), nth, times, seconds, text
        )
        self._scripts.append(made)
        return made

    def clear(self) -> None:
        """Forget all scripts and all requests that came."""
        self._scripts.clear()
        self.requests.clear()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        upstream = _Upstream(self._upstream)
        try:
            while request := await _request(reader):
                self.requests.append(request)
                script = next((each for each in self._scripts if each.takes(request)), None)
                if not await self._handle(request, script, upstream, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            upstream.close()
            writer.close()

    async def _handle(
        self, request: Request, script: Script | None, upstream: _Upstream, writer: asyncio.StreamWriter
    ) -> bool:
        """Do what the script says; whether the connection goes on."""
        fault = script.fault if script else None
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        if fault is Fault.SLOW and script:
            await asyncio.sleep(script.seconds)  # that it comes late is what it is for
        if fault is Fault.CUT_BEFORE:
            writer.transport.abort()
            return False
        if fault in ANSWERS and script:
            if fault is Fault.ERROR_AFTER:
                await upstream.ask(request)
            writer.write(_made_up(fault, script.text))
            await writer.drain()
            return True
        answer = await upstream.ask(request)
        if fault is Fault.HANG_AFTER and script:
            script.done.set()
            await asyncio.Event().wait()
        if fault is Fault.CUT_AFTER:
            writer.transport.abort()
            return False
        if fault is Fault.HALF:
            writer.write(answer[: max(len(answer) - 8, len(answer) // 2)])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return True


class _Upstream:
    """A connection to Consul, made when it is needed."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> bytes:
        """The whole answer, head and body, as it came."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=LARGEST)
        reader, writer = self._streams
        writer.write(request.head + request.body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await _body(reader, head)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection, None at its end."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        return Request(method, target, head, await _body(reader, head))
    return None


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body that belongs to *head*, as it stands on the wire."""
    if sized := re.search(rb"(?mi)^content-length:\s*(\d+)", head):
        return await reader.readexactly(int(sized[1]))
    if not re.search(rb"(?mi)^transfer-encoding:\s*chunked", head):
        return b""
    out = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        out += size + chunk
        if chunk == b"\r\n":
            return out


def _made_up(fault: Fault, text: str | None) -> bytes:
    status, default = ANSWERS[fault]
    body = (default if text is None else text).encode()
    extra = "Location: http://127.0.0.1:9/elsewhere\r\n" if fault is Fault.REDIRECT else ""
    extra += "Retry-After: 3\r\n" if fault is Fault.THROTTLED else ""
    return f"HTTP/1.1 {status} Made Up\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body
