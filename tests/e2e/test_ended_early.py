"""A run that ends before it could write: it names the commit that it is about as soon as that is known, and is told once of it."""

from __future__ import annotations

import pytest

from gitsync.model.run import RunOutcome
from gitsync.model.sync import Options
from gitsync.wire import Silent
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.workbench import Workbench, external

BAD = "name: [\n"


async def test_a_commit_that_a_strict_sync_refuses_is_named(bench: Workbench):
    bench.policy = {"strict": True}
    sha = bench.commit(bad=BAD)

    ended = await bench.sync()

    assert (ended.outcome, ended.revision) == (RunOutcome.FAILED, sha)
    assert str(ended.error).startswith("plan: strict: ")


async def test_a_commit_without_the_path_is_named(bench: Workbench):
    sha = bench.commit("nothing")

    ended = await bench.sync()

    assert (ended.outcome, ended.revision) == (RunOutcome.FAILED, sha)


async def test_a_rewritten_and_an_older_history_are_named_by_their_heads(bench: Workbench):
    first = bench.commit(pay=external("pay"))
    second = bench.commit(shop=external("shop", "192.0.2.11"))
    await bench.sync()
    bench.git("reset", "-q", "--hard", first)
    older = await bench.sync()
    rewritten = bench.commit(books=external("books", "192.0.2.12"))

    ended = await bench.sync()

    assert (older.revision, ended.revision) == (first, rewritten)
    assert second[:12] in str(older.error)
    assert second[:12] in str(ended.error)


@pytest.mark.parametrize("request_", ["^GET /v1/catalog/nodes", "^PUT /v1/txn"])
async def test_where_consul_refuses_after_the_fetch_the_commit_is_named(
    bench: Workbench, consul: ConsulServer, request_: str
):
    sha = bench.commit(pay=external("pay"))
    async with FaultProxy(consul.url) as proxy:
        bench.address = proxy.url
        script = proxy.script(Fault.FORBIDDEN, request_, times=0)

        ended = await bench.sync()

        await script.reached()
    assert ended.error
    assert ended.revision == sha


async def test_the_same_trouble_is_told_once_of_each_commit(bench: Workbench):
    bench.git_settings = {"path": "elsewhere"}
    first = bench.commit("first")
    bench.policy = {"strict": True}
    async with bench.house() as house:
        room = house.room(bench.name)
        ended = [await room.run(Options(), Silent()) for _ in range(2)]
        second = bench.commit("second")
        ended += [await room.run(Options(), Silent()) for _ in range(2)]
        runs = await house.store.runs(bench.name)

    assert [each.revision for each in ended] == [first, first, second, second]
    assert [bool(each.id) for each in ended] == [True, False, True, False]
    assert sorted(row["revision"] for row in runs) == sorted([first, second])
