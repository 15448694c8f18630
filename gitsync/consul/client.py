"""The one way to Consul: requests on a pool of connections, each with a deadline, a token, and nothing hidden.

Nothing is retried here, no redirect is followed, no proxy of the environment is used. httpx is the words and aiohttp the wire:
httpx's own pool is quadratic, and its client layer costs more than the request, so `Client.call` gives a request straight to the
transport.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from gitsync import __version__
from gitsync.consul.answer import Answer
from gitsync.consul.credentials import Tls, checked
from gitsync.consul.verdict import Refused, classify, lost
from gitsync.model.errors import Invalid

POOL = 64
"""Requests in flight. Consul closes the 201st connection of one address, and several processes may share ours."""

SPARE = 8
"""Connections beyond the pool for what must not wait behind it: the renewal of a session."""

CONNECT_SECONDS = 2.0

Params = Mapping[str, str]
Body = Mapping[str, Any] | Sequence[Any] | bytes


@dataclass(frozen=True, slots=True)
class ConsulAddress:
    """Where Consul is and how to speak to it.

    url: `http(s)://host:port`, with a path if a proxy has one, `host:port` for http, or `unix:///path`. Files are PEM, and are
    read again when they change. token: asked before every request, "" for none. timeout_seconds: of a whole request.
    """

    url: str
    token: Callable[[], str] | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout_seconds: float = 10.0


class Client:
    """An HTTP client of one Consul, usable inside `async with`.

    requests: how many were sent, by (method, area); the area is the word after /v1/ (`config`, `kv`, `session`), and `txn-get`
    for a transaction that only reads.
    """

    def __init__(self, address: ConsulAddress, *, pool: int = POOL) -> None:
        self.address = address
        self.requests: Counter[tuple[str, str]] = Counter()
        self._pool = pool
        self._base, self._socket = _base_url(address.url)
        tls = self._base.startswith("https:")
        self._tls = Tls(address.ca_file, address.cert_file, address.key_file) if tls else None
        self._headers: tuple[str, httpx.Headers] | None = None
        self._url = functools.lru_cache(maxsize=1024)(self._parse)
        self._transport: AiohttpTransport | None = None
        self._slots = asyncio.Semaphore(pool)

    async def __aenter__(self) -> Self:
        session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
        )
        # aiohttp sends a PUT or DELETE again when the connection breaks, in silence. The first may have been applied, and then the
        # second's `false` would say that somebody else was first. It has no public switch; its own test client sets this one.
        session._retry_connection = False  # noqa: SLF001
        self._transport = AiohttpTransport(verify=False, trust_env=False, client=session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transport, self._transport = self._transport, None
        if transport:
            await transport.aclose()

    async def call(  # the path and the query are two, and so are what is sent and how
        self,
        method: str,
        path: str,
        params: Params | None = None,
        body: Body | None = None,
        *,
        write: bool | None = None,
        urgent: bool = False,
        what: str = "",
    ) -> Answer:
        """Send one request and return whatever was answered.

        path: from `/v1/` on, its segments encoded (`segment`). params: an empty value makes a bare name (`?consistent`).
        body: JSON unless bytes. write: whether it changes anything (default: all but GET), which decides between Unavailable and
        Unknown. urgent: does not wait for a slot of the pool. what: the request in words, for messages.
        Raises Unavailable or Unknown if there is no answer.
        """
        write = method != "GET" if write is None else write
        area = path.split("/", 3)[2].partition("?")[0]
        self.requests[method, "txn-get" if area == "txn" and not write else area] += 1
        request = self._request(method, path, params, body)
        if urgent:
            return await self._send(request, write=write, what=what)
        async with self._slots:
            return await self._send(request, write=write, what=what)

    async def ask(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        body: Body | None = None,
        *,
        write: bool | None = None,
        urgent: bool = False,
        what: str = "",
    ) -> Answer:
        """`call`, and raise what the answer means unless it is 200, 404 to a read, or 409. what: the request in words."""
        write = method != "GET" if write is None else write
        what = what or f"{method} {path}"
        answer = await self.call(method, path, params, body, write=write, urgent=urgent, what=what)
        return classify(answer, write=write, what=what)

    async def _send(self, request: httpx.Request, *, write: bool, what: str) -> Answer:
        transport = self._transport
        if transport is None:
            raise RuntimeError("a Client is used inside `async with`")
        if self._tls:
            self._tls.refresh()
        try:
            async with asyncio.timeout(self.address.timeout_seconds):
                response = await transport.handle_async_request(request)
                try:
                    body = b"".join([chunk async for chunk in response.stream])  # type: ignore[union-attr]  # the transport's is async
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise lost(error, write=write, what=what or f"{request.method} {request.url.path}") from error
        return Answer(response.status_code, response.headers, body)

    def _request(self, method: str, path: str, params: Params | None, body: Body | None) -> httpx.Request:
        if params:
            query = "&".join(f"{name}={quote(value, safe=':')}" if value else name for name, value in params.items())
            path = f"{path}?{query}"
        if body is None:
            content = b""
        elif isinstance(body, bytes):
            content = body
        else:
            content = encoded(body)
        # Content-Length always: Consul ignores a chunked body, and makes a session without a TTL of it.
        return httpx.Request(
            method, self._url(path), headers=self._headers_now(), content=content, extensions=self._extensions
        )

    @functools.cached_property
    def _extensions(self) -> dict[str, Any]:
        whole = self.address.timeout_seconds
        return {"timeout": {"connect": min(CONNECT_SECONDS, whole), "read": whole}}

    def _headers_now(self) -> httpx.Headers:
        token = self.address.token() if self.address.token else ""
        if self._headers is None or self._headers[0] != token:
            checked(token, "consul.token")
            # identity: to compress a list of 10,000 entries costs Consul more than sending it.
            fields = {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"gitsync/{__version__}",
            }
            self._headers = token, httpx.Headers(fields | ({"X-Consul-Token": token} if token else {}))
        return self._headers[1]

    def _parse(self, path: str) -> httpx.URL:
        return httpx.URL(self._base + path)

    def _connector(self) -> aiohttp.BaseConnector:
        limit = self._pool + SPARE
        if self._socket:
            return aiohttp.UnixConnector(path=self._socket, limit=limit)
        return aiohttp.TCPConnector(limit=limit, ssl=self._tls.context if self._tls else False)


def segment(name: str) -> str:
    """*name* as one segment of a path. Raises Refused for a name that no URL can carry: `.` and `..` mean another path."""
    if name in ("", ".", ".."):
        raise Refused(
            f"no request can name {name!r}: a URL cannot carry it. It has to be removed from Consul by other means."
        )
    return quote(name, safe="")


def key_path(key: str) -> str:
    """The path of a KV key or prefix. Raises Refused for one that no URL can carry."""
    parts = key.split("/")
    if any(part in (".", "..") for part in parts) or "" in parts[:-1]:
        raise Refused(
            f"no request can name the key {key!r}: a URL cannot carry it. It has to be removed from Consul by other means."
        )
    return "/v1/kv/" + quote(key, safe="/")


def encoded(body: Any) -> bytes:
    """*body* as the JSON that is sent."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _base_url(url: str) -> tuple[str, str]:
    """What goes before /v1/, and the path of a socket if that is what *url* names. Raises Invalid."""
    text = url.strip().rstrip("/")
    if text.startswith("unix://"):
        return "http://consul", text.removeprefix("unix://")
    if "://" not in text:
        text = f"http://{text}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise Invalid(
            f"consul.address {url!r} is no address of Consul. Write it as http://127.0.0.1:8500 or https://host:8501."
        )
    if parts.username or parts.password:
        raise Invalid(
            "consul.address holds a user or a password. Put Consul's token into a file, and consul.token_file."
        )
    return text, ""
