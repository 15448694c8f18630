"""Blows: what is done to one run from outside, at one of its requests or at a moment."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tests.campaign.nursery import Child
from tests.campaign.site import Site
from tests.servers.fault_proxy import Fault, FaultProxy, Request, Script

RARE = {
    "the session": ("PUT /v1/session/create", b""),
    "the holder record": ("PUT /v1/txn", b"/holders/"),
    "the end of the session": ("PUT /v1/session/destroy", b""),
    "the applied revision": ("PUT /v1/txn", b"/revision"),
}
"""Requests that a run sends once, so that chance finds them last: how they begin, and what is in their body."""


def named(name: str) -> Callable[[Request], bool]:
    """Whether a request is that one of RARE."""
    words, within = RARE[name]
    return lambda request: request.words.startswith(words) and within in request.body


class Moment(Enum):
    """When a process is hit, as seen from one of its requests."""

    BEFORE = "before"  # Consul never sees it
    IN = "in"  # Consul does it, and the answer is withheld
    AFTER = "after"  # the answer was sent


@dataclass(frozen=True, slots=True)
class Struck:
    """What was done. request: which one it was done to ("" if none came); exit: of the process, None if it was killed."""

    request: str
    exit: int | None = None
    body: str = ""

    def __str__(self) -> str:
        return f"{self.request} {self.body[:200]}".strip()


class Guillotine(FaultProxy):
    """A proxy that kills the process behind the requests at the *nth* of them, or at the first that is so named in RARE."""

    def __init__(self, upstream: str, nth: int | str, moment: Moment) -> None:
        super().__init__(upstream)
        self.nth, self.moment = nth, moment
        self.victim: Child | None = None
        self.count = 0
        self.struck = ""
        self.body = ""

    async def _handle(
        self, request: Request, script: Script | None, upstream: Any, writer: asyncio.StreamWriter
    ) -> bool:
        self.count += 1
        mine = not self.struck and self._is_it(request)
        if mine:
            self.struck, self.body = request.words, request.body.decode(errors="replace")
        if mine and self.moment is not Moment.AFTER:
            if self.moment is Moment.IN:
                await upstream.ask(request)
            self._kill()
            return False
        goes_on = await super()._handle(request, script, upstream, writer)
        if mine:
            self._kill()
        return goes_on

    def _is_it(self, request: Request) -> bool:
        return self.count == self.nth if isinstance(self.nth, int) else named(self.nth)(request)

    def _kill(self) -> None:
        assert self.victim
        self.victim.kill()


class At(FaultProxy):
    """A proxy at whose *nth* request something is done first; that request and all others then go on.

    then: done while the request waits. later: done once the answer is on its way.
    """

    def __init__(
        self,
        upstream: str,
        nth: int,
        *,
        then: Callable[[Request], Awaitable[None] | None] | None = None,
        later: Callable[[Request], Awaitable[None] | None] | None = None,
        of: Callable[[Request], bool] = lambda _: True,
    ) -> None:
        super().__init__(upstream)
        self.nth, self.then, self.later, self.of = nth, then, later, of
        self.count = 0
        self.struck = ""
        self.body = ""

    async def _handle(
        self, request: Request, script: Script | None, upstream: Any, writer: asyncio.StreamWriter
    ) -> bool:
        mine = False
        if self.of(request):
            self.count += 1
            mine = self.count == self.nth
        if mine:
            self.struck, self.body = request.words, request.body.decode(errors="replace")
            if self.then and (waiting := self.then(request)):
                await waiting
        goes_on = await super()._handle(request, script, upstream, writer)
        if mine and self.later and (waiting := self.later(request)):
            await waiting
        return goes_on


async def requests_of_a_run(site: Site, of: Callable[[Request], bool] = lambda _: True) -> int:
    """Turn Git, sync in a process of its own, and count what it asked of Consul."""
    site.turn()
    async with FaultProxy(site.consul.url) as proxy:
        code = await (await site.start(proxy.url)).ended()
        assert code == 0, site.said
        return sum(map(of, proxy.requests))


async def killed_at(site: Site, nth: int | str, moment: Moment) -> Struck:
    """A run that is killed at its *nth* request, or at one of RARE."""
    async with Guillotine(site.consul.url, nth, moment) as proxy:
        proxy.victim = child = await site.start(proxy.url)
        code = await child.ended()
        return Struck(proxy.struck, code, proxy.body)


async def killed_after(site: Site, seconds: float) -> Struck:
    """A run that is killed so long after its start."""
    async with FaultProxy(site.consul.url) as proxy:
        child = await site.start(proxy.url)
        ended = asyncio.ensure_future(child.ended())
        await asyncio.wait({ended}, timeout=seconds)
        child.kill()
        code = await ended
        done = len(proxy.requests)
        return Struck(f"{seconds:.3f} s after the start, {done} requests" if code is None else "", code)


async def answered_wrongly(site: Site, fault: Fault, nth: int, seconds: float) -> Struck:
    """A run of which one request gets *fault*."""
    hit: list[Request] = []

    def noted(request: Request) -> bool:
        hit.append(request)
        return True

    async with FaultProxy(site.consul.url) as proxy:
        script = proxy.script(fault, nth=nth, when=noted, seconds=seconds)
        code = await (await site.start(proxy.url)).ended()
        it = hit[nth - 1] if script.hits else None
        return Struck(it.words if it else "", code, it.body.decode(errors="replace") if it else "")


async def until(condition: Callable[[], object], seconds: float) -> None:
    """Wait until *condition* is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (what is asked is in another process)
            await asyncio.sleep(0.05)


async def told_to_end(site: Site, nth: int | str, *, daemon: bool) -> tuple[Struck, float]:
    """A run that gets SIGTERM at its *nth* request, or at one of RARE, and the seconds until it was gone."""
    loop = asyncio.get_running_loop()
    at: list[float] = []

    def term(_: Request) -> None:
        at.append(loop.time())
        child.signal(signal.SIGTERM)

    at_it = {"nth": 1, "of": named(nth)} if isinstance(nth, str) else {"nth": nth}
    async with At(site.consul.url, then=term, **at_it) as proxy:
        child = await (site.daemon(proxy.url) if daemon else site.start(proxy.url))
        if daemon:  # it ends by the signal only
            await until(lambda: at, 30)
        code = await child.ended()
        return Struck(proxy.struck, code, proxy.body), loop.time() - at[0] if at else 0.0
