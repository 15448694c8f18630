"""A plan as a contract: what was reviewed is what is done, or it is said for which services it is not, and how."""

from __future__ import annotations

from dataclasses import replace

from gitsync.core.contract import CODE, deviation_words, deviations, retold, reviewed_of, told, withheld
from gitsync.core.plan import Policy
from gitsync.model.finding import Severity
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Plan, Verdict
from gitsync.model.review import Promised, Reviewed
from tests.unit.worlds import PRUNE, Wish, World, plan, settled

A, B, C = ServiceKey("a"), ServiceKey("b"), ServiceKey("c")


def promised(*plans: Plan, brought=(A, B, C)) -> Promised:
    services: dict[ServiceKey, tuple[Reviewed, ...]] = {}
    for each in plans:
        for key, seen in reviewed_of(each, brought).items():
            services[key] = (*services.get(key, ()), seen)
    return Promised(services, "#12")


def wanted(*wishes: Wish):
    return {wish.key: wish.wanted() for wish in wishes}


def of(made: Plan, wishes, promise: Promised) -> dict[str, str]:
    return {str(each.service): each.how for each in deviations(made, wanted(*wishes), promise.services)}


def test_what_was_reviewed_deviates_from_nothing():
    wishes = [Wish("a"), Wish("b", protocol="grpc")]
    world = settled([Wish("b"), Wish("c")])
    made = plan(world, wishes)

    assert of(made, wishes, promised(made)) == {}
    assert withheld(made, wanted(*wishes), promised(made)) == {}


def test_a_service_that_was_not_in_the_reviewed_plan_deviates():
    world = World()
    made = plan(world, [Wish("a"), Wish("b")])

    assert of(made, [Wish("a"), Wish("b")], promised(plan(world, [Wish("a")]))) == {
        "b": "it was not in the reviewed plan"
    }


def test_other_steps_are_named_and_so_is_another_content():
    before = plan(World(), [Wish("a"), Wish("b"), Wish("c", route=("b", ""))])
    wishes = [Wish("a", route=("b", "")), Wish("b", labels=(("x", "1"),)), Wish("c")]
    made = plan(World(), wishes)

    assert of(made, wishes, promised(before)) == {
        "a": "other steps than were reviewed: also create service-router/a",
        "b": "the same steps were reviewed with another content: Consul or another merge changed it meanwhile",
        "c": "other steps than were reviewed: no longer create service-router/c",
    }


def test_any_of_several_merged_requests_may_have_promised_it():
    one, two = plan(World(), [Wish("a")]), plan(World(), [Wish("a", protocol="grpc")])

    assert of(one, [Wish("a")], promised(two, one)) == {}


def test_what_somebody_did_meanwhile_is_told_and_what_we_did_is_not():
    wishes = [Wish("a", protocol="grpc"), Wish("b", protocol="grpc")]
    before = settled([Wish("a"), Wish("b")])
    promise = promised(plan(before, wishes))
    after = settled([Wish("a"), Wish("b", protocol="grpc")])
    for component in Wish("a", protocol="grpc").components():
        if component.key.kind is Kind.DEFAULTS:
            after.put(Kind.DEFAULTS, "a", **{k: v for k, v in component.body.items() if k not in ("Kind", "Name")})

    assert of(plan(after, wishes), wishes, promise) == {
        "a": "there is nothing to update any more: somebody did it meanwhile"
    }
    anyway = promised(plan(before, wishes), brought=())
    assert of(plan(after, wishes), wishes, anyway) == {}


def test_drift_and_what_goes_on_was_never_a_matter_of_a_review():
    world = settled([Wish("a"), Wish("b")])
    world.put(Kind.DEFAULTS, "a", Protocol="tcp")
    world.ledgers[B] = replace(world.ledgers[B], state="applying")
    world.put(Kind.DEFAULTS, "b", Protocol="tcp")
    wishes = [Wish("a"), Wish("b")]
    made = plan(world, wishes)

    assert made.digests.keys() == {A, B}
    assert of(made, wishes, Promised({}, "#12")) == {}


def test_a_delete_needs_a_review_too_unless_it_has_begun():
    world = settled([Wish("a"), Wish("b"), Wish("c")])
    world.ledgers[B] = replace(world.ledgers[B], state="deleting")

    assert of(plan(world, [Wish("c")]), [Wish("c")], Promised({}, "#12")) == {"a": "it was not in the reviewed plan"}


def test_what_is_refused_now_is_told():
    wishes = [Wish("a")]
    promise = promised(plan(World(), wishes))
    world = World()
    world.put(Kind.DEFAULTS, "a", Protocol="http")

    assert of(plan(world, wishes), wishes, promise) == {
        "a": "to create it was reviewed, and now it cannot be: conflict"
    }


def test_a_deviation_is_a_warning_on_its_service_and_changes_nothing_else():
    wishes = [Wish("a"), Wish("b")]
    made = plan(World(), wishes)
    promise = promised(plan(World(), [Wish("a")]))

    said = told(made, wanted(*wishes), promise)
    (finding,) = [each for each in said.services[B].findings if each.code == CODE]

    assert finding.severity is Severity.WARNING
    assert finding.message == "b is not as reviewed in #12: it was not in the reviewed plan."
    assert said.services[A] is made.services[A]
    assert said.digests == made.digests
    assert said.pending == made.pending
    assert told(said, wanted(*wishes), promise) == said
    assert deviation_words(said.services[B].findings) == "1 differs from the reviewed plan: b"
    assert deviation_words(made.services[B].findings) == ""


def test_what_is_withheld_is_held_with_its_digest_and_with_the_way_out():
    wishes = [Wish("a"), Wish("b")]
    made = plan(World(), wishes)
    held = withheld(made, wanted(*wishes), promised(plan(World(), [Wish("a")])))
    again = plan(World(), wishes, policy=replace(PRUNE, withheld=held))

    assert held.keys() == {B}
    assert again.services[B].verdict is Verdict.HELD
    assert again.pending == {A}
    assert again.digest == made.digest
    assert "gitsync sync --expect" in again.services[B].findings[-1].hint


def test_what_is_withheld_holds_what_needs_it_gone():
    world = settled([Wish("a", route=("b", "")), Wish("b"), Wish("c")])
    wishes = [Wish("a"), Wish("c")]
    finding = next(iter(withheld(plan(world, wishes), wanted(*wishes), Promised()).values()))

    made = plan(world, wishes, policy=Policy(limits=PRUNE.limits, withheld={A: finding}))

    assert (made.services[A].verdict, made.services[B].verdict) == (Verdict.HELD, Verdict.REFUSED)


def test_a_second_plan_keeps_what_the_first_said_of_deviations():
    wishes = [Wish("a"), Wish("b")]
    made = plan(World(), wishes)
    said = told(made, wanted(*wishes), promised(plan(World(), [Wish("a")])))

    kept = retold(said, made.services)

    assert kept[B] == said.services[B]
    assert kept[A] is made.services[A]
    assert retold(said, kept) == kept


def test_names_on_a_commit_are_few():
    made = plan(World(), [Wish(f"s{number}") for number in range(9)])
    said = told(made, wanted(*(Wish(f"s{number}") for number in range(9))), Promised({}, "#12"))

    assert deviation_words(finding for each in said.services.values() for finding in each.findings) == (
        "9 differ from the reviewed plan: s0, s1, s2 and 6 more"
    )


def test_what_was_only_named_as_coming_anyway_was_not_reviewed_where_a_review_is_required():
    wishes = [Wish("a"), Wish("b")]
    made = plan(World(), wishes)
    promise = promised(made, brought=(A,))

    assert told(made, wanted(*wishes), promise) == made
    assert withheld(made, wanted(*wishes), promise).keys() == {B}


def test_what_is_withheld_is_held_also_where_only_its_record_is_to_be_written():
    """Steps between others may still be added to it, and then it would be written after all."""
    world = settled([Wish("a"), Wish("b")])
    del world.ledgers[A]
    made = plan(world, [Wish("a"), Wish("b")])
    assert made.services[A].pending
    finding = next(iter(withheld(plan(World(), [Wish("a")]), wanted(Wish("a")), Promised()).values()))

    again = plan(world, [Wish("a"), Wish("b")], policy=replace(PRUNE, withheld={A: finding, B: finding}))

    assert (again.services[A].verdict, again.services[B].verdict) == (Verdict.HELD, Verdict.UNCHANGED)
    assert not again.pending
