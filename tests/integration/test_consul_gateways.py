"""Gateways: one entry, many writers, and nobody's row is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gitsync.consul.client import Client, ConsulAddress
from gitsync.consul.entries import Entries
from gitsync.consul.facade import Consul, connect
from gitsync.consul.gateways import GatewayDesk, Timing
from gitsync.consul.shelf import Shelf
from gitsync.engine.ports import RowEdit
from gitsync.model.errors import Forbidden, Rejected, StaleIndex, Unavailable
from gitsync.model.features import Features
from gitsync.model.key import Kind
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy

TLS = {"CAFile": "/etc/ssl/ca.pem", "SNI": "api.bank.example"}
HALF_TLS = {"Name": "bad", "CertFile": "/etc/ssl/only-this.pem"}


@pytest.fixture
async def ours(consul: ConsulServer) -> AsyncIterator[Consul]:
    async with connect(consul.url) as (opened, _):
        yield opened


def add(name: str, **fields: str) -> RowEdit:
    return RowEdit(name, {"Name": name, **fields}, None)


def rows(consul: ConsulServer, gateway: str = "tgw") -> list[dict[str, Any]]:
    entry = consul.entry("terminating-gateway", gateway)
    assert entry
    return entry["Services"] or []


def names(consul: ConsulServer, gateway: str = "tgw") -> list[str]:
    return [row["Name"] for row in rows(consul, gateway)]


def desk(client: Client, *, deadline_seconds: float = 30.0) -> GatewayDesk:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    timing = Timing(at_once, loop.time, lambda: 0.5)
    entries = Entries(client, Features((1, 8, 7), "dc1", "dc1"), Shelf(loop.time, str))
    return GatewayDesk(entries, timing, deadline_seconds=deadline_seconds)


async def test_a_gateway_that_is_not_there_is_made_with_all_rows_in_one_write(ours: Consul, consul: ConsulServer):
    before = ours.requests.copy()

    outcome = await ours.edit_gateway("tgw", [add("b", **TLS), add("a"), add("c")])

    assert (outcome.refused, outcome.contested) == ({}, {})
    assert rows(consul) == [{"Name": "a"}, {"Name": "b", **TLS}, {"Name": "c"}]
    assert ours.requests - before == {("GET", "config"): 1, ("PUT", "config"): 1}


async def test_other_peoples_rows_and_meta_stay_as_they_are(ours: Consul, consul: ConsulServer):
    foreign = {"Name": "zebra", "CAFile": "/c/ca.pem", "CertFile": "/c/c.pem", "KeyFile": "/c/k.pem", "SNI": "z"}
    consul.put_entry("terminating-gateway", "tgw", Services=[foreign, {"Name": "*"}], Meta={"team": "mesh", "é": "ü"})

    await ours.edit_gateway("tgw", [add("pay")])
    await ours.edit_gateway("tgw", [RowEdit("pay", None, {"Name": "pay"})])

    entry = consul.entry("terminating-gateway", "tgw")
    assert entry
    assert entry["Meta"] == {"team": "mesh", "é": "ü"}
    assert entry["Services"] == [{"Name": "*"}, foreign]


async def test_a_gateway_that_loses_its_last_row_is_left_empty(ours: Consul, consul: ConsulServer):
    await ours.edit_gateway("tgw", [add("pay")])

    await ours.edit_gateway("tgw", [RowEdit("pay", None, {"Name": "pay"})])

    assert rows(consul) == []


async def test_rows_that_are_already_as_they_should_be_are_not_written(ours: Consul, consul: ConsulServer):
    await ours.edit_gateway("tgw", [add("pay", **TLS)])
    before, index = ours.requests.copy(), consul.entry("terminating-gateway", "tgw")

    outcome = await ours.edit_gateway("tgw", [add("pay", **TLS), RowEdit("gone", None, {"Name": "gone"})])

    assert (outcome.refused, outcome.contested) == ({}, {})
    assert ours.requests - before == {("GET", "config"): 1}
    assert consul.entry("terminating-gateway", "tgw") == index


async def test_a_row_that_somebody_changed_is_contested_and_the_others_are_written(ours: Consul, consul: ConsulServer):
    theirs = {"Name": "pay", "CAFile": "/their/ca.pem"}
    consul.put_entry("terminating-gateway", "tgw", Services=[theirs])

    outcome = await ours.edit_gateway(
        "tgw",
        [
            RowEdit("pay", {"Name": "pay", **TLS}, {"Name": "pay"}),
            RowEdit("gone", {"Name": "gone", **TLS}, {"Name": "gone"}),
            add("new"),
        ],
    )

    assert outcome.contested == {"pay": theirs, "gone": None}
    assert rows(consul) == [{"Name": "new"}, theirs]


async def test_a_row_is_not_taken_away_from_somebody_who_changed_it(ours: Consul, consul: ConsulServer):
    theirs = {"Name": "pay", "CAFile": "/their/ca.pem"}
    consul.put_entry("terminating-gateway", "tgw", Services=[theirs])

    outcome = await ours.edit_gateway("tgw", [RowEdit("pay", None, {"Name": "pay"})])

    assert outcome.contested == {"pay": theirs}
    assert rows(consul) == [theirs]


async def test_rows_that_differ_in_case_are_two_rows(ours: Consul, consul: ConsulServer):
    consul.put_entry("terminating-gateway", "tgw", Services=[{"Name": "Pay", **TLS}])

    await ours.edit_gateway("tgw", [add("pay")])

    assert rows(consul) == [{"Name": "Pay", **TLS}, {"Name": "pay"}]


async def test_many_writers_of_one_process_share_a_few_writes(ours: Consul, consul: ConsulServer):
    before = ours.requests.copy()

    outcomes = await asyncio.gather(*(ours.edit_gateway("tgw", [add(f"s{at:02}")]) for at in range(40)))

    assert all(not outcome.refused and not outcome.contested for outcome in outcomes)
    assert names(consul) == [f"s{at:02}" for at in range(40)]
    assert (ours.requests - before)["PUT", "config"] <= 2


async def test_many_processes_that_write_one_gateway_lose_no_row(consul: ConsulServer):
    async def process(at: int) -> None:
        async with connect(consul.url, pool=4) as (ours, _):
            for row in range(5):
                outcome = await ours.edit_gateway("tgw", [add(f"s{at}-{row}")])
                assert not outcome.contested

    await asyncio.gather(*(process(at) for at in range(8)))

    assert names(consul) == sorted(f"s{at}-{row}" for at in range(8) for row in range(5))


async def test_rows_that_consul_refuses_do_not_stop_the_others(ours: Consul, consul: ConsulServer):
    bad = [RowEdit(name, {**HALF_TLS, "Name": name}, None) for name in ("bad-1", "m-bad", "z-bad")]
    good = [add(f"s{at:02}") for at in range(20)]

    outcome = await ours.edit_gateway("tgw", sorted([*good, *bad], key=lambda edit: edit.name))

    assert set(outcome.refused) == {"bad-1", "m-bad", "z-bad"}
    assert all(isinstance(error, Rejected) and "CertFile" in str(error) for error in outcome.refused.values())
    assert names(consul) == [edit.name for edit in good]


async def test_the_bad_row_of_one_caller_is_not_the_refusal_of_another(ours: Consul, consul: ConsulServer):
    bad = RowEdit("bad", HALF_TLS, None)

    theirs, mine = await asyncio.gather(ours.edit_gateway("tgw", [bad]), ours.edit_gateway("tgw", [add("pay")]))

    assert set(theirs.refused) == {"bad"}
    assert not mine.refused
    assert names(consul) == ["pay"]


async def test_an_entry_that_is_refused_whatever_its_rows_is_an_error_after_a_few_tries(
    ours: Consul, consul: ConsulServer
):
    consul.put_entry("ingress-gateway", "tgw", Listeners=[])
    before = ours.requests.copy()

    with pytest.raises(Rejected):
        await ours.edit_gateway("tgw", [add(f"s{at}") for at in range(64)])

    assert (ours.requests - before)["PUT", "config"] <= 9


async def test_a_lost_compare_and_set_is_tried_again_on_what_is_there_then(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.FALSE, r"^PUT /v1/config", times=3)

        outcome = await ours.edit_gateway("tgw", [add("pay")])

        assert not outcome.contested
        assert names(consul) == ["pay"]


async def test_what_others_write_all_the_time_is_given_up_at_the_deadline(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, Client(ConsulAddress(proxy.url)) as client:
        proxy.script(Fault.FALSE, r"^PUT /v1/config", times=0)

        with pytest.raises(StaleIndex, match="terminating-gateway/tgw"):
            await desk(client, deadline_seconds=0.05).edit("tgw", [add("pay")])


async def test_without_consul_everybody_who_waits_learns_it_from_one_try(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, Client(ConsulAddress(proxy.url)) as client:
        broken = proxy.script(Fault.NO_LEADER, r"^PUT /v1/config", times=0)
        counter = desk(client)

        outcomes = await asyncio.gather(
            *(counter.edit("tgw", [add(f"s{at}")]) for at in range(20)), return_exceptions=True
        )

        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert broken.hits <= 2


async def test_a_caller_that_gives_up_does_not_take_the_others_with_it(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, Client(ConsulAddress(proxy.url)) as client:
        stuck = proxy.script(Fault.HANG, r"^PUT /v1/config")
        counter = desk(client)
        first = asyncio.create_task(counter.edit("tgw", [add("first")]))
        second = asyncio.create_task(counter.edit("tgw", [add("second")]))
        await stuck.reached()

        first.cancel()
        outcome = await second

        assert not outcome.refused
        assert names(consul) == ["second"]
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_write_whose_answer_was_lost_is_not_written_again(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.CUT_AFTER, r"^PUT /v1/config")
        with pytest.raises(Unavailable):
            await ours.edit_gateway("tgw", [add("pay")])
        before = consul.entry("terminating-gateway", "tgw")

        outcome = await ours.edit_gateway("tgw", [add("pay")])

        assert not outcome.contested
        assert consul.entry("terminating-gateway", "tgw") == before


async def test_a_token_that_may_not_write_gateways_is_told_so_at_once(consul_acl: ConsulServer):
    token = consul_acl.new_token('service_prefix "" { policy = "read" } agent_prefix "" { policy = "read" }')
    async with connect(consul_acl.url, token=lambda: token, version="1.8.7") as (ours, _):
        before = ours.requests.copy()

        with pytest.raises(Forbidden):
            await ours.edit_gateway("tgw", [add(f"s{at}") for at in range(10)])

        assert (ours.requests - before)["PUT", "config"] == 1
        assert await ours.read_entry(Kind.GATEWAY_ROW, "tgw") is None
