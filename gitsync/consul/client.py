"""The one way to Consul: requests on a pool of connections, each with a deadline, a token, and nothing hidden.

Nothing is retried here, no redirect is followed, no proxy of the environment is used. The wire is aiohttp itself: httpx's own pool
is quadratic, and what it puts around a request costs as much as the request (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gitsync import __version__
from gitsync.consul.answer import Answer
from gitsync.consul.credentials import Tls, checked
from gitsync.consul.verdict import Refused, classify, lost
from gitsync.model import jsontext
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
        self._headers: tuple[str, CIMultiDict[str]] | None = None
        self._url = functools.lru_cache(maxsize=1024)(self._parse)
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(pool)

    async def __aenter__(self) -> Self:
        session = aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(CONNECT_SECONDS, self.address.timeout_seconds)),
            skip_auto_headers=("User-Agent", "Content-Type"),
            trust_env=False,
            auto_decompress=False,
        )
        # aiohttp sends a PUT or DELETE again when the connection breaks, in silence. The first may have been applied, and then the
        # second's `false` would say that somebody else was first. It has no public switch; its own test client sets this one.
        session._retry_connection = False  # noqa: SLF001
        self._session = session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

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
        url = self._url(_target(path, params))
        content = None if body is None else body if isinstance(body, bytes) else jsontext.compact(body)
        if urgent:
            return await self._send(method, url, content, write=write, what=what)
        async with self._slots:
            return await self._send(method, url, content, write=write, what=what)

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

    async def _send(self, method: str, url: URL, content: bytes | None, *, write: bool, what: str) -> Answer:
        session = self._session
        if session is None:
            raise RuntimeError("a Client is used inside `async with`")
        if self._tls:
            self._tls.refresh()
        try:
            async with (
                asyncio.timeout(self.address.timeout_seconds),
                # Bytes go with a Content-Length: Consul ignores a chunked body, and makes a session without a TTL of it.
                session.request(
                    method, url, headers=self._headers_now(), data=content, allow_redirects=False
                ) as response,
            ):
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise lost(error, write=write, what=what or f"{method} {url.path}") from error

    def _headers_now(self) -> CIMultiDict[str]:
        token = self.address.token() if self.address.token else ""
        if self._headers is None or self._headers[0] != token:
            checked(token, "consul.token")
            # identity: to compress a list of 10,000 entries costs Consul more than sending it.
            fields = {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"gitsync/{__version__}",
            }
            self._headers = token, CIMultiDict(fields | ({"X-Consul-Token": token} if token else {}))
        return self._headers[1]

    def _parse(self, target: str) -> URL:
        return URL(self._base + target, encoded=True)

    def _connector(self) -> aiohttp.BaseConnector:
        limit = self._pool + SPARE
        if self._socket:
            return aiohttp.UnixConnector(path=self._socket, limit=limit)
        return aiohttp.TCPConnector(limit=limit, ssl=self._tls.context if self._tls else False)


def _target(path: str, params: Params | None) -> str:
    """Path and query, as they are sent."""
    if not params:
        return path
    query = "&".join(f"{name}={quote(value, safe=':')}" if value else name for name, value in params.items())
    return f"{path}?{query}"


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
