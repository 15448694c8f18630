"""The campaigns at the requests of one run: one fault at a time, each from an orderly state, and after each the oracle."""

from __future__ import annotations

import random
import time

from tests.campaign.blows import (
    RARE,
    At,
    Moment,
    Struck,
    answered_wrongly,
    killed_after,
    killed_at,
    requests_of_a_run,
    told_to_end,
)
from tests.campaign.judging import judge
from tests.campaign.lines import Budget, Line
from tests.campaign.site import BY_HAND, Site
from tests.servers.fault_proxy import Fault, Request

MANY = 200
"""Faults of a campaign that has no end by itself."""

TERMS = 50
ENDS_WITHIN = 10.0
"""Seconds in which a process that was told to end is gone."""


async def kill(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """SIGKILL at every request × {before, in, after}, in both directions of the change."""
    lines = {moment: Line(f"SIGKILL {moment.value} a request") for moment in Moment}
    budget.watch(lines.values())
    counts: dict[int, int] = {}
    for _ in range(2):
        most = await requests_of_a_run(site)
        counts[site.at] = most
    cases: dict[int, list[tuple[int, Moment, bool]]] = {}
    for to, most in counts.items():
        every = [(nth, moment) for nth in range(1, most + 1) for moment in Moment]
        cases[to] = [(*case, chance.random() < 0.5) for case in every[budget.part :: budget.parts]]
        chance.shuffle(cases[to])
    for _ in budget.faults(3 * sum(counts.values())):
        if not cases[1 - site.at]:  # the way there has no more; what is left is the way back
            site.turn()
            await site.sync()
        if not cases[1 - site.at]:
            break
        nth, moment, elsewhere = cases[1 - site.at].pop()
        site.turn()
        struck = await killed_at(site, nth, moment)
        seen = site.between()
        await judge(site, lines[moment], struck, f"request {nth}", elsewhere=elsewhere, seen=seen)
    return list(lines.values())


async def rare(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """SIGKILL at each of the requests that a run sends once, and the next run to the same commit and back."""
    lines = {name: Line(f"SIGKILL before, in and after {name}") for name in RARE}
    cases = [(name, moment, elsewhere) for name in RARE for moment in Moment for elsewhere in (False, True)]
    random.Random(1).shuffle(cases)  # the same for every part
    for number in budget.faults(len(cases)):
        name, moment, elsewhere = cases[number]
        site.turn()
        await judge(site, lines[name], await killed_at(site, name, moment), moment.value, elsewhere=elsewhere)
    del chance
    return list(lines.values())


FAULTS = (
    Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.THROTTLED, Fault.NO_LEADER, Fault.HALF,
    Fault.SLOW, Fault.HANG, Fault.HANG_AFTER,
)  # fmt: skip
ITSELF = 0.95
"""The share of wrong answers that a run has to survive without the next one."""


async def answers(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """One ambiguous, slow or refused answer at a random request; the run should go on by itself."""
    lines = {fault: Line(fault.name.lower().replace("_", " "), alone=0, must=ITSELF) for fault in FAULTS}
    budget.watch(lines.values())
    most = min([await requests_of_a_run(site), await requests_of_a_run(site)])
    for number in budget.faults(MANY):
        fault = FAULTS[number // budget.parts % len(FAULTS)]
        nth = chance.randint(1, most)
        site.turn()
        struck = await answered_wrongly(site, fault, nth, chance.uniform(0.3, 1.5))
        if not await judge(site, lines[fault], struck, f"request {nth}", elsewhere=False):
            budget.again()
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
        its = twice if number // budget.parts % 4 == 3 else line
        site.turn()
        struck = await killed_after(site, chance.uniform(0.05, longest))
        seen = site.between()
        if its is twice:
            await killed_after(site, chance.uniform(0.05, longest))
            seen += site.between()
        if not await judge(site, its, struck, "moment", elsewhere=chance.random() < 0.5, seen=seen):
            budget.again()
    return [line, twice]


async def terms(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """SIGTERM at a random request of `gitsync sync`, and of every third case of `gitsync run`; every fifth at one of RARE."""
    lines = {
        daemon: Line(f"SIGTERM at a random request of `gitsync {'run' if daemon else 'sync'}`")
        for daemon in (False, True)
    }
    budget.watch(lines.values())
    most = min([await requests_of_a_run(site), await requests_of_a_run(site)])
    for number in budget.faults(TERMS):
        daemon = number // budget.parts % 3 == 2
        mine = number // budget.parts
        nth = list(RARE)[mine // 5 % len(RARE)] if mine % 5 == 0 else chance.randint(1, most)
        site.turn()
        struck, seconds = await told_to_end(site, nth, daemon=daemon)
        seen = site.between()
        if seconds > ENDS_WITHIN:
            seen.append(f"it took {seconds:.1f} s to end")
        if struck.exit not in ((0,) if daemon else (0, 128 + 15)):
            seen.append(f"its exit code was {struck.exit}: {site.said[-300:]}")
        if left := site.orphans():
            seen.append(f"{len(left)} sessions were left")
        lines[daemon].notes.append(f"ended after {seconds:.2f} s")
        if not await judge(site, lines[daemon], struck, f"request {nth}", elsewhere=chance.random() < 0.5, seen=seen):
            budget.again()
    for line in lines.values():
        ends = sorted(float(note.split()[2]) for note in line.notes if note.startswith("ended after"))
        line.notes = [note for note in line.notes if not note.startswith("ended after")]
        if ends:
            line.notes.append(f"{line.fault}: gone after {ends[len(ends) // 2]:.2f} s, at most {ends[-1]:.2f} s")
    return list(lines.values())


# -- strangers at the same entries ----------------------------------------------------------------------------------------


def _writes(request: Request) -> bool:
    return request.words.startswith("PUT /v1/config")


class Stranger:
    """Somebody who writes the entry that a run is about to write, or has just written."""

    def __init__(self, site: Site, number: int) -> None:
        self.site, self.number = site, number
        self.did = ""

    def beside(self, request: Request) -> None:
        """Before the run's own write: a row of theirs in a gateway, a mark of theirs in an entry."""
        kind, name = _named(request)
        if kind == "terminating-gateway":
            guest, guests = f"guest-{self.number}", self.site.guests.setdefault(name, set())
            for row in sorted(guests):
                self.site.row(name, row, present=False)
            guests.clear()
            self.site.row(name, guest, present=True)
            guests.add(guest)
            self.did = f"{guest} in {name}"
        elif (entry := self.site.consul.entry(kind, name)) and (entry.get("Meta") or {}).get("gitsync-owner"):
            mark = f"{BY_HAND}-{self.number}"
            kept = {key: value for key, value in entry["Meta"].items() if not key.startswith(BY_HAND)}
            self.site.rewrite(kind, name, {**entry, "Meta": {**kept, mark: "yes"}})
            self.site.marked[kind, name] = mark
            self.did = f"{mark} in {kind}/{name}"

    def over(self, request: Request) -> None:
        """After it: the run's own field or row says something else now."""
        kind, name = _named(request)
        entry = self.site.consul.entry(kind, name)
        if not entry:
            return
        changed = dict(entry)
        if kind == "terminating-gateway":
            rows = [dict(row) for row in entry.get("Services") or ()]
            # A row that the run has just made is, for want of a mark, theirs as soon as it says something else.
            before = self.site.wanted[1 - self.site.at].get(f"terminating-gateway/{name}") or {}
            known = {row["Name"] for row in before.get("Services") or ()}
            ours = [row for row in rows if row["Name"] in known and not row["Name"].startswith(("stranger-", "guest-"))]
            if not ours:
                return
            ours[self.number % len(ours)]["SNI"] = "overwritten.example.org"
            changed["Services"] = rows
        elif kind == "service-resolver":
            changed["ConnectTimeout"] = "9s"
        elif kind == "service-defaults":
            changed["Meta"] = {**(entry.get("Meta") or {}), "routing-host": "overwritten"}
        else:
            return
        self.site.rewrite(kind, name, changed)
        self.did = f"{kind}/{name} overwritten"


def _named(request: Request) -> tuple[str, str]:
    body = request.json
    return str(body["Kind"]), str(body["Name"])


async def strangers(site: Site, chance: random.Random, budget: Budget) -> list[Line]:
    """Somebody else writes the same entry or gateway a moment before a run does, or a moment after."""
    lines = {
        "beside": Line("a stranger writes the same entry just before the run does", alone=0, must=ITSELF),
        "over": Line("a stranger overwrites what the run has just written", alone=0, must=ITSELF),
    }
    budget.watch(lines.values())
    most = min([await requests_of_a_run(site, _writes), await requests_of_a_run(site, _writes)])
    for number in budget.faults(MANY):
        how = ("beside", "over")[number // budget.parts % 2]
        nth = chance.randint(1, most)
        stranger = Stranger(site, number)
        site.turn()
        does = stranger.beside if how == "beside" else stranger.over
        async with At(site.consul.url, nth, of=_writes, **{"then" if how == "beside" else "later": does}) as proxy:
            code = await (await site.start(proxy.url)).ended()
        struck = Struck(proxy.struck if stranger.did else "", code, stranger.did)
        if not await judge(site, lines[how], struck, f"write {nth}", elsewhere=False):
            budget.again()
    return list(lines.values())
