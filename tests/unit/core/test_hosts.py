"""Hosts that change hands, with a model of Consul that never takes two Destinations with one host and port."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsync.core.order import levels
from gitsync.model.key import Kind, ServiceKey
from tests.unit.worlds import Wish, approved, codes, plan, run, settled, verdicts


def inside(name: str, host: str, **more) -> Wish:
    return Wish(name, external=False, host=host, **more)


def phases(made) -> list[tuple[str, str, str]]:
    return [(change.phase.name, change.action, change.key.service.name) for change in made.changes()]


@pytest.mark.parametrize("seed", range(6))
def test_two_services_swap_hosts_by_way_of_a_bridge(seed):
    world = settled([inside("a", "one"), inside("b", "two")])
    after = [inside("a", "two"), inside("b", "one")]
    made = run(world, after, shuffle=random.Random(seed))

    assert phases(made) == [("MAKE_ROOM", "update", "a"), ("DEFAULTS", "update", "a"), ("DEFAULTS", "update", "b")]
    assert next(made.changes()).bridge
    assert codes(made, "a") == {"interrupts-traffic"}
    assert plan(world, after).empty


def test_a_giver_writes_before_its_taker_without_any_interruption():
    world = settled([inside("a", "one"), inside("b", "two"), inside("c", "three")])
    after = [inside("a", "two"), inside("b", "three"), inside("c", "four")]
    made = run(world, after)
    ranks = {change.key.service.name: change.rank for change in made.changes()}

    assert ranks == {"c": 0, "b": 1, "a": 2}
    assert not any(change.interrupts for change in made.changes())


@pytest.mark.parametrize("seed", range(4))
def test_a_host_taken_over_from_a_service_that_goes_is_free_before_it_is_taken(seed):
    world = settled([inside("a", "one"), inside("b", "two")])
    after = [inside("b", "two"), inside("c", "one")]
    made = run(world, after, shuffle=random.Random(seed))

    assert codes(made, "c") == {"host-gap"}
    assert codes(made, "a") == set()
    assert phases(made)[0] == ("MAKE_ROOM", "update", "a")
    assert plan(world, after).empty


def test_a_newcomer_waits_while_the_delete_of_the_present_one_is_held():
    world = settled([inside("a", "one")])
    made = plan(world, [inside("c", "one")])

    assert verdicts(made) == {"a": "held", "c": "refused"}
    assert "until its delete is approved" in made.services[ServiceKey("c")].findings[0].message
    assert verdicts(plan(world, [inside("c", "one")], policy=approved(made))) == {"a": "delete", "c": "create"}


def test_the_one_that_has_the_host_keeps_it():
    world = settled([inside("a", "one")])
    made = plan(world, [inside("a", "one"), inside("b", "ONE")])

    assert verdicts(made) == {"a": "unchanged", "b": "refused"}
    assert codes(made, "b") == {"destination-taken"}


def test_two_newcomers_with_one_host_are_both_refused():
    made = plan(settled([]), [inside("a", "one"), inside("b", "one"), inside("c", "two")])

    assert verdicts(made) == {"a": "refused", "b": "refused", "c": "create"}


def test_another_port_is_another_destination():
    made = plan(settled([]), [inside("a", "one"), inside("b", "one", port=81)])

    assert verdicts(made) == {"a": "create", "b": "create"}


def test_a_destination_of_somebody_else_counts_too():
    world = settled([])
    world.put(Kind.DEFAULTS, "foreign", Protocol="http", Destination={"Addresses": ["one"], "Port": 80})

    assert verdicts(plan(world, [inside("a", "one")])) == {"a": "refused"}


def test_a_giver_that_is_refused_keeps_its_host_and_so_its_taker_is_refused():
    world = settled([inside("a", "one"), inside("b", "two")])
    world.put(Kind.DEFAULTS, "foreign", Protocol="http", Destination={"Addresses": ["three"], "Port": 80})
    made = plan(world, [inside("a", "two"), inside("b", "three")])

    assert verdicts(made) == {"a": "refused", "b": "refused"}
    assert made.empty


def test_a_long_chain_of_hosts_is_ordered_without_recursion():
    waits = {f"s{number:05}": {f"s{number + 1:05}"} for number in range(20_000)}
    ranks, cut = levels(waits)

    assert cut == ()
    assert ranks["s19999"] == 1
    assert ranks["s00000"] == 20_000


names = st.sampled_from("abcdef")


@given(st.dictionaries(names, st.sets(names)))
def test_everybody_comes_after_whom_they_wait_for_but_for_those_that_were_cut(waits):
    ranks, cut = levels(waits)

    assert ranks.keys() == waits.keys()
    for name, needs in waits.items():
        for each in needs - {name} - set(cut):
            assert ranks[name] > ranks.get(each, 0)


@given(st.permutations("abcdef"))
def test_ranks_do_not_depend_on_an_order(order):
    circle = {name: {chr((ord(name) - 96) % 6 + 97)} for name in "abcdef"}

    assert levels({name: circle[name] for name in order}) == levels(circle)
    assert levels(circle)[1] == ("a",)
