"""A poster at work, with a Git host that answers from a script and a clock that only the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from gitsync.daemon.deliveries import Deliveries, LateDeliveries, Wants
from gitsync.daemon.poster import ALARM, Poster
from gitsync.daemon.recipient import HostRecipient, Recipient
from gitsync.model.delivery import Delivery, DeliveryKind, wanted_status
from gitsync.model.errors import Unavailable
from gitsync.model.host import Capabilities, ChangeRequest, CommitState, PostResult, Problem, Status, Verdict
from tests.clockwork import FakeTime

A, B, C = "a" * 40, "b" * 40, "c" * 40
APPLY = "gitsync/apply/test/pay"
DONE = PostResult(Verdict.DONE)


class ScriptedHost:
    """A Git host. answers: what it says to the next calls, DONE to all after them; an exception is raised. calls: when, and what."""

    capabilities: ClassVar = Capabilities()
    webhooks: ClassVar = None

    def __init__(self, time: FakeTime) -> None:
        self.time = time
        self.answers: list[PostResult | Exception] = []
        self.always: PostResult = DONE
        self.calls: list[tuple[float, str]] = []
        self.statuses: list[Status] = []
        self.comments: list[tuple[int, str, str | None]] = []
        self.active = self.most_active = 0
        self.hangs: asyncio.Event | None = None

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.calls]

    async def _answer(self, what: str) -> PostResult:
        self.calls.append((self.time.now, what))
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await asyncio.sleep(0)
            if self.hangs:
                await self.hangs.wait()
        finally:
            self.active -= 1
        answer = self.answers.pop(0) if self.answers else self.always
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def set_status(self, status: Status) -> PostResult:
        self.statuses.append(status)
        return await self._answer(f"{status.state} {status.sha[:1]}")

    async def upsert_comment(self, number: int, marker: str, body: str, known_id: str | None) -> PostResult:
        assert marker
        self.comments.append((number, body, known_id))
        return await self._answer(f"comment {number}")

    async def preflight(self) -> list[Problem]:
        return []

    async def get_change(self, number: int) -> ChangeRequest | None:  # noqa: ARG002
        return None

    async def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]:  # noqa: ARG002
        for each in ():
            yield each

    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]:  # noqa: ARG002
        return ()


class Tokens:
    """Credentials. value: an exception is raised."""

    def __init__(self) -> None:
        self.value: str | Exception = "one"
        self.invalidated = 0

    async def token(self) -> str:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    async def invalidate(self) -> None:
        self.invalidated += 1

    def secrets(self) -> Sequence[str]:
        return ()


class BrokenStore:
    """A way to the table that can be away."""

    def __init__(self, deliveries: Deliveries) -> None:
        self.deliveries, self.away = deliveries, False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Deliveries]:
        if self.away:
            raise Unavailable("the store is away")
        yield self.deliveries


class Office:
    """A poster at work, and everybody around it."""

    def __init__(self, time: FakeTime, table: Deliveries) -> None:
        self.time, self.table = time, table
        self.store = BrokenStore(table)
        self.deliveries = LateDeliveries(self.store.held)
        self.host, self.tokens = ScriptedHost(time), Tokens()
        self.subscribers: dict[str, Recipient] = {}
        self.hosts: dict[str, Recipient] = {"pay": HostRecipient("git.example", self.host, self.tokens)}
        self.call_seconds = 20.0
        self.poster = self.new_poster()
        self.task: asyncio.Task[None] | None = None

    def new_poster(self) -> Poster:
        poster = Poster(
            self.deliveries,
            self.hosts,
            self.subscribers,
            clock=self.time.clock(),
            alarms=self.time,
            call_seconds=self.call_seconds,
        )
        self.wants = Wants(self.deliveries, self.time.clock(), poster.wake)
        poster.add_first(self.wants.flush)
        return poster

    async def opens(self) -> None:
        self.time.office = self
        self.task = asyncio.create_task(self.poster.run())
        await self.time.settle()

    async def closes(self) -> None:
        if self.task:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        self.task = None

    async def restarts(self) -> None:
        """The process is another one; table and host are the same."""
        await self.closes()
        self.time.cancel(ALARM)
        self.poster = self.new_poster()
        await self.opens()

    def idle(self) -> bool:
        poster = self.poster
        busy = any(gate.busy for gate in poster._gates.values()) and not self.host.hangs
        return ALARM in self.time.due and not poster._woken.is_set() and not busy

    async def want(
        self, sha: str = A, state: CommitState = CommitState.SUCCESS, said: str = "1 applied", **more
    ) -> None:
        status = Status(sha, more.pop("context", APPLY), state, said, "https://x/runs/1", more.pop("ref", "main"))
        await self.wants.want(wanted_status(more.pop("sync", "pay"), status), **more)
        await self.time.settle()

    async def row(self, sha: str = A) -> Delivery:
        found = await self.table.get("pay", DeliveryKind.STATUS, sha, APPLY)
        assert found
        return found


class OfficeTime(FakeTime):
    """Time that goes on when the poster waits for it."""

    office: Office | None = None

    async def settle(self) -> None:
        if not (self.office and self.office.task):
            return
        async with asyncio.timeout(10):
            while not self.office.idle():  # noqa: ASYNC110  the table is a real one, and tells nobody when it is done
                await asyncio.sleep(0.0005)


def says(verdict: Verdict, retry_after: float | None = None, detail: str = "") -> PostResult:
    return PostResult(verdict, retry_after, detail)
