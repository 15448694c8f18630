"""What a single fault, a crash or a stranger at the worst moment may cost: one service at most, and never for ever."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gitsync.engine.errands import approve
from gitsync.engine.patience import Patience
from gitsync.engine.process import identity
from gitsync.model.key import ServiceKey
from gitsync.model.run import Outcome, RunOutcome, RunReport, exit_code
from gitsync.model.sync import Options
from gitsync.wire import Silent
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy, Request
from tests.workbench import Workbench, external, outcomes, static

LEDGER = "svc-handler/ledger/default/default/"
LOCKS = "svc-handler/locks/"
HOLDERS = "svc-handler/owners/test/payments/holders/"


def locking(name: str) -> Callable[[Request], bool]:
    """Whether a request takes the lock of *name*."""
    lock = f'"svc-handler/locks/default/default/{name}"'.encode()
    return lambda request: b'"lock"' in request.body and lock in request.body


def records(name: str) -> Callable[[Request], bool]:
    """Whether a request writes the records of *name* after its read-back."""
    return lambda request: f"observed/default/default/{name}/observed.json".encode() in request.body


def writing(*words: str) -> Callable[[Request], bool]:
    return lambda request: all(word.encode() in request.body for word in words)


def before(does: Callable[[], None], then: Callable[[Request], bool] = lambda _: True) -> Callable[[Request], bool]:
    """A condition that is never true; the first time that *then* is, *does* happens, in the moment before the request."""
    done: list[bool] = []

    def meddle(request: Request) -> bool:
        if not done and then(request):
            done.append(True)
            does()
        return False

    return meddle


async def stopped_at(bench: Workbench, consul: ConsulServer, fault: Fault, words: str, **script: Any) -> bool:
    """Run a sync and cancel it at a request; False if it ended before."""
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        scripted = proxy.script(fault, words, **script)
        async with bench.house() as house:
            run = asyncio.create_task(house.room(bench.name).run(Options(), Silent()))
            reached = asyncio.create_task(scripted.done.wait() if fault is Fault.HANG_AFTER else scripted.reached())
            await asyncio.wait({run, reached}, return_when=asyncio.FIRST_COMPLETED)
            alive = not run.done()
            run.cancel()
            reached.cancel()
            await asyncio.wait({run, reached})
    bench.address = consul.url
    return alive


def sessions(consul: ConsulServer) -> list[str]:
    return [each["Name"] for each in consul.get("/v1/session/list") if each["Name"].startswith("svc-handler")]


def unended(bench: Workbench) -> int:
    """Runs in the history that have no end."""
    with sqlite3.connect(bench.folder / "state" / "gitsync.db") as database:
        count: int = database.execute("select count(*) from runs where finished is null").fetchone()[0]
    return count


async def assert_in_order(bench: Workbench, consul: ConsulServer) -> RunReport:
    """The oracle: one more clean run, then everything is as Git wants it and nothing is left behind."""
    bench.address = consul.url
    report = await bench.sync()
    assert exit_code(report) == 0, report
    assert (await bench.plan()).plan.empty
    assert consul.keys(LOCKS) == []
    assert consul.keys(HOLDERS) == []
    for key in consul.keys("svc-handler/ledger/"):
        ledger = json.loads(consul.value(key) or b"")
        assert ledger["state"] == "applied", key
        assert {component["state"] for component in ledger["components"]} == {"written"}, key
    return report


def six(**changed: str) -> dict[str, str]:
    specs = {f"s{number}": external(f"s{number}", f"192.0.2.{number + 1}") for number in range(6)}
    return specs | changed


# -- answers that never came


@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.HALF, Fault.ERROR_AFTER])
async def test_the_records_of_a_sync_are_its_own_although_their_answer_was_lost(
    bench: Workbench, consul: ConsulServer, fault: Fault
) -> None:
    sha = bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        proxy.script(fault, r"PUT /v1/txn", when=writing("/lineage"))
        proxy.script(fault, r"PUT /v1/txn", when=writing("/revision"))
        report = await bench.sync()
        assert exit_code(report) == 0, report
        proxy.script(fault, r"PUT /v1/txn", when=writing("/suspended"))
        report = await bench.sync(rev=sha)
        assert exit_code(report) == 0, report


WRITES = {
    "lock": locking("pay"),
    "records": records("pay"),
    "removal": writing("delete-tree"),
    "register": writing('"Node":{"Verb":"cas"'),
    "deregister": writing('"delete-cas"'),
    "gateway": writing("terminating-gateway"),
    "holder": writing("/holders/"),
}


@pytest.mark.parametrize("what", WRITES)
async def test_a_write_whose_answer_is_lost_is_written_once_and_ends_well(
    bench: Workbench, consul: ConsulServer, what: str
) -> None:
    bench.commit(pay=external("pay"), s0=external("s0", "192.0.2.1"))
    await bench.sync()
    bench.remove("services/s0.yaml")
    bench.commit(pay=external("pay", "192.0.2.99"), new=external("new", "192.0.2.98"))
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        script = proxy.script(Fault.CUT_AFTER, "PUT ", when=WRITES[what])
        report = await bench.sync()

    assert script.hits
    assert exit_code(report) == 0, report
    assert outcomes(report) == {"pay": Outcome.APPLIED, "new": Outcome.APPLIED, "s0": Outcome.APPLIED}
    await assert_in_order(bench, consul)


async def test_a_delete_whose_answer_is_lost_is_done(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(**six())
    await bench.sync()
    bench.remove("services/s0.yaml")
    bench.commit()
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        script = proxy.script(Fault.CUT_AFTER, "DELETE /v1/config", times=2)
        report = await bench.sync()

    assert script.hits == 2
    assert exit_code(report) == 0, report
    await assert_in_order(bench, consul)


# -- two of us, and strangers


async def test_a_service_that_another_process_deleted_meanwhile_is_no_bug(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(**six())
    await bench.sync()
    bench.remove("services/s0.yaml")
    bench.commit()

    def gone() -> None:
        rows = [
            {key: value for key, value in row.items() if value}
            for row in consul.entry("terminating-gateway", "tgw")["Services"]
        ]
        consul.put_entry("terminating-gateway", "tgw", Services=[row for row in rows if row["Name"] != "s0"])
        consul.delete("/v1/config/service-resolver/s0")
        consul.delete("/v1/config/service-defaults/s0")
        consul.put("/v1/catalog/deregister", {"Node": "ext-s0"})
        consul.delete(f"/v1/kv/{LEDGER}s0")

    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        proxy.script(Fault.SLOW, "PUT /v1/txn", when=before(gone, locking("s0")))
        report = await bench.sync()

    assert exit_code(report) == 0, report
    assert consul.value(f"{LEDGER}s0") is None
    await assert_in_order(bench, consul)


async def test_two_processes_that_delete_the_same_at_once_both_end_well(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(**six())
    await bench.sync()
    bench.remove("services/s0.yaml")
    bench.commit(s1=external("s1", "192.0.2.77"))

    reports = await asyncio.gather(*(bench.sync() for _ in range(3)))

    assert all(report.outcome in (RunOutcome.APPLIED, RunOutcome.UNCHANGED) for report in reports), reports
    await assert_in_order(bench, consul)


async def test_a_reviewed_plan_is_not_written_when_it_changed_before_the_lock(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    bench.commit(pay=external("pay", "192.0.2.99"), books=external("books", "192.0.2.98"))
    digest = (await bench.plan()).plan.digest

    def meddle() -> None:
        marks = consul.entry("service-resolver", "pay")["Meta"]
        consul.put_entry("service-resolver", "pay", ConnectTimeout="9s", Meta=marks)

    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        proxy.script(Fault.SLOW, "PUT /v1/txn", when=before(meddle, locking("pay")))
        report = await bench.sync(expect=digest)

    assert outcomes(report) == {"pay": Outcome.CONFLICT, "books": Outcome.APPLIED}
    assert consul.entry("service-resolver", "pay")["ConnectTimeout"] == "9s"
    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.10"
    await assert_in_order(bench, consul)


async def test_a_reviewed_plan_is_not_written_when_it_changed_before_the_write(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    bench.commit(pay=external("pay", "192.0.2.99"))
    digest = (await bench.plan()).plan.digest

    def meddle() -> None:
        marks = consul.entry("service-defaults", "pay")["Meta"]
        consul.put_entry("service-defaults", "pay", Protocol="http", Meta={**marks, "by-hand": "yes"})

    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        proxy.script(Fault.SLOW, "PUT /v1/config", when=before(meddle, writing("service-defaults")))
        report = await bench.sync(expect=digest)

    assert outcomes(report) == {"pay": Outcome.CONFLICT}
    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.10"
    await assert_in_order(bench, consul)


# -- crashes


def secured(name: str, sni: str) -> str:
    return external(name).replace("port: 8080 }", f"port: 8443, tls: {{ sni: {sni} }} }}")


async def test_a_row_of_ours_stays_ours_when_two_runs_that_change_it_are_stopped(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.more["gateways"] = {"tgw": {"default_ca_file": "/ca.pem"}}
    bench.commit(pay=secured("pay", "one.example.org"))
    assert await stopped_at(bench, consul, Fault.HANG, "PUT /v1/txn", when=records("pay"))
    bench.commit(pay=secured("pay", "two.example.org"))
    assert await stopped_at(bench, consul, Fault.HANG, "PUT /v1/config", when=writing("terminating-gateway"))

    await assert_in_order(bench, consul)

    assert consul.entry("terminating-gateway", "tgw")["Services"][0]["SNI"] == "two.example.org"


async def test_an_adoption_that_was_stopped_is_finished_without_being_asked_for_again(
    bench: Workbench, consul: ConsulServer
) -> None:
    consul.put_entry("service-defaults", "pay", Protocol="http")
    consul.put_entry("service-resolver", "pay", ConnectTimeout="7s")
    consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": "pay", "SNI": "theirs"}])
    bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        script = proxy.script(Fault.HANG, "PUT /v1/config", when=writing("service-resolver"))
        async with bench.house() as house:
            asked = Options(adopt=frozenset({ServiceKey("pay")}))
            run = asyncio.create_task(house.room(bench.name).run(asked, Silent()))
            await script.reached()
            run.cancel()
            await asyncio.wait({run})

    await assert_in_order(bench, consul)


async def test_an_approved_delete_that_was_stopped_is_not_held_again(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(**six())
    await bench.sync()
    bench.remove(*(f"services/s{number}.yaml" for number in range(4)))
    bench.commit()
    report = await bench.sync()
    async with bench.house() as house:
        room = house.room(bench.name)
        await approve(room.world, room.sync.owner, report.holds, report.holds[0].digest, empty=False, by="ada")

    assert await stopped_at(bench, consul, Fault.HANG_AFTER, "DELETE /v1/config/service-defaults", nth=2)
    report = await assert_in_order(bench, consul)

    assert not report.holds
    assert {entry["Name"] for entry in consul.entries("service-defaults")} == {"s4", "s5"}


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.HANG_AFTER])
async def test_a_run_cancelled_at_any_request_leaves_no_session_no_lock_and_one_end(
    bench: Workbench, consul: ConsulServer, fault: Fault
) -> None:
    bench.commit(pay=external("pay"), books=static("books"), shop=external("shop", "192.0.2.12"))
    await bench.sync()
    stopped = orphans = 0
    for number in range(1, 60, 5):
        host = f"192.0.2.{100 + number}"
        if number % 2:
            bench.remove("services/shop.yaml")
            bench.commit(pay=external("pay", host), new=external("new", host))
        else:
            bench.remove("services/new.yaml")
            bench.commit(pay=external("pay", host), shop=external("shop", host))
        stopped += await stopped_at(bench, consul, fault, "", nth=number, when=lambda it: "agent" not in it.target)

        for each in consul.get("/v1/session/list"):  # one of which we never heard ends by itself
            orphans += consul.put(f"/v1/session/destroy/{each['ID']}") is True
        assert consul.keys(LOCKS) == [], number
        assert consul.keys(HOLDERS) == [], number
        assert unended(bench) == 0, number
        assert exit_code(await bench.sync()) == 0, number
        assert (await bench.plan()).plan.empty, number

    assert stopped > 5
    assert orphans <= (0 if fault is Fault.HANG else 2)
    await assert_in_order(bench, consul)


@pytest.mark.parametrize("moment", ["begin_run", "finish_run", "record_services", "record_holds"])
async def test_a_run_cancelled_while_it_writes_history_has_one_end_in_it(
    bench: Workbench, consul: ConsulServer, moment: str
) -> None:
    bench.commit(pay=external("pay"))
    async with bench.house() as house:
        room = house.room(bench.name)
        real = room.world.archive
        run: asyncio.Task[RunReport]

        class Cancelling:
            """The archive, and a cancel that comes while it writes."""

            def __getattr__(self, name: str) -> Any:
                async def write(*args: Any, **kwargs: Any) -> None:
                    if name == moment:
                        run.cancel()
                    await getattr(real, name)(*args, **kwargs)
                    if name == moment:
                        await asyncio.sleep(0)

                return write

        room.world = replace(room.world, archive=Cancelling())
        run = asyncio.create_task(room.run(Options(), Silent()))
        await asyncio.wait({run})

    assert run.cancelled()
    assert sessions(consul) == []
    assert unended(bench) == 0
    await assert_in_order(bench, consul)


async def test_a_second_cancel_does_not_leave_the_session_behind(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        script = proxy.script(Fault.HANG, "PUT /v1/config")
        closing = proxy.script(Fault.SLOW, "PUT /v1/session/destroy", seconds=0.3)
        async with bench.house() as house:
            run = asyncio.create_task(house.room(bench.name).run(Options(), Silent()))
            await script.reached()
            run.cancel()
            await closing.reached()
            run.cancel()
            await asyncio.wait({run})

    assert sessions(consul) == []
    assert consul.keys(HOLDERS) == []
    assert unended(bench) == 0
    await assert_in_order(bench, consul)


# -- one service's trouble is nobody else's


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("value", ["rubbish", '{"schema": 2}', "[]"])
async def test_a_ledger_that_cannot_be_read_stops_its_service_and_no_other(
    bench: Workbench, consul: ConsulServer, value: str, wanted: bool
) -> None:
    bench.commit(**six())
    await bench.sync()
    consul.put(f"/v1/kv/{LEDGER}s0", value.encode())
    entry = consul.entry("service-defaults", "s0")
    if wanted:
        bench.commit(s0=external("s0", "192.0.2.66"), s1=external("s1", "192.0.2.77"))
    else:
        bench.remove("services/s0.yaml")
        bench.commit(s1=external("s1", "192.0.2.77"))

    report = await bench.sync()

    assert outcomes(report) == {"s0": Outcome.REFUSED, "s1": Outcome.APPLIED}
    assert exit_code(report) == 3
    assert consul.entry("service-defaults", "s0") == entry
    assert consul.value(f"{LEDGER}s0") == value.encode()
    consul.delete(f"/v1/kv/{LEDGER}s0")
    await assert_in_order(bench, consul)


async def test_a_ledger_of_nobody_known_that_cannot_be_read_disturbs_no_sync(
    bench: Workbench, consul: ConsulServer
) -> None:
    consul.put(f"/v1/kv/{LEDGER}whose", b"rubbish")
    bench.commit(pay=external("pay"))

    report = await bench.sync()

    assert exit_code(report) == 0, report
    assert (await bench.plan()).plan.empty


async def test_with_an_unreadable_ledger_an_emptied_repository_is_still_held(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    await bench.sync()
    consul.put(f"/v1/kv/{LEDGER}pay", b"rubbish")
    bench.remove("services/pay.yaml", "services/books.yaml")
    bench.commit()

    report = await bench.sync()

    assert report.holds
    assert outcomes(report)["books"] is Outcome.HELD
    assert consul.entry("service-defaults", "books")


async def test_a_service_that_may_not_be_read_by_name_fails_alone(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(**six())
    await bench.sync()
    bench.remove("services/s0.yaml")
    bench.commit(s1=external("s1", "192.0.2.77"), s2=external("s2", "192.0.2.78"))
    kept = consul.entry("service-defaults", "s0"), consul.entry("service-defaults", "s1")
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        proxy.script(Fault.FORBIDDEN, r"GET /v1/config/service-resolver/s[01]\?", times=0)
        report = await bench.sync()

    assert outcomes(report) == {"s0": Outcome.FAILED, "s1": Outcome.FAILED, "s2": Outcome.APPLIED}
    assert exit_code(report) == 5
    assert (consul.entry("service-defaults", "s0"), consul.entry("service-defaults", "s1")) == kept
    assert json.loads(consul.value(f"{LEDGER}s0") or b"")["state"] == "applied"
    await assert_in_order(bench, consul)


async def test_a_service_that_a_list_and_a_read_hide_is_neither_deleted_nor_forgotten(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(**six())
    await bench.sync()
    bench.remove("services/s0.yaml")
    bench.commit(s1=external("s1", "192.0.2.77"))

    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        # From the read-back on, so that only the certain reads before the ledger goes may not see it.
        proxy.script(
            Fault.FORBIDDEN, r"GET /v1/config/service-resolver/s0\?", times=0, nth=3 if consul.version < (1, 11) else 2
        )
        report = await bench.sync()

    assert outcomes(report) == {"s0": Outcome.FAILED, "s1": Outcome.APPLIED}, report
    assert json.loads(consul.value(f"{LEDGER}s0") or b"")["state"] == "deleting"
    await assert_in_order(bench, consul)


@pytest.mark.parametrize("dead", [True, False])
async def test_a_session_that_may_not_be_looked_at_stops_no_run(
    bench: Workbench, consul: ConsulServer, dead: bool
) -> None:
    record = {
        **identity(),
        "run": "01",
        **({"pid": 2**22 - 1, "process_start": "1"} if dead else {"host": "elsewhere"}),
    }
    consul.put(f"/v1/kv/{HOLDERS}11111111-2222-3333-4444-555555555555", json.dumps(record).encode())
    bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        proxy.script(Fault.FORBIDDEN, r"/v1/session/(info|destroy)/1111", times=0)
        report = await bench.sync()

    assert exit_code(report) == 0, report


async def test_a_holder_record_that_is_rubbish_stops_no_run(bench: Workbench, consul: ConsulServer) -> None:
    consul.put(f"/v1/kv/{HOLDERS}11111111-2222-3333-4444-555555555555", b"[]")
    bench.commit(pay=external("pay"))

    report = await bench.sync()

    assert exit_code(report) == 0, report


# -- Git that is away


async def test_while_git_cannot_be_read_nothing_is_deleted_and_nothing_goes_back(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"), shop=external("shop", "192.0.2.12"))
    await bench.sync()
    session = consul.put(
        "/v1/session/create", {"Name": "other", "TTL": "10s", "Behavior": "delete", "LockDelay": "0s", "NodeChecks": []}
    )["ID"]
    assert consul.put("/v1/kv/svc-handler/locks/default/default/books", "other", acquire=session) is True
    bench.remove("services/shop.yaml")
    bench.commit(
        pay=external("pay", "192.0.2.99"), books=external("books", "192.0.2.98"), new=external("new", "192.0.2.97")
    )
    assert outcomes(await bench.sync())["books"] is Outcome.BUSY
    before_it = consul.dump()
    consul.put(f"/v1/session/destroy/{session}")
    away = bench.repo.with_name("away")
    bench.repo.rename(away)
    protocol = consul.entry("service-defaults", "new")

    report = await bench.sync()

    assert report.error
    assert {key: value for key, value in consul.dump().items() if "locks" not in str(key)} == {
        key: value for key, value in before_it.items() if "locks" not in str(key)
    }
    assert protocol
    away.rename(bench.repo)
    await assert_in_order(bench, consul)
    assert consul.entry("service-defaults", "pay")["Meta"]["routing-host"] == "192.0.2.99"


async def test_while_git_cannot_be_read_what_somebody_changed_is_still_put_back(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    consul.delete("/v1/config/service-resolver/pay")
    bench.repo.rename(bench.repo.with_name("away"))

    report = await bench.sync()

    assert report.error
    assert outcomes(report)["pay"] is Outcome.APPLIED
    assert consul.entry("service-resolver", "pay")


# -- what a long life remembers


async def test_an_approval_is_forgotten_once_all_that_it_let_go_is_gone(bench: Workbench, consul: ConsulServer) -> None:
    bench.commit(**six())
    await bench.sync()
    for gone in (("s0", "s1", "s2"), ("s3", "s4")):
        bench.remove(*(f"services/{name}.yaml" for name in gone))
        bench.commit()
        report = await bench.sync()
        async with bench.house() as house:
            room = house.room(bench.name)
            await approve(room.world, room.sync.owner, report.holds, report.holds[0].digest, empty=False, by="ada")
        assert exit_code(await bench.sync()) == 0

    approvals = json.loads(consul.value("svc-handler/owners/test/payments/approvals") or b"")["approvals"]
    assert [each["digest"] for each in approvals] == [report.holds[0].digest]


def test_patience_forgets_what_is_no_longer_waited_for() -> None:
    patience = Patience()
    pay, books = ServiceKey("pay"), ServiceKey("books")
    patience.refused(pay, "a", 0.0, "no.")
    patience.refused(books, "b", 0.0, "no.")

    patience.keep({pay})

    assert patience.waits(pay, "a", 0.5)
    assert not patience.waits(books, "b", 0.5)
    assert len(patience.refusals) == 1
