"""A Git host's API on loopback for tests: real HTTP, answers of the test's choice, every request held against an official document.

    with HostApi(openapi3("github-min-openapi3.json", "https://api.github.com")) as host:
        host.on("POST", r"/repos/acme/specs/statuses/.*", Reply(201, {"id": 1}))
        ...                     # host.url is the API's base
    host.seen[0].json           # what was received, in order

Leaving the block fails if a request was not as the document says, or if nobody said what to answer.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import jsonschema
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

SPECS = Path(__file__).parents[1] / "contract" / "hosts" / "specs"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in. path: below the base, still encoded. headers: lower-case names."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. body: bytes as they are, anything else as JSON, None for none. hang: no answer until the block is left."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"
    hang: bool = False


Check = Callable[[Seen], None]
"""Raises what is wrong with a request."""

Answering = Reply | Callable[[Seen], Reply]


class HostApi:
    """The server. check: what every request is held against. base: the path of the API, such as `/api/v1`."""

    def __init__(self, check: Check | None = None, *, base: str = "") -> None:
        self.seen: list[Seen] = []
        self.faults: list[str] = []
        self._check, self._base = check, base
        self._routes: list[tuple[str, re.Pattern[str], list[Answering]]] = []
        self._left = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The base of the API."""
        return self.origin + self._base

    def on(self, method: str, path: str, *replies: Answering) -> None:
        """Answer requests whose path (below the base) matches the regular expression *path* with *replies*, the last one for ever.

        What was said last about a request counts.
        """
        self._routes.insert(0, (method, re.compile(path), list(replies)))

    def sent(self, method: str, path: str = ".*") -> list[Seen]:
        """What was received with *method* at paths that match *path*."""
        return [seen for seen in self.seen if seen.method == method and re.fullmatch(path, seen.path)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if error is None:
            assert not self.faults, "\n".join(self.faults)

    def _answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            if self._check:
                try:
                    self._check(seen)
                except Exception as error:  # noqa: BLE001  whatever the document's reader raises is a fault
                    self.faults.append(
                        f"{seen.method} {seen.path}: {error!r} ({error.__cause__!r}); sent {seen.body[:300]!r}"
                    )
            for method, path, replies in self._routes:
                if method == seen.method and path.fullmatch(seen.path):
                    reply = replies.pop(0) if len(replies) > 1 else replies[0]
                    return reply if isinstance(reply, Reply) else reply(seen)
            self.faults.append(f"nobody said what to answer to {seen.method} {seen.path}")
            return Reply(599)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                self.close_connection = True
                if not self.raw_requestline or not self.parse_request():
                    return
                parts = urlsplit(self.path)
                length = int(self.headers.get("content-length") or 0)
                seen = Seen(
                    self.command,
                    parts.path.removeprefix(host._base),
                    dict(parse_qsl(parts.query, keep_blank_values=True)),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                reply = host._answer(seen)
                if reply.hang:
                    host._left.wait(30)
                    return
                self._send(reply)

            def _send(self, reply: Reply) -> None:
                raw = b"" if reply.body is None else reply.body
                raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
                self.send_response_only(reply.status)  # no Date: some tests have their own
                if raw:
                    self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(raw)))
                self.send_header("Connection", "close")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
                pass

        return Handler


@lru_cache(maxsize=8)
def openapi3(document: str, server: str, drop: str = "") -> Check:
    """Requests as the OpenAPI 3 document (a file of `tests/contract/hosts/specs`) says. server: the first of its servers.

    drop: a path that the document's server has and its paths have not, or the other way round, cut from what was received.
    """
    api = OpenAPI.from_dict(json.loads((SPECS / document).read_text()))

    def check(seen: Seen) -> None:
        try:
            api.validate_request(_Asked(seen, server, drop))
        except OpenAPIError as error:
            raise AssertionError(f"{document}: {error}") from error

    return check


class _Asked:
    """A request in the words of openapi-core."""

    def __init__(self, seen: Seen, server: str, drop: str) -> None:
        self.host_url = server
        self.path = seen.path.removeprefix(drop)
        self.path_pattern = None
        self.method = seen.method.lower()
        self.body = seen.body or None
        self.content_type = seen.headers.get("content-type", "")
        self.parameters = RequestParameters(
            path={},
            query=ImmutableMultiDict(seen.query),
            header=Headers(dict(seen.headers)),
            cookie=ImmutableMultiDict(),
        )


@lru_cache(maxsize=8)
def swagger2(document: str) -> Check:
    """Requests as the Swagger 2 document says: a known path, known parameters of the query, and a body of its definition."""
    spec = json.loads((SPECS / document).read_text())
    paths = [
        (re.compile(re.sub(r"\\\{[^{}]+\\\}", "[^/]+", re.escape(path))), path.count("{"), item)
        for path, item in spec["paths"].items()
    ]
    paths.sort(key=lambda entry: entry[1])

    def check(seen: Seen) -> None:
        item = next((item for pattern, _, item in paths if pattern.fullmatch(seen.path)), None)
        assert item is not None, f"{document} has no path {seen.path}"
        operation = item.get(seen.method.lower())
        assert operation is not None, f"{document} has no {seen.method} {seen.path}"
        parameters = [
            spec["parameters"][given["$ref"].rpartition("/")[2]] if "$ref" in given else given
            for given in [*item.get("parameters", []), *operation.get("parameters", [])]
        ]
        queries = {given["name"]: given for given in parameters if given["in"] == "query"}
        assert set(seen.query) <= set(queries), f"{document} knows no query {set(seen.query) - set(queries)}"
        assert {name for name, given in queries.items() if given.get("required")} <= set(seen.query), (
            "a query is missing"
        )
        for name, value in seen.query.items():
            assert value in queries[name].get("enum", [value]), f"{name}={value} is none of {queries[name]['enum']}"
        body = next((given for given in parameters if given["in"] == "body"), None)
        if body is None:
            assert not seen.body, "this request takes no body"
            return
        assert seen.headers["content-type"] == "application/json"
        schema = {**body["schema"], "definitions": spec["definitions"]}
        jsonschema.Draft4Validator(schema).validate(seen.json)
        # a definition of Swagger 2 takes any further field, and a misspelt one would be taken for none
        name = body["schema"].get("$ref", "").rpartition("/")[2]
        known = _properties(spec, name)
        assert not known or set(seen.json) <= known, f"{name} has no {set(seen.json) - known}"

    return check


def _properties(spec: Mapping[str, Any], name: str) -> set[str]:
    """The fields of a definition, and of those that it is made of."""
    definition = spec["definitions"].get(name, {})
    parts = [part["$ref"].rpartition("/")[2] for part in definition.get("allOf", []) if "$ref" in part]
    return set(definition.get("properties", {})).union(*(_properties(spec, part) for part in parts))
