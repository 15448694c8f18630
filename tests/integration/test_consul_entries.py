"""Config entries: nothing is written or deleted that is not as it was seen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gitsync.consul.facade import Consul, connect
from gitsync.model.component import Entry
from gitsync.model.errors import Forbidden, Rejected, StaleIndex
from gitsync.model.key import ENTRY_KINDS, Kind
from tests.servers.consul import ConsulServer

PAY = {"Kind": "service-defaults", "Name": "pay", "Protocol": "http", "Meta": {"managed-by": "gitsync"}}


@pytest.fixture
async def ours(consul: ConsulServer) -> AsyncIterator[Consul]:
    async with connect(consul.url) as (opened, _):
        yield opened


async def seen(ours: Consul, name: str = "pay") -> Entry:
    entry = await ours.read_entry(Kind.DEFAULTS, name)
    assert entry
    return entry


async def test_what_was_written_is_read_back_without_what_the_server_adds(ours: Consul):
    await ours.put_entry(PAY, index=0)

    entry = await seen(ours)

    assert {**entry.body, **PAY} == entry.body
    assert not {"CreateIndex", "ModifyIndex", "Hash"} & set(entry.body)
    assert entry.create_index == entry.modify_index > 0
    assert (await ours.list_entries(Kind.DEFAULTS)).entries == (entry,)


async def test_what_is_not_there_is_none(ours: Consul):
    assert await ours.read_entry(Kind.DEFAULTS, "nope") is None


@pytest.mark.parametrize("kind", ENTRY_KINDS)
async def test_every_kind_can_be_listed_also_one_that_this_consul_does_not_have(ours: Consul, kind: Kind):
    listing = await ours.list_entries(kind)

    assert listing.entries == ()
    assert listing.filtered is False


async def test_a_create_does_not_overwrite(ours: Consul, consul: ConsulServer):
    consul.put_entry("service-defaults", "pay", Protocol="grpc")

    with pytest.raises(StaleIndex):
        await ours.put_entry(PAY, index=0)

    assert (await seen(ours)).body["Protocol"] == "grpc"


async def test_an_update_of_what_changed_meanwhile_is_refused(ours: Consul, consul: ConsulServer):
    await ours.put_entry(PAY, index=0)
    entry = await seen(ours)
    consul.put_entry("service-defaults", "pay", Protocol="grpc")

    with pytest.raises(StaleIndex):
        await ours.put_entry({**PAY, "Protocol": "tcp"}, index=entry.modify_index)

    assert (await seen(ours)).body["Protocol"] == "grpc"


async def test_an_update_of_what_was_deleted_meanwhile_is_refused(ours: Consul, consul: ConsulServer):
    await ours.put_entry(PAY, index=0)
    entry = await seen(ours)
    consul.delete("/v1/config/service-defaults/pay")

    with pytest.raises(StaleIndex):
        await ours.put_entry({**PAY, "Protocol": "tcp"}, index=entry.modify_index)

    assert await ours.read_entry(Kind.DEFAULTS, "pay") is None


async def test_a_delete_of_what_changed_meanwhile_is_refused_in_every_version(ours: Consul, consul: ConsulServer):
    await ours.put_entry(PAY, index=0)
    entry = await seen(ours)
    consul.put_entry("service-defaults", "pay", Protocol="grpc")

    with pytest.raises(StaleIndex):
        await ours.delete_entry(entry)

    assert (await seen(ours)).body["Protocol"] == "grpc"


async def test_a_delete_deletes_and_again_is_no_error(ours: Consul):
    await ours.put_entry(PAY, index=0)
    entry = await seen(ours)

    await ours.delete_entry(entry)
    await ours.delete_entry(entry)

    assert await ours.read_entry(Kind.DEFAULTS, "pay") is None


async def test_what_another_entry_stands_in_the_way_of_may_pass_later(ours: Consul):
    router = {"Kind": "service-router", "Name": "pay", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/v1"}}}]}

    with pytest.raises(Rejected) as caught:
        await ours.put_entry(router, index=0)

    assert caught.value.dependency
    await ours.put_entry(PAY, index=0)
    await ours.put_entry(router, index=0)
    with pytest.raises(Rejected) as refused:
        await ours.delete_entry(await seen(ours))
    assert refused.value.dependency


@pytest.mark.parametrize(
    "body",
    [
        {**PAY, "Unheard": 1},
        {**PAY, "Meta": {"key": "v" * 600}},
        {"Kind": "service-splitter", "Name": "pay", "Splits": [{"Weight": 50}]},
        {"Kind": "service-resolver", "Name": "pay", "Subsets": {"NOT valid": {}}},
    ],
    ids=["unknown field", "meta too long", "weights", "subset name"],
)
async def test_what_is_refused_for_its_content_will_not_pass_before_that_changes(ours: Consul, body: dict[str, object]):
    with pytest.raises(Rejected) as caught:
        await ours.put_entry(body, index=0)

    assert not caught.value.dependency
    assert not isinstance(caught.value, Forbidden)


@pytest.mark.parametrize("name", ["dev.credit.open-build", "a b", "a/b", "ü", "50%", "a?b#c"])
async def test_a_name_of_any_characters_is_one_entry(ours: Consul, name: str):
    await ours.put_entry({**PAY, "Name": name}, index=0)

    entry = await seen(ours, name)

    assert entry.name == name
    await ours.delete_entry(entry)
    assert await ours.read_entry(Kind.DEFAULTS, name) is None


async def test_a_number_that_is_no_index_is_never_sent(ours: Consul):
    with pytest.raises(ValueError, match="index"):
        await ours.put_entry(PAY, index=-1)


async def test_what_the_token_may_not_see_is_forbidden_by_name_and_missing_from_a_list(consul_acl: ConsulServer):
    consul_acl.put_entry("service-defaults", "pay", Protocol="http")
    consul_acl.put_entry("service-defaults", "shop", Protocol="http")
    token = consul_acl.new_token('service "shop" { policy = "read" } agent_prefix "" { policy = "read" }')
    async with connect(consul_acl.url, token=lambda: token) as (ours, features):
        listing = await ours.list_entries(Kind.DEFAULTS)

        assert [entry.name for entry in listing.entries] == ["shop"]
        assert listing.filtered is (features.version >= (1, 11, 0))
        with pytest.raises(Forbidden):
            await ours.read_entry(Kind.DEFAULTS, "pay")
        with pytest.raises(Forbidden):
            await ours.put_entry(PAY, index=0)


async def test_a_list_that_was_shortened_is_never_kept(consul_acl: ConsulServer):
    def rules(services: str) -> str:
        return f'{services} agent_prefix "" {{ policy = "read" }}'

    consul_acl.put_entry("service-defaults", "pay", Protocol="http")
    consul_acl.put_entry("service-defaults", "shop", Protocol="http")
    few, all_of_them = 'service "shop" { policy = "read" }', 'service_prefix "" { policy = "read" }'
    policy = consul_acl.put("/v1/acl/policy", {"Name": "grows", "Rules": rules(few)})
    token = consul_acl.put("/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})["SecretID"]
    async with connect(consul_acl.url, token=lambda: token) as (ours, features):
        before = (await ours.lists([Kind.DEFAULTS]))[Kind.DEFAULTS]
        consul_acl.put(f"/v1/acl/policy/{policy['ID']}", {"Name": "grows", "Rules": rules(all_of_them)})
        after = (await ours.lists([Kind.DEFAULTS]))[Kind.DEFAULTS]

    assert [entry.name for entry in before.entries] == ["shop"]
    if features.version >= (1, 11, 0):  # before, Consul does not say it: what it shortened is kept for FRESH_SECONDS
        assert [entry.name for entry in after.entries] == ["pay", "shop"]


async def test_lists_that_nobody_touched_are_read_once(ours: Consul, consul: ConsulServer):
    consul.put_entry("service-defaults", "pay", Protocol="http")
    first = await ours.lists([Kind.DEFAULTS, Kind.RESOLVER])
    before = ours.requests.copy()

    again = await ours.lists([Kind.DEFAULTS, Kind.RESOLVER])
    asked = ours.requests - before
    consul.put_entry("service-resolver", "pay")
    changed = await ours.lists([Kind.DEFAULTS, Kind.RESOLVER])

    assert again[Kind.DEFAULTS] is first[Kind.DEFAULTS]
    assert asked.total() == 1
    assert changed[Kind.DEFAULTS].entries[0] is first[Kind.DEFAULTS].entries[0], (
        "what did not change is the same object"
    )
    assert [entry.name for entry in changed[Kind.RESOLVER].entries] == ["pay"]
