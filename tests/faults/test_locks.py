"""Locks keep two of us apart: a dead holder is taken over at once, a living one is waited for, a stranger's is respected."""

from __future__ import annotations

import asyncio
import json

from gitsync.engine.process import identity
from gitsync.model.run import Outcome, RunOutcome, exit_code
from gitsync.model.sync import Options
from gitsync.wire import Silent
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import Workbench, external, outcomes

LOCK = "svc-handler/locks/default/default/pay"


class Heard(Silent):
    """Remembers what a run said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, message: str) -> None:
        self.sentences.append(message)


def session(consul: ConsulServer, ttl: str = "10s") -> str:
    made: str = consul.put(
        "/v1/session/create",
        {"Name": "somebody", "TTL": ttl, "Behavior": "delete", "LockDelay": "0s", "NodeChecks": []},
    )["ID"]
    return made


def hold(consul: ConsulServer, who: str) -> None:
    assert consul.put(f"/v1/kv/{LOCK}", "somebody", acquire=who) is True


async def test_a_strangers_lock_makes_its_service_busy_and_no_other(bench: Workbench, consul: ConsulServer) -> None:
    hold(consul, session(consul))
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))

    report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.BUSY, "books": Outcome.APPLIED}
    assert exit_code(report) == 4
    assert consul.entry("service-defaults", "pay") is None


async def test_the_lock_of_a_dead_process_of_this_host_is_taken_over_at_once(
    bench: Workbench, consul: ConsulServer
) -> None:
    dead = session(consul)
    hold(consul, dead)
    gone = {**identity(), "pid": 2**22 - 1, "process_start": "1", "run": "01"}
    consul.put(f"/v1/kv/svc-handler/owners/test/payments/holders/{dead}", json.dumps(gone))
    bench.commit(pay=external("pay"))
    heard = Heard()

    async with bench.house() as house:
        report = await house.room(bench.name).run(Options(), heard)

    assert report.outcome is RunOutcome.APPLIED, report
    assert any("is over" in sentence for sentence in heard.sentences)
    assert consul.keys("svc-handler/owners/test/payments/holders/") == []


async def test_a_living_run_of_the_same_sync_is_waited_for_visibly(bench: Workbench, consul: ConsulServer) -> None:
    other = session(consul)
    hold(consul, other)
    distant = {**identity(), "host": "elsewhere", "run": "01"}
    consul.put(f"/v1/kv/svc-handler/owners/test/payments/holders/{other}", json.dumps(distant))
    bench.commit(pay=external("pay"))
    heard = Heard()

    async with bench.house() as house:
        run = asyncio.create_task(house.room(bench.name).run(Options(), heard))
        while not any("waiting for" in sentence for sentence in heard.sentences):
            assert not run.done(), await run
            await asyncio.sleep(0.02)
        consul.put(f"/v1/session/destroy/{other}")
        report = await run

    assert report.outcome is RunOutcome.APPLIED, report


async def test_a_run_whose_session_is_destroyed_stops_writing_and_the_next_one_goes_on(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(**{f"s{number}": external(f"s{number}", f"192.0.2.{number + 1}") for number in range(6)})

    def end_sessions(request: object) -> bool:
        for each in consul.get("/v1/session/list"):
            if each["Name"].startswith("svc-handler"):
                consul.put(f"/v1/session/destroy/{each['ID']}")
        return False

    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.SLOW, r"PUT /v1/config\?.*cas=", when=end_sessions)
        bench.address = proxy.url
        report = await bench.sync()
    bench.address = consul.url

    assert report.outcome is RunOutcome.FAILED, report
    assert exit_code(report) == 4
    assert exit_code(await bench.sync()) == 0
    assert (await bench.plan()).plan.empty


async def test_a_cancelled_run_leaves_no_session_and_the_next_one_goes_on(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(**{f"s{number}": external(f"s{number}", f"192.0.2.{number + 1}") for number in range(6)})
    async with FaultProxy(consul.url) as proxy:
        script = proxy.script(Fault.HANG, r"PUT /v1/config\?.*cas=", nth=4)
        bench.address = proxy.url
        async with bench.house() as house:
            run = asyncio.create_task(house.room(bench.name).run(Options(), Silent()))
            await script.reached()
            run.cancel()
            await asyncio.wait({run})
    bench.address = consul.url

    assert run.cancelled()
    assert [each for each in consul.get("/v1/session/list") if each["Name"].startswith("svc-handler")] == []
    assert consul.keys("svc-handler/locks/") == []
    assert exit_code(await bench.sync()) == 0
    assert (await bench.plan()).plan.empty


async def test_two_processes_of_one_sync_at_once_both_end_in_order(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(**{f"s{number}": external(f"s{number}", f"192.0.2.{number + 1}") for number in range(6)})

    reports = await asyncio.gather(*(bench.sync() for _ in range(3)))

    assert any(report.outcome is RunOutcome.APPLIED for report in reports), reports
    assert exit_code(await bench.sync()) == 0
    assert (await bench.plan()).plan.empty
    assert len(consul.entries("service-defaults")) == 6


async def test_a_process_that_could_not_end_its_session_does_not_wait_for_it(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    heard = Heard()
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        async with bench.house() as house:
            room = house.room(bench.name)
            proxy.script(Fault.ERROR_BEFORE, r"PUT /v1/session/destroy", times=0)
            await room.run(Options(), Silent())
            left = consul.get("/v1/session/list")
            proxy.clear()
            bench.commit(pay=external("pay", "192.0.2.77"))
            report = await room.run(Options(), heard)

    assert [each["Name"] for each in left] == ["svc-handler:payments"]
    assert report.outcome is RunOutcome.APPLIED
    assert not [sentence for sentence in heard.sentences if "waiting" in sentence]
    assert consul.get("/v1/session/list") == []
