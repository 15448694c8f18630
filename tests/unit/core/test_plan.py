"""The plan as a whole, written into a model of Consul that refuses what a real one refuses."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitsync.core.codes import note
from gitsync.model.component import LedgerComponent
from gitsync.model.key import ComponentKey, Kind, ServiceKey
from tests.unit.revisions import revisions, seeds
from tests.unit.worlds import (
    OTHER,
    PRUNE,
    Wish,
    World,
    approved,
    codes,
    of_services,
    plan,
    run,
    settled,
    verdicts,
    writes,
)


@settings(max_examples=80, deadline=None)
@given(revisions(), revisions(), seeds)
def test_any_revision_follows_any_other_without_a_refusal_by_consul(before, after, seed):
    world = settled(before)
    policy = approved(plan(world, after))
    made = run(world, after, shuffle=random.Random(seed), policy=policy)

    assert not {"refused", "conflict", "held"} & set(verdicts(made).values()), made.services
    assert plan(world, after).empty
    assert of_services(world) == of_services(settled(after))


@settings(max_examples=80, deadline=None)
@given(revisions(), revisions(), revisions(), seeds)
def test_after_a_crash_at_any_write_the_next_run_converges_to_whatever_is_wanted_then(before, then, after, seed):
    shuffle = random.Random(seed)
    world = settled(before)
    policy = approved(plan(world, then))
    crash_after = shuffle.randrange(len(writes(plan(world, then, policy=policy))) + 1)
    run(world, then, shuffle=shuffle, crash_after=crash_after, policy=policy)
    made = run(world, after, shuffle=shuffle, policy=approved(plan(world, after)))

    assert not {"refused", "conflict", "held"} & set(verdicts(made).values()), made.services
    assert plan(world, after).empty
    assert of_services(world) == of_services(settled(after))


@settings(max_examples=60, deadline=None)
@given(revisions(), seeds)
def test_the_plan_of_an_applied_plan_is_empty_whatever_consul_filled_in(wishes, seed):
    world = settled(wishes)

    assert plan(world, wishes).empty
    assert not any(service.changes for service in plan(world, wishes).services.values())


@settings(max_examples=60, deadline=None)
@given(revisions(), revisions(), seeds)
def test_the_order_of_specs_does_not_matter(before, after, seed):
    world = settled(before)
    shuffled = list(after)
    random.Random(seed).shuffle(shuffled)

    assert plan(world, shuffled).digest == plan(world, after).digest
    assert list(plan(world, shuffled).changes()) == list(plan(world, after).changes())


@settings(max_examples=80, deadline=None)
@given(revisions(), revisions(), st.booleans(), seeds)
def test_what_somebody_else_owns_is_never_written(theirs, ours, theirs_has_no_mark, seed):
    world = settled(theirs, owner=OTHER)
    if theirs_has_no_mark:
        world.ledgers.clear()
        for key, entry in world.entries.items():
            world.entries[key] = replace(
                entry, body={name: each for name, each in entry.body.items() if name != "Meta"}
            )
        for at, node in world.nodes.items():
            world.nodes[at] = replace(node, meta={"external-node": "true"})
    before = world.state()
    made = run(world, ours, shuffle=random.Random(seed), policy=approved(plan(world, ours)))

    for name, body in before.items():
        if name.startswith("gateway/"):
            rows = [row for row in world.state()[name]["Services"] if row in body["Services"]]
            assert rows == body["Services"]
        else:
            assert world.state()[name] == body
    taken = {wish.name for wish in ours} & {wish.name for wish in theirs}
    assert {name for name, verdict in verdicts(made).items() if verdict == "conflict"} == taken


def test_a_plan_names_its_owner_and_revision_and_counts_what_may_be_written():
    made = plan(World(), [Wish("a"), Wish("b", external=False)])

    assert (made.owner, made.revision) == ("prod/payments", "r1")
    assert verdicts(made) == {"a": "create", "b": "create"}
    assert not made.empty
    assert {change.key.service.name for change in made.changes()} == {"a", "b"}


def test_an_error_stops_one_service_and_the_others_go_on():
    world = settled([Wish("a"), Wish("b")])
    error = note("unknown-datacenter", "no such datacenter", service=ServiceKey("a"))
    made = plan(world, [Wish("a", port=81), Wish("b", port=81)], judged={ServiceKey("a"): (error,)})

    assert verdicts(made) == {"a": "refused", "b": "update"}
    assert made.services[ServiceKey("a")].changes == ()
    assert codes(made, "a") == {"unknown-datacenter"}


def test_an_error_about_another_document_of_the_name_stops_nothing():
    error = note("duplicate-service", "b.yaml:1 is not applied", service=ServiceKey("a"))
    made = plan(World(), [Wish("a")], findings=(error,))

    assert verdicts(made) == {"a": "create"}
    assert codes(made, "a") == {"duplicate-service"}
    assert made.findings == ()


def test_a_refused_document_keeps_what_the_service_has():
    world = settled([Wish("a"), Wish("b")])
    error = note("duplicate-service", "twice", service=ServiceKey("a"))
    made = plan(world, [Wish("b")], refused={ServiceKey("a"): (error,)})

    assert verdicts(made) == {"a": "refused", "b": "unchanged"}
    assert made.empty


def test_services_of_a_file_that_cannot_be_read_keep_what_they_have():
    world = settled([Wish("a"), Wish("b")])
    made = plan(world, [Wish("b")], unreadable=frozenset({"a.yaml"}))

    assert verdicts(made) == {"a": "refused", "b": "unchanged"}
    assert codes(made, "a") == {"file-unreadable"}


def test_only_looks_at_the_services_that_were_asked_for():
    world = settled([Wish("a"), Wish("b")])
    made = plan(world, [Wish("a", port=81), Wish("b", port=81)], only=frozenset({ServiceKey("a")}))

    assert verdicts(made) == {"a": "update"}


def test_prune_never_keeps_a_service_that_left_git():
    world = settled([Wish("a", labels=(("prune", "never"),)), Wish("b")])
    made = plan(world, [Wish("b")])

    assert verdicts(made) == {"a": "unchanged", "b": "unchanged"}
    assert codes(made, "a") == {"prune-never"}
    assert made.empty


def test_prune_never_holds_with_the_ledgers_lost():
    world = settled([Wish("a", labels=(("prune", "never"),)), Wish("b")])
    world.ledgers.clear()

    assert verdicts(plan(world, [Wish("b")]))["a"] == "unchanged"


@pytest.mark.parametrize(("mode", "verdict"), [("enforce", "update"), ("detect", "drift"), ("off", "unchanged")])
def test_drift_is_put_back_shown_or_passed_over_as_the_sync_says(mode, verdict):
    world = settled([Wish("a")])
    world.put(Kind.DEFAULTS, "a", **{**world.body(Kind.DEFAULTS, "a"), "Protocol": "grpc"})
    made = plan(world, [Wish("a")], policy=replace(PRUNE, drift=mode))

    assert verdicts(made) == {"a": verdict}
    assert ("drift-detected" in codes(made, "a")) == (mode == "detect")
    assert made.empty == (mode != "enforce")
    if mode == "enforce":
        assert made.services[ServiceKey("a")].drift
        assert next(made.changes()).reason == "somebody changed it"


def test_a_changed_spec_is_no_drift_even_where_somebody_changed_it_too():
    world = settled([Wish("a")])
    world.put(Kind.DEFAULTS, "a", **{**world.body(Kind.DEFAULTS, "a"), "Protocol": "grpc"})
    made = plan(world, [Wish("a", port=81)], policy=replace(PRUNE, drift="detect"))

    assert verdicts(made) == {"a": "update"}


def test_what_somebody_deleted_is_put_back_and_never_held():
    world = settled([Wish("a")])
    world.drop(Kind.RESOLVER, "a")
    made = plan(world, [Wish("a")])

    assert [(change.key.kind, change.action, change.reason) for change in made.changes()] == [
        (Kind.RESOLVER, "create", "somebody deleted it")
    ]


def test_a_file_that_moved_writes_records_only():
    world = settled([Wish("a")])
    made = plan(world, [Wish("a", path="elsewhere/a.yaml")])

    assert verdicts(made) == {"a": "unchanged"}
    assert made.services[ServiceKey("a")].records
    assert not made.empty


def test_a_change_of_strategy_never_leaves_the_service_unreachable():
    outside, inside = Wish("a"), Wish("a", external=False)
    world = settled([outside])
    there = [str(change.phase.name) for change in plan(world, [inside]).changes()]
    back = [str(change.phase.name) for change in plan(settled([inside]), [outside]).changes()]

    assert there == ["DEFAULTS", "CATALOG_GONE"]
    assert back == ["CATALOG", "DEFAULTS"]


def test_two_services_that_swap_gateways_have_a_row_at_every_moment():
    world = settled([Wish("a", gateways=("tgw",)), Wish("b", gateways=("tgw-2",))])
    made = plan(world, [Wish("a", gateways=("tgw-2",)), Wish("b", gateways=("tgw",))])

    assert [(change.phase.name, change.action, change.key.service.name) for change in made.changes()] == [
        ("ROWS", "create", "a"), ("ROWS_GONE", "delete", "a"), ("ROWS", "create", "b"), ("ROWS_GONE", "delete", "b"),
    ]  # fmt: skip
    assert [len(write) for write in writes(made)] == [1, 1, 1, 1]


def test_labels_are_compared_three_ways():
    world = settled([Wish("a", labels=(("team", "blue"), ("tier", "1")))])
    body = world.body(Kind.DEFAULTS, "a")
    world.put(Kind.DEFAULTS, "a", **{**body, "Meta": {**body["Meta"], "added-by-hand": "x"}})
    run(world, [Wish("a", labels=(("team", "red"),))])

    meta = world.body(Kind.DEFAULTS, "a")["Meta"]
    assert meta == {"team": "red", "added-by-hand": "x", "managed-by": "gitsync", "gitsync-owner": "prod/payments"}


def test_with_the_ledger_lost_a_label_that_left_stays():
    world = settled([Wish("a", labels=(("team", "blue"),))])
    world.ledgers.clear()
    run(world, [Wish("a")])

    assert world.body(Kind.DEFAULTS, "a")["Meta"]["team"] == "blue"


def test_missing_ledgers_are_rebuilt_without_a_write_to_any_component():
    world = settled([Wish("a"), Wish("b", external=False)])
    world.ledgers.clear()
    made = run(world, [Wish("a"), Wish("b", external=False)])

    assert list(made.changes()) == []
    assert {service.records for service in made.services.values()} == {True}
    assert plan(world, [Wish("a"), Wish("b", external=False)]).empty


def test_with_its_ledger_lost_a_service_that_left_git_goes_with_all_its_parts():
    world = settled([Wish("a"), Wish("b")])
    del world.ledgers[ServiceKey("a")]
    run(world, [Wish("b")])

    assert of_services(world) == of_services(settled([Wish("b")]))


def test_intentions_of_others_are_none_of_our_business_without_intentions_in_the_spec():
    world = settled([Wish("a")])
    world.put(Kind.INTENTIONS, "a", Sources=[{"Name": "web", "Action": "allow"}])

    assert plan(world, [Wish("a")]).empty
    assert verdicts(plan(world, [Wish("a", intentions="allow")])) == {"a": "conflict"}


def test_a_node_in_a_datacenter_that_is_not_known_now_stays_recorded_and_unwritten():
    world = settled([Wish("a")])
    ledger = world.ledgers[ServiceKey("a")]
    far = LedgerComponent(ComponentKey(ServiceKey("a"), Kind.CATALOG, "dc9/ext-a"), "written", "x")
    world.ledgers[ServiceKey("a")] = replace(ledger, components=(*ledger.components, far))

    assert plan(world, [Wish("a")]).empty


def test_nothing_is_planned_twice_under_the_locks():
    """The plan after the locks looks at the locked services only, and comes to what the first one said."""
    world = settled([Wish("a"), Wish("b"), Wish("c"), Wish("d")])
    wishes = [Wish("a", port=81), Wish("d")]
    others = {"unreadable": frozenset({"b.yaml"})}
    first = plan(world, wishes, **others)
    pending = frozenset(key for key, service in first.services.items() if service.pending)
    second = plan(world, wishes, only=pending, **others)

    assert verdicts(first) == {"a": "update", "b": "refused", "c": "delete", "d": "unchanged"}
    assert {key: first.services[key].verdict for key in pending} == {
        key: each.verdict for key, each in second.services.items()
    }
