"""Answers that mean something else than they seem to: each is read as what it is, and the next clean run finds all in order."""

from __future__ import annotations

import json

import pytest

from gitsync.model.run import Outcome, RunOutcome, exit_code
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import Workbench, external, outcomes, static

ROUTER = "prefix: /v1/\nretries: { attempts: 2 }"


def two(bench: Workbench) -> None:
    bench.commit(pay=external("pay", router=ROUTER), books=static("books"))


async def assert_in_order(bench: Workbench, consul: ConsulServer) -> None:
    """The oracle: one more clean run, then everything is as Git wants it and nothing is left behind."""
    bench.address = consul.url
    await bench.sync()
    assert (await bench.plan()).plan.empty
    assert consul.keys("svc-handler/locks/") == []
    for key in consul.keys("svc-handler/ledger/"):
        assert json.loads(consul.value(key))["state"] == "applied", key


WRITE = r"PUT /v1/config\?.*cas="
SAME_RUN = [
    Fault.CUT_BEFORE,
    Fault.CUT_AFTER,
    Fault.HALF,
    Fault.ERROR_BEFORE,
    Fault.ERROR_AFTER,
    Fault.NO_LEADER,
    Fault.THROTTLED,
    Fault.FALSE,
]


@pytest.mark.parametrize("fault", SAME_RUN)
@pytest.mark.parametrize(
    "words", [WRITE, r"PUT /v1/txn", r"GET /v1/config/service-defaults", r"PUT /v1/session/create"]
)
async def test_a_fault_of_a_moment_is_healed_in_the_same_run(
    bench: Workbench, consul: ConsulServer, fault: Fault, words: str
) -> None:
    two(bench)
    if fault is Fault.FALSE and "cas" not in words:
        fault = Fault.SLOW
    async with FaultProxy(consul.url) as proxy:
        proxy.script(fault, words)
        bench.address = proxy.url
        report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    await assert_in_order(bench, consul)


async def test_a_semantic_refusal_stops_its_service_and_names_the_step(bench: Workbench, consul: ConsulServer) -> None:
    two(bench)
    text = 'discovery chain "pay" uses a protocol "tcp" that does not permit advanced routing or splitting behavior'
    async with FaultProxy(consul.url) as proxy:
        proxy.script(
            Fault.ERROR_BEFORE, WRITE, times=0, text=text, when=lambda request: b"service-router" in request.body
        )
        bench.address = proxy.url
        report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.FAILED, "books": Outcome.APPLIED}
    failed = next(service for service in report.services if str(service.key) == "pay")
    assert failed.step == "service-router"
    assert "does not permit" in failed.message
    assert exit_code(report) == 5
    await assert_in_order(bench, consul)


async def test_no_leader_for_the_whole_run_is_unavailable_and_loses_nothing(
    bench: Workbench, consul: ConsulServer
) -> None:
    two(bench)
    await bench.sync()
    before = consul.dump()
    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.NO_LEADER, "", times=0, when=lambda request: "agent" not in request.target)
        bench.address = proxy.url
        report = await bench.sync()

    assert exit_code(report) == 6, report
    assert consul.dump() == before


@pytest.mark.parametrize("kind", ["service-defaults", "service-router", "terminating-gateway"])
async def test_a_list_that_looks_empty_deletes_and_creates_nothing(
    bench: Workbench, consul: ConsulServer, kind: str
) -> None:
    two(bench)
    await bench.sync()
    before = consul.dump()
    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.FORBIDDEN, rf"GET /v1/config/{kind}(\?|$)", times=0)
        bench.address = proxy.url
        report = await bench.sync()

    assert report.outcome in (RunOutcome.FAILED, RunOutcome.PARTIAL)
    assert consul.dump() == before


async def test_a_login_page_instead_of_consul_changes_nothing(bench: Workbench, consul: ConsulServer) -> None:
    two(bench)
    await bench.sync()
    before = consul.dump()
    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.STRANGE, r"GET /v1/(config|kv|catalog)", times=0)
        bench.address = proxy.url
        report = await bench.sync()

    assert report.outcome is RunOutcome.FAILED
    assert consul.dump() == before


async def test_somebody_who_overwrites_our_entry_between_read_and_write_is_seen(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"))
    await bench.sync()
    bench.commit(pay=external("pay", "192.0.2.77"))
    meddled = []

    def meddle(request: object) -> bool:
        """The moment before our write arrives, somebody else's does."""
        if not meddled:
            meddled.append(request)
            entry = consul.entry("service-defaults", "pay")
            consul.put_entry("service-defaults", "pay", Protocol="http", Meta={**entry["Meta"], "by-hand": "yes"})
        return False

    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.SLOW, WRITE, when=meddle)
        bench.address = proxy.url
        report = await bench.sync()

    meta = consul.entry("service-defaults", "pay")["Meta"]
    assert report.outcome is RunOutcome.APPLIED, report
    assert (meta["routing-host"], meta["by-hand"]) == ("192.0.2.77", "yes")
    assert meddled


async def test_somebody_who_never_stops_overwriting_is_named_as_contested(
    bench: Workbench, consul: ConsulServer
) -> None:
    bench.commit(pay=external("pay"), books=external("books", "192.0.2.11"))
    count = iter(range(1000))

    def meddle(request: object) -> bool:
        if b'"pay"' in getattr(request, "body", b"") and b"service-resolver" in getattr(request, "body", b""):
            consul.put_entry(
                "service-resolver",
                "pay",
                ConnectTimeout=f"{next(count) + 1}s",
                Meta={"gitsync-owner": "test/payments", "managed-by": "gitsync"},
            )
        return False

    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.SLOW, WRITE, times=0, when=meddle)
        bench.address = proxy.url
        report = await bench.sync()

    assert outcomes(report) == {"pay": Outcome.CONFLICT, "books": Outcome.APPLIED}
    assert exit_code(report) == 4
    await assert_in_order(bench, consul)


async def test_a_later_round_sees_what_an_earlier_one_has_written(bench: Workbench, consul: ConsulServer) -> None:
    """The neighbour's protocol changed in the first round; the service that lost its write is judged by the new one."""
    routes = "routes:\n  - { match: { path_prefix: /b }, destination: { service: books } }"
    bench.commit(pay=external("pay", protocol="tcp"), books=external("books", "192.0.2.11", protocol="tcp"))
    await bench.sync()
    bench.commit(pay=external("pay", router=routes), books=external("books", "192.0.2.11"))
    async with FaultProxy(consul.url) as proxy:
        proxy.script(Fault.FALSE, WRITE, when=lambda request: b"service-router" in request.body)
        bench.address = proxy.url
        report = await bench.sync()

    assert report.outcome is RunOutcome.APPLIED, report
    await assert_in_order(bench, consul)


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.CUT_BEFORE, Fault.NO_LEADER])
async def test_the_first_question_of_a_command_is_asked_again(
    bench: Workbench, consul: ConsulServer, fault: Fault
) -> None:
    two(bench)
    async with FaultProxy(consul.url) as proxy:
        script = proxy.script(fault, r"GET /v1/agent/(self|members)")
        bench.address = proxy.url
        report = await bench.sync()

    assert script.hits == 1
    assert report.outcome is RunOutcome.APPLIED
    await assert_in_order(bench, consul)
