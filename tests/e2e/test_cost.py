"""What a run asks of Consul: counted, not timed."""

from __future__ import annotations

from collections import Counter

from gitsync.model.run import RunOutcome
from gitsync.model.sync import Options
from gitsync.wire import Silent
from tests.workbench import Workbench, external, static

COUNT = 150


def fill(bench: Workbench) -> None:
    for number in range(COUNT):
        make = external if number % 3 else static
        bench.write(
            f"services/s{number}.yaml",
            make(f"s{number}", f"192.0.2.{number % 250 + 1}" if number % 3 else f"h{number}.example.org"),
        )
    bench.commit()


async def test_a_sync_without_changes_reads_a_few_lists_and_writes_nothing(bench: Workbench) -> None:
    fill(bench)
    await bench.sync()
    async with bench.house() as house:
        before = Counter(house.consul.requests)
        report = await house.room(bench.name).run(Options(), Silent())
        asked = Counter(house.consul.requests) - before
        again = await house.room(bench.name).run(Options(), Silent())
        asked_again = Counter(house.consul.requests) - before - asked

    assert (report.outcome, again.outcome) == (RunOutcome.UNCHANGED, RunOutcome.UNCHANGED)
    assert sum(asked_again.values()) <= 8, asked_again
    writes = {key: count for key, count in asked.items() if key[0] != "GET" and key[1] != "txn-get"}
    assert writes == {}
    reads = sum(
        count for (method, area), count in asked.items() if method == "GET" and area in ("config", "kv", "session")
    )
    assert reads <= 10, asked
    externals = sum(1 for number in range(COUNT) if number % 3)
    assert sum(count for (_, area), count in asked.items() if area == "txn-get") <= -(-externals // 64), asked


async def test_a_gateway_is_written_once_however_many_rows_change(bench: Workbench) -> None:
    fill(bench)
    bodies = Counter[str]()
    async with bench.house() as house:
        before = Counter(house.consul.requests)
        await house.room(bench.name).run(Options(), Silent())
        asked = Counter(house.consul.requests) - before
        gateway = await house.consul.read_entry("terminating-gateway", "tgw")  # type: ignore[arg-type]

    bodies.update(row["Name"] for row in gateway.body["Services"])
    assert len(bodies) == COUNT
    assert asked[("PUT", "config")] == 2 * COUNT + 1, asked  # defaults and resolver each, and one gateway
