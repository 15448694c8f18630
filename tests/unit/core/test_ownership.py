"""Whose things are: adoption, release, taking over, and what a crash in the middle of any leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Verdict
from tests.unit.worlds import (
    DC,
    ME,
    OTHER,
    Wish,
    World,
    adopting,
    begin,
    codes,
    of_services,
    plan,
    run,
    settled,
    verdicts,
    writes,
)

A = ServiceKey("a")


def unmarked(wish: Wish) -> World:
    """Somebody made it by hand."""
    world = settled([wish], owner="x/y")
    world.ledgers.clear()
    for key, entry in world.entries.items():
        world.entries[key] = replace(entry, body={name: each for name, each in entry.body.items() if name != "Meta"})
    for at, node in world.nodes.items():
        world.nodes[at] = replace(node, meta={"external-node": "true", "rack": "7"})
    return world


def released(wish: Wish, by: str) -> World:
    world = settled([wish], owner=by)
    world.ledgers[wish.key] = replace(world.ledgers[wish.key], state="released")
    for key, entry in world.entries.items():
        world.entries[key] = replace(
            entry, body={**entry.body, "Meta": {**entry.meta, "gitsync-owner": f"released-by-{by}"}}
        )
    for at, node in world.nodes.items():
        world.nodes[at] = replace(node, meta={**node.meta, "gitsync-owner": f"released-by-{by}"})
    return world


def test_what_carries_no_mark_is_a_conflict_that_names_the_command():
    made = plan(unmarked(Wish("a")), [Wish("a"), Wish("b")])

    assert verdicts(made) == {"a": "conflict", "b": "create"}
    assert made.services[A].changes == ()
    assert all("`gitsync adopt a`" in finding.hint for finding in made.services[A].findings)


def test_one_foreign_component_is_a_conflict_of_the_whole_service():
    world = settled([Wish("a"), Wish("b")])
    world.put(
        Kind.ROUTER,
        "a",
        Routes=[{"Match": {}, "Destination": {"Service": "b"}}],
        Meta={"external-source": "kubernetes"},
    )
    made = plan(world, [Wish("a", port=81), Wish("b")])

    assert verdicts(made) == {"a": "conflict", "b": "unchanged"}
    assert "gitsync adopt a --from kubernetes" in made.services[A].findings[0].hint


def test_somebody_elses_row_is_a_conflict_too():
    world = settled([])
    world.link("tgw", Name="a", CAFile="/theirs.pem")

    assert verdicts(plan(world, [Wish("a")])) == {"a": "conflict"}
    assert verdicts(plan(world, [Wish("a", gateways=("tgw-2",))])) == {"a": "create"}


@pytest.mark.parametrize("policy", [adopting("a"), adopting(everything=True)], ids=["named", "everything"])
def test_adoption_takes_what_carries_no_mark_and_keeps_what_others_put_on_it(policy):
    world = unmarked(Wish("a", port=79))
    made = run(world, [Wish("a")], policy=policy)

    assert {change.take for change in made.changes()} == {True}
    assert all(change.before is not None for change in made.changes())
    assert plan(world, [Wish("a")]).empty
    assert world.nodes[DC, "ext-a"].meta["rack"] == "7"


def test_adoption_of_one_service_takes_no_other():
    assert verdicts(plan(unmarked(Wish("a")), [Wish("a")], policy=adopting("b"))) == {"a": "conflict"}


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (adopting("a", take_from=OTHER), "update"),
        (adopting(everything=True, take_from=OTHER), "update"),
        (adopting("a"), "conflict"),
        (adopting(everything=True), "conflict"),
        (adopting("a", take_from="x/y"), "conflict"),
    ],
)
def test_another_owners_service_is_taken_only_from_the_owner_that_was_named(policy, verdict):
    world = settled([Wish("a")], owner=OTHER)

    assert verdicts(plan(world, [Wish("a")], policy=policy)) == {"a": verdict}


def test_what_the_former_owner_had_besides_is_taken_and_goes():
    world = settled([Wish("a", gateways=("tgw", "old"), intentions="deny")], owner=OTHER)
    after = [Wish("a", external=False, gateways=("tgw",))]
    run(world, after, policy=adopting("a", take_from=OTHER))

    assert of_services(world) == of_services(settled(after))
    assert world.ledgers[A].owner == ME


@pytest.mark.parametrize("crash_after", range(6))
def test_a_take_over_that_crashed_goes_on_without_being_told_again_and_its_former_owner_keeps_off(crash_after):
    world = settled([Wish("a")], owner=OTHER)
    run(world, [Wish("a")], policy=adopting("a", take_from=OTHER), crash_after=crash_after)

    former = plan(world, [], owner=OTHER)
    assert not list(former.changes())
    assert former.empty
    assert verdicts(plan(world, [Wish("a")], owner=OTHER)) == {"a": "conflict"}
    run(world, [Wish("a")])
    assert plan(world, [Wish("a")]).empty
    assert of_services(world) == of_services(settled([Wish("a")]))


def test_anybody_takes_what_was_released_its_rows_included():
    world = released(Wish("a"), OTHER)

    assert verdicts(plan(world, [Wish("a")])) == {"a": "update"}
    run(world, [Wish("a")])
    assert plan(world, [Wish("a")]).empty
    assert world.ledgers[A].owner == ME


def test_its_former_owner_never_takes_it_back_by_itself_and_never_prunes_it():
    world = released(Wish("a"), ME)

    assert verdicts(plan(world, [Wish("a")])) == {"a": "conflict"}
    assert verdicts(plan(world, [Wish("a")], policy=adopting(everything=True))) == {"a": "conflict"}
    assert verdicts(plan(world, [Wish("a")], policy=adopting("a"))) == {"a": "update"}
    assert plan(world, []).services == {}


@pytest.mark.parametrize("owner", [ME, OTHER])
def test_a_release_that_ended_after_its_ledger_counts(owner):
    world = settled([Wish("a")])
    world.ledgers[A] = replace(world.ledgers[A], state="released")

    assert plan(world, []).services == {}
    assert verdicts(plan(world, [Wish("a")], owner=owner)) == {"a": "conflict" if owner == ME else "update"}


def test_a_lost_mark_is_put_back_where_the_ledger_says_that_we_wrote_it():
    world = settled([Wish("a")])
    world.put(Kind.DEFAULTS, "a", Protocol="http")
    made = plan(world, [Wish("a")])

    assert verdicts(made) == {"a": "update"}
    assert [change.key.kind for change in made.changes()] == [Kind.DEFAULTS]


def test_what_we_only_intended_is_ours_if_it_carries_our_mark_or_is_what_we_intended():
    world = World()
    made = plan(world, [Wish("a")])
    begin(world, made, [Wish("a")])
    for write in writes(made):
        if write[0].key.kind is Kind.GATEWAY_ROW:
            world.apply(write)
    assert Verdict.CONFLICT not in {service.verdict for service in plan(world, [Wish("a")]).services.values()}

    foreign = World(ledgers=dict(world.ledgers))
    foreign.link("tgw", Name="a", SNI="somebody.else")
    assert verdicts(plan(foreign, [Wish("a")])) == {"a": "conflict"}


def test_a_node_that_others_use_too_is_left_and_the_plan_is_empty_then():
    world = settled([Wish("a"), Wish("b")])
    node = world.nodes[DC, "ext-a"]
    guest = replace(node.services[0], id="guest", name="guest")
    world.nodes[DC, "ext-a"] = replace(node, services=(*node.services, guest))
    run(world, [Wish("b")])

    assert [service.id for service in world.nodes[DC, "ext-a"].services] == ["guest"]
    assert plan(world, [Wish("b")]).services.keys() == {ServiceKey("b")}


def test_a_node_of_the_same_name_for_another_service_of_ours_is_a_conflict():
    world = settled([Wish("a")])
    node = world.nodes[DC, "ext-a"]
    world.nodes[DC, "ext-b"] = replace(node, node="ext-b")
    made = plan(world, [Wish("a"), Wish("b")])

    assert verdicts(made)["b"] == "conflict"
    assert codes(made, "b") == {"foreign-component"}
