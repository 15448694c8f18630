"""Campaigns of several processes at once: twelve into one gateway, and a writer that stood still while another took over."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.campaign.blows import Struck, requests_of_a_run, until
from tests.campaign.judging import judge
from tests.campaign.lines import Budget, Line
from tests.campaign.nursery import Child
from tests.campaign.site import INDEXES, Site
from tests.campaign.worlds import mixed, writer
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import FaultProxy, Request, Script

WRITERS = 12
ROUNDS = 12
STOPS = 24
ABREAST = 8
"""So many worlds wait for a TTL at the same time."""


# -- twelve into one gateway ----------------------------------------------------------------------------------------------


class Foreigner:
    """Somebody who adds rows of theirs to the gateway and takes them away, by compare-and-set, all the time."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self.site, self.chance = site, chance
        self.writes = self.lost = 0
        self._over = threading.Event()
        self._connection = http.client.HTTPConnection(urlsplit(site.consul.url).netloc, timeout=30)
        self._connection.connect()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(asyncio.to_thread(self._write))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._task

    def _write(self) -> None:
        rows = self.site.guests.setdefault("tgw", set())
        while not self._over.is_set():
            name = f"guest-{self.chance.randrange(20)}"
            wrote = self._turned(name)
            if wrote:
                rows.symmetric_difference_update({name})
                self.writes += 1
            else:
                self.lost += 1
            self._over.wait(self.chance.uniform(0.005, 0.04) if wrote else 0)
        self._connection.close()

    def _turned(self, name: str) -> bool:
        """Add the row *name*, or take it away, unless somebody else was first."""
        entry = json.loads(self._ask("GET", "/v1/config/terminating-gateway/tgw?consistent"))
        rows = [row for row in entry["Services"] or () if row["Name"] != name]
        if len(rows) == len(entry["Services"] or ()):
            rows.append({"Name": name, "SNI": "theirs"})
        body = {key: value for key, value in entry.items() if key not in INDEXES} | {"Services": rows}
        return self._ask("PUT", f"/v1/config?cas={entry['ModifyIndex']}", json.dumps(body)).strip() == b"true"

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        """On the one connection that it keeps: Consul closes the 201st of one address, and twelve others make theirs."""
        self._connection.request(method, path, body)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return text


async def processes(folder: Path, chance: random.Random, budget: Budget, *, writers: int = WRITERS) -> list[Line]:
    """Twelve processes of twelve instances sync into one gateway at once, and a foreigner writes it beside them."""
    line = Line(f"{writers} processes and a foreign writer at once, each", alone=0)
    budget.watch([line])
    with ConsulServer() as consul:
        sites = [Site(consul, folder / str(number), writer(number), instance=f"w{number}") for number in range(writers)]
        for site in sites:
            site.bench.policy["prune"] = {"max_count": 50, "max_fraction": 0.5}
        first = sites[0]
        await _learned(sites)
        writes = lost = 0
        for _ in budget.faults(ROUNDS):
            for site in sites:
                site.turn()
            began = time.monotonic()
            async with Foreigner(first, chance) as foreigner:
                children = [await site.start(consul.url) for site in sites]
                codes = await asyncio.gather(*(child.ended() for child in children))
            line.took(time.monotonic() - began)
            writes, lost = writes + foreigner.writes, lost + foreigner.lost
            wrong = first.differences() + first.left()
            for number, (site, code) in enumerate(zip(sites, codes, strict=True)):
                mine = [word for word in wrong if f"w{number}-" in word or f"/w{number}/" in word]
                clean = await site.sync()
                if code != 0:
                    mine.append(f"exit code {code}: {site.said[-300:]}")
                if not clean.fine or (code == 0 and clean.outcome != "unchanged"):
                    mine.append(f"the next run of it: {clean}")
                mine += site.history()
                line.injected += 1
                line.alone = (line.alone or 0) + (code == 0)
                line.converged += not mine and not wrong
                line.failures += [f"{line.fault}, w{number}: {word}" for word in mine]
            if wrong:
                line.failures.append(f"{line.fault}: {'; '.join(wrong)}")
            touched = first.touched()
            line.foreign += len(touched)
            line.failures += [f"{line.fault}: touched {name}" for name in touched]
            line.orphans += len(first.orphans())
        line.notes.append(f"the foreign writer wrote {writes} times and lost {lost} compare-and-sets")
    return [line]


async def _learned(sites: list[Site]) -> None:
    """Both states, written one process after the other: what is right."""
    first = sites[0]
    first.consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": "stranger-0", "SNI": "theirs"}])
    for state in (0, 1, 0):
        for site in sites:
            site.turn(state)
            clean = await site.sync()
            assert clean.fine, clean
        if len(first.wanted) < 2:
            first.wanted.append(first.owned())
    assert first.owned() == first.wanted[0]


# -- one that stood still -------------------------------------------------------------------------------------------------


def changes_something(request: Request) -> bool:
    """Whether a request may write: not a read in a transaction, and not a session's own."""
    if request.words.startswith("PUT /v1/txn"):
        verbs = {str(part.get("Verb", "")) for op in json.loads(request.body) for part in op.values()}
        return not all(verb.startswith(("get", "check-")) for verb in verbs)
    return request.method in ("PUT", "DELETE") and not request.target.startswith("/v1/session/")


class Standstill(FaultProxy):
    """A proxy that stops the process at its *nth* writing request, and holds everything that is on its way until `go`."""

    def __init__(self, upstream: str, nth: int) -> None:
        super().__init__(upstream)
        self.nth, self.count = nth, 0
        self.child: Child | None = None
        self.held, self.go = asyncio.Event(), asyncio.Event()
        self.struck = ""
        self.stale: list[tuple[str, bool]] = []
        """Writes that reached Consul after `go`, and whether they took effect."""

    async def _handle(
        self, request: Request, script: Script | None, upstream: Any, writer: asyncio.StreamWriter
    ) -> bool:
        del script
        writes = changes_something(request)
        self.count += writes
        if writes and self.count == self.nth:
            assert self.child
            self.child.signal(signal.SIGSTOP)
            self.struck = request.words
            self.held.set()
        late = self.held.is_set()
        if late:
            await self.go.wait()
        answer = await upstream.ask(request)
        if late and writes:
            self.stale.append((_kind(request), _took_effect(answer)))
        writer.write(answer)
        await writer.drain()
        return True


def _kind(request: Request) -> str:
    if request.words.startswith("PUT /v1/config"):
        return f"PUT {request.json['Kind']}"
    return request.words.partition("?")[0].removeprefix("/v1/") if request.method == "DELETE" else "a transaction"


def _took_effect(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return b" 200 " in head.split(b"\r\n")[0] + b" " and body.strip() != b"false"


async def stops(folder: Path, chance: random.Random, budget: Budget) -> list[Line]:
    """SIGSTOP of a writer past its session's TTL while another one takes over, and then SIGCONT."""
    lines = {
        elsewhere: Line(
            f"SIGSTOP past the TTL, taken over {'to another' if elsewhere else 'to the same'} commit, SIGCONT"
        )
        for elsewhere in (False, True)
    }
    budget.watch(lines.values())
    counts: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    with ExitStack() as stack:
        sites = []
        for number in range(min(ABREAST, budget.most or ABREAST)):
            consul = stack.enter_context(ConsulServer())
            sites.append(Site(consul, folder / str(number), mixed()))
            await sites[-1].prepare()
        free = list(sites)
        going: set[asyncio.Task[None]] = set()

        async def case(site: Site, number: int, nth: int) -> None:
            elsewhere = number // budget.parts % 2 == 1
            try:
                await _stopped(site, nth, lines[elsewhere], counts[elsewhere], elsewhere=elsewhere)
            finally:
                free.append(site)

        most = min(
            [await requests_of_a_run(sites[0], changes_something), await requests_of_a_run(sites[0], changes_something)]
        )
        for number in budget.faults(STOPS):
            while not free:
                await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(case(free.pop(), number, chance.randint(1, most)))
            going.add(task)
        await asyncio.gather(*going)
    for elsewhere, line in lines.items():
        seen = counts[elsewhere]
        kinds = ", ".join(f"{count} {word}" for word, count in sorted(seen.items()) if not word.startswith("="))
        line.notes.append(
            f"{line.fault}: of {seen['=sent']} writes that were on their way {seen['=effect']} took effect, at most {seen['=most']} of one "
            f"process ({kinds or 'none'}); {seen['=changed']} things in Consul were changed by it, and the next run put them right"
        )
    return list(lines.values())


async def _stopped(site: Site, nth: int, line: Line, counts: Counter[str], *, elsewhere: bool) -> None:
    site.turn()
    async with Standstill(site.consul.url, nth) as proxy:
        proxy.child = child = await site.start(proxy.url)
        ended = asyncio.ensure_future(child.ended())
        held = asyncio.ensure_future(proxy.held.wait())
        await asyncio.wait({ended, held}, return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        if ended.done():
            await judge(site, line, Struck("", ended.result()), f"write {nth}", elsewhere=elsewhere)
            return
        if elsewhere:
            site.turn()
        site.state = "another-host"
        began = time.monotonic()
        other = await site.sync()
        line.took(time.monotonic() - began)
        site.state = "state"
        # Also where there was nothing to take over, it is to wake up without its session.
        await until(lambda: not site.sessions(), 60)
        seen = [] if other.fine else [f"the one that took over: {other}"]
        seen += site.differences()
        before = site.consul.dump()
        child.signal(signal.SIGCONT)
        proxy.go.set()
        code = await ended
        after = site.consul.dump()
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    done = [kind for kind, effect in proxy.stale if effect]
    counts.update(done)
    counts["=sent"] += len(proxy.stale)
    counts["=effect"] += len(done)
    counts["=changed"] += len(changed)
    counts["=most"] = max(counts["=most"], len(done))
    struck = Struck(proxy.struck, None, f"woken, it ended with {code}; changed by it: {changed[:5]}")
    await judge(site, line, struck, f"write {nth}", elsewhere=False, seen=seen, timed=False)
