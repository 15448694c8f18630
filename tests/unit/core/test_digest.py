"""The digest of a plan: what was reviewed is what is applied."""

from __future__ import annotations

from dataclasses import replace

from gitsync.core.digest import plan_digest, service_digest
from gitsync.model.key import Kind, ServiceKey
from tests.unit.worlds import PRUNE, Wish, World, plan, settled


def test_indexes_times_revisions_and_reasons_are_no_part_of_it():
    made = plan(World(), [Wish("a")]).services[ServiceKey("a")]
    later = plan(World(index=9999), [Wish("a")]).services[ServiceKey("a")]
    told = replace(made, changes=tuple(replace(each, reason="because", index=7) for each in made.changes))

    assert service_digest(made) == service_digest(later) == service_digest(told)


def test_consuls_spelling_is_no_part_of_it():
    one, two = settled([Wish("a")]), settled([Wish("a")])
    two.put(Kind.RESOLVER, "a", **{**two.body(Kind.RESOLVER, "a"), "ConnectTimeout": "1.5s", "RequestTimeout": "0s"})

    assert plan(one, [Wish("a", subsets=("v1",))]).digest == plan(two, [Wish("a", subsets=("v1",))]).digest


def test_every_change_of_content_is_a_part_of_it():
    digests = {
        plan(World(), [wish]).digest
        for wish in (
            Wish("a"),
            Wish("a", port=81),
            Wish("a", protocol="grpc"),
            Wish("a", labels=(("x", "y"),)),
            Wish("b"),
        )
    }

    assert len(digests) == 5


def test_what_was_there_before_is_a_part_of_it():
    world = settled([Wish("a")])
    world.put(Kind.DEFAULTS, "a", **{**world.body(Kind.DEFAULTS, "a"), "Protocol": "tcp"})

    assert plan(world, [Wish("a", port=81)]).digest != plan(settled([Wish("a")]), [Wish("a", port=81)]).digest


def test_a_bridge_is_a_part_of_it():
    world = settled([Wish("a", route=("b", "")), Wish("b")])
    made = plan(world, [Wish("a", protocol="grpc", route=("b", "")), Wish("b", protocol="grpc")]).services[
        ServiceKey("a")
    ]
    plain = replace(made, changes=tuple(each for each in made.changes if not each.bridge))

    assert service_digest(made) != service_digest(plain)


def test_a_held_delete_has_the_digest_of_the_delete():
    world = settled([Wish("a"), Wish("b")])
    held = plan(world, [Wish("new")]).digests
    free = plan(world, [Wish("a"), Wish("new")], policy=PRUNE).digests

    assert held[ServiceKey("b")] == free[ServiceKey("b")]


def test_the_order_of_services_does_not_matter_and_unchanged_ones_have_none():
    world = settled([Wish("a"), Wish("b")])
    made = plan(world, [Wish("a"), Wish("b", port=81)])

    assert set(made.digests) == {ServiceKey("b")}
    assert plan_digest(dict(reversed(made.digests.items()))) == made.digest
    assert plan_digest({}) == plan(World(), []).digest
