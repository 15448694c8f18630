"""`gitsync run` as a process of its own, between a real Git repository and a real Consul."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gitsync.daemon.shared import Shared
from gitsync.store import Store
from gitsync.wire import chores_of, mirror_of, spec_defaults
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import Workbench, external

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
ENDED_SECONDS = 13
"""Ten are promised; a machine that is busy with other tests takes some for the start and the end of what it does."""


class Running:
    """The daemon of a bench. Its log is one JSON object a line; it listens on a port of its own choice."""

    def __init__(self, bench: Workbench, *, address: str = "", interval: str = "60s", listen: str = "127.0.0.1:0"):
        self.bench = bench
        config = bench.folder / "gitsync.json"
        git = {"url": f"file://{bench.repo}", "ref": "main", "path": "services"}
        config.write_text(
            json.dumps(
                {
                    "instance": bench.instance,
                    "state_dir": str(bench.folder / "state"),
                    "consul": {"address": address or bench.address, "lock_ttl": "10s"},
                    "gateway": "tgw",
                    "web": {"listen": listen},
                    "log": {"format": "json", "level": "info"},
                    "syncs": {bench.name: {"git": git, "interval": interval}},
                }
            )
        )
        self.config = config
        self._log = bench.folder / "daemon.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gitsync", "run", "--config", str(config)],
                cwd=bench.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]

    async def until(self, condition: Callable[[], T], what: str, seconds: float = 30) -> T:
        """The first true answer of *condition*."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log}"
            assert time.monotonic() < end, f"{what}: not within {seconds:g} s: {self.log}"
            await asyncio.sleep(0.05)
        return found

    async def logged(self, seconds: float = 30, **fields: Any) -> dict[str, Any]:
        """The first line with these fields."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if all(line.get(name) == value for name, value in fields.items())]

        return (await self.until(found, f"a line with {fields}", seconds))[0]

    async def ask(self, path: str) -> tuple[int, Any]:
        port = (await self.logged(action="start"))["port"]
        return await asyncio.to_thread(_get, port, path)

    async def readiness(self, status: int, seconds: float = 30) -> Any:
        """What /readyz says as soon as it says *status*."""
        async with asyncio.timeout(seconds):
            while True:
                answered, body = await self.ask("/readyz")
                if answered == status:
                    return body
                await asyncio.sleep(0.05)

    async def has(self, name: str) -> None:
        """Wait until Consul has the service, verified."""
        sha = self.bench.git("rev-parse", "HEAD")
        await self.logged(action="run", outcome="applied", revision=sha)
        assert self.bench.consul.entry("service-defaults", name)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = 15) -> int:
        """Its exit code."""
        return await asyncio.to_thread(self.process.wait, seconds)


def _get(port: int, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def daemon(bench: Workbench) -> Iterator[Callable[..., Running]]:
    """Starts the daemon of the bench, and ends it after the test, however that went."""
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(bench, **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
        assert "Traceback" not in running.log
        assert "this is a bug" not in running.log


async def test_the_first_commit_is_applied_the_second_after_a_hangup_and_sigterm_leaves_nothing_behind(
    bench: Workbench, consul: ConsulServer, daemon
):
    first = bench.commit(pay=external("pay"))
    running = daemon()
    await running.has("pay")

    second = bench.commit(shop=external("shop", "192.0.2.11"))
    running.signal(signal.SIGHUP)
    await running.has("shop")
    body = await running.readiness(200)
    began = time.monotonic()
    running.signal(signal.SIGTERM)

    assert await running.ended() == 0
    assert time.monotonic() - began < ENDED_SECONDS
    assert (await asyncio.to_thread(consul.get, "/v1/session/list")) == []
    assert consul.keys("svc-handler/locks/") == []
    assert [(line["trigger"], line["revision"]) for line in running.lines if line.get("outcome") == "applied"] == [
        ("start", first),
        ("signal", second),
    ]
    state = body["syncs"][bench.name]
    assert (state["ready"], state["applied"], state["outcome"], state["in_flight"]) == (True, second, "applied", None)
    assert state["last_success"]
    assert state["next_run"]


async def test_a_commit_is_seen_at_the_next_interval(bench: Workbench, daemon):
    bench.commit(pay=external("pay"))
    running = daemon(interval="5s")
    await running.has("pay")

    bench.commit(shop=external("shop", "192.0.2.11"))

    await running.has("shop")
    assert (await running.logged(action="run", revision=bench.git("rev-parse", "HEAD")))["trigger"] == "schedule"


async def test_it_starts_without_consul_says_so_and_goes_on_whenever_consul_is_back(consul_binary, tmp_path, daemon):
    with ConsulServer(consul_binary) as away:
        bench = Workbench(away, tmp_path / "away")
        bench.commit(pay=external("pay"))
        away.stop()
        running = Running(bench)
        try:
            await running.logged(action="run", outcome="failed")
            body = await running.readiness(503)
            alive = await running.ask("/healthz")
            away.start()
            running.signal(signal.SIGHUP)
            await running.has("pay")
            await running.readiness(200)

            away.restart()  # empty, and for all the daemon knows another version
            bench.commit(shop=external("shop", "192.0.2.11"))
            running.signal(signal.SIGHUP)
            await running.has("shop")
            assert away.entry("service-defaults", "pay")
            running.signal(signal.SIGTERM)

            assert await running.ended() == 0
        finally:
            running.process.kill()
            running.process.wait()

    assert alive == (200, {"status": "alive"})
    assert body["reasons"][bench.name].startswith("it has not yet looked at Git and Consul with success: ")
    state = body["syncs"][bench.name]
    assert (state["ready"], state["outcome"], state["applied"]) == (False, "failed", None)
    assert state["failures"] >= 1
    assert 4 <= state["backoff_seconds"] <= 12


async def test_it_starts_without_git_and_goes_on_when_git_is_there(bench: Workbench, daemon):
    bench.commit(pay=external("pay"))
    hidden = bench.repo.rename(bench.folder / "hidden")
    running = daemon()
    body = await running.readiness(503)
    await running.logged(action="run", outcome="failed")

    hidden.rename(bench.repo)
    running.signal(signal.SIGHUP)
    await running.has("pay")

    assert list(body["reasons"]) == [bench.name]
    await running.readiness(200)


async def test_a_suspended_sync_is_left_alone_and_is_ready(bench: Workbench, consul: ConsulServer, daemon):
    bench.commit(pay=external("pay"))
    running = daemon()
    await running.has("pay")
    await gitsync(running, "suspend", "--reason", "holidays")
    bench.commit(shop=external("shop", "192.0.2.11"))

    running.signal(signal.SIGHUP)
    await running.logged(action="run", outcome="suspended")
    body = await running.readiness(200)

    assert consul.entry("service-defaults", "shop") is None
    assert body["syncs"][bench.name]["suspended"] is True
    assert (body["syncs"][bench.name]["failures"], body["syncs"][bench.name]["error"]) == (0, None)
    await gitsync(running, "resume")
    running.signal(signal.SIGHUP)
    await running.has("shop")


async def gitsync(running: Running, *arguments: str) -> None:
    command = [sys.executable, "-m", "gitsync", *arguments, "--config", str(running.config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=running.bench.folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


async def test_a_run_that_hangs_is_stopped_and_leaves_no_session(bench: Workbench, consul: ConsulServer, daemon):
    bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        script = proxy.script(Fault.HANG, r"^PUT /v1/config")
        running = daemon(address=proxy.url)
        await script.reached()
        began = time.monotonic()
        running.signal(signal.SIGINT)

        assert await running.ended() == 0
        assert time.monotonic() - began < ENDED_SECONDS

    assert (await asyncio.to_thread(consul.get, "/v1/session/list")) == []
    await bench.sync()
    assert (await bench.plan()).plan.empty


async def test_a_consul_that_stands_still_does_not_hold_up_the_end(bench: Workbench, consul: ConsulServer, daemon):
    bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        script = proxy.script(Fault.HANG, r"^PUT /v1/config")
        running = daemon(address=proxy.url)
        await script.reached()
        proxy.script(Fault.HANG, times=0)
        began = time.monotonic()
        running.signal(signal.SIGTERM)

        assert await running.ended() == 0
        assert time.monotonic() - began < ENDED_SECONDS

    await bench.sync()
    assert (await bench.plan()).plan.empty


async def test_a_second_signal_ends_it_at_once_and_the_next_run_goes_on(bench: Workbench, consul: ConsulServer, daemon):
    bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        script = proxy.script(Fault.HANG, r"^PUT /v1/config")
        running = daemon(address=proxy.url)
        await script.reached()
        running.signal(signal.SIGTERM)
        await running.logged(action="stop")
        began = time.monotonic()
        running.signal(signal.SIGTERM)

        assert await running.ended() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 2

    await bench.sync()
    assert (await bench.plan()).plan.empty


async def test_a_history_that_cannot_be_kept_stops_nothing(bench: Workbench, daemon):
    bench.commit(pay=external("pay"))
    (bench.folder / "state" / "gitsync.db").mkdir(parents=True)

    running = daemon()

    await running.has("pay")
    assert "the history of this run is not kept" in (await running.logged(action="record"))["event"]
    await running.readiness(200)


async def test_once_a_day_old_history_is_forgotten_and_the_mirrors_are_tidied(bench: Workbench):
    bench.commit(pay=external("pay"))
    bench.more = {"retention": {"runs": "1h"}}
    run = (await bench.sync()).id
    settings = bench.settings()
    mirrors = {bench.name: mirror_of(settings, bench.name, spec_defaults(settings))}
    async with Shared(partial(Store.open, settings.store), monotonic=time.monotonic) as shared:
        chores = {chore.name: chore for chore in chores_of(settings, shared, mirrors)}
        async with shared.held() as store:
            kept = await chores["history"].work(), await store.run(run)
            await store.begin_run(run="01OLDRUN", sync="x", revision="", trigger="cli", started="2020-01-01T00:00:00Z")
            old = {"id": "01OLDRUN", "sync": "x", "started": "2020-01-01T00:00:00Z", "finished": "2020-01-01T00:00:01Z"}
            await store.finish_run(replace(await bench.sync(), **old))
            gone = await chores["history"].work(), await store.run("01OLDRUN")
        tidied = await chores[f"mirror of {bench.name}"].work()

    assert kept[0] == ""
    assert kept[1] is not None
    assert gone[0].startswith("1 runs from before ")
    assert gone[1] is None
    assert tidied == ""
    assert {chore.every for chore in chores.values()} == {86_400}
    assert (await bench.plan()).plan.empty


async def test_an_address_that_is_taken_ends_it_with_3(bench: Workbench, daemon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = daemon(listen=f"127.0.0.1:{taken.getsockname()[1]}")

        assert await running.ended() == 3

    assert "web.listen: gitsync cannot listen at 127.0.0.1" in running.log


async def test_a_configuration_that_only_consul_shows_to_be_wrong_ends_it_with_3_too(
    bench: Workbench, consul_acl: ConsulServer, daemon
):
    bench.commit(pay=external("pay"))
    running = daemon(address=consul_acl.url)

    assert await running.ended(60) == 3
    assert "the token may not read what Consul is" in running.log
