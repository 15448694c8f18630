"""What is said of a commit: every way a run can end has its words, and they fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsync.core.status_words import (
    abandoned,
    neutral,
    overtaken,
    queued,
    replaces,
    replaces_plan,
    running,
    trouble,
    words,
)
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.host import DESCRIPTION, CommitState
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, Hold, Verdict
from gitsync.model.run import Outcome, RunOutcome, RunReport, ServiceOutcome

SHA = "0123456789abcdef" * 2 + "01234567"
PAY, BOOKS = ServiceKey("pay"), ServiceKey("books")
HOLD = Hold("abc123def456", ((PAY, 17), (BOOKS, 18)), "too many")


def report(**changes: Any) -> RunReport:
    values = {
        "id": "01RUN",
        "sync": "payments",
        "revision": SHA,
        "applied_revision": SHA,
        "trigger": "webhook",
        "started": "",
        "finished": "",
        "outcome": RunOutcome.APPLIED,
        **changes,
    }
    return RunReport(**values)


def service(name: str, outcome: Outcome, step: str | None = None, message: str = "", **more: Any) -> ServiceOutcome:
    return ServiceOutcome(
        ServiceKey(name), outcome, more.pop("verdict", Verdict.UPDATE), step=step, message=message, **more
    )


def pruned(name: str) -> ServiceOutcome:
    return service(name, Outcome.APPLIED, verdict=Verdict.DELETE, action=Action.DELETE)


def error(message: str, **more: Any) -> Finding:
    return Finding("file-unreadable", Severity.ERROR, message, **more)


ENDS: list[tuple[str, dict[str, Any], CommitState, str]] = [
    ("applied", {"counts": {Outcome.APPLIED: 12}}, CommitState.SUCCESS, "12 applied"),
    (
        "applied and pruned",
        {"counts": {Outcome.APPLIED: 13, Outcome.UNCHANGED: 40}, "services": (pruned("old"),)},
        CommitState.SUCCESS,
        "12 applied, 1 pruned",
    ),
    (
        "unchanged",
        {"outcome": RunOutcome.UNCHANGED, "counts": {Outcome.UNCHANGED: 40}},
        CommitState.SUCCESS,
        "nothing to change, 40 services are as wanted",
    ),
    (
        "not what was reviewed",
        {
            "counts": {Outcome.APPLIED: 2},
            "services": (
                service(
                    "pay", Outcome.APPLIED, findings=(Finding("plan-deviates", Severity.WARNING, "other", service=PAY),)
                ),
            ),
        },
        CommitState.SUCCESS,
        "2 applied · 1 differs from the reviewed plan: pay",
    ),
    (
        "a commit that was not taken, while what was applied before has its own trouble",
        {
            "outcome": RunOutcome.PARTIAL,
            "applied_revision": "b" * 40,
            "error": "the commit 0123456789ab has no signature that counts",
            "error_exit": 5,
            "counts": {Outcome.REFUSED: 1},
            "services": (service("pay", Outcome.REFUSED),),
        },
        CommitState.FAILURE,
        "the commit 0123456789ab has no signature that counts · pay refused",
    ),
    ("without services", {"outcome": RunOutcome.UNCHANGED}, CommitState.SUCCESS, "nothing to change"),
    (
        "refused",
        {
            "outcome": RunOutcome.PARTIAL,
            "counts": {Outcome.APPLIED: 11, Outcome.REFUSED: 1},
            "services": (
                service("pay", Outcome.REFUSED, findings=(error("The regular expression stops the gateway."),)),
            ),
        },
        CommitState.FAILURE,
        "pay refused: The regular expression stops the gateway. · 11 applied",
    ),
    (
        "in conflict",
        {
            "outcome": RunOutcome.FAILED,
            "counts": {Outcome.CONFLICT: 1},
            "services": (service("pay", Outcome.CONFLICT, "write", "terraform has it"),),
        },
        CommitState.FAILURE,
        "pay in conflict at write: terraform has it",
    ),
    (
        "Consul refuses one of two",
        {
            "outcome": RunOutcome.PARTIAL,
            "counts": {Outcome.APPLIED: 3, Outcome.FAILED: 2},
            "services": (
                service("books", Outcome.FAILED, "routers", "no"),
                service("pay", Outcome.FAILED, "defaults", "no"),
            ),
        },
        CommitState.FAILURE,
        "books failed at routers, pay failed at defaults · 3 applied",
    ),
    (
        "Consul does not answer",
        {
            "outcome": RunOutcome.PARTIAL,
            "counts": {Outcome.APPLIED: 3, Outcome.FAILED: 1},
            "services": (service("pay", Outcome.FAILED, "defaults", "no answer", retryable=True),),
        },
        CommitState.ERROR,
        "pay failed at defaults: no answer · 3 applied",
    ),
    (
        "busy",
        {
            "outcome": RunOutcome.FAILED,
            "counts": {Outcome.BUSY: 1},
            "services": (service("pay", Outcome.BUSY, "lock", "pay is locked"),),
        },
        CommitState.ERROR,
        "pay busy at lock: pay is locked",
    ),
    (
        "held",
        {"outcome": RunOutcome.HELD, "counts": {Outcome.APPLIED: 12, Outcome.HELD: 2}, "holds": (HOLD,)},
        CommitState.FAILURE,
        "2 deletes wait for an approval (gitsync approve abc123def456) · 12 applied",
    ),
    (
        "held with nothing left",
        {
            "outcome": RunOutcome.HELD,
            "counts": {Outcome.HELD: 1},
            "holds": (Hold("abc123def456", ((PAY, 17),), "all", empty=True),),
        },
        CommitState.FAILURE,
        "1 delete waits for an approval (gitsync approve abc123def456 --empty)",
    ),
    (
        "a bad file",
        {
            "outcome": RunOutcome.PARTIAL,
            "counts": {Outcome.APPLIED: 2},
            "findings": (
                error("It is no YAML.", place=Place("services/pay.yaml", 3)),
                error("No.", place=Place("b.yaml")),
            ),
        },
        CommitState.FAILURE,
        "services/pay.yaml is refused and 1 more · 2 applied",
    ),
    (
        "a refused signature",
        {
            "outcome": RunOutcome.FAILED,
            "error": "fetch: the commit 012345 is signed by nobody who counts",
            "error_exit": 5,
        },
        CommitState.FAILURE,
        "fetch: the commit 012345 is signed by nobody who counts",
    ),
    (
        "a strict sync",
        {"outcome": RunOutcome.FAILED, "error": "plan: strict: the commit is refused as a whole", "error_exit": 3},
        CommitState.FAILURE,
        "plan: strict: the commit is refused as a whole",
    ),
    (
        "a rewritten history",
        {"outcome": RunOutcome.FAILED, "error": "fetch: the history was rewritten", "error_exit": 4},
        CommitState.FAILURE,
        "fetch: the history was rewritten",
    ),
    (
        "Consul away",
        {"outcome": RunOutcome.FAILED, "error": "observe: Consul does not answer", "error_exit": 6},
        CommitState.ERROR,
        "observe: Consul does not answer",
    ),
    (
        "stopped in the middle",
        {
            "outcome": RunOutcome.FAILED,
            "error": "write: stopped in the middle (CancelledError). The next …",
            "error_exit": 4,
        },
        CommitState.ERROR,
        "write: stopped in the middle (CancelledError). The next …",
    ),
    ("a bug", {"outcome": RunOutcome.FAILED, "error": "KeyError", "error_exit": 1}, CommitState.ERROR, "KeyError"),
]


@pytest.mark.parametrize(("fields", "state", "said"), [each[1:] for each in ENDS], ids=[each[0] for each in ENDS])
def test_every_end_of_a_run_has_its_words(fields: dict[str, Any], state: CommitState, said: str):
    found = words(report(**fields))

    assert (found.state, found.description) == (state, said)


def test_many_services_are_named_as_far_as_there_is_room():
    services = tuple(service(f"service-number-{at}", Outcome.FAILED, "defaults", "no") for at in range(30))
    found = words(
        report(outcome=RunOutcome.PARTIAL, services=services, counts={Outcome.FAILED: 30, Outcome.APPLIED: 7})
    )

    assert len(found.description) <= DESCRIPTION
    assert found.description.startswith("service-number-0 failed at defaults, service-number-1 failed at defaults")
    assert found.description.endswith("more · 7 applied")


def test_services_that_are_only_counted_are_failures_too():
    found = words(report(outcome=RunOutcome.FAILED, counts={Outcome.REFUSED: 2}))

    assert (found.state, found.description) == (CommitState.FAILURE, "2 refused")


HOSTILE = st.text(st.sampled_from("a@<>`{}\n\r\x1b\u202e\u200bé漢 #!-[]()*_\\"), max_size=300)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_whatever_stands_in_names_and_messages_the_description_is_short_and_harmless(name, message, trouble_text):
    stopped = service("pay", Outcome.REFUSED, "load", message)
    stopped = ServiceOutcome(ServiceKey(name), stopped.outcome, stopped.verdict, step="load", message=message)
    place = Place(name or "x")
    every = [
        words(report(services=(stopped,), counts={Outcome.REFUSED: 1, Outcome.APPLIED: 4})),
        words(report(findings=(error(message, place=place),), holds=(HOLD,))),
        words(report(error=trouble_text or "x", error_exit=6)),
        trouble(trouble_text),
    ]
    every += [overtaken(each, SHA) for each in every]

    for each in every:
        assert len(each.description) <= DESCRIPTION
        assert not set(each.description) & set("@<>`{}\n\r\x1b\u202e\u200b")


def test_a_mention_and_markup_are_written_out():
    assert neutral("@everyone <b>look</b>\n `x` {name}") == "(at)everyone ‹b›look‹/b› 'x' (name)"


# -- one after the other --------------------------------------------------------------------------------------------------


def body(state: CommitState, description: str = "x", url: str = "u") -> dict[str, str]:
    return {"state": str(state), "description": description, "target_url": url}


def test_who_was_overtaken_says_by_whom_and_how_that_ended():
    good, bad = words(report(counts={Outcome.APPLIED: 2})), words(report(counts={Outcome.REFUSED: 2}))

    assert (overtaken(good, SHA).state, overtaken(good, SHA).description) == (
        CommitState.SUCCESS,
        "applied with 0123456789ab: 2 applied",
    )
    assert (overtaken(bad, SHA).state, overtaken(bad, SHA).description) == (
        CommitState.FAILURE,
        "failed with 0123456789ab: 2 refused",
    )
    assert abandoned(SHA).state is CommitState.CANCELED


def test_the_same_words_with_another_link_are_nothing_new():
    assert not replaces(body(CommitState.FAILURE, url="a"), body(CommitState.FAILURE, url="b"))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (CommitState.PENDING, CommitState.RUNNING, True),
        (CommitState.RUNNING, CommitState.PENDING, False),
        (CommitState.RUNNING, CommitState.SUCCESS, True),
        (CommitState.FAILURE, CommitState.RUNNING, False),
        (CommitState.SUCCESS, CommitState.RUNNING, False),
        (CommitState.FAILURE, CommitState.SUCCESS, True),
        (CommitState.ERROR, CommitState.SUCCESS, True),
        (CommitState.SUCCESS, CommitState.FAILURE, True),
        (CommitState.SUCCESS, CommitState.ERROR, False),
        (CommitState.SUCCESS, CommitState.CANCELED, False),
        (CommitState.CANCELED, CommitState.SUCCESS, True),
        (CommitState.CANCELED, CommitState.PENDING, False),
    ],
)
def test_what_is_said_of_a_commit_only_changes_for_a_reason(before, after, expected):
    assert replaces(body(after, "new"), body(before, "old")) is expected


def test_a_commit_that_succeeded_does_not_change_its_words_when_something_is_put_back():
    assert not replaces(body(CommitState.SUCCESS, "1 applied"), body(CommitState.SUCCESS, "12 applied, 1 pruned"))


def test_a_failure_that_fails_otherwise_says_so():
    assert replaces(body(CommitState.FAILURE, "pay"), body(CommitState.FAILURE, "books"))


def test_what_is_not_the_end_says_so():
    assert queued().state is CommitState.PENDING
    assert running().state is CommitState.RUNNING


def test_that_a_plan_is_being_made_stands_in_for_nothing_and_its_end_for_everything_else():
    pending, error, success = (
        {"state": str(state), "description": "x"}
        for state in (CommitState.PENDING, CommitState.ERROR, CommitState.SUCCESS)
    )

    assert not any(replaces_plan(pending, old) for old in (pending, error, success))
    assert all(replaces_plan(success, old) for old in (pending, error, {**success, "target_url": "https://x"}))
    assert not replaces_plan(error, error)
