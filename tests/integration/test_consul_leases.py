"""Leases: a session that is renewed as long as we live, and the moment from which nothing may be written any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gitsync.consul.client import Client, ConsulAddress
from gitsync.consul.facade import Consul, connect
from gitsync.consul.leases import Lease, Sessions
from gitsync.engine.ports import Op
from gitsync.model.errors import Fenced, Forbidden, Rejected
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy

TTL = 15.0


class Time:
    """A clock that a test moves. Whoever sleeps wakes when it has come to that."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._slept = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, woken))
        self._slept.set()
        await woken

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, and whoever woke up come to its next sleep."""
        await self.asleep()
        self.now += seconds
        due = [each for each in self._sleepers if each[0] <= self.now]
        self._sleepers = [each for each in self._sleepers if each not in due]
        if due:
            self._slept.clear()
            for _, woken in due:
                if not woken.done():
                    woken.set_result(None)
            await self.asleep()

    async def asleep(self) -> None:
        """Wait until somebody sleeps."""
        async with asyncio.timeout(20):
            await self._slept.wait()


@pytest.fixture
async def ours(consul: ConsulServer) -> AsyncIterator[Consul]:
    async with connect(consul.url, lock_ttl=TTL) as (opened, _):
        yield opened


async def gone(lease: Lease) -> None:
    """Wait until the lease knows that its session is gone."""
    async with asyncio.timeout(20):
        while True:
            try:
                lease.check()
            except Fenced:
                return
            await asyncio.sleep(0.001)


async def test_a_session_is_what_the_locks_need(ours: Consul, consul: ConsulServer):
    lease = await ours.open_lease("svc-handler:payments")

    (session,) = consul.get(f"/v1/session/info/{lease.id}")
    assert (session["Name"], session["TTL"], session["Behavior"]) == ("svc-handler:payments", "15s", "delete")
    assert session["LockDelay"] == 0
    assert session["Node"] == consul.node
    assert not session.get("Checks")
    assert not session.get("NodeChecks")
    lease.check()


async def test_ending_a_lease_frees_its_locks_at_once(ours: Consul):
    first, second = await ours.open_lease("first"), await ours.open_lease("second")
    assert await ours.transact([Op("lock", "lock", b"1", session=first.id)]) == ()

    await first.destroy()

    assert not await ours.session_exists(first.id)
    assert await ours.read_key("lock") is None
    assert await ours.transact([Op("lock", "lock", b"2", session=second.id)]) == ()
    with pytest.raises(Fenced, match="ended"):
        first.check()


async def test_ending_what_is_ended_is_no_error(ours: Consul):
    lease = await ours.open_lease("mine")

    await ours.destroy_session(lease.id)
    await ours.destroy_session(lease.id)
    await lease.destroy()

    assert not await ours.session_exists(lease.id)


async def test_a_lease_is_renewed_every_third_of_its_ttl(consul: ConsulServer):
    time = Time()
    async with FaultProxy(consul.url) as proxy, Client(ConsulAddress(proxy.url)) as client:
        sessions = Sessions(client, ttl_seconds=TTL, node=None, sleep=time.sleep, now=lambda: time.now)
        lease = await sessions.open("mine")

        for _ in range(5):
            await time.pass_by(TTL / 3)
            lease.check()

        assert len([each for each in proxy.requests if "/session/renew/" in each.target]) == 5
        sessions.close()


async def test_nothing_is_written_after_two_thirds_of_a_ttl_without_a_renewal(consul: ConsulServer):
    time = Time()
    async with FaultProxy(consul.url) as proxy, Client(ConsulAddress(proxy.url)) as client:
        sessions = Sessions(client, ttl_seconds=TTL, node=None, sleep=time.sleep, now=lambda: time.now)
        lease = await sessions.open("mine")
        proxy.script(Fault.NO_LEADER, "/session/renew/", times=3)

        await time.pass_by(TTL / 3)
        lease.check()
        await time.pass_by(TTL / 3 - 0.1)
        lease.check()
        await time.pass_by(0.1)
        with pytest.raises(Fenced, match="not renewed"):
            lease.check()

        await time.pass_by(TTL / 12)
        await time.pass_by(TTL / 12)
        lease.check()  # Consul is back, and the session was still there
        sessions.close()


async def test_a_renewal_counts_from_when_it_began(consul: ConsulServer):
    time = Time()
    async with FaultProxy(consul.url) as proxy, Client(ConsulAddress(proxy.url)) as client:
        sessions = Sessions(client, ttl_seconds=TTL, node=None, sleep=time.sleep, now=lambda: time.now)
        lease = await sessions.open("mine")
        late = proxy.script(Fault.SLOW, "/session/renew/", seconds=0.2)
        passing = asyncio.create_task(time.pass_by(TTL / 3))
        await late.reached()
        time.now += 4.0
        await passing

        time.now += TTL * 2 / 3 - 4.1
        lease.check()
        time.now += 0.1
        with pytest.raises(Fenced):
            lease.check()
        sessions.close()


async def test_a_session_that_somebody_ended_is_noticed_at_the_next_renewal(consul: ConsulServer):
    time = Time()
    async with Client(ConsulAddress(consul.url)) as client:
        sessions = Sessions(client, ttl_seconds=TTL, node=None, sleep=time.sleep, now=lambda: time.now)
        lease = await sessions.open("mine")
        consul.put(f"/v1/session/destroy/{lease.id}")

        await time.asleep()
        moving = asyncio.create_task(time.pass_by(TTL / 3))
        await gone(lease)

        with pytest.raises(Fenced, match="gone"):
            lease.check()
        moving.cancel()
        sessions.close()


async def test_a_renewal_does_not_wait_behind_other_requests(consul: ConsulServer):
    time = Time()
    async with FaultProxy(consul.url) as proxy, Client(ConsulAddress(proxy.url), pool=1) as client:
        sessions = Sessions(client, ttl_seconds=TTL, node=None, sleep=time.sleep, now=lambda: time.now)
        lease = await sessions.open("mine")
        stuck = proxy.script(Fault.HANG, "/v1/kv/")
        waiting = asyncio.create_task(client.ask("GET", "/v1/kv/a"))
        await stuck.reached()

        await time.pass_by(TTL / 3)
        await time.pass_by(TTL / 3)
        await time.pass_by(TTL / 3)

        lease.check()
        waiting.cancel()
        sessions.close()


async def test_a_lease_outlives_its_ttl_and_is_let_go_when_gitsync_ends(consul_binary: str):
    with ConsulServer(consul_binary, config={"session_ttl_min": "1s"}) as server:
        async with connect(server.url, lock_ttl=1.0) as (ours, _):
            lease = await ours.open_lease("mine")
            async with asyncio.timeout(30):
                while (
                    ours.requests["PUT", "session"] < 10
                ):  # three seconds: a session that nobody renews is gone after two
                    await asyncio.sleep(0.05)
                    lease.check()
            assert await ours.session_exists(lease.id)
        async with connect(server.url) as (other, _), asyncio.timeout(30):
            while await other.session_exists(lease.id):  # noqa: ASYNC110 (only Consul knows)
                await asyncio.sleep(0.05)
        with pytest.raises(Fenced):
            lease.check()


async def test_a_session_can_belong_to_a_node_of_our_own(consul: ConsulServer):
    async with connect(consul.url, session_node="gitsync") as (ours, _):
        with pytest.raises(Rejected):
            await ours.open_lease("mine")
        consul.put("/v1/catalog/register", {"Node": "gitsync", "Address": "127.0.0.1"})

        lease = await ours.open_lease("mine")

        (session,) = consul.get(f"/v1/session/info/{lease.id}")
        assert session["Node"] == "gitsync"


async def test_a_session_that_the_token_may_not_see_is_not_taken_for_gone_where_consul_says_so(
    consul_acl: ConsulServer,
):
    session = consul_acl.put("/v1/session/create", {"TTL": "15s", "NodeChecks": []})["ID"]
    token = consul_acl.new_token('agent_prefix "" { policy = "read" }')
    async with connect(consul_acl.url, token=lambda: token, version="1.8.7") as (ours, _):
        if consul_acl.version >= (1, 11, 0):
            with pytest.raises(Forbidden):
                await ours.session_exists(session)
        else:
            assert not await ours.session_exists(session)
