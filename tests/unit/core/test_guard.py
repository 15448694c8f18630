"""Which deletes wait for a person, and what lets them go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitsync.core.guard import PruneLimits
from gitsync.core.plan import Policy
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.kv import Approval
from gitsync.model.plan import Hold
from tests.unit.worlds import Wish, approved, begin, codes, plan, run, settled, verdicts


def many(count: int, start: int = 0) -> list[Wish]:
    return [Wish(f"s{number:02}", gateways=()) for number in range(start, start + count)]


def unparsed(path: str) -> dict[str, frozenset[str]]:
    return {"unreadable": frozenset({path}), "unparsed": frozenset({path})}


def held(made) -> int:
    return list(verdicts(made).values()).count("held")


@pytest.mark.parametrize(
    ("owned", "left", "limits", "expected"),
    [
        (1, 0, PruneLimits(), 1),  # all that it owned, and the commit holds none
        (10, 9, PruneLimits(), 0),  # one of many goes as it is
        (2, 1, PruneLimits(), 0),  # half of it, but one is never a fraction
        (10, 8, PruneLimits(), 0),  # exactly the fraction
        (10, 7, PruneLimits(), 3),
        (100, 90, PruneLimits(), 0),  # exactly the count
        (100, 89, PruneLimits(), 11),
        (100, 89, PruneLimits(max_count=11), 0),
        (10, 5, PruneLimits(max_fraction=0.5), 0),
        (4, 0, PruneLimits(1000, 1.0), 4),
    ],
)
def test_deletes_above_the_limits_are_held_and_counted_in_services(owned, left, limits, expected):
    made = plan(settled(many(owned)), many(left), policy=Policy(limits=limits))

    assert held(made) == expected
    assert bool(made.holds) == bool(expected)
    assert not expected or not any(change.action == "delete" for change in made.changes())


def test_writes_go_on_while_deletes_are_held():
    made = plan(settled(many(10)), [*many(5), Wish("new")], policy=Policy())

    assert held(made) == 5
    assert verdicts(made)["new"] == "create"


def test_all_that_was_owned_is_held_although_others_come():
    made = plan(settled(many(3)), [Wish("new")])

    assert held(made) == 3
    assert "nothing that the sync owned would be left" in made.holds[0].reason


def test_a_hold_names_its_set_and_its_command():
    [hold] = plan(settled(many(10)), many(5), policy=Policy()).holds
    made = plan(settled(many(10)), many(5), policy=Policy())

    assert len(hold.digest) == 12
    assert [key.name for key, _ in hold.services] == ["s05", "s06", "s07", "s08", "s09"]
    assert made.services[ServiceKey("s05")].findings[0].hint == f"Approve with `gitsync approve {hold.digest}`."
    assert not hold.empty


def test_an_approval_lets_its_set_go_and_later_commits_do_not_void_it():
    world = settled(many(10))
    policy = approved(plan(world, many(5), policy=Policy()), Policy())

    assert held(plan(world, many(5), policy=policy)) == 0
    assert held(plan(world, [*many(5), Wish("new")], policy=policy)) == 0
    assert held(plan(world, many(6), policy=policy)) == 0  # a spec that came back leaves it


def test_more_deletes_than_were_approved_make_a_new_hold_of_the_rest():
    world = settled(many(20))
    policy = approved(plan(world, many(15), policy=Policy()), Policy())
    [hold] = plan(world, many(9), policy=policy).holds

    assert [key.name for key, _ in hold.services] == [f"s{number:02}" for number in range(9, 15)]


def test_an_approval_never_covers_a_later_service_of_the_same_name():
    world = settled(many(10))
    policy = approved(plan(world, many(5), policy=Policy()), Policy())
    anchor = world.entries[Kind.DEFAULTS, "s05"]
    world.entries[Kind.DEFAULTS, "s05"] = replace(anchor, create_index=9999)

    made = plan(world, many(5), policy=Policy(limits=PruneLimits(max_count=0), approvals=policy.approvals))
    assert [key.name for key, _ in made.holds[0].services] == ["s05"]


def test_a_commit_without_any_spec_needs_its_own_approval():
    world = settled(many(3))
    [hold] = plan(world, []).holds
    pairs = frozenset((key.path, index) for key, index in hold.services)

    assert hold.empty
    assert "--empty" in plan(world, []).services[ServiceKey("s00")].findings[0].hint
    assert held(plan(world, [], policy=Policy(approvals=(Approval(hold.digest, pairs),)))) == 3
    assert held(plan(world, [], policy=Policy(approvals=(Approval(hold.digest, pairs, empty=True),)))) == 0


def test_a_commit_of_which_nothing_can_be_read_is_no_empty_commit():
    made = plan(settled(many(2)), [], unreadable=frozenset({"s00.yaml"}))

    assert verdicts(made) == {"s00": "refused", "s01": "delete"}


def test_a_file_nobody_knows_holds_the_deletes_whose_own_file_is_gone():
    """It may be the same file under another name."""
    world = settled([Wish("a"), Wish("b", path="both.yaml"), Wish("c", path="both.yaml"), Wish("d")])
    wishes = [Wish("c", path="both.yaml"), Wish("d")]
    made = plan(world, wishes, **unparsed("new.yaml"))

    assert verdicts(made) == {"a": "held", "b": "delete", "c": "unchanged", "d": "unchanged"}
    assert "another name" in made.holds[0].reason


def test_a_file_that_somebody_elses_ledger_names_is_still_unknown_to_us():
    world = settled([Wish("a"), Wish("d")])
    settled([Wish("theirs", path="new.yaml")], owner="x/y", world=world)

    assert verdicts(plan(world, [Wish("d")], **unparsed("new.yaml")))["a"] == "held"


def test_a_document_without_a_name_in_a_new_file_holds_nothing():
    world = settled([Wish("a"), Wish("d")])

    assert verdicts(plan(world, [Wish("d")], unreadable=frozenset({"new.yaml"})))["a"] == "delete"


def test_with_a_known_file_unreadable_other_deletes_go():
    world = settled([Wish("a"), Wish("b"), Wish("c")])

    assert verdicts(plan(world, [Wish("c")], **unparsed("b.yaml"))) == {
        "a": "delete", "b": "refused", "c": "unchanged",
    }  # fmt: skip


def test_with_ledgers_missing_and_a_file_unreadable_every_delete_is_held():
    world = settled([Wish("a"), Wish("b"), Wish("c")])
    del world.ledgers[ServiceKey("c")]
    made = plan(world, [Wish("c")], **unparsed("c2.yaml"))

    assert verdicts(made) == {"a": "held", "b": "held", "c": "unchanged"}
    assert codes(made, "a") == {"delete-held"}


def test_a_delete_that_had_begun_is_not_held_again():
    world = settled(many(4))
    policy = approved(plan(world, [Wish("new")]))
    made = plan(world, [Wish("new")], policy=policy)
    begin(world, made, [Wish("new")])

    assert held(plan(world, [Wish("new")])) == 0


def test_held_services_write_no_records():
    world = settled(many(1))
    made = run(world, [])

    assert made.empty
    assert world.ledgers[ServiceKey("s00")].state == "applied"


def test_a_holds_digest_depends_on_its_services_only():
    one = plan(settled(many(10)), many(5), policy=Policy()).holds
    two = plan(settled(many(10)), [*many(5), Wish("new")], policy=Policy()).holds

    assert isinstance(one[0], Hold)
    assert one[0].digest == two[0].digest
