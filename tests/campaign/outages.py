"""Campaigns of a Consul that goes away under the daemon: restarted, hung, without a leader, restored from an older snapshot."""

from __future__ import annotations

import asyncio
import http.client
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.campaign.blows import At, requests_of_a_run, until
from tests.campaign.lines import Budget, Line
from tests.campaign.nursery import Child
from tests.campaign.site import Site
from tests.campaign.worlds import mixed
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Request

OUTAGES = 30
HUNG, LEADERLESS = 10.0, 20.0
"""Seconds."""
PATIENCE = 120.0
"""Seconds in which the daemon has to have put all in order by itself."""


def snapshot(consul: ConsulServer) -> bytes:
    """Everything that Consul has, as it saves it."""
    return _raw(consul, "GET", None)


def restore(consul: ConsulServer, saved: bytes) -> None:
    _raw(consul, "PUT", saved)


def _raw(consul: ConsulServer, method: str, body: bytes | None) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(consul.url).netloc, timeout=60)
    try:
        connection.request(method, "/v1/snapshot", body)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data[:300]
        return data
    finally:
        connection.close()


class Place:
    """A durable Consul, alone or with two more servers, a site, and the daemon that keeps it in order."""

    def __init__(self, site: Site, others: list[ConsulServer]) -> None:
        self.site, self.others = site, others
        self.most = 1
        self.deletes: list[str] = []

    async def prepare(self) -> None:
        await self.site.prepare()
        self.most = min([await requests_of_a_run(self.site), await requests_of_a_run(self.site)])


@asynccontextmanager
async def durable(folder: Path, servers: int) -> AsyncIterator[Place]:
    """A Place with so many servers; gitsync and all else ask the first."""
    with ExitStack() as stack:
        first = stack.enter_context(ConsulServer(durable=True))
        others = []
        for _ in range(servers - 1):
            join = [f"127.0.0.1:{first._ports['serf_lan']}"]  # as its WAN peers do
            config = {"bootstrap_expect": 0, "retry_join": join, "retry_interval": "1s"}
            others.append(stack.enter_context(ConsulServer(durable=True, config=config)))
        if others:
            await until(lambda: _voters(first) == servers, 60)
        place = Place(Site(first, folder, mixed(), timeout="5s"), others)
        await place.prepare()
        yield place


def _voters(server: ConsulServer) -> int:
    return sum(each["Voter"] for each in server.get("/v1/operator/raft/configuration")["Servers"])


class Watched(At):
    """A proxy that also notes what was deleted."""

    @property
    def deleted(self) -> list[str]:
        return [each.target for each in self.requests if each.method == "DELETE"]


Outage = Callable[[Place], Awaitable[None]]


async def _restarted(place: Place) -> None:
    await asyncio.to_thread(place.site.consul.restart)


async def _power_cut(place: Place) -> None:
    place.site.consul.kill()
    await asyncio.sleep(1)  # gitsync sees a Consul that is not there
    await asyncio.to_thread(place.site.consul.start)


async def _hung(place: Place) -> None:
    place.site.consul.pause()
    await asyncio.sleep(HUNG)
    place.site.consul.resume()


async def _leaderless(place: Place) -> None:
    for each in place.others:
        each.pause()
    await asyncio.sleep(LEADERLESS)
    for each in place.others:
        each.resume()


OUTAGE: dict[str, tuple[Outage, int]] = {
    "Consul restarted in the middle of a run": (_restarted, 1),
    "Consul killed in the middle of a run": (_power_cut, 1),
    "Consul hung for 10 s in the middle of a run": (_hung, 1),
    "no leader for 20 s in the middle of a run": (_leaderless, 3),
}
BEFORE, MIDDLE = (
    "Consul restored from a snapshot from before the last commit", "Consul restored from a snapshot from the middle of a run",
)  # fmt: skip


async def consul(folder: Path, chance: random.Random, budget: Budget) -> list[Line]:
    """Consul goes away, or back in time, under a daemon that has to put it in order by itself."""
    lines = {name: Line(name) for name in (*OUTAGE, BEFORE, MIDDLE)}
    names = list(lines)
    budget.watch(lines.values())
    cases = {name: [number for number in budget_numbers(budget, OUTAGES) if number // budget.parts % len(names) == at]
             for at, name in enumerate(names)}  # fmt: skip
    left = budget.faults(OUTAGES)
    for servers, its in (
        (1, [name for name in names if OUTAGE.get(name, (None, 1))[1] == 1]),
        (3, [_name_of(_leaderless)]),
    ):
        if not any(cases[name] for name in its):
            continue
        async with durable(folder / str(servers), servers) as place:
            rounds = max(len(cases[name]) for name in its)
            for turn in range(rounds):
                for name in its:
                    if turn < len(cases[name]) and next(left, None) is not None:
                        await _case(place, lines[name], chance.randint(1, place.most))
    return list(lines.values())


def budget_numbers(budget: Budget, of: int) -> range:
    """The numbers that `budget.faults` would give, with no end but the limit's."""
    return range(budget.part, min(budget.most or of, of), budget.parts)


def _name_of(outage: Outage) -> str:
    return next(name for name, (each, _) in OUTAGE.items() if each is outage)


async def _case(place: Place, line: Line, nth: int) -> None:
    """A daemon at work, and one outage at its *nth* request; after it, nobody helps."""
    site = place.site
    hit = asyncio.Event()
    saved: list[bytes] = []

    def at(_: Request) -> None:
        if line.fault == MIDDLE:
            saved.append(snapshot(site.consul))
        hit.set()

    if line.fault == BEFORE:
        saved.append(snapshot(site.consul))
    before = site.at
    site.turn()
    changed = {name for name, _ in set(site.worlds[0].items()) ^ set(site.worlds[1].items())}
    async with Watched(site.consul.url, nth, then=at) as proxy:
        child = await site.daemon(proxy.url)
        wrong = []
        try:
            if line.fault in OUTAGE:
                await _within(hit.is_set, child, 30)
                await OUTAGE[line.fault][0](place)
            else:
                await _within(lambda: hit.is_set() and not _unready(site), child, 60)
                restore(site.consul, saved[0])
                child.signal(signal.SIGHUP)
            began = time.monotonic()
            await _within(lambda: not _unready(site), child, PATIENCE)
            line.took(time.monotonic() - began)
        except TimeoutError:
            wrong.append(f"not in order after {PATIENCE:.0f} s: {_unready(site)}; {_last(site.said)}")
        except Ended as error:
            wrong.append(str(error))
        child.signal(signal.SIGTERM)
        if (code := await child.ended()) != 0:
            wrong.append(f"the daemon ended with {code}: {_last(site.said)}")
        undue = [target for target in proxy.deleted if target.split("?")[0].split("/")[-1] not in changed]
    if undue:
        wrong.append(f"deleted what Git did not change: {undue[:5]}")
    await _closed(site, line, wrong, f"request {nth} ({proxy.struck}), from state {before}")


async def _closed(site: Site, line: Line, wrong: list[str], what: str) -> None:
    """What is left after the daemon's end, and one line more."""
    line.orphans += len(site.orphans())
    clean = await site.sync()
    wrong += site.wrong(clean)
    if clean.outcome != "unchanged":
        wrong.append(f"the daemon had left something to do: {clean}")
    touched = site.touched()
    line.injected += 1
    line.converged += not wrong
    line.foreign += len(touched)
    if wrong or touched:
        words = "; ".join([*wrong, *(f"touched {name}" for name in touched)])
        line.failures.append(f"{line.fault}, {what}: {words}")
        await site.mended()
        site.touched()


class Ended(Exception):
    """The daemon is gone."""


async def _within(condition: Callable[[], bool], child: Child, seconds: float) -> None:
    """Wait for *condition*. Raises TimeoutError, or Ended if the daemon ended by itself."""
    await until(lambda: condition() or child.gone, seconds)
    if child.gone:
        raise Ended("the daemon ended by itself")


def _unready(site: Site) -> list[str]:
    """What is not yet as Git wants it; a Consul that does not answer is not."""
    try:
        return site.differences() + site.left()
    except (OSError, AssertionError, http.client.HTTPException) as error:  # Refused is an AssertionError
        return [f"Consul does not answer: {error}"]


def _last(said: str) -> str:
    return said[-600:].replace("\n", " ")
