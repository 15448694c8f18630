"""The campaigns: one fault at a time, each from an orderly state, and after each one more clean run and the oracle."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from multiprocessing.process import BaseProcess

from gitsync.model.errors import GitsyncError
from gitsync.model.run import RunOutcome, RunReport
from tests.campaign.site import Site
from tests.campaign.victim import started
from tests.servers.fault_proxy import Fault, FaultProxy, Request, Script

LONGEST = 120.0
"""Seconds that one run may take, whatever is done to it."""

MANY = 200
"""Faults of a campaign that has no end by itself."""

RARE = {
    "the session": ("PUT /v1/session/create", b""),
    "the holder record": ("PUT /v1/txn", b"/holders/"),
    "the end of the session": ("PUT /v1/session/destroy", b""),
    "the applied revision": ("PUT /v1/txn", b"/revision"),
}
"""Requests that a run sends once, so that chance finds them last: how they begin, and what is in their body."""


class Moment(Enum):
    """When a process is killed, as seen from one of its requests."""

    BEFORE = "before"  # Consul never sees it
    IN = "in"  # Consul does it, and the answer is withheld
    AFTER = "after"  # the answer was sent


@dataclass(slots=True)
class Line:
    """One line of the table. alone: faults that the run itself survived; orphans: sessions left to their TTL."""

    fault: str
    injected: int = 0
    missed: int = 0
    alone: int = 0
    converged: int = 0
    foreign: int = 0
    orphans: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
        self.victim: BaseProcess | None = None
        self.count = 0
        self.struck = ""
        self.body = ""

    async def _handle(self, request: Request, script: Script | None, upstream, writer) -> bool:
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
        if isinstance(self.nth, int):
            return self.count == self.nth
        words, within = RARE[self.nth]
        return request.words.startswith(words) and within in request.body

    def _kill(self) -> None:
        assert self.victim
        self.victim.kill()


async def ended(process: BaseProcess) -> int | None:
    """Its exit code, None if it was killed. One that does not end is killed, and has the exit code -1."""
    await asyncio.to_thread(process.join, LONGEST)
    late = process.is_alive()
    if late:
        process.kill()
        await asyncio.to_thread(process.join)
    code = process.exitcode
    process.close()
    return -1 if late else None if code == -signal.SIGKILL else code


async def requests_of_a_run(site: Site) -> int:
    """Turn Git, sync in a process of its own, and count what it asked of Consul."""
    site.turn()
    async with FaultProxy(site.consul.url) as proxy:
        process = started(site.use(proxy.url), site.bench.name, site.report)
        code = await ended(process)
        assert code == 0, site.report.read_text()
        return len(proxy.requests)


async def killed_at(site: Site, nth: int | str, moment: Moment) -> Struck:
    """A run that is killed at its *nth* request, or at one of RARE."""
    async with Guillotine(site.consul.url, nth, moment) as proxy:
        proxy.victim = process = started(site.use(proxy.url), site.bench.name, site.report)
        code = await ended(process)
        return Struck(proxy.struck, code, proxy.body)


async def killed_after(site: Site, seconds: float) -> Struck:
    """A run that is killed so long after its start."""
    async with FaultProxy(site.consul.url) as proxy:
        process = started(site.use(proxy.url), site.bench.name, site.report)
        joined = asyncio.create_task(ended(process))
        pid = process.pid
        await asyncio.wait({joined}, timeout=seconds)
        if not joined.done() and pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = await joined
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
        code = await ended(started(site.use(proxy.url), site.bench.name, site.report))
        it = hit[nth - 1] if script.hits else None
        return Struck(it.words if it else "", code, it.body.decode(errors="replace") if it else "")


async def judge(site: Site, line: Line, struck: Struck, what: str, *, elsewhere: bool) -> None:
    """One more clean run, to the same commit or back to the one before, and the oracle."""
    if elsewhere:
        site.turn()
    began = time.monotonic()
    try:
        report: RunReport | GitsyncError = await site.sync()
    except GitsyncError as error:
        report = error
    spent = time.monotonic() - began
    line.seconds += spent
    line.slowest = max(line.slowest, spent)
    wrong = await site.wrong(report)
    alone = struck.exit == 0
    if alone and not elsewhere and isinstance(report, RunReport) and report.outcome is not RunOutcome.UNCHANGED:
        wrong.append(f"the run had exit code 0, and the next one found something to do: {report.outcome}")
    orphans = site.orphans()
    touched = site.touched()
    if not struck.request and struck.exit is not None:
        line.missed += 1  # the run ended before; the oracle held all the same, or says so
    else:
        line.injected += 1
        line.orphans += len(orphans)
        line.alone += alone
        line.converged += not wrong
    line.foreign += len(touched)
    if orphans:
        line.notes.append(f"{line.fault}, {what}: a session that ends by its TTL ({struck})")
    if wrong or touched:
        words = "; ".join([*wrong, *(f"touched {name}" for name in touched)])
        back = "then Git went back" if elsewhere else "then the same commit"
        line.failures.append(f"{line.fault}, {what} ({struck}), {back}: {words}")
        # What was left by this fault is not to be counted for the next one.
        for _ in range(2):
            site.turn()
            await site.sync()
    elif struck.exit not in (0, None) and site.report.exists():
        line.notes.append(
            f"healed by the next run: {line.fault}, {what} ({struck}): "
            f"exit {struck.exit}: {site.report.read_text()[:300]}"
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of a campaign is run. most: faults (0: all of them); until: monotonic seconds (0: never)."""

    most: int = 0
    until: float = 0.0

    def faults(self, of: int) -> Iterator[int]:
        """0, 1, … as long as there is time."""
        for number in range(min(self.most or of, of)):
            if self.until and time.monotonic() > self.until:
                break
            yield number


Campaign = Callable[[Site, random.Random, Budget], Awaitable[list[Line]]]


async def kill(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """SIGKILL at every request × {before, in, after}, in both directions of the change."""
    lines = {moment: Line(f"SIGKILL {moment.value} a request") for moment in Moment}
    counts = dict.fromkeys((1, 0), 0)
    for _ in range(2):
        counts[1 - site.at] = await requests_of_a_run(site)
    cases = {
        to: [(nth, moment, chance.random() < 0.5) for nth in range(1, most + 1) for moment in Moment]
        for to, most in counts.items()
    }
    for each in cases.values():
        chance.shuffle(each)
    total = sum(map(len, cases.values()))
    for line in lines.values():
        line.fault += f" ({counts[1]} + {counts[0]} of them)"
    for _ in budget.faults(total):
        if not cases[1 - site.at]:
            site.turn()
            await site.sync()
        if not cases[1 - site.at]:
            break
        nth, moment, elsewhere = cases[1 - site.at].pop()
        site.turn()
        struck = await killed_at(site, nth, moment)
        await judge(site, lines[moment], struck, f"request {nth}", elsewhere=elsewhere)
    return list(lines.values())


async def rare(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """SIGKILL at each of the requests that a run sends once, and the next run to the same commit and back."""
    lines = {name: Line(f"SIGKILL before, in and after {name}") for name in RARE}
    cases = [(name, moment, elsewhere) for name in RARE for moment in Moment for elsewhere in (False, True)]
    chance.shuffle(cases)
    for number in budget.faults(len(cases)):
        name, moment, elsewhere = cases[number]
        site.turn()
        await judge(site, lines[name], await killed_at(site, name, moment), moment.value, elsewhere=elsewhere)
    return list(lines.values())


FAULTS = (
    Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.THROTTLED, Fault.NO_LEADER, Fault.HALF,
    Fault.SLOW, Fault.HANG, Fault.HANG_AFTER,
)  # fmt: skip


async def answers(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """One ambiguous, slow or refused answer at a random request; the run should go on by itself."""
    lines = {fault: Line(fault.name.lower().replace("_", " ")) for fault in FAULTS}
    most = min([await requests_of_a_run(site), await requests_of_a_run(site)])
    for number in budget.faults(MANY):
        fault = FAULTS[number % len(FAULTS)]
        nth = chance.randint(1, most)
        site.turn()
        struck = await answered_wrongly(site, fault, nth, chance.uniform(0.3, 1.5))
        await judge(site, lines[fault], struck, f"request {nth}", elsewhere=False)
    return list(lines.values())


async def moments(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """SIGKILL at random moments of a sync of many services; of every fourth, the recovery is killed as well."""
    line = Line("SIGKILL at a random moment")
    twice = Line("SIGKILL at a random moment, and of the recovery")
    longest = 0.0
    for _ in range(2):  # the second is the one that counts: the first starts what starts processes
        began = time.monotonic()
        await requests_of_a_run(site)
        longest = time.monotonic() - began
    for number in budget.faults(MANY):
        its = twice if number % 4 == 3 else line
        site.turn()
        struck = await killed_after(site, chance.uniform(0.05, longest))
        if its is twice:
            await killed_after(site, chance.uniform(0.05, longest))
        await judge(site, its, struck, "moment", elsewhere=chance.random() < 0.5)
    return [line, twice]
