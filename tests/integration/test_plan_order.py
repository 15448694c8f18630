"""A real Consul takes every write of a plan in the order of the plan, and what it makes of them is no difference."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from gitsync.core.normalize import canonical
from gitsync.model.component import Entry
from gitsync.model.key import ENTRY_KINDS, Kind
from gitsync.model.plan import Change
from tests.servers.consul import ConsulServer
from tests.unit.revisions import revisions, seeds
from tests.unit.worlds import Wish, World, approved, plan, run, writes


class Real(World):
    """A world whose entries are a real Consul's: it is asked before the model is."""

    consul: ConsulServer

    def apply(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        for change in changes:
            name = change.key.service.name
            if change.key.kind not in ENTRY_KINDS:
                continue
            if change.after is None:
                self.consul.delete(f"/v1/config/{change.key.kind}/{name}")
            else:
                self.consul.put("/v1/config", change.after)
        super().apply(changes)

    def look(self) -> None:
        """Take what Consul answers in place of what the model thinks that it holds."""
        kinds = ENTRY_KINDS if self.consul.version >= (1, 9, 0) else ENTRY_KINDS[:-1]
        found = {}
        for kind in kinds:
            for body in self.consul.entries(kind):
                created, modified = body.pop("CreateIndex"), body.pop("ModifyIndex")
                body.pop("Hash", None)
                found[kind, body["Name"]] = Entry(str(kind), body["Name"], body, created, modified)
        assert found.keys() == self.entries.keys()
        for key, entry in found.items():
            assert canonical(key[0], entry.body) == canonical(key[0], self.entries[key].body)
        self.entries = found


def fit(wishes: list[Wish], version: tuple[int, int, int]) -> list[Wish]:
    """What this Consul can hold: intentions from 1.9, Destination from 1.13, both of which have tests of their own."""
    return [
        replace(
            wish,
            intentions=wish.intentions if version >= (1, 9, 0) else "",
            external=wish.external or version < (1, 13, 0),
        )
        for wish in wishes
    ]


def empty(consul: ConsulServer) -> Real:
    consul.reset()
    world = Real()
    world.consul = consul
    return world


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(before=revisions(), after=revisions(), seed=seeds)
def test_consul_refuses_no_write_of_a_plan_from_any_revision_to_any_other(consul, before, after, seed):
    world = empty(consul)
    shuffle = random.Random(seed)
    for wishes in (fit(before, consul.version), fit(after, consul.version), fit(before, consul.version)):
        run(world, wishes, shuffle=shuffle, policy=approved(plan(world, wishes)))
        world.look()
        assert plan(world, wishes).empty


LEADS = ["route", "split", "failover", "redirect"]


@pytest.mark.parametrize("kind", LEADS)
def test_a_subset_and_the_neighbour_that_names_it_change_together(consul, kind):
    world = empty(consul)
    for subset in ("v1", "v2"):
        wishes = [Wish("a", **{kind: ("b", subset)}), Wish("b", subsets=(subset,))]
        run(world, wishes)
        world.look()
        assert plan(world, wishes).empty


@pytest.mark.parametrize("kind", LEADS)
def test_the_protocol_of_a_chain_changes_as_a_whole(consul, kind):
    world = empty(consul)
    for protocol in ("http", "grpc", "http2"):
        wishes = [Wish("a", protocol=protocol, **{kind: ("b", "")}), Wish("b", protocol=protocol)]
        run(world, wishes)
        world.look()
        assert plan(world, wishes).empty


@pytest.mark.parametrize("kind", ["split", "redirect"])
def test_what_led_from_a_to_b_leads_from_b_to_a(consul, kind):
    world = empty(consul)
    for wishes in ([Wish("a", **{kind: ("b", "")}), Wish("b")], [Wish("a"), Wish("b", **{kind: ("a", "")})]):
        run(world, wishes)
        world.look()
        assert plan(world, wishes).empty


def test_two_services_that_fail_over_to_each_others_subsets_come_and_go(consul):
    world = empty(consul)
    both = [Wish("a", subsets=("v1",), failover=("b", "v2")), Wish("b", subsets=("v2",), failover=("a", "v1"))]
    for wishes in ([Wish("c")], [*both, Wish("c")], [Wish("c")]):
        run(world, wishes, policy=approved(plan(world, wishes)))
        world.look()
        assert plan(world, wishes).empty


def test_permissions_by_request_and_their_protocol_come_and_go(consul):
    if consul.version < (1, 9, 0):
        return  # there are no such entries
    world = empty(consul)
    steps = [
        Wish("a", intentions="by-request"),
        Wish("a", protocol="tcp", intentions="allow"),
        Wish("a", intentions="by-request"),
    ]
    for wish in (*steps, Wish("a", protocol="tcp")):
        run(world, [wish])
        world.look()
        assert plan(world, [wish]).empty


def test_without_its_bridges_consul_refuses_the_plan(consul):
    """So the bridges are needed, and this file notices."""
    world = empty(consul)
    run(world, [Wish("a", subsets=("v1",), route=("a", "v1"))])
    made = plan(world, [Wish("a", subsets=("v2",), route=("a", "v2"))])
    final = [change for [change] in writes(made) if change.key.kind is Kind.RESOLVER][-1]

    answer = consul.request("PUT", "/v1/config", final.after)

    assert answer.status == 500
    assert 'does not have a subset named "v1"' in answer.text
