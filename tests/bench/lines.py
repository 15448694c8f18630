"""The lines of the bench, in the order in which one world can serve them."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitsync.model.run import Outcome, RunOutcome
from tests.bench import memory
from tests.bench.ceilings import Bodies, Spent, bare_gateway, bare_loop, bare_prune, bare_reads, bare_writes, bodies_of
from tests.bench.table import Better, Line
from tests.bench.world import Resident, Run, Specs, in_turn, one_gateway, resident
from tests.servers.consul import ConsulServer
from tests.servers.git_hosts import GitHttps

KEYS = ("first", "cli", "kv", "nochange", "same", "file", "prune", "gateway", "memory")
SAMPLE = 40


def say(text: str) -> None:
    """What is done now, for whoever waits."""
    print(f"  … {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Plan:
    """What is measured: how many services, how often (lines that need a fresh Consul; all the others), and which lines."""

    services: int
    repeat: int
    light: int
    only: frozenset[str]
    binary: str
    folder: Path
    durable: bool = True
    lines: list[Line] = field(default_factory=list)

    def wants(self, *keys: str) -> bool:
        return not self.only.isdisjoint(keys)

    def line(self, key: str, title: str, items: float, unit: str, better: Better, *limits: float) -> Line:
        """A new line. limits: must and aim."""
        must, aim = limits or (None, None)
        line = Line(key, title, self.services, items, unit, better, must, aim)
        self.lines.append(line)
        return line

    @property
    def measured(self) -> list[Line]:
        """The wanted lines of which there are figures."""
        return [line for line in self.lines if line.key.partition("-")[0] in self.only and line.ours]

    def consul(self) -> ConsulServer:
        """A fresh Consul, with a data folder unless the bench is only tried."""
        return ConsulServer(self.binary, durable=self.durable)


async def measure(plan: Plan) -> None:
    """Every wanted line, into `plan.lines`."""
    root = plan.folder / "repositories"
    root.mkdir()
    with GitHttps(root) as host:
        if plan.wants("first", "cli", "kv", "nochange", "same", "file", "prune"):
            await mixed_world(plan, host)
        if plan.wants("gateway"):
            await gateway_world(plan, host)
        if plan.wants("memory"):
            await peak_memory(plan, host)


# -- one world for most -------------------------------------------------------------------------------------------------


async def mixed_world(plan: Plan, host: GitHttps) -> None:
    say(f"{plan.services:,} specs of mixed kinds")
    specs = Specs(plan.folder / "mixed", host, plan.services)
    async with AsyncExitStack() as kept:
        consul, bare, folder = await first_sync(plan, specs, kept)
        if not plan.wants("nochange", "same", "file", "prune"):
            return
        async with resident(consul, folder, specs) as gitsync:
            await no_change(plan, specs, consul, gitsync)
            if plan.wants("file"):
                await one_file(plan, specs, gitsync)
            if plan.wants("prune"):
                await prune(plan, specs, gitsync, bare)


async def first_sync(plan: Plan, specs: Specs, kept: AsyncExitStack) -> tuple[ConsulServer, ConsulServer, Path]:
    """The first sync and its ceilings, each on a fresh Consul. The last two Consuls stay, full as they are."""
    timed = plan.wants("first", "cli", "kv")
    repeat = plan.repeat if timed else 1
    runs: list[Run] = []
    spent: list[Spent] = []
    loops: list[float] = []
    bodies: Bodies | None = None

    async def ours(consul: ConsulServer, folder: Path) -> None:
        say(f"first sync {len(runs) + 1} of {repeat}")
        async with resident(consul, folder, specs) as gitsync:
            run = await gitsync.run(RunOutcome.APPLIED)
        assert run.report.counts == {Outcome.APPLIED: plan.services}, run.report.counts
        runs.append(run)

    async def theirs(fresh: ConsulServer, bodies: Bodies) -> None:
        if plan.wants("cli"):
            say("`consul config write`, one after the other")
            loops.append(bare_loop(fresh, bodies, min(SAMPLE, plan.services)))
        if timed or plan.wants("prune"):
            say("the same bodies by aiohttp alone")
            spent.append(await bare_writes(fresh.url, bodies))

    for number in range(repeat):
        async with AsyncExitStack() as servers:
            consul, fresh = servers.enter_context(plan.consul()), servers.enter_context(plan.consul())
            folder = plan.folder / f"first-{number}"
            folder.mkdir()
            # What disturbs the machine disturbs both: the order changes.
            if number % 2 and bodies:
                await theirs(fresh, bodies)
                await ours(consul, folder)
            else:
                await ours(consul, folder)
                bodies = bodies_of(runs[-1].sent)
                await theirs(fresh, bodies)
            runs[-1].sent.clear()  # a large heap makes the collector's rounds in the next run dearer
            if number == repeat - 1:
                kept.push_async_callback(servers.pop_all().aclose)
    assert bodies
    if timed:
        first_lines(plan, bodies, runs, spent, loops)
    return consul, fresh, folder


def first_lines(plan: Plan, bodies: Bodies, runs: list[Run], spent: list[Spent], loops: list[float]) -> None:
    entries = bodies.entry_count
    first = plan.line("first", "first sync / config entries alone", entries, "entries", Better.SHARE, 0.60, 0.75)
    whole = plan.line("first-all", "first sync / all that it wrote", plan.services, "", Better.SHARE, 0.60, 0.75)
    records = plan.line("kv", "records of a first sync", bodies.record_count, "records", Better.SHARE, 0.5, 0.7)
    for run, bare in zip(runs, spent, strict=True):
        first.add(run.seconds, bare.entries)
        whole.add(run.seconds, bare.everything)
        records.add(run.steps["record"], bare.records)
    if loops:
        loop = plan.line("cli", "first sync / `consul config write`", entries, "entries", Better.FASTER, 20, 40)
        for run, each in zip(runs, loops, strict=True):
            loop.add(run.seconds, each * entries)
    last, bare = runs[-1], spent[-1]
    bound = bare.entries / bare.everything
    first.notes.append(f"with all else that a sync writes, one that costs nothing itself would reach {bound:.2f} here")
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in last.steps.items())
    first.notes.append(f"the last run: {last.seconds:.2f} s, {last.cpu:.2f} s of CPU; {steps}")
    first.notes.append(
        f"bare: {entries:,} entries {bare.entries:.2f} s, {len(bodies.catalog):,} nodes {bare.catalog:.2f} s, "
        f"{len(bodies.intents):,} transactions before the writes {bare.intents:.2f} s, {len(bodies.records):,} after {bare.records:.2f} s"
    )


async def no_change(plan: Plan, specs: Specs, consul: ConsulServer, gitsync: Resident) -> None:
    """The first run of this process reads all there is: the same requests are the ceiling."""
    cold = await gitsync.run(RunOutcome.UNCHANGED)
    if not plan.wants("nochange", "same"):
        return
    reads = [each for each in cold.sent if not each.writes]
    say("no change")
    fresh = plan.line("nochange-cold", "no change, first run of a process", plan.services, "", Better.TIMES)
    fresh.add(cold.seconds, (await bare_reads(consul.url, reads))[0])
    line = plan.line("nochange", "no change, a new commit", plan.services, "", Better.TIMES, 2.0, 1.5)
    size, runs = 0, []

    async def ours() -> float:
        runs.append(await gitsync.run(RunOutcome.UNCHANGED))
        return runs[-1].seconds

    async def bare() -> float:
        nonlocal size
        seconds, size = await bare_reads(consul.url, reads)
        return seconds

    for number in range(plan.light):
        specs.touch(f"reading {number}")
        line.add(*await in_turn(number, ours, bare))
        wrote = [each for each in runs[-1].sent if each.writes and not each.own]
        assert not wrote, f"a run without changes wrote {wrote[:3]}"
    last = runs[-1]
    own = sum(each.writes for each in last.sent)
    steps = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in last.steps.items())
    line.notes.append(
        f"0 writes but {own} of the applied revision; {len(last.sent) - own} reads, the ceiling {len(reads)} of {size / 1e6:.1f} MB; "
        f"{last.cpu:.2f} s of CPU; {steps}"
    )
    wall = plan.line("same", "no change, the same commit", plan.services, "", Better.TIMES)
    cpu = plan.line("same-cpu", "the same in CPU seconds", plan.services, "", Better.TIMES)
    for _ in range(plan.light):
        run = await gitsync.run(RunOutcome.UNCHANGED)
        assert not any(each.writes for each in run.sent)
        wall.add(run.seconds)
        cpu.add(run.cpu)
    wall.notes.append(f"0 writes, {len(run.sent)} reads")


async def one_file(plan: Plan, specs: Specs, gitsync: Resident) -> None:
    say("one changed file")
    line = plan.line("file", "one changed file, trigger to verified", 1, "", Better.TIMES, 2.0, 1.3)
    whole = plan.line("file-run", "the same to the end of the run", 1, "", Better.TIMES)
    fetch = specs.clone(plan.folder / "clone.git")
    runs = []

    async def ours() -> float:
        runs.append(await gitsync.run(RunOutcome.APPLIED))
        return runs[-1].verified

    async def bare() -> float:
        return fetch()

    for number in range(plan.light):
        specs.write(2 * number, changed=20 + number)  # even ones are catalog_external
        specs.pushed(f"a timeout {number}")
        rested = await gitsync.rest()
        verified, fetched = await in_turn(number, ours, bare)
        line.add(verified, fetched)
        whole.add(runs[-1].seconds, fetched)
        assert runs[-1].report.counts[Outcome.APPLIED] == 1, runs[-1].report.counts
    last = runs[-1]
    steps = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in last.steps.items())
    line.notes.append(
        f"{len(last.sent)} requests, {last.cpu:.2f} s of CPU; {steps}. Before each, what the last one moved was read again, "
        f"as the daemon does while nothing waits: {rested:.2f} s of CPU"
    )


async def prune(plan: Plan, specs: Specs, gitsync: Resident, bare: ConsulServer) -> None:
    tenth = plan.services // 10
    say(f"prune of {tenth:,}")
    line = whole = None
    for number in range(plan.repeat):
        end = plan.services - number * tenth
        for each in range(end - tenth, end):
            specs.path(each).unlink()
        specs.pushed(f"a tenth goes {number}")
        await gitsync.rest()
        run = await gitsync.run(RunOutcome.APPLIED)
        assert run.report.counts[Outcome.APPLIED] == tenth, run.report.counts
        entries, everything, count = await bare_prune(bare.url, run.sent)
        if not (line and whole):
            title = f"prune of {tenth:,}"
            line = plan.line("prune", f"{title} / GET and DELETE", count, "entries", Better.SHARE, 0.5, 0.7)
            whole = plan.line("prune-all", f"{title} / all that it wrote", tenth, "", Better.SHARE, 0.5, 0.7)
        line.add(run.seconds, entries)
        whole.add(run.seconds, everything)
        steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in run.steps.items())
        line.notes[:] = [f"{run.cpu:.2f} s of CPU; {steps}"]


# -- worlds of their own ------------------------------------------------------------------------------------------------


async def gateway_world(plan: Plan, host: GitHttps) -> None:
    """All services on one gateway. A stranger changes a row, and gitsync puts it back: a read and a write of the gateway each."""
    say(f"a gateway of {plan.services:,} rows")
    specs = Specs(plan.folder / "gateway", host, plan.services, one_gateway)
    folder = plan.folder / "gateway-state"
    folder.mkdir()
    step = plan.line("gateway", "one row of a gateway: its step", 1, "", Better.TIMES, 1.5, 1.2)
    whole = plan.line("gateway-run", "one row by a commit: the whole run", 1, "", Better.TIMES)

    def change(body: dict[str, Any]) -> None:
        body["Services"][-1]["SNI"] = "elsewhere.example.org"

    with plan.consul() as consul:
        async with resident(consul, folder, specs) as gitsync:
            await gitsync.run(RunOutcome.APPLIED)
            for number in range(plan.light):
                bare = await bare_gateway(consul.url, "tgw", change)
                repair = await gitsync.run(RunOutcome.APPLIED)
                wrote = [each for each in repair.sent if each.writes and each.path.startswith("/v1/config")]
                assert len(wrote) == 1, wrote
                step.add(repair.steps["write"], bare)
                # By a commit it is a write of the service-defaults, too: its Meta says the same as the row.
                specs.write(number, changed=1 + number)
                specs.pushed(f"a row {number}")
                await gitsync.rest()
                run = await gitsync.run(RunOutcome.APPLIED)
                assert run.report.counts[Outcome.APPLIED] == 1, run.report.counts
                whole.add(run.seconds, bare)
            steps = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in run.steps.items())
            whole.notes.append(f"{len(run.sent)} requests, {run.cpu:.2f} s of CPU; {steps}")


async def peak_memory(plan: Plan, host: GitHttps) -> None:
    """A process of its own: a first sync, nothing, one changed file."""
    say("memory of a process of its own")
    specs = Specs(plan.folder / "memory", host, plan.services)
    line = plan.line("memory", "peak memory after three runs", plan.services, "MB", Better.LESS, 512, 256)
    for number in range(plan.repeat):
        folder = plan.folder / f"memory-{number}"
        folder.mkdir()
        with plan.consul() as consul:
            peaks = await memory.three_runs(consul, folder, specs, changed=30 + number)
        line.add(peaks[-1])
    line.notes.append("after each run: " + ", ".join(f"{peak:.0f} MB" for peak in peaks))
