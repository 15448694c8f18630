"""gitsync's records in KV: whole trees, and transactions that say what stood in their way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gitsync.consul.facade import Consul, connect
from gitsync.engine.ports import Op
from gitsync.model.errors import Fenced, Forbidden, Rejected, Unknown
from tests.servers.consul import ConsulServer
from tests.servers.fault_proxy import Fault, FaultProxy


@pytest.fixture
async def ours(consul: ConsulServer) -> AsyncIterator[Consul]:
    async with connect(consul.url) as (opened, _):
        yield opened


async def test_what_was_set_is_read_by_key_and_by_tree(ours: Consul):
    assert (
        await ours.transact([Op("set", "svc/a", b"1"), Op("set", "svc/b/c", b"\x00\xff"), Op("set", "svc-x", b"")])
        == ()
    )

    tree = await ours.read_tree("svc/")

    assert [(pair.key, pair.value) for pair in tree] == [("svc/a", b"1"), ("svc/b/c", b"\x00\xff")]
    pair = await ours.read_key("svc-x")
    assert pair
    assert (pair.value, pair.session) == (b"", "")
    assert await ours.read_key("svc/none") is None
    assert await ours.read_tree("none/") == ()


async def test_the_index_of_a_tree_moves_with_what_is_below_it_and_only_then(ours: Consul):
    await ours.transact([Op("set", "svc/a", b"1"), Op("set", "other", b"1")])
    before = await ours.tree_index("svc/")

    await ours.transact([Op("set", "other", b"2")])
    assert await ours.tree_index("svc/") == before

    await ours.transact([Op("set", "svc/a", b"2")])
    assert await ours.tree_index("svc/") > before


async def test_a_prefix_without_a_slash_is_never_read(ours: Consul):
    with pytest.raises(ValueError, match="slash"):
        await ours.read_tree("svc")


async def test_one_lost_compare_and_set_keeps_everything_from_happening_and_is_named(
    ours: Consul, consul: ConsulServer
):
    await ours.transact([Op("set", "b", b"theirs")])

    failures = await ours.transact([Op("set", "a", b"1"), Op("cas", "b", b"ours", index=0), Op("set", "c", b"1")])

    assert [failure.op_index for failure in failures] == [1]
    assert consul.value("b") == b"theirs"
    assert consul.keys() == ["b"]


async def test_a_held_lock_is_named_and_who_holds_it_can_be_read(ours: Consul):
    mine, theirs = await ours.open_lease("mine"), await ours.open_lease("theirs")
    await ours.transact([Op("lock", "lock/b", b"them", session=theirs.id)])

    failures = await ours.transact(
        [Op("lock", "lock/a", b"me", session=mine.id), Op("lock", "lock/b", b"me", session=mine.id)]
    )

    assert [(failure.op_index, failure.held) for failure in failures] == [(1, True)]
    assert await ours.read_key("lock/a") is None
    pair = await ours.read_key("lock/b")
    assert pair
    assert pair.session == theirs.id


@pytest.mark.parametrize("how", ["check-session", "lock"])
async def test_a_writer_whose_session_is_gone_is_fenced(ours: Consul, consul: ConsulServer, how: str):
    lease = await ours.open_lease("mine")
    await ours.transact([Op("lock", "lock", b"me", session=lease.id)])
    await ours.destroy_session(lease.id)

    with pytest.raises(Fenced):
        await ours.transact([Op(how, "lock", session=lease.id), Op("set", "a", b"1")])

    assert consul.keys() == []


async def test_a_transaction_that_is_too_large_is_not_sent(ours: Consul):
    with pytest.raises(Rejected, match="64"):
        await ours.transact([Op("set", f"k{at}", b"") for at in range(65)])
    with pytest.raises(Rejected, match="bytes"):
        await ours.transact([Op("set", "k", b"x" * 400_000)])

    assert ours.requests["PUT", "txn"] == 0


async def test_batches_are_as_few_as_consul_takes_and_tear_no_group_apart(ours: Consul, consul: ConsulServer):
    groups = [[Op("set", f"s{at:03}/a", b"x" * 3000), Op("set", f"s{at:03}/b", b"y" * 3000)] for at in range(100)]

    batches = ours.batches([*groups, []])

    assert [group for batch in batches for group in batch] == groups
    assert 2 < len(batches) <= 6
    for batch in batches:
        assert await ours.transact([op for group in batch for op in group]) == ()
    assert len(consul.keys()) == 200


async def test_a_transaction_whose_answer_is_lost_is_unknown(consul: ConsulServer):
    async with FaultProxy(consul.url) as proxy, connect(proxy.url) as (ours, _):
        proxy.script(Fault.CUT_AFTER, r"^PUT /v1/txn")

        with pytest.raises(Unknown):
            await ours.transact([Op("set", "a", b"1")])

        assert consul.value("a") == b"1"


@pytest.mark.parametrize("key", ["a/../b", "a//b", "./a"])
async def test_a_key_that_no_url_can_carry_is_refused(ours: Consul, key: str):
    with pytest.raises(Rejected, match="URL"):
        await ours.read_key(key)


@pytest.mark.parametrize("key", ["a b", "ü/ö", "a%2Fb", "a?b", "a#b", "a+b"])
async def test_a_key_of_any_other_characters_is_read_as_it_was_written(ours: Consul, key: str):
    await ours.transact([Op("set", key, b"1")])

    pair = await ours.read_key(key)

    assert pair
    assert pair.key == key


async def test_what_the_token_may_not_write_is_named_and_the_rest_can_be_sent_without_it(consul_acl: ConsulServer):
    token = consul_acl.new_token('key_prefix "mine/" { policy = "write" } agent_prefix "" { policy = "read" }')
    async with connect(consul_acl.url, token=lambda: token, version="1.8.7") as (ours, _):
        failures = await ours.transact([Op("set", "mine/a", b"1"), Op("set", "theirs/a", b"1")])

        assert [(failure.op_index, failure.denied) for failure in failures] == [(1, True)]
        with pytest.raises(Forbidden, match="theirs/a"):
            await ours.transact([Op("set", "theirs/a", b"1")])
        assert consul_acl.keys() == []


async def test_a_tree_that_the_token_may_not_see_is_forbidden_and_not_empty(consul_acl: ConsulServer):
    consul_acl.put("/v1/kv/theirs/a", "1")
    token = consul_acl.new_token('key_prefix "mine/" { policy = "read" } agent_prefix "" { policy = "read" }')
    async with connect(consul_acl.url, token=lambda: token, version="1.8.7") as (ours, _):
        assert await ours.read_tree("mine/") == ()
        with pytest.raises(Forbidden):
            await ours.read_tree("theirs/")
        with pytest.raises(Forbidden):
            await ours.read_key("theirs/a")
