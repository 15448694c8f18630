"""The inbox: what a delivery wakes, and that nothing it says goes further than that."""

from __future__ import annotations

import pytest

from gitsync.daemon.inbox import MOST_REVIEWS, Inbox, Watched, watched
from gitsync.model.host import ChangeRequest, RefChange, WebhookEvent
from tests.clockwork import FakeTime

A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN = "refs/heads/main"


class Desk:
    """An inbox, and what it woke."""

    def __init__(self, mine: Watched | None = None) -> None:
        self.time = FakeTime()
        self.woken: list[tuple[str, str, str]] = []
        self.reviewed: list[tuple[str, int, str]] = []
        self.seen: list[tuple[str, str]] = []
        self.inbox = Inbox(
            {"pay": mine or watched("platform/specs", "main")},
            self.time,
            wake=lambda sync, trigger, expected="": self.woken.append((sync, trigger, expected)),
            review=lambda sync, number, change: self.reviewed.append((sync, number, change.head_sha)),
            seen=lambda sync, sha: self.seen.append((sync, sha)),
        )

    def gets(self, event: WebhookEvent, sync: str = "pay") -> str:
        return self.inbox.accept(sync, event)


def push(*refs: RefChange, repo: str = "platform/specs") -> WebhookEvent:
    return WebhookEvent("push", "1", repo, refs)


def change(number: int = 7, sha: str = A, repo: str = "platform/specs") -> WebhookEvent:
    request = ChangeRequest(number, sha, "feature", "main", False, repo, "open")
    return WebhookEvent("change", "1", repo, change=request, action="opened")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_push_on_the_watched_ref_wakes_its_sync_and_says_what_to_expect(desk):
    assert desk.gets(push(RefChange(MAIN, A, B))) == "woken"
    assert desk.woken == [("pay", "webhook", B)]
    assert desk.seen == [("pay", B)]


def test_a_push_on_another_ref_wakes_nobody(desk):
    assert desk.gets(push(RefChange("refs/heads/other", A, B), RefChange("refs/tags/main", A, B))) == "woken"
    assert desk.gets(push(RefChange("refs/heads/mainly", A, B))) == "other-ref"
    assert desk.woken == [("pay", "webhook", "")]  # a tag of the ref's name may be what the sync follows


def test_of_several_moves_of_the_ref_the_last_one_counts(desk):
    desk.gets(push(RefChange(MAIN, A, B), RefChange("refs/heads/x", A, A), RefChange(MAIN, B, C)))

    assert desk.woken == [("pay", "webhook", C)]


def test_a_deleted_branch_wakes_its_sync_and_promises_nothing(desk):
    assert desk.gets(push(RefChange(MAIN, A, None, deleted=True))) == "woken"
    assert (desk.woken, desk.seen) == ([("pay", "webhook", "")], [])


def test_another_repository_is_told_apart_and_wakes_nobody(desk):
    assert desk.gets(push(RefChange(MAIN, A, B), repo="stranger/specs")) == "other-repo"
    assert desk.gets(change(repo="stranger/specs")) == "other-repo"
    assert desk.woken == desk.reviewed == []


def test_the_name_of_a_repository_is_compared_as_hosts_do_without_its_case(desk):
    assert desk.gets(push(RefChange(MAIN, A, B), repo="Platform/Specs")) == "woken"


def test_a_generic_push_that_names_nothing_wakes_the_sync(desk):
    assert desk.gets(WebhookEvent("push", None)) == "woken"
    assert desk.woken == [("pay", "webhook", "")]


@pytest.mark.parametrize(
    ("kind", "said"), [("ping", "ping"), ("comment", "ignored"), ("ignored", "ignored"), ("change", "ignored")]
)
def test_everything_else_has_no_effect(desk, kind, said):
    assert desk.gets(WebhookEvent(kind, "1", "platform/specs")) == said
    assert desk.woken == desk.reviewed == []


def test_a_sync_that_nobody_knows_is_ignored(desk):
    assert desk.gets(push(RefChange(MAIN, A, B)), sync="other") == "ignored"


async def test_a_change_is_reviewed_once_for_all_that_comes_of_it_at_once(desk):
    assert [desk.gets(change(sha=sha)) for sha in (A, B, C)] == ["review"] * 3
    assert desk.reviewed == []
    await desk.time.pass_by(1)

    assert desk.reviewed == [("pay", 7, C)]


async def test_changes_that_never_stop_coming_do_not_put_the_review_off(desk):
    for _ in range(20):
        desk.gets(change())
        await desk.time.pass_by(0.1)

    assert len(desk.reviewed) >= 3


async def test_each_change_has_its_own_review(desk):
    desk.gets(change(7))
    desk.gets(change(8))
    await desk.time.pass_by(1)

    assert [number for _, number, _ in desk.reviewed] == [7, 8]


async def test_there_is_an_end_to_how_many_may_wait(desk):
    said = [desk.gets(change(number)) for number in range(MOST_REVIEWS + 5)]
    await desk.time.pass_by(1)

    assert said.count("full") == 5
    assert len(desk.reviewed) == MOST_REVIEWS


async def test_a_sync_that_follows_no_branch_reviews_nothing():
    desk = Desk(watched("platform/specs", "refs/tags/v1"))

    assert desk.gets(change()) == "ignored"
    assert desk.gets(push(RefChange("refs/tags/v1", A, B))) == "woken"
    assert desk.woken == [("pay", "webhook", "")]


@pytest.mark.parametrize(
    ("ref", "refs", "base"),
    [
        ("main", ("refs/heads/main", "refs/tags/main"), "main"),
        ("refs/heads/release/1", ("refs/heads/release/1",), "release/1"),
        ("refs/tags/v1", ("refs/tags/v1",), None),
        ("a" * 40, (), None),
    ],
)
def test_what_a_ref_listens_for(ref, refs, base):
    assert watched("o/n", ref) == Watched("o/n", refs, base)
