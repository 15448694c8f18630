"""A process that is killed at any write leaves nothing that the next run does not put in order."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from pathlib import Path

import pytest

from gitsync.model.run import exit_code
from gitsync.model.sync import Options
from gitsync.settings import load_settings
from gitsync.wire import Silent, opened
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import Workbench, external, static

ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # so that a process of its own costs no imports

MOST_WRITES = 40
"""More than the mixed change has on any Consul: the loop ends by itself, when a run ended before its write came."""


def run_once(config: str) -> None:
    """One sync, in a process of its own."""

    async def main() -> None:
        async with opened(load_settings(Path(config), {})) as house:
            await house.room("payments").run(Options(), Silent())

    asyncio.run(main())


def write_config(bench: Workbench, address: str) -> Path:
    config = bench.folder / "gitsync.json"
    config.write_text(
        json.dumps(
            {
                "instance": bench.instance,
                "state_dir": str(bench.folder / "state"),
                "consul": {"address": address, "lock_ttl": "10s"},
                "gateway": "tgw",
                "syncs": {bench.name: {"git": {"url": f"file://{bench.repo}", "ref": "main", "path": "services"}}},
            }
        )
    )
    return config


async def killed_at(bench: Workbench, consul: ConsulServer, number: int, fault: Fault) -> bool:
    """Run a sync in a process of its own and SIGKILL it at its *number*th write; False if it ended before.

    HANG: before Consul saw the write. HANG_AFTER: Consul did it, and the process never heard.
    """
    async with FaultProxy(consul.url) as proxy:
        script = proxy.script(
            fault, r"^(PUT|DELETE) ", nth=number, when=lambda request: "consistent" not in request.target
        )
        process = PROCESSES.Process(target=run_once, args=(str(write_config(bench, proxy.url)),))
        process.start()
        reached = asyncio.create_task(script.done.wait() if fault is Fault.HANG_AFTER else script.reached())
        ended = asyncio.create_task(asyncio.to_thread(process.join))
        await asyncio.wait({reached, ended}, return_when=asyncio.FIRST_COMPLETED)
        alive = process.is_alive()
        process.kill()
        await ended
        process.close()
        reached.cancel()
        return alive


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("fault", [Fault.HANG, Fault.HANG_AFTER])
async def test_a_run_killed_at_any_write_is_finished_by_the_next(
    bench: Workbench, consul: ConsulServer, fault: Fault, again: bool
) -> None:
    """Creates, changes, deletes and a change of protocol and strategy; each time from the state that the last recovery left.

    again: the change goes the other way, and of every third the next run is killed as well.
    """
    consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": "zoo"}], Meta={"by": "terraform"})
    consul.put_entry("service-defaults", "zoo", Protocol="http")
    foreign = consul.entry("service-defaults", "zoo")
    worlds = (
        {"pay": external("pay", router=ROUTER), "books": static("books"), "shop": external("shop", "192.0.2.12")},
        {
            "pay": external("pay", "192.0.2.77", protocol="tcp"),
            "books": external("books", "192.0.2.11"),
            "new": external("new", "192.0.2.13"),
        },
    )
    bench.commit(**worlds[again])
    await bench.sync()

    for number in range(1, MOST_WRITES):
        there, world = worlds[::-1] if (number + again) % 2 == 0 else worlds
        bench.remove(*(f"services/{name}.yaml" for name in there.keys() - world.keys()))
        bench.commit(**world)
        killed = await killed_at(bench, consul, number, fault)
        if again and number % 3 == 0:
            await killed_at(bench, consul, number // 2 + 1, fault)
        async with bench.house() as house:
            room = house.room(bench.name)
            report = await room.run(Options(), Silent())
            look = await room.plan(Options(), Silent(), defaults=house.defaults)

        assert exit_code(report) == 0, (number, report)
        assert look.plan.empty, number
        assert {entry["Name"] for entry in consul.entries("service-defaults")} == {*world, "zoo"}, number
        rows = [row["Name"] for row in consul.entry("terminating-gateway", "tgw")["Services"]]
        assert rows == sorted({*world, "zoo"}), number
        assert consul.entry("service-defaults", "zoo") == foreign
        assert consul.keys("svc-handler/locks/") == [], number
        assert {json.loads(consul.value(key))["state"] for key in consul.keys("svc-handler/ledger/")} == {"applied"}
        assert consul.keys("svc-handler/owners/test/payments/holders/") == [], number
        if not killed:
            break
    assert 15 < number < MOST_WRITES - 1
