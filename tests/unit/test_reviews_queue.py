"""The queue of reviews: every head gets its words once, whatever the host tells, forgets, or tells too early."""

# ruff: noqa: ARG002 -- the parameters of what stands for others are named as the Protocols name them

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from gitsync.daemon.contracts import Contracts
from gitsync.daemon.reporting import Ear
from gitsync.daemon.reviews import FORKS_OFF, LEAST_PAUSE, MOST, NOT_THERE, REFRESH_SECONDS, Desk, ReviewEar, Reviews
from gitsync.engine.review import Request
from gitsync.log import hide
from gitsync.model.errors import GitsyncError, Unavailable
from gitsync.model.host import ChangeRequest, CommitState, Status
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Plan
from gitsync.model.review import Landed, NotThere, Promised, Review, Reviewed, ReviewRecord, ReviewVerdict
from gitsync.model.revision import Revision
from tests.clockwork import FakeTime, settled
from tests.unit.test_schedule import report

PAY = ServiceKey("pay")
MARKER = "<!-- gitsync:plan source=test/pay -->"


def change(number: int = 5, head: str = "a", **more) -> ChangeRequest:
    values = {
        "head_ref": "work",
        "base_ref": "main",
        "is_fork": False,
        "head_repo": "org/specs",
        "state": "open",
        **more,
    }
    return ChangeRequest(number, head * 40 if len(head) == 1 else head, **values)


@dataclass
class World:
    """A host, its repository, a judge and a store, all of them in memory."""

    time: FakeTime
    changes: dict[int, ChangeRequest] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)  # heads that the repository does not hand out
    main: str = "m" * 40
    verdict: ReviewVerdict = ReviewVerdict.PLANNED
    message: str = ""
    asked: list[int] = field(default_factory=list)
    judged: list[tuple[int, str, str]] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    comments: list[tuple[int, str]] = field(default_factory=list)
    kept: dict[int, ReviewRecord] = field(default_factory=dict)
    listed: int = 0
    down: set[str] = field(default_factory=set)
    bug: Exception | None = None
    gate: asyncio.Event | None = None

    def _up(self, what: str) -> None:
        if what in self.down:
            raise Unavailable(f"{what} does not answer")

    # the host
    async def get_change(self, number: int) -> ChangeRequest | None:
        self._up("host")
        self.asked.append(number)
        return self.changes.get(number)

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:
        self._up("host")
        self.listed += 1
        for each in list(self.changes.values()):
            if each.state == "open" and each.base_ref == base_ref:
                yield each

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:
        return (f"refs/pull/{change.number}/head",)

    # the repository
    async def base(self) -> Revision:
        self._up("git")
        return Revision(self.main, "", "", "")

    async def fetch(self, number: int, sha: str, refs=()) -> Revision | NotThere:
        self._up("git")
        self.fetched.append(sha)
        if sha in self.hidden:
            return NotThere("the host does not hand it out")
        return Revision(sha.ljust(40, "0"), "", "", "")

    async def drop(self, number: int) -> None:
        self.dropped.append(number)

    # the judge
    async def judge(self, request: Request) -> Review:
        if self.gate:
            await self.gate.wait()
        if self.bug:
            raise self.bug
        self._up("consul")
        number = request.change.number
        self.judged.append((number, request.head.sha, request.base.sha))
        plan = None if self.verdict is ReviewVerdict.UNAFFECTED else Plan("test/pay", request.head.sha, {})
        return Review(
            "pay", "test/pay", request.change, self.verdict, request.base, "t" * 40, plan, message=self.message
        )

    # the store
    async def save(self, record: ReviewRecord) -> None:
        self._up("store")
        self.kept[record.number] = record

    async def get(self, sync: str, number: int) -> ReviewRecord | None:
        self._up("store")
        return self.kept.get(number)

    async def open(self, sync: str) -> list[ReviewRecord]:
        self._up("store")
        return [each for each in self.kept.values() if not each.closed]

    async def close(self, sync: str, number: int, at: str) -> None:
        self._up("store")
        self.kept[number] = replace(self.kept[number], closed=at)

    # what is wanted
    async def want_status(self, status: Status, *, delay: float = 0.0) -> None:
        self.statuses.append(status)

    async def want_comment(self, number: int, marker: str, body: str) -> None:
        assert body.startswith(marker)
        self.comments.append((number, body))

    @property
    def words(self) -> list[tuple[str, str, str]]:
        return [(each.sha[0], str(each.state), each.description) for each in self.statuses]

    def desk(self, **more) -> Desk:
        values = {
            "base": "main", "context": "gitsync/plan/test/pay", "marker": MARKER, "host": self, "repository": self, "records": self,
            "judge": self.judge, "want_status": self.want_status, "want_comment": self.want_comment,
            "link": lambda number: f"https://gitsync.example/plans/pay/{number}", **more,
        }  # fmt: skip
        return Desk("pay", **values)


@pytest.fixture
def world() -> World:
    return World(FakeTime())


@asynccontextmanager
async def running(world: World, **more) -> AsyncIterator[Reviews]:
    reviews = Reviews([world.desk(**more)], world.time.clock())
    task = asyncio.ensure_future(reviews.run())
    await settled()
    try:
        yield reviews
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_open_requests_are_found_without_a_webhook(world):
    world.changes = {
        5: change(5, "a"),
        6: change(6, "b"),
        7: change(7, "c", base_ref="other"),
        8: change(8, "d", state="closed"),
    }
    async with running(world):
        assert [each[:2] for each in world.judged] == [(5, "a" * 40), (6, "b" * 40)]
        assert world.asked == []  # what the list says is what the host says


async def test_a_head_is_told_that_it_is_planned_and_then_of_its_plan(world):
    world.changes = {5: change()}
    async with running(world):
        assert world.words == [("a", "pending", "being planned"), ("a", "success", "nothing to write")]
        (number, body) = world.comments[0]
        assert number == 5
        assert "[The whole plan](<https://gitsync.example/plans/pay/5>)" in body
        status = world.statuses[-1]
        assert status.target_url == "https://gitsync.example/plans/pay/5"
        assert (status.context, status.ref, status.change) == ("gitsync/plan/test/pay", "work", world.changes[5])


async def test_what_was_judged_is_not_judged_again_also_by_the_next_process(world):
    world.changes = {5: change()}
    async with running(world):
        await world.time.pass_by(300)
    async with running(world):
        await world.time.pass_by(100)

    assert len(world.judged) == 1


async def test_a_plan_that_is_old_is_made_again_and_nobody_is_told_that_it_is_pending(world):
    world.changes = {5: change()}
    async with running(world):
        await world.time.pass_by(REFRESH_SECONDS + 61)

    assert len(world.judged) == 2
    assert [state for _, state, _ in world.words] == ["pending", "success", "success"]


async def test_a_push_is_judged_by_what_the_host_says_now(world):
    async with running(world) as reviews:
        world.changes[5] = change(5, "b")
        reviews.look("pay", 5, change(5, "a"))  # what the delivery says is older
        await settled()

    assert world.judged == [(5, "b" * 40, "m" * 40)]
    assert world.asked == [5]


async def test_a_storm_about_one_request_is_one_review(world):
    world.gate = asyncio.Event()
    async with running(world) as reviews:
        world.changes[5] = change(5, "a")
        for _ in range(50):
            reviews.look("pay", 5, world.changes[5])
        await settled()
        world.changes[5] = change(5, "b")
        for _ in range(50):
            reviews.look("pay", 5, world.changes[5])
        assert reviews.waiting() == {"pay": 1}
        world.gate.set()
        await settled()

    assert [head[0] for _, head, _ in world.judged] == ["a", "b"]


async def test_a_head_that_is_not_there_yet_is_looked_for_again(world):
    world.changes[5] = change(5, "b")
    world.hidden = {"b" * 40}
    async with running(world):
        assert world.statuses == []
        await world.time.pass_by(NOT_THERE[0] + 0.1)
        world.hidden.clear()
        await world.time.pass_by(NOT_THERE[1] + 0.1)

    assert world.judged == [(5, "b" * 40, "m" * 40)]
    assert len(world.fetched) == 3


async def test_a_head_that_never_comes_is_dropped_as_stale_until_somebody_says_so_again(world):
    async with running(world, lists=False) as reviews:
        world.changes[5] = change(5, "b")
        world.hidden = {"b" * 40}
        reviews.look("pay", 5)
        await world.time.pass_by(sum(NOT_THERE) + 600)
        assert len(world.fetched) == 1 + len(NOT_THERE)
        assert (world.judged, world.statuses) == ([], [])

        world.changes[5] = change(5, "c")
        reviews.look("pay", 5)
        await settled()

    assert [head[0] for _, head, _ in world.judged] == ["c"]


async def test_a_base_that_moved_makes_every_plan_old(world):
    world.changes = {5: change(5, "a"), 6: change(6, "b")}
    async with running(world) as reviews:
        world.main = "n" * 40
        reviews.moved("pay")
        reviews.moved("pay")
        await world.time.pass_by(LEAST_PAUSE + 0.1)

    assert [(number, base[0]) for number, _, base in world.judged] == [(5, "m"), (6, "m"), (5, "n"), (6, "n")]


async def test_a_base_that_moved_unheard_is_found_by_looking(world):
    world.changes = {5: change(5, "a")}
    async with running(world):
        world.main = "n" * 40
        await world.time.pass_by(61)

    assert [base[0] for _, _, base in world.judged] == ["m", "n"]


async def test_a_run_that_ended_makes_every_plan_old_also_at_the_same_base(world):
    world.changes = {5: change(5, "a")}
    async with running(world) as reviews:
        ear: Ear = ReviewEar(reviews)
        await ear.finished(report())
        await world.time.pass_by(LEAST_PAUSE + 0.1)

    assert len(world.judged) == 2


async def test_a_host_that_lists_nothing_is_asked_for_what_is_known(world):
    world.changes = {5: change(5, "a")}
    async with running(world, lists=False) as reviews:
        await world.time.pass_by(100)
        assert world.judged == []
        reviews.look("pay", 5, world.changes[5])
        await settled()
        world.main = "n" * 40
        await world.time.pass_by(61)

    assert [base[0] for _, _, base in world.judged] == ["m", "n"]
    assert world.listed == 0


async def test_a_closed_request_is_forgotten_and_comes_back_when_it_is_opened_again(world):
    world.changes = {5: change(5, "a")}
    async with running(world) as reviews:
        world.changes[5] = change(5, "a", state="merged")
        reviews.look("pay", 5, world.changes[5])
        await settled()
        assert world.kept[5].closed
        assert world.dropped == [5]
        await world.time.pass_by(2000)
        assert len(world.judged) == 1

        world.changes[5] = change(5, "a")
        reviews.look("pay", 5, world.changes[5])
        await settled()

    assert len(world.judged) == 2
    assert not world.kept[5].closed


@pytest.mark.parametrize("told", [True, False])
async def test_what_was_promised_stands_when_the_base_has_it_before_the_host_says_so(world, told):
    world.changes = {5: change(5, "a")}
    promised = {PAY: Reviewed("digest", "update")}
    async with running(world) as reviews:
        world.kept[5] = replace(world.kept[5], digests=promised, tree="t" * 40)
        world.main, world.verdict = "n" * 40, ReviewVerdict.UNAFFECTED  # merged, and still open for the host
        reviews.moved("pay")
        await world.time.pass_by(LEAST_PAUSE + 0.1)
        before = list(world.statuses), list(world.comments)
        if told:
            world.changes[5] = change(5, "a", state="merged")
        await world.time.pass_by(sum(NOT_THERE) + 1)

    said = "no service affected" in world.statuses[-1].description
    assert (world.kept[5].digests, world.kept[5].tree) == (promised, "t" * 40)
    assert before == (world.statuses[: len(before[0])], world.comments[: len(before[1])])
    assert len(before[0]) == 2
    assert (bool(world.kept[5].closed), said) == (told, not told)


async def test_a_request_that_was_closed_unheard_is_forgotten_by_looking(world):
    world.changes = {5: change(5, "a")}
    async with running(world):
        del world.changes[5]
        await world.time.pass_by(61)

    assert world.kept[5].closed
    assert world.dropped == [5]


async def test_a_request_that_goes_elsewhere_now_is_forgotten(world):
    world.changes = {5: change(5, "a")}
    async with running(world) as reviews:
        world.changes[5] = change(5, "a", base_ref="other")
        reviews.look("pay", 5, world.changes[5])
        await settled()

    assert world.kept[5].closed
    assert len(world.judged) == 1


async def test_a_closed_request_that_was_never_seen_is_nothing(world):
    async with running(world) as reviews:
        world.changes[5] = change(5, "a", state="closed")
        reviews.look("pay", 5, world.changes[5])
        reviews.look("pay", 6, None)
        reviews.look("nobody", 6, None)
        await settled()

    assert (world.judged, world.statuses, world.dropped, world.kept) == ([], [], [], {})


async def test_where_no_service_is_affected_there_is_a_status_and_no_comment(world):
    world.verdict = ReviewVerdict.UNAFFECTED
    world.changes = {5: change(5, "a")}
    async with running(world):
        assert world.words[-1] == ("a", "success", "no service affected")
        assert world.comments == []
        assert world.kept[5].digests is None


async def test_a_comment_that_is_there_is_edited_when_no_service_is_affected_any_more(world):
    world.changes = {5: change(5, "a")}
    async with running(world) as reviews:
        world.verdict = ReviewVerdict.UNAFFECTED
        for head in "bc":
            world.changes[5] = change(5, head)
            reviews.look("pay", 5)
            await settled()

    assert len(world.comments) == 3
    assert "No service is affected" in world.comments[-1][1]


async def test_without_comments_there_are_statuses(world):
    world.changes = {5: change(5, "a")}
    async with running(world, limit=0):
        assert world.words[-1][1] == "success"
        assert world.comments == []


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        (ReviewVerdict.PLANNED, CommitState.SUCCESS), (ReviewVerdict.HELD, CommitState.SUCCESS),
        (ReviewVerdict.UNAFFECTED, CommitState.SUCCESS), (ReviewVerdict.VALID, CommitState.SUCCESS),
        (ReviewVerdict.REFUSED, CommitState.FAILURE), (ReviewVerdict.CONFLICTED, CommitState.FAILURE),
        (ReviewVerdict.FAILED, CommitState.ERROR),
    ],
)  # fmt: skip
async def test_every_verdict_has_its_state(world, verdict, state):
    world.verdict = verdict
    world.changes = {5: change(5, "a")}
    async with running(world):
        assert world.statuses[-1].state is state


async def test_forks_that_are_off_are_told_so_and_never_fetched(world):
    world.changes = {5: change(5, "a", is_fork=True)}
    async with running(world, forks=False):
        assert world.words == [("a", "failure", FORKS_OFF)]
        assert world.fetched == []


async def test_a_short_name_becomes_the_whole_one_before_anything_is_said(world):
    world.changes = {5: change(5, "abc123abc123", head_sha_is_short=True)}
    async with running(world):
        await world.time.pass_by(100)

    assert {status.sha for status in world.statuses} == {"abc123abc123".ljust(40, "0")}
    assert len(world.judged) == 1


async def test_a_consul_that_is_away_is_told_once_and_tried_again(world):
    world.changes = {5: change(5, "a")}
    world.down = {"consul"}
    async with running(world):
        await world.time.pass_by(12)
        assert world.words[-1] == ("a", "error", "no plan could be made: consul does not answer")
        world.down.clear()
        await world.time.pass_by(61)

    assert world.words[-1][1] == "success"


async def test_a_plan_that_stands_is_not_replaced_by_trouble(world):
    world.changes = {5: change(5, "a")}
    async with running(world) as reviews:
        world.down = {"consul"}
        reviews.moved("pay")
        await world.time.pass_by(20)

    assert "error" not in {state for _, state, _ in world.words}


async def test_a_host_that_is_away_leaves_what_the_delivery_said(world):
    world.down = {"host"}
    async with running(world) as reviews:
        reviews.look("pay", 5, change(5, "a"))
        await settled()

    assert [head[0] for _, head, _ in world.judged] == ["a"]


async def test_without_its_history_a_request_is_judged_all_the_same(world):
    world.down = {"store"}
    async with running(world) as reviews:
        world.changes[5] = change(5, "a")
        reviews.look("pay", 5)
        await settled()

    assert world.words[-1][1] == "success"


@pytest.mark.parametrize("bug", [ValueError("odd"), GitsyncError("odd")])
async def test_a_bug_in_one_review_does_not_stop_the_others(world, bug):
    world.bug = bug
    world.changes = {5: change(5, "a")}
    async with running(world) as reviews:
        world.bug = None
        world.changes[6] = change(6, "b")
        reviews.look("pay", 6)
        await settled()

    assert (6, "b" * 40, "m" * 40) in world.judged
    assert [(sha, state) for sha, state, _ in world.words if sha == "a"][:2] == [("a", "pending"), ("a", "error")]


async def test_more_than_can_wait_is_found_later(world):
    world.gate = asyncio.Event()
    world.changes = {number: change(number, f"{number:040x}") for number in range(1, MOST + 20)}
    async with running(world) as reviews:
        for number in world.changes:
            reviews.look("pay", number)
        assert reviews.waiting()["pay"] <= MOST
        world.gate.set()
        world.gate = None
        for _ in range(400):
            await settled()
        await world.time.pass_by(61)
        for _ in range(400):
            await settled()

    assert {number for number, _, _ in world.judged} == set(world.changes)


async def test_what_is_secret_is_in_no_status_and_no_comment(world):
    hide("canary-token-1")
    world.message = "canary-token-1 was refused"
    world.verdict = ReviewVerdict.CONFLICTED
    world.changes = {5: change(5, "a")}
    async with running(world):
        assert not any("canary" in status.description for status in world.statuses)
        assert "canary" not in world.comments[0][1]


# -- what was promised


@dataclass
class Archive:
    records: list[ReviewRecord]
    asked: list[tuple[set[str], set[str]]] = field(default_factory=list)

    async def landed(self, sync: str, trees, heads) -> list[ReviewRecord]:
        self.asked.append((set(trees), set(heads)))
        return self.records

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Archive]:
        yield self


class Mirror:
    async def landed(self, applied: str, sha: str) -> tuple[Landed, ...]:
        return (Landed(sha, "t1", ("p1", "head2")), Landed("s2", "t2", ("p2",)))


def record(number: int, digests) -> ReviewRecord:
    return ReviewRecord("pay", number, "h", "b", "t", "planned", digests, {}, "2026-01-01T00:00:00Z")


async def test_what_was_reviewed_is_found_by_the_trees_and_heads_that_landed():
    newer, older = Reviewed("2", "update"), Reviewed("1", "update")
    archive = Archive([record(7, {PAY: newer}), record(5, {PAY: older}), record(6, None)])

    promised = await Contracts({"pay": Mirror()}, archive.held).promised("pay", "a", "s1")

    assert archive.asked == [({"t1", "t2"}, {"s1", "s2", "head2"})]
    assert promised == Promised({PAY: (newer, older)}, "#5, #7")


async def test_a_sync_that_reviews_nothing_promises_nothing():
    assert await Contracts({}, Archive([]).held).promised("pay", "a", "s1") == Promised()
