"""What has to be told, from the run to the host: in both databases, over restarts, and whatever is away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gitsync.daemon.reporting import Ear, ReportingArchive, ReportingJob
from gitsync.daemon.statuses import Spoken, Statuses
from gitsync.engine.history import Tolerant
from gitsync.model.delivery import (
    Delivery,
    DeliveryKind,
    DeliveryState,
    wanted_status,
)
from gitsync.model.errors import Suspended, Unavailable
from gitsync.model.finding import Finding, Place, Severity
from gitsync.model.host import CommitState, PostResult, Status, Verdict
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, Hold
from gitsync.model.plan import Verdict as PlanVerdict
from gitsync.model.revision import History
from gitsync.model.run import Outcome, RunOutcome, RunReport, ServiceOutcome
from gitsync.store import Store
from tests.office import APPLY, A, B, C, Office, OfficeTime, says

PAY = ServiceKey("pay")
HOLD = Hold("abc123def456", ((PAY, 17),), "too many")
D = "d" * 40


async def the(store: Store, sha: str = A) -> Delivery:
    found = await store.deliveries.get("pay", DeliveryKind.STATUS, sha, APPLY)
    assert found
    return found


class Site(Office):
    """A store, a host, and runs. leads: (older, newer) where one contains the other."""

    def __init__(self, time: OfficeTime, store: Store) -> None:
        super().__init__(time, store.deliveries)
        self.history: dict[tuple[str, str], History] = {}
        self.runs = 0
        self.rooms(store)

    def rooms(self, store: Store) -> None:
        self.shown = store
        spoken = Spoken(APPLY, "https://git.example/o/n", "main", "https://gitsync.example")
        self.statuses = Statuses(
            self.wants, self.deliveries, {"pay": spoken}, self.stands, self.time.clock(), self.poster.wake
        )
        self.poster.add_first(self.statuses.flush)
        self.archive = Tolerant(ReportingArchive(self.shown, [self.statuses]), lambda _: None)

    async def stands(self, sync: str, older: str, newer: str) -> History:  # noqa: ARG002
        return self.history.get((older, newer), History.UNKNOWN)

    async def restarts(self) -> None:
        await self.closes()
        self.time.due.clear()
        self.poster = self.new_poster()
        self.rooms(self.shown)
        await self.opens()

    async def begins(self, sha: str) -> str:
        self.runs += 1
        run = f"01RUN{self.runs:04}"
        await self.archive.begin_run(
            run=run, sync="pay", revision=sha, trigger="webhook", started=self.time.clock().stamp()
        )
        await self.time.settle()
        return run

    async def runs_through(self, sha: str, **fields: Any) -> RunReport:
        ended = report(await self.begins(sha), revision=sha, **fields)
        await self.archive.finish_run(ended)
        await self.time.settle()
        return ended

    async def looks(self, ended: RunReport | Exception) -> None:
        """What the lane runs."""

        class Job:
            name, interval = "pay", 60.0

            async def run(self, trigger: str) -> RunReport:  # noqa: ARG002
                if isinstance(ended, Exception):
                    raise ended
                return ended

            async def contains(self, older: str, newer: str) -> bool:  # noqa: ARG002
                return False

            async def rest(self) -> None: ...

        with contextlib.suppress(Unavailable, Suspended):
            await ReportingJob(Job(), [self.statuses]).run("schedule")
        await self.time.settle()

    def told(self) -> list[tuple[str, str, str]]:
        return [(status.sha[:1], str(status.state), status.description) for status in self.host.statuses]


def report(run: str = "01RUN0001", **changes: Any) -> RunReport:
    values: dict[str, Any] = {
        "id": run,
        "sync": "pay",
        "revision": A,
        "applied_revision": A,
        "trigger": "webhook",
        "started": "2026-01-01T12:00:00Z",
        "finished": "2026-01-01T12:00:09Z",
        "outcome": RunOutcome.APPLIED,
        "counts": {Outcome.APPLIED: 2},
        **changes,
    }
    return RunReport(**values)


def stopped(outcome: Outcome, *, retryable: bool = False) -> ServiceOutcome:
    return ServiceOutcome(PAY, outcome, PlanVerdict.UPDATE, Action.UPDATE, "write", "no", retryable=retryable)


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    site = Site(OfficeTime(), store)
    await site.opens()
    yield site
    await site.closes()


TERMINAL: dict[str, tuple[dict[str, Any], str]] = {
    "applied": ({}, "success"),
    "unchanged": ({"outcome": RunOutcome.UNCHANGED, "counts": {Outcome.UNCHANGED: 3}}, "success"),
    "held": ({"outcome": RunOutcome.HELD, "counts": {Outcome.HELD: 1}, "holds": (HOLD,)}, "failure"),
    "partial": (
        {"outcome": RunOutcome.PARTIAL, "counts": {Outcome.REFUSED: 1}, "services": (stopped(Outcome.REFUSED),)},
        "failure",
    ),
    "failed": (
        {"outcome": RunOutcome.FAILED, "counts": {Outcome.FAILED: 1}, "services": (stopped(Outcome.FAILED),)},
        "failure",
    ),
    "unanswered": (
        {
            "outcome": RunOutcome.FAILED,
            "counts": {Outcome.FAILED: 1},
            "services": (stopped(Outcome.FAILED, retryable=True),),
        },
        "error",
    ),
    "conflict": (
        {"outcome": RunOutcome.FAILED, "counts": {Outcome.CONFLICT: 1}, "services": (stopped(Outcome.CONFLICT),)},
        "failure",
    ),
    "busy": (
        {"outcome": RunOutcome.FAILED, "counts": {Outcome.BUSY: 1}, "services": (stopped(Outcome.BUSY),)},
        "error",
    ),
    "a bad file": (
        {"findings": (Finding("file-unreadable", Severity.ERROR, "No YAML.", place=Place("pay.yaml")),)},
        "failure",
    ),
    "a refused signature": (
        {"outcome": RunOutcome.FAILED, "counts": {}, "error": "fetch: signed by nobody", "error_exit": 5},
        "failure",
    ),
    "Consul away": (
        {"outcome": RunOutcome.FAILED, "counts": {}, "error": "observe: no answer", "error_exit": 6},
        "error",
    ),
    "a bug": ({"outcome": RunOutcome.FAILED, "counts": {}, "error": "KeyError", "error_exit": 1}, "error"),
}


@pytest.mark.parametrize("name", TERMINAL)
async def test_every_end_of_a_run_is_told_once_with_a_link(site: Site, name: str):
    fields, state = TERMINAL[name]
    await site.runs_through(A, **fields)
    await site.time.pass_by(600)

    [status] = site.host.statuses
    assert str(status.state) == state
    assert status.target_url == "https://gitsync.example/runs/01RUN0001"
    assert (status.context, status.ref, len(status.description) > 0) == (APPLY, "main", True)


async def test_a_run_that_takes_its_time_is_told_of_while_it_goes_on(site: Site):
    run = await site.begins(A)
    await site.time.pass_by(2)
    await site.archive.finish_run(report(run))
    await site.time.settle()

    assert site.told() == [("a", "running", "being applied"), ("a", "success", "2 applied")]


async def test_a_run_that_fails_again_and_again_is_told_once(site: Site):
    for _ in range(5):
        await site.runs_through(A, **TERMINAL["failed"][0])
        await site.time.pass_by(60)

    assert len(site.told()) == 1


async def test_a_failure_that_was_mended_says_so(site: Site):
    await site.runs_through(A, **TERMINAL["failed"][0])
    await site.runs_through(A)

    assert [state for _, state, _ in site.told()] == ["failure", "success"]


async def test_a_commit_that_succeeded_is_left_alone_when_something_is_put_back_or_away(site: Site):
    await site.runs_through(A)
    await site.runs_through(A, counts={Outcome.APPLIED: 1})
    await site.runs_through(A, **TERMINAL["unanswered"][0])
    await site.time.pass_by(600)

    assert site.told() == [("a", "success", "2 applied")]


async def test_heads_that_were_overtaken_end_as_the_one_that_overtook_them(site: Site):
    for sha in (A, B):
        site.statuses.seen("pay", sha)
        site.history[sha, C] = History.FORWARD
    await site.time.pass_by(2)
    await site.runs_through(C)

    assert site.told()[:2] == [("a", "pending", "waiting for its run"), ("b", "pending", "waiting for its run")]
    assert sorted(site.told()[2:]) == [
        ("a", "success", "applied with cccccccccccc: 2 applied"),
        ("b", "success", "applied with cccccccccccc: 2 applied"),
        ("c", "success", "2 applied"),
    ]


async def test_who_was_overtaken_goes_on_with_the_one_that_overtook_it(site: Site):
    site.history[A, B] = History.FORWARD
    await site.begins(A)
    await site.runs_through(B, **TERMINAL["failed"][0])
    await site.time.pass_by(5)
    await site.runs_through(B)
    await site.time.pass_by(5)

    mine = [told[1:] for told in site.told() if told[0] == "a"]
    assert mine == [
        ("failure", "failed with bbbbbbbbbbbb: pay failed at write: no"),
        ("success", "applied with bbbbbbbbbbbb: 2 applied"),
    ]


async def test_a_head_that_was_pushed_away_is_told_that_it_was_never_applied(site: Site):
    site.history[A, B] = History.DIVERGED
    await site.begins(A)
    await site.runs_through(B)
    await site.time.pass_by(5)

    assert ("a", "canceled", "never applied: bbbbbbbbbbbb took its place and does not contain it") in site.told()


async def test_a_head_whose_turn_is_still_to_come_is_left_to_it(site: Site):
    run = await site.begins(A)
    site.history[B, A] = History.BEHIND
    site.statuses.seen("pay", B)
    site.statuses.seen("pay", C)  # nobody has fetched that one yet
    await site.time.settle()
    await site.archive.finish_run(report(run))
    await site.time.pass_by(5)

    assert sorted(site.told()) == [
        ("a", "success", "2 applied"),
        ("b", "pending", "waiting for its run"),
        ("c", "pending", "waiting for its run"),
    ]


async def test_a_storm_of_pushes_is_not_one_of_statuses(site: Site):
    for at in range(500):
        site.statuses.seen("pay", f"{at:040x}")
        site.history[f"{at:040x}", D] = History.FORWARD
        if at % 50 == 0:
            await site.time.settle()
    await site.runs_through(D)
    await site.time.pass_by(300)

    assert ("d", "success", "2 applied") in site.told()
    assert len(site.told()) <= 60


async def test_a_daemon_that_was_killed_between_apply_and_status_says_it_when_it_is_back(site: Site):
    await site.begins(A)
    await site.time.pass_by(2)
    await site.restarts()
    await site.looks(report("", counts={Outcome.UNCHANGED: 2}, outcome=RunOutcome.UNCHANGED))

    assert [state for _, state, _ in site.told()] == ["running", "success"]
    await site.looks(report("", counts={Outcome.UNCHANGED: 2}, outcome=RunOutcome.UNCHANGED))
    await site.time.pass_by(600)
    assert len(site.told()) == 2


async def test_a_head_that_a_webhook_told_of_and_that_is_applied_already_ends_too(site: Site):
    site.statuses.seen("pay", A)
    await site.looks(report("", counts={Outcome.UNCHANGED: 2}, outcome=RunOutcome.UNCHANGED))
    await site.time.pass_by(5)

    assert site.told() == [("a", "success", "nothing to change, 2 services are as wanted")]


async def test_a_look_at_a_commit_of_which_nothing_is_open_asks_and_says_nothing(site: Site):
    await site.looks(report("", counts={Outcome.UNCHANGED: 2}, outcome=RunOutcome.UNCHANGED))
    await site.time.pass_by(60)

    assert site.told() == []


async def test_commits_that_wait_are_told_why_where_that_takes_a_while(site: Site):
    site.statuses.seen("pay", A)
    await site.looks(Unavailable("Consul does not answer"))
    await site.time.pass_by(5)
    await site.looks(Unavailable("Consul does not answer"))
    await site.time.pass_by(60)
    await site.runs_through(A)

    assert site.told() == [("a", "error", "Consul does not answer"), ("a", "success", "2 applied")]


async def test_a_moment_without_consul_is_not_worth_a_word(site: Site):
    site.statuses.seen("pay", A)
    await site.looks(Unavailable("Consul does not answer"))
    await site.time.pass_by(0.5)
    await site.runs_through(A)
    await site.time.pass_by(60)

    assert site.told() == [("a", "success", "2 applied")]


async def test_a_sync_that_a_person_stopped_says_nothing_new(site: Site):
    site.statuses.seen("pay", A)
    await site.looks(Suspended("stopped by anna"))
    await site.time.pass_by(60)

    assert site.told() == [("a", "pending", "waiting for its run")]


async def test_a_host_that_is_away_for_a_while_is_told_the_end_once(site: Site):
    site.host.always = says(Verdict.TRANSIENT)
    run = await site.begins(A)
    await site.time.pass_by(120)
    await site.archive.finish_run(report(run))
    await site.time.pass_by(120)
    site.host.always = PostResult(Verdict.DONE)
    before = len(site.told())
    await site.time.pass_by(600)

    assert site.told()[before:] == [("a", "success", "2 applied")]


async def test_a_database_that_is_away_for_a_whole_run_loses_no_status(site: Site):
    site.history[A, B] = History.FORWARD
    await site.begins(A)
    site.store.away = True
    await site.runs_through(B)
    site.store.away = False
    await site.time.pass_by(120)

    assert sorted(site.told()) == [
        ("a", "success", "applied with bbbbbbbbbbbb: 2 applied"),
        ("b", "success", "2 applied"),
    ]


async def test_the_end_of_a_run_that_was_kept_for_later_does_not_stand_in_for_a_newer_one(site: Site):
    run = await site.begins(A)
    site.store.away = True
    await site.archive.finish_run(report(run, services=(stopped(Outcome.REFUSED),)))
    site.store.away = False
    await site.runs_through(A)
    await site.time.pass_by(600)

    assert site.told()[-1] == ("a", "success", "2 applied")
    assert (await the(site.shown)).desired["state"] == "success"


async def test_a_repository_that_cannot_be_asked_holds_up_no_other_word(site: Site, monkeypatch):
    async def nobody(*_: str) -> History:
        raise Unavailable("Git does not answer")

    await site.begins(A)
    monkeypatch.setattr(site.statuses, "_history", nobody)
    await site.runs_through(B)
    await site.time.pass_by(5)
    assert ("b", "success", "2 applied") in site.told()

    monkeypatch.setattr(site.statuses, "_history", site.stands)
    site.history[A, B] = History.FORWARD
    await site.looks(report("", revision=B))
    await site.time.pass_by(5)
    assert site.told()[-1] == ("a", "success", "applied with bbbbbbbbbbbb: 2 applied")


async def test_a_head_that_was_overtaken_ends_also_where_the_host_was_away_for_a_moment_then(site: Site):
    site.history[A, B] = History.FORWARD
    await site.begins(A)
    await site.time.pass_by(5)
    site.host.answers = [says(Verdict.TRANSIENT), PostResult(Verdict.DONE), says(Verdict.TRANSIENT)]
    await site.runs_through(B)
    await site.time.pass_by(60)

    assert site.told()[-1] == ("a", "success", "applied with bbbbbbbbbbbb: 2 applied")
    assert (await the(site.shown)).state is DeliveryState.DONE


async def test_a_process_that_dies_between_telling_and_recording_tells_the_same_again(site: Site):
    site.host.hangs = asyncio.Event()
    await site.runs_through(A)
    await site.closes()
    site.host.hangs = None
    await site.restarts()
    await site.time.pass_by(60)

    assert site.told() == [("a", "success", "2 applied")] * 2


async def test_a_run_goes_on_whatever_is_wrong_with_whoever_hears_of_it(store: Store):
    class Deaf:
        async def begun(self, run: str, sync: str, revision: str) -> None:  # noqa: ARG002
            raise KeyError(run)

        async def finished(self, report: RunReport) -> None:  # noqa: ARG002
            raise Unavailable("away")

        async def held(self, sync: str, holds: object) -> None:  # noqa: ARG002
            raise KeyError(sync)

        async def looked(self, report: RunReport) -> None: ...
        async def troubled(self, sync: str, error: str) -> None: ...

    ear: Ear = Deaf()
    archive = ReportingArchive(store, [ear])
    await archive.begin_run(run="01RUN0001", sync="pay", revision=A, trigger="cli", started="2026-01-01T12:00:00Z")
    await archive.record_holds("pay", [HOLD])
    await archive.finish_run(report())

    assert [(row["id"], row["outcome"]) for row in await store.runs()] == [("01RUN0001", "applied")]


async def test_an_archive_that_fails_still_lets_others_hear_and_says_so(store: Store):
    heard: list[str] = []

    class Listening:
        async def begun(self, run: str, sync: str, revision: str) -> None:  # noqa: ARG002
            heard.append(run)

        async def finished(self, report: RunReport) -> None:
            heard.append(report.id)

        async def held(self, sync: str, holds: object) -> None: ...
        async def looked(self, report: RunReport) -> None: ...
        async def troubled(self, sync: str, error: str) -> None: ...

    class Broken:
        async def begin_run(self, **fields: str) -> None:  # noqa: ARG002
            raise Unavailable("away")

        async def finish_run(self, report: RunReport) -> None:  # noqa: ARG002
            raise Unavailable("away")

    archive = ReportingArchive(Broken(), [Listening()])
    with pytest.raises(Unavailable):
        await archive.begin_run(run="01", sync="pay", revision=A, trigger="cli", started="")
    with pytest.raises(Unavailable):
        await archive.finish_run(report("01"))

    assert heard == ["01", "01"]


def test_a_link_is_the_run_s_page_or_the_repository_s():
    assert Spoken(APPLY, "https://git.example/o/n", pages="https://g").link("01") == "https://g/runs/01"
    assert Spoken(APPLY, "https://git.example/o/n", pages="https://g").link("") == "https://git.example/o/n"
    assert Spoken(APPLY, "https://git.example/o/n").link("01") == "https://git.example/o/n"
    assert (
        Spoken(APPLY, "https://git.example/o/n", pages="https://" + "g" * 300).link("01") == "https://git.example/o/n"
    )


async def test_an_answer_with_characters_that_no_database_takes_holds_up_nothing(site: Site):
    site.host.answers = [PostResult(Verdict.DONE, id="7\x00\ud800"), PostResult(Verdict.TRANSIENT, detail="\x00\ud800")]
    await site.runs_through(A)
    await site.runs_through(B)
    await site.time.pass_by(30)

    assert [sha for sha, _, _ in site.told()] == ["a", "b", "b"]


async def test_words_that_no_database_takes_hold_up_nothing(site: Site):
    site.store.away = True
    await site.wants.want(
        wanted_status("pay", Status(A, APPLY, CommitState.SUCCESS, "half a \ud800", "https://x/runs/1", "main"))
    )
    site.store.away = False
    await site.runs_through(B)
    await site.time.pass_by(120)

    assert site.told() == [("b", "success", "2 applied")]
