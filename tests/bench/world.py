"""What is measured on: a repository of N specs behind a real HTTP host, a Consul with a data folder, and gitsync between them."""

from __future__ import annotations

import gc
import resource
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gitsync.model.run import RunOutcome, RunReport
from gitsync.model.sync import Options
from gitsync.wire import House
from tests.bench.recording import Sent, Watch, recorded
from tests.servers.consul import ConsulServer
from tests.servers.git import ENV
from tests.servers.git_hosts import GitHttps
from tests.workbench import Workbench, external, static

GATEWAYS = 4
ROUTER = "router: { prefix: /v1/, retries: { attempts: 2 } }"


def mixed(number: int, changed: int = 0) -> str:
    """A spec of mixed kinds: a third with routers, both strategies, four gateways. changed: another number, another timeout."""
    name = f"service-{number}"
    host = f"h{number}.example.org" if number % 2 else f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
    text = static(name, host) if number % 2 else external(name, host)
    if changed:
        text = text.replace("protocol: http", f"protocol: http, timeouts: {{ connect: {changed}s }}")
    if number % 3 == 0:
        text = text.rstrip("\n") + f"\n  {ROUTER}\n"
    return text.replace("service: tgw }", f"service: tgw-{number % GATEWAYS} }}")


def one_gateway(number: int, changed: int = 0) -> str:
    """A spec whose row stands on the one gateway `tgw`. changed: another number, another SNI, which stands in the row alone."""
    host = f"h{number}.example.org"
    sni = f"c{changed}.example.org" if changed else host
    return static(f"service-{number}", host).replace(
        "port: 80 }", f"port: 443, tls: {{ sni: {sni}, ca_file: /etc/ca.pem }} }}"
    )


class Specs:
    """The specs: a working copy at *folder*, and its twin `url` behind HTTP, as services' teams would push to it."""

    def __init__(self, folder: Path, host: GitHttps, count: int, text: Callable[..., str] = mixed) -> None:
        self.count, self.text, self.repo = count, text, folder / "specs"
        name = f"{folder.name}.git"
        self.url = f"http://127.0.0.1:{host._backend}/{name}"
        self.repo.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("init", "-q", "--bare", "-b", "main", str(host.root / name))
        self.git("remote", "add", "origin", str(host.root / name))
        for number in range(count):
            self.write(number)
        self.pushed("everything")

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.repo), "-c", "gc.auto=0", *arguments]
        return subprocess.run(command, env=ENV, capture_output=True, text=True, check=True).stdout.strip()

    def path(self, number: int) -> Path:
        return self.repo / "services" / str(number // 500) / f"service-{number}.yaml"

    def write(self, number: int, changed: int = 0) -> None:
        self.path(number).parent.mkdir(parents=True, exist_ok=True)
        self.path(number).write_text(self.text(number, changed))

    def touch(self, word: str) -> str:
        """A commit that changes no spec."""
        (self.repo / "README.md").write_text(f"{word}\n")
        return self.pushed(f"readme: {word}")

    def pushed(self, message: str) -> str:
        """Commit everything and push it; the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def clone(self, folder: Path) -> Callable[[], float]:
        """A mirror clone over HTTP; what it returns is one plain `git fetch` in it, in seconds."""
        subprocess.run(["git", "clone", "-q", "--mirror", self.url, str(folder)], env=ENV, check=True)
        command = ["git", "-C", str(folder), "fetch", "-q", "origin", "+refs/heads/main:refs/heads/main"]

        def fetch() -> float:
            gc.collect()
            began = time.perf_counter()
            subprocess.run(command, env=ENV, check=True)
            return time.perf_counter() - began

        return fetch


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run. cpu: seconds of gitsync and of the git that it started. verified: seconds until what was written was read back."""

    seconds: float
    verified: float
    cpu: float
    report: RunReport
    sent: list[Sent]

    @property
    def steps(self) -> dict[str, float]:
        return {step.step: step.seconds for step in self.report.steps}


class Resident:
    """gitsync as a daemon has it: a house that stays open, with its one sync."""

    def __init__(self, house: House, sync: str) -> None:
        self.house, self.room = house, house.room(sync)

    async def run(self, expect: RunOutcome | None = None) -> Run:
        """One run. What goes out is written down; it ends as *expect*, or the figures would be of something else."""
        watch = Watch()
        with recorded(watch) as sent:
            gc.collect()
            asked = self.house.consul.requests.total()
            cpu, began = _cpu(), time.perf_counter()
            report = await self.room.run(Options(trigger="bench"), watch)
            seconds, cpu = time.perf_counter() - began, _cpu() - cpu
        asked = self.house.consul.requests.total() - asked
        assert len(sent) == asked, (
            f"{asked} requests went out, {len(sent)} of them by aiohttp: recording.py misses some"
        )
        if expect is not None:
            assert report.outcome is expect, (report.outcome, report.error, report.counts, report.services[:1])
        return Run(seconds, watch.verified - began, cpu, report, sent)

    async def rest(self) -> float:
        """What the daemon does when a run has ended and nothing waits: read again what it moved. Seconds of CPU."""
        cpu = _cpu()
        await self.room.rest()
        return _cpu() - cpu


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def workbench(consul: ConsulServer, folder: Path, specs: Specs) -> Workbench:
    """gitsync's settings: any number of deletes is approved."""
    bench = Workbench(consul, folder, repo=specs.repo)
    bench.git_settings = {"url": specs.url}
    bench.policy = {"prune": {"max_count": specs.count, "max_fraction": 1.0}}
    # The address alone, so that all else of Consul's settings is what it is for those who set nothing.
    bench.more = {"gateways": {"tgw": {"tls": [{"ca_file": "/etc/ca.pem"}]}}, "consul": {"address": consul.url}}
    return bench


@asynccontextmanager
async def resident(consul: ConsulServer, folder: Path, specs: Specs) -> AsyncIterator[Resident]:
    """gitsync, just started. What *folder* holds of an earlier one it finds."""
    bench = workbench(consul, folder, specs)
    async with bench.house() as house:
        yield Resident(house, bench.name)


async def in_turn(
    number: int, ours: Callable[[], Awaitable[float]], bare: Callable[[], Awaitable[float]]
) -> tuple[float, float]:
    """Both, in an order that alternates, so that what disturbs the machine disturbs both."""
    if number % 2:
        second = await bare()
        return await ours(), second
    return await ours(), await bare()
