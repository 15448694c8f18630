"""What several syncs share, and what a run tells while it goes on: the link, the history, the alarms, the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import structlog

from gitsync.daemon.alarms import ScheduledAlarms
from gitsync.daemon.archive import LateArchive
from gitsync.daemon.progress import LoggedProgress
from gitsync.daemon.shared import Shared
from gitsync.engine.history import Tolerant
from gitsync.model.errors import Unavailable
from gitsync.model.run import RunOutcome, RunReport


@dataclass
class Time:
    """Moved by the test alone."""

    now: float = 0.0


@pytest.fixture
def time() -> Time:
    return Time()


class Opener:
    """Opens numbers, one after the other."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed: list[int] = []
        self.trouble: Exception | None = None

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[int]:
        await asyncio.sleep(0)
        if self.trouble:
            raise self.trouble
        self.opened += 1
        number = self.opened
        yield number
        self.closed.append(number)


async def test_several_holders_share_one_opening(time):
    opener = Opener()

    async def hold(shared: Shared[int]) -> int:
        async with shared.held() as number:
            return number

    async with Shared(opener, monotonic=lambda: time.now) as shared:
        assert await asyncio.gather(*(hold(shared) for _ in range(5))) == [1] * 5
        assert opener.closed == []

    assert opener.closed == [1]


async def test_who_holds_the_old_one_keeps_it_until_he_lets_it_go(time):
    opener = Opener()

    async with Shared(opener, monotonic=lambda: time.now, lifetime=3600) as shared:
        async with shared.held() as old:
            time.now = 3600
            async with shared.held() as new:
                assert (old, new) == (1, 2)
            assert opener.closed == []
        assert opener.closed == [1]
        shared.renew()
        async with shared.held() as newest:
            assert newest == 3

    assert opener.closed == [1, 2, 3]


async def test_an_opening_that_failed_is_tried_again_by_the_next(time):
    opener = Opener()
    opener.trouble = Unavailable("away")

    async with Shared(opener, monotonic=lambda: time.now) as shared:
        with pytest.raises(Unavailable):
            async with shared.held():
                pass
        assert not shared.ever_opened
        opener.trouble = None
        async with shared.held() as number:
            assert (number, shared.ever_opened) == (1, True)


async def test_a_history_that_cannot_be_opened_is_told_once_and_stops_nothing(time):
    opener = Opener()
    opener.trouble = Unavailable("the database is away")
    said: list[str] = []

    async with Shared(opener, monotonic=lambda: time.now) as shared:
        archive = Tolerant(LateArchive(shared), said.append)  # type: ignore[arg-type]
        await archive.begin_run(run="01", sync="pay", revision="", trigger="schedule", started="")
        await archive.finish_run(RunReport("01", "pay", "", "", "schedule", "", "", RunOutcome.APPLIED))
        await archive.record_services([])
        await archive.record_holds("pay", [])
        await archive.touch("pay", revision="", checked="")

    assert said == ["the history of this run is not kept: the database is away"]


async def test_an_alarm_rings_once_the_last_one_of_its_name_counts_and_a_cancelled_one_is_silent():
    alarms = ScheduledAlarms()
    rung: list[str] = []
    done = asyncio.Event()

    alarms.set("one", 0, lambda: rung.append("replaced"))
    alarms.set("one", 0, lambda: rung.append("one"))
    alarms.set("two", 0, lambda: rung.append("two"))
    alarms.cancel("two")
    alarms.cancel("never set")
    alarms.set("last", 0.01, done.set)
    async with asyncio.timeout(5):
        await done.wait()
    alarms.close()

    assert rung == ["one"]


def test_a_run_that_is_watched_by_the_log_tells_its_steps_quietly_and_its_sentences_aloud():
    progress = LoggedProgress()

    with structlog.testing.capture_logs() as lines:
        progress.step("write", 12)
        progress.advance(3)
        progress.step("verify")
        progress.say("waiting for run 01")

    assert [(line["log_level"], line["action"]) for line in lines] == [
        ("debug", "write"),
        ("debug", "verify"),
        ("info", "say"),
    ]
