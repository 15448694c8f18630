"""What gitsync sends while it is measured: kept as it was sent, so that the same can be sent again without gitsync."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

READING = frozenset({"get", "get-tree", "check-index", "check-session", "check-not-exists"})
OWN = "svc-handler/owners/"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. path: with its query, from /v1/ on. step: the step of the run in which it was sent."""

    step: str
    method: str
    path: str
    body: bytes

    @property
    def operations(self) -> list[dict[str, Any]]:
        """Of a transaction, its operations: kind (KV, Node, Service, Check) → fields."""
        return json.loads(self.body) if self.path.startswith("/v1/txn") else []

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        if self.path.startswith("/v1/txn"):
            return any(fields["Verb"] not in READING for each in self.operations for fields in each.values())
        return self.method != "GET"

    @property
    def own(self) -> bool:
        """Whether it writes nothing but the sync's own records: the applied revision, say."""
        written = [(kind, fields) for each in self.operations for kind, fields in each.items()]
        written = [(kind, fields) for kind, fields in written if fields["Verb"] not in READING]
        return bool(written) and all(kind == "KV" and fields["Key"].startswith(OWN) for kind, fields in written)


class Watch:
    """A run's progress, which remembers the step, and when the records of what was verified began (time.perf_counter)."""

    def __init__(self) -> None:
        self.current = ""
        self.verified = 0.0

    def step(self, name: str, total: int = 0) -> None:  # noqa: ARG002 (it is Progress's)
        self.current = name
        if name == "record":
            self.verified = time.perf_counter()

    def advance(self, count: int = 1) -> None: ...
    def say(self, message: str) -> None: ...


@contextmanager
def recorded(watch: Watch) -> Iterator[list[Sent]]:
    """Every request that goes out by aiohttp while the context lasts. It costs a microsecond a request."""
    sent: list[tuple[str, str, str, Any]] = []
    real = aiohttp.ClientSession._request
    result: list[Sent] = []

    async def noted(self: aiohttp.ClientSession, method: str, url: Any, **more: Any) -> Any:
        sent.append((watch.current, method, str(url), more.get("data")))
        return await real(self, method, url, **more)

    aiohttp.ClientSession._request = noted  # type: ignore[method-assign]
    try:
        yield result
    finally:
        aiohttp.ClientSession._request = real  # type: ignore[method-assign]
        result += [
            Sent(step, method, "/v1/" + url.partition("/v1/")[2], bytes(data or b""))
            for step, method, url, data in sent
        ]
