"""A process that is killed at any request leaves nothing that the next run does not put in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gitsync.model.run import exit_code
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import Workbench, external, static

ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"
ROOT = Path(__file__).resolve().parents[2]

RUN = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from gitsync.settings import load_settings
from gitsync.model.sync import Options
from gitsync.wire import Silent, opened

async def main():
    async with opened(load_settings(Path({config!r}), {{}})) as house:
        await house.room("payments").run(Options(), Silent())

asyncio.run(main())
"""


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


async def killed_at(bench: Workbench, consul: ConsulServer, number: int) -> bool:
    """Run a sync in a process of its own and SIGKILL it at its *number*th write; False if it ended before."""
    async with FaultProxy(consul.url) as proxy:
        config = write_config(bench, proxy.url)
        script = proxy.script(Fault.HANG, r"^(PUT|DELETE) ", nth=number)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RUN.format(root=str(ROOT), config=str(config)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        reached = asyncio.create_task(script.reached())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({reached, ended}, return_when=asyncio.FIRST_COMPLETED)
        alive = process.returncode is None
        if alive:
            os.kill(process.pid, signal.SIGKILL)
        await ended
        reached.cancel()
        return alive


@pytest.mark.parametrize("number", range(1, 26, 2))
async def test_a_run_killed_at_any_write_is_finished_by_the_next(
    bench: Workbench, consul: ConsulServer, number: int
) -> None:
    consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": "zoo"}], Meta={"by": "terraform"})
    consul.put_entry("service-defaults", "zoo", Protocol="http")
    foreign = consul.entry("service-defaults", "zoo")
    bench.commit(pay=external("pay", router=ROUTER), books=static("books"), shop=external("shop", "192.0.2.12"))
    await bench.sync()
    bench.remove("services/shop.yaml")
    bench.commit(
        pay=external("pay", "192.0.2.77", protocol="tcp"),
        books=external("books", "192.0.2.11"),
        new=external("new", "192.0.2.13"),
    )

    killed = await killed_at(bench, consul, number)
    report = await bench.sync()

    assert exit_code(report) == 0, (killed, report)
    assert (await bench.plan()).plan.empty
    assert {entry["Name"] for entry in consul.entries("service-defaults")} == {"pay", "books", "new", "zoo"}
    assert [row["Name"] for row in consul.entry("terminating-gateway", "tgw")["Services"]] == [
        "books",
        "new",
        "pay",
        "zoo",
    ]
    assert consul.entry("service-defaults", "zoo") == foreign
    assert consul.keys("svc-handler/locks/") == []
    assert {json.loads(consul.value(key))["state"] for key in consul.keys("svc-handler/ledger/")} == {"applied"}
    assert consul.keys("svc-handler/owners/test/payments/holders/") == []
