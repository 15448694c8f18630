"""The daemon's schedule, with jobs that do nothing and a clock that only the test moves."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import structlog

from gitsync.daemon.schedule import Chore, Daemon
from gitsync.daemon.signals import obeyed
from gitsync.log import hide
from gitsync.model.errors import Invalid, Suspended, Unavailable
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Verdict
from gitsync.model.run import Outcome, RunOutcome, RunReport, ServiceOutcome
from gitsync.model.view import SyncView
from tests.clockwork import FakeTime, settled


def report(outcome: RunOutcome = RunOutcome.APPLIED, **changed: object) -> RunReport:
    fields = {
        "id": "01RUN",
        "sync": "pay",
        "revision": "b" * 40,
        "applied_revision": "b" * 40,
        "trigger": "schedule",
        "started": "",
        "finished": "",
        "outcome": outcome,
        **changed,
    }
    return RunReport(**fields)  # type: ignore[arg-type]


def failed() -> RunReport:
    return report(RunOutcome.FAILED, error="Consul does not answer", error_exit=6, applied_revision="")


class FakeJob:
    """A sync. ends: what its runs end with, the last one again and again. gate: what every run waits for. bed: what its rest waits
    for, and nightmare what that raises."""

    def __init__(self, time: FakeTime, name: str = "pay", interval: float = 60.0) -> None:
        self.name, self.interval = name, interval
        self.ends: list[RunReport | BaseException] = [report()]
        self.gate: asyncio.Event | None = None
        self.cleanup: asyncio.Event | None = None
        self.runs: list[tuple[float, str]] = []
        self.active = self.most_active = 0
        self.cancelled = False
        self.rests = 0
        self.leads: set[tuple[str, str]] = set()
        self.bed: asyncio.Event | None = None
        self.nightmare: Exception | None = None
        self._time = time

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.runs]

    @property
    def triggers(self) -> list[str]:
        return [trigger for _, trigger in self.runs]

    async def run(self, trigger: str) -> RunReport:
        self.runs.append((self._time.now, trigger))
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            if self.gate:
                await self.gate.wait()
        except asyncio.CancelledError:
            if self.cleanup:
                await self.cleanup.wait()
            self.cancelled = True
            raise
        finally:
            self.active -= 1
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, BaseException):
            raise end
        return end

    async def contains(self, older: str, newer: str) -> bool:
        return (older, newer) in self.leads

    async def rest(self) -> None:
        self.rests += 1
        if self.bed:
            await self.bed.wait()
        if self.nightmare:
            raise self.nightmare


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def job(time: FakeTime) -> FakeJob:
    return FakeJob(time)


@asynccontextmanager
async def running(time: FakeTime, *jobs: FakeJob, chores: tuple[Chore, ...] = ()) -> AsyncIterator[Daemon]:
    daemon = Daemon(jobs, chores, clock=time.clock(), alarms=time)
    task = asyncio.create_task(daemon.run())
    await settled()
    yield daemon
    for job in jobs:
        if job.gate:
            job.gate.set()
    daemon.stop()
    await task


# -- when runs begin ------------------------------------------------------------------------------------------------------


async def test_every_sync_runs_at_once_and_then_at_its_own_interval(time):
    quick, slow = FakeJob(time, "quick", 10), FakeJob(time, "slow", 25)

    async with running(time, quick, slow):
        await time.pass_by(50)

    assert quick.times == [0, 10, 20, 30, 40, 50]
    assert slow.times == [0, 25, 50]
    assert quick.triggers[:2] == ["start", "schedule"]


@pytest.mark.parametrize(("chance", "second"), [(0.0, 54.0), (0.5, 60.0), (1.0, 66.0)])
async def test_the_interval_varies_by_a_tenth(chance, second):
    time = FakeTime(chance)
    job = FakeJob(time)

    async with running(time, job):
        await time.pass_by(70)

    assert job.times == pytest.approx([0, second])


async def test_the_interval_counts_from_the_beginning_of_a_run(time, job):
    job.gate = asyncio.Event()

    async with running(time, job) as daemon:
        await time.pass_by(20)
        job.gate.set()
        await time.pass_by(40)

    assert job.times == [0, 60]
    assert daemon.syncs()["pay"].outcome == "applied"


async def test_a_job_rests_after_each_run_and_what_wakes_it_meanwhile_runs_after_that(time, job):
    job.bed = asyncio.Event()

    async with running(time, job) as daemon:
        daemon.wake("pay", "webhook")
        await settled()
        before = list(job.triggers)
        job.bed.set()
        await settled()

    assert (before, job.triggers, job.rests) == (["start"], ["start", "webhook"], 2)


async def test_a_job_that_rests_does_not_hold_up_the_end(time, job):
    job.bed = asyncio.Event()

    async with running(time, job):
        pass

    assert (job.rests, job.times) == (1, [0])
    assert time.now == 0


async def test_a_bug_while_a_job_rests_stops_nothing(time, job):
    job.nightmare = KeyError("bug")

    async with running(time, job):
        await time.pass_by(60)

    assert job.times == [0, 60]


async def test_after_a_run_longer_than_the_interval_the_next_begins_a_second_later(time, job):
    job.gate = asyncio.Event()

    async with running(time, job):
        await time.pass_by(100)
        assert job.times == [0]
        job.gate.set()
        await time.pass_by(1)

    assert job.times == [0, 101]


async def test_triggers_during_a_run_become_one_run_after_it(time, job):
    job.gate = asyncio.Event()

    async with running(time, job) as daemon:
        for trigger in ("webhook", "signal", "webhook"):
            daemon.wake("pay", trigger)
        await time.pass_by(1)
        view = daemon.syncs()["pay"]
        job.gate.set()
        await time.pass_by(1)

    assert (view.in_flight, view.waiting) == ("start", "webhook")
    assert job.triggers == ["start", "webhook"]
    assert job.most_active == 1


async def test_a_trigger_between_two_runs_begins_one_at_once_and_puts_the_next_off(time, job):
    async with running(time, job) as daemon:
        await time.pass_by(30)
        daemon.wake("pay", "webhook")
        await time.pass_by(60)

    assert job.runs == [(0, "start"), (30, "webhook"), (90, "schedule")]


async def test_waking_all_wakes_each(time):
    one, two = FakeJob(time, "one"), FakeJob(time, "two")

    async with running(time, one, two) as daemon:
        daemon.wake_all("signal")
        await settled()

    assert one.triggers == two.triggers == ["start", "signal"]


async def test_a_sync_that_is_not_there_cannot_be_woken(time, job):
    async with running(time, job) as daemon:
        with pytest.raises(Invalid, match=r"'books'\. There is: pay"):
            daemon.wake("books", "webhook")


# -- when they fail -------------------------------------------------------------------------------------------------------


async def test_failures_are_tried_again_after_5_seconds_doubling_up_to_5_minutes(time, job):
    job.ends = [failed()]

    async with running(time, job) as daemon:
        await time.pass_by(4000)
        view = daemon.syncs()["pay"]

    pauses = [after - before for before, after in zip(job.times, job.times[1:], strict=False)]
    assert pauses[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert view.failures == len(job.times)
    assert (view.backoff, view.error, view.outcome) == (300, "Consul does not answer", "failed")


@pytest.mark.parametrize(("chance", "second"), [(0.0, 4.5), (1.0, 5.5)])
async def test_the_backoff_varies_too(chance, second):
    time = FakeTime(chance)
    job = FakeJob(time)
    job.ends = [failed()]

    async with running(time, job) as daemon:
        assert daemon.syncs()["pay"].backoff == pytest.approx(second)
        await time.pass_by(6)

    assert job.times == pytest.approx([0, second])


async def test_one_good_run_ends_the_backoff(time, job):
    job.ends = [failed(), failed(), report()]

    async with running(time, job) as daemon:
        await time.pass_by(15)
        view = daemon.syncs()["pay"]
        await time.pass_by(60)

    assert job.times == [0, 5, 15, 75]
    assert (view.failures, view.backoff, view.error) == (0, 0, "")
    assert view.next_run == "2026-01-01T12:01:15Z"


async def test_a_trigger_does_not_wait_for_the_backoff(time, job):
    job.ends = [failed()]

    async with running(time, job) as daemon:
        await time.pass_by(16)
        daemon.wake("pay", "webhook")
        await settled()

    assert job.runs[-1] == (16, "webhook")


async def test_no_answer_at_all_is_a_failure_with_its_reason(time, job):
    job.ends = [Unavailable("no connection to Consul"), report()]

    async with running(time, job) as daemon:
        before = daemon.syncs()["pay"]
        await time.pass_by(5)
        after = daemon.syncs()["pay"]

    assert before.trouble == "it has not yet looked at Git and Consul with success: no connection to Consul"
    assert after.trouble == ""
    assert after.last_success == "2026-01-01T12:00:05Z"


async def test_a_suspended_sync_has_not_failed(time, job):
    job.ends = [Suspended("pay is suspended: holidays")]

    async with running(time, job) as daemon:
        await time.pass_by(600)
        view = daemon.syncs()["pay"]

    assert job.times[:3] == [0, 60, 120]
    assert (view.suspended, view.outcome, view.failures, view.trouble) == (True, "suspended", 0, "")
    assert view.last_success == ""


async def test_a_bug_in_one_sync_is_logged_with_its_traceback_and_stops_no_other(time):
    broken, fine = FakeJob(time, "broken"), FakeJob(time, "fine", 10)
    broken.ends = [ZeroDivisionError("division by zero")]

    with structlog.testing.capture_logs() as lines:
        async with running(time, broken, fine) as daemon:
            await time.pass_by(30)
            view = daemon.syncs()["broken"]

    assert broken.times == [0, 5, 15]
    assert fine.times == [0, 10, 20, 30]
    assert view.error == "this is a bug: ZeroDivisionError: division by zero"
    assert isinstance(next(line for line in lines if line["log_level"] == "error")["exc_info"], ZeroDivisionError)


async def test_something_cancelled_inside_a_run_is_a_bug_and_not_the_end_of_the_sync(time, job):
    job.ends = [asyncio.CancelledError(), report()]

    async with running(time, job) as daemon:
        await time.pass_by(5)
        view = daemon.syncs()["pay"]

    assert job.times == [0, 5]
    assert view.outcome == "applied"


async def test_a_refused_spec_is_no_failure_of_the_sync(time, job):
    job.ends = [report(RunOutcome.PARTIAL, counts={Outcome.REFUSED: 1, Outcome.UNCHANGED: 5})]

    async with running(time, job) as daemon:
        await time.pass_by(60)
        view = daemon.syncs()["pay"]

    assert job.times == [0, 60]
    assert (view.outcome, view.failures, view.trouble) == ("partial", 0, "")


async def test_a_service_that_got_no_answer_is_tried_again_soon_but_never_later_than_the_interval(time, job):
    service = ServiceOutcome(
        ServiceKey("pay"), Outcome.FAILED, Verdict.UPDATE, step="write", message="No cluster leader", retryable=True
    )
    job.ends = [report(RunOutcome.FAILED, services=(service,))]

    async with running(time, job) as daemon:
        await time.pass_by(255)
        view = daemon.syncs()["pay"]

    assert job.times == [0, 5, 15, 35, 75, 135, 195, 255]
    assert (view.error, view.trouble) == ("No cluster leader", "")


async def test_what_stays_the_same_is_logged_once(time, job):
    job.ends = [report(RunOutcome.PARTIAL, counts={Outcome.REFUSED: 1})]

    with structlog.testing.capture_logs() as lines:
        async with running(time, job):
            await time.pass_by(300)

    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["partial"]
    [told] = [line for line in lines if line["log_level"] == "warning"]
    assert (told["action"], told["run"], told["revision"], told["counts"]) == ("run", "01RUN", "b" * 40, {"refused": 1})


async def test_no_secret_is_in_what_is_shown(time, job):
    hide("s3cr3t-canary-0001")
    job.ends = [Unavailable("https://x:s3cr3t-canary-0001@git.example does not answer")]

    async with running(time, job) as daemon:
        assert daemon.syncs()["pay"].error == "https://x:***@git.example does not answer"


# -- whether a sync works -------------------------------------------------------------------------------------------------


def test_a_sync_works_for_three_intervals_after_its_last_good_look_but_at_least_five_minutes():
    assert SyncView("pay", 60, silent=300).trouble == ""
    assert SyncView("pay", 60, silent=301, error="no answer").trouble.endswith("with success 301 s ago: no answer")
    assert SyncView("pay", 600, silent=1800).trouble == ""
    assert SyncView("pay", 600, silent=1801).trouble != ""
    assert SyncView("pay", 60).trouble == "its first run has not ended yet."


async def test_silence_counts_from_the_last_good_look(time, job):
    job.ends = [report(), failed()]

    async with running(time, job) as daemon:
        await time.pass_by(299)
        early = daemon.syncs()["pay"]
        await time.pass_by(2)
        late = daemon.syncs()["pay"]

    assert early.trouble == ""
    assert late.trouble == "it last looked at Git and Consul with success 301 s ago: Consul does not answer"
    assert late.applied == "b" * 40


# -- how it ends ----------------------------------------------------------------------------------------------------------


async def test_with_nothing_to_do_it_ends_at_once(time, job):
    daemon = Daemon([job], clock=time.clock(), alarms=time)
    task = asyncio.create_task(daemon.run())
    await settled()

    daemon.stop()
    await task

    assert time.now == 0
    assert not time.due.keys() & {"pay"}


async def test_a_run_may_end_within_its_grace_and_no_other_begins(time, job):
    job.gate = asyncio.Event()
    daemon = Daemon([job], clock=time.clock(), alarms=time)
    task = asyncio.create_task(daemon.run())
    await settled()
    daemon.wake("pay", "webhook")

    daemon.stop()
    await time.pass_by(3.9)
    daemon.wake("pay", "webhook")
    assert not task.done()
    job.gate.set()
    await task

    assert job.triggers == ["start"]
    assert not job.cancelled


async def test_a_run_that_does_not_end_is_cancelled_and_may_clean_up(time, job):
    job.gate, job.cleanup = asyncio.Event(), asyncio.Event()
    daemon = Daemon([job], clock=time.clock(), alarms=time)
    task = asyncio.create_task(daemon.run())
    await settled()

    daemon.stop()
    await time.pass_by(4)
    assert not task.done()
    job.cleanup.set()
    await task

    assert job.cancelled


async def test_signals_end_it_in_order_then_at_once_and_hangup_means_look():
    done: asyncio.Queue[object] = asyncio.Queue()

    with obeyed(partial(done.put_nowait, "stop"), partial(done.put_nowait, "look"), leave=done.put_nowait, deadline=60):
        for number, what in ((signal.SIGHUP, "look"), (signal.SIGTERM, "stop"), (signal.SIGINT, 130)):
            os.kill(os.getpid(), number)
            assert await asyncio.wait_for(done.get(), 5) == what


async def test_what_does_not_end_is_left_behind_even_if_the_loop_hangs():
    left: queue.Queue[int] = queue.Queue()
    told = asyncio.Event()

    with obeyed(told.set, lambda: None, leave=left.put, deadline=0.01):
        os.kill(os.getpid(), signal.SIGTERM)
        await told.wait()
        assert left.get(timeout=5) == 143  # the loop stands still meanwhile


# -- chores ---------------------------------------------------------------------------------------------------------------


async def test_a_chore_is_done_once_a_day_and_its_failures_disturb_nobody(time):
    job = FakeJob(time, interval=86_400)
    ends: list[Exception | str] = [Unavailable("the database is away"), ZeroDivisionError("oops"), "3 runs forgotten"]
    at = []

    async def forget() -> str:
        at.append(time.now)
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    with structlog.testing.capture_logs() as lines:
        async with running(time, job, chores=(Chore("history", forget, first=600),)):
            await time.pass_by(2 * 86_400 + 600)

    assert at == [600, 87_000, 173_400]
    assert [line["event"] for line in lines if line["action"] == "chore"] == [
        "history failed: the database is away",
        "this is a bug",
        "3 runs forgotten",
    ]
    assert len(job.runs) == 3


# -- a commit that is expected --------------------------------------------------------------------------------------------

OLD, NEW, NEWER = "a" * 40, "b" * 40, "c" * 40


def found(*revisions: str) -> list[RunReport]:
    return [report(revision=each) for each in revisions]


async def test_a_ref_that_has_not_moved_yet_is_looked_at_again_after_1_3_and_10_seconds(time, job):
    job.ends = found(OLD, OLD, OLD, OLD, NEW)

    async with running(time, job) as daemon:
        await time.pass_by(20)
        daemon.wake("pay", "webhook", NEW)
        await time.pass_by(14)

    assert job.runs == [(0, "start"), (20, "webhook"), (21, "webhook"), (24, "webhook"), (34, "webhook")]


async def test_what_comes_in_time_is_not_looked_for_any_more(time, job):
    job.ends = found(OLD, OLD, NEW)

    async with running(time, job) as daemon:
        await time.pass_by(20)
        daemon.wake("pay", "webhook", NEW)
        await time.pass_by(60)

    assert job.times == [0, 20, 21]


async def test_a_commit_that_never_comes_is_left_to_the_interval(time, job):
    job.ends = found(OLD)

    async with running(time, job) as daemon:
        await time.pass_by(20)
        daemon.wake("pay", "webhook", NEW)
        await time.pass_by(14 + 60)

    assert job.runs[-2:] == [(34, "webhook"), (94, "schedule")]


async def test_a_commit_that_came_after_the_expected_one_will_do(time, job):
    job.ends, job.leads = found(OLD, NEWER), {(NEW, NEWER)}

    async with running(time, job) as daemon:
        await time.pass_by(20)
        daemon.wake("pay", "webhook", NEW)
        await time.pass_by(14)

    assert job.times == [0, 20]


async def test_the_newest_commit_that_is_expected_counts_and_has_its_own_looks(time, job):
    job.ends = found(OLD, OLD, OLD, NEWER)

    async with running(time, job) as daemon:
        await time.pass_by(20)
        daemon.wake("pay", "webhook", NEW)
        await time.pass_by(0.5)
        daemon.wake("pay", "webhook", NEWER)
        await time.pass_by(10)

    assert job.times == [0, 20, 20.5, 21.5]


async def test_what_is_expected_while_a_run_goes_on_is_looked_for_by_the_next(time, job):
    job.ends, job.gate = found(OLD, NEW), asyncio.Event()

    async with running(time, job) as daemon:
        await time.pass_by(5)
        daemon.wake("pay", "webhook", NEW)
        job.gate.set()
        await time.pass_by(20)

    assert job.runs == [(0, "start"), (5, "webhook")]


async def test_a_run_that_could_not_look_is_repeated_as_ever_and_still_expects(time, job):
    job.ends = [*found(OLD), failed_to_look(), *found(OLD, NEW)]

    async with running(time, job) as daemon:
        await time.pass_by(20)
        daemon.wake("pay", "webhook", NEW)
        await time.pass_by(30)

    assert job.times == [0, 20, 25, 26]


def failed_to_look() -> RunReport:
    return report(RunOutcome.FAILED, revision="", error="Git does not answer", error_exit=6)


async def test_a_bug_in_comparing_commits_does_not_stop_the_sync(time, job, monkeypatch):
    async def broken(older: str, newer: str) -> bool:
        raise KeyError(older)

    monkeypatch.setattr(job, "contains", broken)
    job.ends = found(OLD)

    async with running(time, job) as daemon:
        daemon.wake("pay", "webhook", NEW)
        await time.pass_by(65)

    assert job.times == [0, 0, 60]
