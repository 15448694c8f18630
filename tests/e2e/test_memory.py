"""What a sync remembers only saves work: after anything that happens, it plans what one plans that remembers nothing."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable

import pytest

from gitsync.engine.look import Look
from gitsync.model.key import ServiceKey
from gitsync.model.run import RunOutcome
from gitsync.model.sync import Options
from gitsync.wire import House, Silent
from tests.servers.consul import ConsulServer
from tests.workbench import Workbench, external, static

NAMES = [f"s{number}" for number in range(90)]
STEPS = 14


class Chance:
    """Changes of all kinds, in Git and in Consul, drawn by one seed."""

    def __init__(self, seed: int, bench: Workbench, consul: ConsulServer) -> None:
        self.draw, self.bench, self.consul = random.Random(seed), bench, consul
        self.there: set[str] = set()
        for name in NAMES[:75]:
            self._spec(name)
        bench.commit()

    def change(self) -> None:
        for _ in range(self.draw.randint(1, 3)):
            ways: list[Callable[[], None]] = [
                self._in_git, self._in_git, self._left, self._broken, self._drift, self._stranger, self._row, self._node,
            ]  # fmt: skip
            self.draw.choice(ways)()
        self.bench.commit()

    def _in_git(self) -> None:
        self._spec(self.draw.choice(NAMES))

    def _left(self) -> None:
        if self.there:
            name = self.draw.choice(sorted(self.there))
            self.bench.remove(f"services/{name}.yaml")
            self.there.discard(name)

    def _broken(self) -> None:
        if self.draw.random() < 0.7:
            self._in_git()
            return
        name = self.draw.choice(NAMES)
        self.bench.write(
            f"services/{name}.yaml", self.draw.choice(["name: [", f"name: {name}\nrouting: {{ host: 7 }}\n"])
        )
        self.there.add(name)

    def _drift(self) -> None:
        self._put("service-defaults", self.draw.choice(NAMES), Protocol="http", Meta={"by": "hand"})

    def _stranger(self) -> None:
        if self.draw.random() < 0.3:
            self.consul.delete("/v1/config/service-router/stranger")
        else:
            self._put("service-defaults", "stranger", Protocol="http")
            route = {"Destination": {"Service": self.draw.choice(NAMES)}}
            self._put("service-router", "stranger", Routes=[route])

    def _row(self) -> None:
        rows = [{"Name": "stranger"}] if self.draw.random() < 0.5 else [{"Name": "stranger", "SNI": "x"}, {"Name": "*"}]
        self._put("terminating-gateway", "tgw-2", Services=rows)

    def _node(self) -> None:
        name = self.draw.choice([*NAMES, "elsewhere"])
        node = {"Node": "somebodys", "Address": "192.0.2.99", "Service": {"ID": name, "Service": name, "Port": 1}}
        self.consul.put("/v1/catalog/register", node)

    def _put(self, kind: str, name: str, **fields: object) -> None:
        with contextlib.suppress(AssertionError):  # what Consul refuses of a stranger changes nothing
            self.consul.put_entry(kind, name, **fields)

    def _spec(self, name: str) -> None:
        host = f"h{self.draw.randint(0, 400)}.example.org"
        text = self.draw.choice([static(name, host), external(name, f"192.0.2.{self.draw.randint(1, 90)}")])
        extra = self.draw.randint(0, 20)
        if extra == 0:
            destination = (
                f"[{{ match: {{ path: {{ prefix: /v1/ }} }}, destination: {{ service: {self.draw.choice(NAMES)} }} }}]"
            )
            text = text.rstrip("\n") + f"\n  router: {{ routes: {destination} }}\n"
        elif extra == 1:
            text = (
                text.rstrip("\n")
                + f"\n  resolver: {{ failover: {{ '*': {{ service: {self.draw.choice(NAMES)} }} }} }}\n"
            )
        elif extra == 2:
            text = text.replace("service: tgw }", "service: tgw-2 }")
        self.bench.write(f"services/{name}.yaml", text)
        self.there.add(name)


def told(seen: Look) -> tuple[object, ...]:
    plan = seen.plan
    return (
        dict(sorted(plan.services.items())),
        Counter(map(str, plan.findings)),
        plan.holds,
        plan.digest,
        dict(sorted(plan.digests.items())),
        seen.revision.sha,
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_who_remembers_plans_what_one_plans_who_does_not(
    bench: Workbench, consul: ConsulServer, seed: int
) -> None:
    chance = Chance(seed, bench, consul)
    bench.policy = {"prune": {"max_count": 3}}
    partly = 0
    async with bench.house() as house:
        room = house.room(bench.name)
        await room.run(Options(), Silent())
        for step in range(STEPS):
            chance.change()
            before = room.mind.memory.decision
            warm = await room.plan(Options(), Silent(), defaults=house.defaults)
            async with bench.house() as other:
                cold = await other.room(bench.name).plan(Options(), Silent(), defaults=house.defaults)
            assert told(warm) == told(cold), f"step {step}"
            same = (
                sum(before.plan.services.get(key) is plan for key, plan in warm.plan.services.items()) if before else 0
            )
            partly += same > 0
            await room.run(Options(), Silent())
            await room.rest()
    assert partly >= 3, "hardly anything was taken over from the last plan, so this shows nothing"


async def test_what_nobody_touched_is_neither_read_nor_judged_again(bench: Workbench) -> None:
    bench.commit(**{f"s{number}": external(f"s{number}", f"192.0.2.{number + 1}") for number in range(40)})
    async with bench.house() as house:
        room = house.room(bench.name)
        await room.run(Options(), Silent())
        await room.rest()
        before = (await room.plan(Options(), Silent(), defaults=house.defaults)).plan
        bench.commit(s7=external("s7", "192.0.2.200"))
        asked = Counter(house.consul.requests)
        after = (await room.plan(Options(), Silent(), defaults=house.defaults)).plan
        asked = Counter(house.consul.requests) - asked
        report = await room.run(Options(), Silent())

    anew = [key.name for key, plan in after.services.items() if before.services[key] is not plan]
    assert anew == ["s7"]
    assert sum(asked.values()) <= 8, asked  # the sync's own records, five indexes, and the datacenters
    assert report.outcome is RunOutcome.APPLIED


def another_protocol(consul: ConsulServer) -> None:
    consul.put_entry("service-defaults", "pay", Protocol="tcp")


def no_resolver(consul: ConsulServer) -> None:
    consul.delete("/v1/config/service-resolver/pay")


def another_row(consul: ConsulServer) -> None:
    entry = consul.entry("terminating-gateway", "tgw")
    assert entry
    rows = [{**row, "SNI": "elsewhere"} if row["Name"] == "pay" else row for row in entry["Services"]]
    consul.put_entry("terminating-gateway", "tgw", Services=rows)


def another_port(consul: ConsulServer) -> None:
    [node] = consul.get("/v1/catalog/service/pay")
    service = {"ID": "pay", "Service": "pay", "Address": node["ServiceAddress"], "Port": 1}
    consul.put(
        "/v1/catalog/register",
        {"Node": node["Node"], "Address": node["Address"], "SkipNodeUpdate": True, "Service": service},
    )


def no_node(consul: ConsulServer) -> None:
    [node] = consul.get("/v1/catalog/service/pay")
    consul.put("/v1/catalog/deregister", {"Node": node["Node"]})


@pytest.mark.parametrize("deed", [another_protocol, no_resolver, another_row, another_port, no_node])
async def test_what_somebody_else_does_is_seen_at_the_next_look(
    bench: Workbench, consul: ConsulServer, deed: Callable[[ConsulServer], None]
) -> None:
    bench.commit(pay=external("pay"), card=external("card", "192.0.2.11"))
    async with bench.house() as house:
        room = house.room(bench.name)
        await room.run(Options(), Silent())
        await room.rest()
        calm = await room.run(Options(), Silent())
        before = consul.dump()
        deed(consul)
        report = await room.run(Options(), Silent())
        after = await room.run(Options(), Silent())

    assert calm.outcome is RunOutcome.UNCHANGED
    assert [(service.key.name, str(service.outcome)) for service in report.services] == [("pay", "applied")]
    assert after.outcome is RunOutcome.UNCHANGED
    assert consul.dump().keys() == before.keys()


async def test_a_ledger_that_somebody_took_away_is_written_again(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    key = "svc-handler/ledger/default/default/pay"
    async with bench.house() as house:
        room = house.room(bench.name)
        await room.run(Options(), Silent())
        await room.run(Options(), Silent())
        consul.delete(f"/v1/kv/{key}")
        await room.run(Options(), Silent())

    assert consul.value(key)


async def test_whom_a_service_leads_to_is_its_plans_concern(bench: Workbench, consul: ConsulServer) -> None:
    stranger = {
        "Node": "theirs",
        "Address": "192.0.2.99",
        "Service": {"ID": "stranger", "Service": "stranger", "Port": 1},
    }
    consul.put("/v1/catalog/register", stranger)
    bench.commit(
        pay=external("pay", protocol="tcp", resolver="failover: { '*': { service: stranger } }"),
        card=external("card", "192.0.2.11"),
    )

    async def said(house: House) -> list[str]:
        plan = (await house.room(bench.name).plan(Options(), Silent(), defaults=house.defaults)).plan
        return [finding.code for finding in plan.services[ServiceKey("pay")].findings]

    async with bench.house() as house:
        report = await house.room(bench.name).run(Options(), Silent())
        before = await said(house)
        consul.put("/v1/catalog/deregister", {"Node": "theirs"})
        after = await said(house)
        async with bench.house() as other:
            assert after == await said(other)

    assert report.outcome is RunOutcome.APPLIED
    assert "reference-missing" not in before
    assert "reference-missing" in after
