"""How fast a sync is, as ratios to the bare Consul in the same run.

usage: make bench [BENCH_ARGS="--services 1000 --repeat 3"]     GITSYNC_TEST_CONSUL names the Consul, else Debian's
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gitsync.model.run import Outcome
from gitsync.model.sync import Options
from gitsync.wire import Silent
from tests.servers.consul import ConsulServer, find_consul
from tests.workbench import Workbench, external, static

IN_FLIGHT = 48
KINDS = ("service-defaults", "service-resolver", "service-router", "terminating-gateway")
ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"


def fill(bench: Workbench, count: int) -> None:
    """Specs of mixed kinds: a third with routers, both strategies, several gateways."""
    for number in range(count):
        name, gateway = f"service-{number}", f"tgw-{number % 4}"
        host = f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
        text = static(name, f"h{number}.example.org") if number % 2 else external(name, host)
        if number % 3 == 0:
            text = text.rstrip("\n") + "\n  router: { prefix: /v1/, retries: { attempts: 2 } }\n"
        bench.write(f"services/{number // 500}/{name}.yaml", text.replace("service: tgw }", f"service: {gateway} }}"))
    bench.commit()


async def bare_writes(url: str, bodies: list[bytes]) -> float:
    """Entries a second of aiohttp alone, with everything prepared."""
    queue = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

        async def worker() -> None:
            for body in queue:
                async with session.put(f"{url}/v1/config?cas=0", data=body) as answer:
                    assert (await answer.read()).strip() == b"true"

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        return len(bodies) / (time.perf_counter() - began)


async def bare_lists(url: str) -> float:
    """Seconds to fetch and decode the lists once."""
    async with aiohttp.ClientSession() as session:
        began = time.perf_counter()

        async def one(path: str) -> None:
            async with session.get(f"{url}{path}") as answer:
                json.loads(await answer.read())

        paths = [f"/v1/config/{kind}?consistent" for kind in KINDS] + [
            "/v1/kv/svc-handler/ledger?recurse",
            "/v1/catalog/services",
        ]
        await asyncio.gather(*(one(path) for path in paths))
        return time.perf_counter() - began


def bodies_in(consul: ConsulServer) -> list[bytes]:
    """What stands in Consul, in the order in which it may be written."""
    result = []
    for kind in KINDS:
        for entry in consul.entries(kind):
            body = {key: value for key, value in entry.items() if key not in ("CreateIndex", "ModifyIndex", "Hash")}
            result.append(json.dumps(body).encode())
    return result


async def timed(call: Callable[[], Awaitable[object]]) -> tuple[float, object]:
    began = time.perf_counter()
    result = await call()
    return time.perf_counter() - began, result


async def once(binary: str, count: int) -> dict[str, float]:
    """One repetition, on a fresh Consul with a data directory."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="gitsync-bench-") as folder:
        with ConsulServer(binary, durable=True) as consul:
            bench = Workbench(consul, Path(folder))
            fill(bench, count)
            async with bench.house() as house:
                room = house.room(bench.name)
                seconds, report = await timed(lambda: room.run(Options(), Silent()))
                assert report.counts[Outcome.APPLIED] == count, report.counts  # type: ignore[attr-defined]
                steps = {step.step: step.seconds for step in report.steps}  # type: ignore[attr-defined]
                prepared = bodies_in(consul)
                figures |= {
                    "entries": len(prepared),
                    "first sync s": seconds,
                    "first sync entries/s": len(prepared) / seconds,
                }
                figures |= {f"step {name} s": spent for name, spent in steps.items()}
                await room.run(Options(), Silent())
                before = Counter(house.consul.requests)
                cpu = time.process_time()
                figures["no change s"], _ = await timed(lambda: room.run(Options(), Silent()))
                figures["no change cpu s"] = time.process_time() - cpu
                asked = Counter(house.consul.requests) - before
                figures["no change writes"] = sum(
                    n for (method, area), n in asked.items() if method != "GET" and area != "txn-get"
                )
                figures["no change reads"] = sum(
                    n for (method, area), n in asked.items() if method == "GET" and area in ("config", "kv", "session")
                )
                figures["no change txn gets"] = sum(n for (_, area), n in asked.items() if area == "txn-get")
                figures["bare lists s"] = await bare_lists(consul.url)
        with ConsulServer(binary, durable=True) as fresh:
            figures["bare entries/s"] = await bare_writes(fresh.url, prepared)
    figures["first sync / bare"] = figures["first sync entries/s"] / figures["bare entries/s"]
    figures["no change / bare lists"] = figures["no change s"] / figures["bare lists s"]
    figures["peak memory MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--services", type=int, default=1000, help="how many services the repository holds (default 1000)"
    )
    parser.add_argument("--repeat", type=int, default=3, help="how often everything is measured (default 3)")
    given = parser.parse_args()
    binary = find_consul()
    runs = [asyncio.run(once(binary, given.services)) for _ in range(given.repeat)]
    print(f"{given.services} services, {given.repeat} repetitions, {binary}: median (least – most)")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"  {name:<24}{statistics.median(values):>12,.3f}   ({min(values):,.3f} – {max(values):,.3f})")


if __name__ == "__main__":
    main()
