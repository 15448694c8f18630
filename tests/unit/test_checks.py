"""What `gitsync doctor` makes of what it is told: of ends that are near, and of a Git host."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gitsync.cli.checks import Check, State, ending
from gitsync.cli.checkup import of_host
from gitsync.model.errors import Unavailable
from gitsync.model.host import Problem

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expires", "state", "says"),
    [
        ("2026-05-01T11:59:59Z", State.WRONG, "expired 2026-05-01 11:59 UTC"),
        ("2026-05-03T13:00:00Z", State.WARNING, "expires 2026-05-03 13:00 UTC, in 2 days"),
        ("2026-05-03T13:00:00", State.WARNING, "in 2 days"),
        ("2027-05-01T12:00:00+02:00", State.OK, "expires 2027-05-01 10:00 UTC"),
        ("", State.OK, "the token"),
        ("tomorrow", State.OK, "the token"),
    ],
)
def test_a_credential_is_wrong_when_it_has_ended_and_a_warning_before(expires: str, state: State, says: str):
    check = ending(Check("consul", "", State.OK, "the token", expires=expires), NOW)

    assert check.state is state
    assert says in check.message
    assert bool(check.exit_code) is (state is State.WRONG)
    assert bool(check.hint) is (state is not State.OK)


def test_what_is_wrong_already_does_not_get_better_by_its_end():
    assert ending(Check("host", "a", State.WRONG, "no", expires="2027-05-01T12:00:00Z"), NOW).state is State.WRONG


class Host:
    """A host's API that says what it is told to."""

    def __init__(self, *problems: Problem | Unavailable) -> None:
        self._problems = problems

    async def preflight(self) -> list[Problem]:
        for each in self._problems:
            if isinstance(each, Unavailable):
                raise each
        return [each for each in self._problems if isinstance(each, Problem)]


async def test_what_a_host_says_of_the_credentials_is_told_with_what_to_do():
    host = Host(
        Problem("the token may not post statuses", "Give it statuses: write."),
        Problem("the token ends", fatal=False, expires="2026-05-03T12:00:00Z"),
        Problem("it may push, which gitsync never does", "Take that away.", fatal=False),
        Problem("the token ends", "Make a new one before.", fatal=False, expires="2027-05-03T12:00:00Z"),
        Problem("acme/specs can be read, and told of statuses", fatal=False),
    )
    checks = [each async for each in of_host("pay", host, NOW)]

    assert [(each.state, each.exit_code) for each in checks] == [
        (State.WRONG, 5),
        (State.WARNING, 0),
        (State.WARNING, 0),
        (State.OK, 0),
        (State.OK, 0),
    ]
    assert checks[0].hint == "Give it statuses: write."
    assert "in 2 days" in checks[1].message


async def test_a_host_without_a_complaint_is_in_order_and_one_that_is_silent_is_not():
    assert [each.state async for each in of_host("pay", Host(), NOW)] == [State.OK]
    assert [each.exit_code async for each in of_host("pay", Host(Unavailable("no answer")), NOW)] == [6]
    assert [each async for each in of_host("pay", None, NOW)] == []
