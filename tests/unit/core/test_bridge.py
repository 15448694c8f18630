"""Bridges: what no plain order brings about, in a model of Consul that refuses what a real one refuses."""

from __future__ import annotations

import random

import pytest

from gitsync.model.key import Kind, ServiceKey
from tests.unit.worlds import PRUNE, Wish, codes, plan, run, settled, verdicts

SEEDS = range(6)


def steps(made) -> list[str]:
    return [f"{change.phase.name} {change.action} {change.key}" for change in made.changes()]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_protocol_changes_to_tcp_under_a_router_that_goes_and_back(seed):
    with_router = [Wish("a", route=("b", "")), Wish("b")]
    plain = [Wish("a", protocol="tcp"), Wish("b")]
    world = settled(with_router)
    there = run(world, plain, shuffle=random.Random(seed))
    assert steps(there) == ["TAKE_ROUTES delete service-router/a", "DEFAULTS update service-defaults/a"]
    assert plan(world, plain).empty

    run(world, with_router, shuffle=random.Random(seed))
    assert plan(world, with_router).empty


@pytest.mark.parametrize("seed", SEEDS)
def test_the_protocol_of_a_whole_chain_changes_with_its_router_out_of_the_way(seed):
    world = settled([Wish("a", route=("b", "")), Wish("b")])
    after = [Wish("a", protocol="grpc", route=("b", "")), Wish("b", protocol="grpc")]
    made = run(world, after, shuffle=random.Random(seed))

    assert steps(made)[0] == "TAKE_ROUTES delete service-router/a"
    assert codes(made, "a") == {"interrupts-traffic"}
    assert plan(world, after).empty


def test_a_router_of_ours_that_nobody_changed_is_put_back():
    world = settled([Wish("a", split=("b", "")), Wish("b")])
    after = [Wish("a", protocol="http2", split=("b", "")), Wish("b", protocol="http2")]
    before = world.body(Kind.SPLITTER, "a")
    run(world, after)

    assert world.body(Kind.SPLITTER, "a") == before


def test_a_protocol_that_a_neighbour_holds_is_refused_with_the_two_commits_that_would_do():
    world = settled([Wish("a", route=("b", "")), Wish("b")])
    made = plan(world, [Wish("a", route=("b", "")), Wish("b", protocol="tcp")])

    assert verdicts(made) == {"a": "unchanged", "b": "refused"}
    [finding] = made.services[ServiceKey("b")].findings
    assert finding.code == "protocol-blocked"
    assert "First commit" in finding.hint
    assert made.empty


def test_somebody_elses_router_is_never_taken_away_for_a_protocol_of_ours():
    world = settled([Wish("a")])
    world.put(Kind.DEFAULTS, "foreign", Protocol="http")
    world.put(Kind.ROUTER, "foreign", Routes=[{"Match": {}, "Destination": {"Service": "a"}}])
    made = plan(world, [Wish("a", protocol="grpc")])

    assert verdicts(made) == {"a": "refused"}


def test_a_new_chain_of_different_protocols_is_refused_before_half_of_it_is_written():
    made = plan(settled([Wish("b", protocol="grpc")]), [Wish("a", route=("b", "")), Wish("b", protocol="grpc")])

    assert verdicts(made) == {"a": "refused", "b": "unchanged"}
    assert "b has grpc" in made.services[ServiceKey("a")].findings[0].message


def test_a_service_waits_for_the_one_it_leads_to():
    world = settled([])
    world.put(Kind.DEFAULTS, "foreign", Protocol="http", Destination={"Addresses": ["taken"], "Port": 80})
    b = Wish("b", external=False, host="taken", subsets=("v1",))
    made = plan(world, [Wish("a", failover=("b", "v1")), b])

    assert verdicts(made) == {"a": "refused", "b": "refused"}
    assert codes(made, "a") == {"reference-missing"}


def test_a_subset_that_is_not_there_is_said_before_anything_is_written():
    world = settled([Wish("b", subsets=("v1",))])
    made = plan(world, [Wish("a", split=("b", "v2")), Wish("b", subsets=("v1",))])

    assert verdicts(made) == {"a": "refused", "b": "unchanged"}
    assert "b:v2" in made.services[ServiceKey("a")].findings[0].message


def test_a_service_without_a_protocol_may_have_that_of_the_proxy_defaults():
    world = settled([])
    world.put(Kind.DEFAULTS, "foreign", MeshGateway={"Mode": "local"})

    assert verdicts(plan(world, [Wish("a", route=("foreign", ""))])) == {"a": "create"}


@pytest.mark.parametrize("seed", SEEDS)
def test_permissions_by_request_go_before_the_protocol_that_they_need(seed):
    world = settled([Wish("a", intentions="by-request")])
    for after in (
        [Wish("a", protocol="tcp", intentions="allow")],
        [Wish("a", intentions="by-request")],
        [Wish("a", protocol="tcp")],
    ):
        run(world, after, shuffle=random.Random(seed))
        assert plan(world, after).empty


def test_somebody_elses_permissions_by_request_hold_the_protocol_and_the_service():
    world = settled([Wish("a"), Wish("b")])
    world.put(
        Kind.INTENTIONS,
        "a",
        Sources=[{"Name": "web", "Permissions": [{"Action": "deny", "HTTP": {"PathPrefix": "/"}}]}],
    )

    assert codes(plan(world, [Wish("a", protocol="tcp"), Wish("b")]), "a") == {"protocol-blocked"}
    assert codes(plan(world, [Wish("b")]), "a") == {"still-referenced"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_subset_and_the_router_that_names_it_change_together(seed):
    world = settled([Wish("a", subsets=("v1",), route=("a", "v1"))])
    after = [Wish("a", subsets=("v2",), route=("a", "v2"))]
    made = run(world, after, shuffle=random.Random(seed))

    assert steps(made) == [
        "RESOLVERS update service-resolver/a",
        "ROUTERS update service-router/a",
        "CONTRACT update service-resolver/a",
    ]
    assert [change.bridge for change in made.changes()] == [True, False, False]
    assert plan(world, after).empty


@pytest.mark.parametrize("kind", ["route", "split", "failover", "redirect"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_subset_and_the_neighbour_that_names_it_change_together(kind, seed):
    world = settled([Wish("a", **{kind: ("b", "v1")}), Wish("b", subsets=("v1",))])
    after = [Wish("a", **{kind: ("b", "v2")}), Wish("b", subsets=("v2",))]
    run(world, after, shuffle=random.Random(seed))

    assert plan(world, after).empty


def test_a_subset_that_a_neighbour_goes_on_naming_stays():
    world = settled([Wish("a", route=("b", "v1")), Wish("b", subsets=("v1",))])
    made = plan(world, [Wish("a", route=("b", "v1")), Wish("b")])

    assert verdicts(made) == {"a": "unchanged", "b": "refused"}
    assert codes(made, "b") == {"subset-still-used"}


@pytest.mark.parametrize("kind", ["redirect", "split"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_led_from_a_to_b_leads_from_b_to_a(kind, seed):
    world = settled([Wish("a", **{kind: ("b", "")}), Wish("b")])
    after = [Wish("a"), Wish("b", **{kind: ("a", "")})]
    run(world, after, shuffle=random.Random(seed))

    assert plan(world, after).empty


@pytest.mark.parametrize("seed", SEEDS)
def test_two_services_come_that_fail_over_to_each_others_subsets_and_go_again(seed):
    world = settled([Wish("c")])
    after = [
        Wish("a", subsets=("v1",), failover=("b", "v2")),
        Wish("b", subsets=("v2",), failover=("a", "v1")),
        Wish("c"),
    ]
    run(world, after, shuffle=random.Random(seed))
    assert plan(world, after).empty

    run(world, [Wish("c")], shuffle=random.Random(seed))
    assert plan(world, [Wish("c")]).empty


@pytest.mark.parametrize("kind", ["route", "split", "failover", "redirect"])
def test_a_service_that_a_neighbour_names_does_not_go_alone(kind):
    world = settled([Wish("a", **{kind: ("b", "")}), Wish("b"), Wish("c")])
    made = plan(world, [Wish("a", **{kind: ("b", "")}), Wish("c")])

    assert verdicts(made) == {"a": "unchanged", "b": "refused", "c": "unchanged"}
    assert codes(made, "b") == {"still-referenced"}
    assert made.empty  # not even its row


@pytest.mark.parametrize("kind", ["route", "split", "failover", "redirect"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_service_and_the_neighbour_that_names_it_go_together(kind, seed):
    world = settled([Wish("a", subsets=("v1",), **{kind: ("b", "v1")}), Wish("b", subsets=("v1",)), Wish("c")])
    run(world, [Wish("c")], shuffle=random.Random(seed), policy=PRUNE)

    assert plan(world, [Wish("c")]).empty
    assert world.entries.keys() == settled([Wish("c")]).entries.keys()


@pytest.mark.parametrize("kind", ["route", "split", "failover", "redirect"])
def test_a_service_goes_in_the_run_in_which_its_neighbour_stops_naming_it(kind):
    world = settled([Wish("a", **{kind: ("b", "")}), Wish("b")])
    run(world, [Wish("a")])

    assert plan(world, [Wish("a")]).empty
    assert (Kind.DEFAULTS, "b") not in world.entries


def test_a_neighbour_that_is_refused_goes_on_naming():
    world = settled([Wish("a", route=("b", "")), Wish("b")])
    world.put(Kind.DEFAULTS, "foreign", Protocol="http", Destination={"Addresses": ["taken"], "Port": 80})
    made = plan(world, [Wish("a", external=False, host="taken")])

    assert verdicts(made) == {"a": "refused", "b": "refused"}
    assert codes(made, "b") == {"still-referenced"}
