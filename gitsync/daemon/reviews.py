"""Reviews: every head of every open pull request gets its plan, one request of a sync after the other, and again when it is old.

webhook ───► look ──┐
                    ├─► waiting, one a request ─► fetch ─► review ─► status, comment, record
list of open ones ──┘        ▲                      │ the head is not there yet
the base moved ─────┘        └──────────────────────┘ a little later, then not before somebody says so again

Nothing of what a delivery says is believed: the host is asked for the request, and the exact head is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import structlog

from gitsync.core.review_markdown import review_as_json, review_as_markdown, review_words
from gitsync.core.status_words import neutral
from gitsync.engine.ports import Clock
from gitsync.engine.review import Request
from gitsync.log import SECRETS
from gitsync.model.errors import GitsyncError
from gitsync.model.host import DESCRIPTION, ChangeRequest, CommitState, Status
from gitsync.model.review import STATES, NotThere, Review, ReviewRecord, ReviewVerdict
from gitsync.model.revision import Revision
from gitsync.model.run import RunReport

NOT_THERE = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds after which a head is looked for again that the host told of and does not hand out."""

FAILED = (10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds after which a review is tried again that could not be made."""

REFRESH_SECONDS = 600.0
"""How old a plan of an open request may be: Consul moves without telling."""

LEAST_PAUSE = 5.0
"""Seconds between two looks at all open requests, however often the base moves."""

PENDING_SECONDS = 1.0
"""How long a review may go on before its head is told so."""

MOST = 500
"""How many requests of one sync wait at most. The others are found when those are done."""

FORKS_OFF = "requests from forks are not looked at (forks: off)"

log = structlog.get_logger()


class Host(Protocol):
    """A provider, as reviews need it. Raises Unavailable, Rejected."""

    async def get_change(self, number: int) -> ChangeRequest | None: ...
    def list_open_changes(self, base_ref: str) -> AsyncIterator[ChangeRequest]: ...
    def change_refs(self, change: ChangeRequest) -> tuple[str, ...]: ...


class Repository(Protocol):
    """The mirror, as reviews need it (gitsync/repository/change.py)."""

    async def base(self) -> Revision: ...
    async def fetch(self, number: int, sha: str, refs: Sequence[str] = ()) -> Revision | NotThere: ...
    async def drop(self, number: int) -> None: ...


class Records(Protocol):
    """What was said last (gitsync/store/reviews.py). Raises Unavailable."""

    async def save(self, record: ReviewRecord) -> None: ...
    async def get(self, sync: str, number: int) -> ReviewRecord | None: ...
    async def open(self, sync: str) -> Sequence[ReviewRecord]: ...
    async def close(self, sync: str, number: int, at: str) -> None: ...


class WantStatus(Protocol):
    """Let a status be posted, *delay* seconds from now. Never fails."""

    async def __call__(self, status: Status, *, delay: float = 0.0) -> None: ...


class WantComment(Protocol):
    """Let the comment with *marker* under a request be *body*. Never fails."""

    async def __call__(self, number: int, marker: str, body: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """One sync that reviews requests.

    base: the short name of the branch they go to. context: of the status. marker: the comment's first line. limit: the comment's
    longest, 0 where there is to be none. lists: the host can be asked for open requests. link: the page of a request's plan.
    forks: whether requests from forks are judged. every: seconds between two looks at all open requests. judge: raises what reading
    Git or Consul raises.
    """

    sync: str
    base: str
    context: str
    marker: str
    host: Host
    repository: Repository
    records: Records
    judge: Callable[[Request], Awaitable[Review]]
    want_status: WantStatus
    want_comment: WantComment
    link: Callable[[int], str]
    limit: int = 60_000
    lists: bool = True
    forks: bool = True
    every: float = 60.0
    redact: frozenset[str] = frozenset()


class Reviews:
    """The desks of all syncs. `run` lives as long as the daemon; everything else returns at once."""

    def __init__(self, desks: Sequence[Desk], clock: Clock) -> None:
        self._queues = {desk.sync: Queue(desk, clock) for desk in desks}

    def look(self, sync: str, number: int, change: ChangeRequest | None = None) -> None:
        """Somebody says that request *number* moved. change: what they say of it."""
        if sync in self._queues:
            self._queues[sync].put(number, change)

    def moved(self, sync: str) -> None:
        """The base moved, or what its plans are made from: every open request is judged again."""
        if sync in self._queues:
            self._queues[sync].moved()

    def waiting(self) -> Mapping[str, int]:
        """How many requests of each sync wait."""
        return {name: queue.waiting for name, queue in self._queues.items()}

    async def run(self) -> None:
        """Judge, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, queue in self._queues.items():
                group.create_task(queue.go(), name=f"reviews of {name}")


class ReviewEar:
    """An Ear: what a run wrote, or a new revision, makes the plans of open requests old."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews

    async def begun(self, run: str, sync: str, revision: str) -> None: ...

    async def finished(self, report: RunReport) -> None:
        if report.revision:
            self._reviews.moved(report.sync)

    async def held(self, sync: str, holds: object) -> None: ...
    async def looked(self, report: RunReport) -> None: ...
    async def troubled(self, sync: str, error: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that waits. due: when. fresh: *change* is what the host itself said a moment ago. tries: that came to nothing."""

    due: float
    change: ChangeRequest | None = None
    fresh: bool = False
    tries: int = 0


class Queue:
    """The requests of one desk."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk, self._clock = desk, clock
        self._waiting: dict[int, _Waiting] = {}
        self._woken = asyncio.Event()
        self._survey_at = clock.monotonic()
        self._surveyed_at = float("-inf")
        self._all = False
        self._trouble = ""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(self, number: int, change: ChangeRequest | None = None) -> None:
        """Let *number* be judged now. Who comes second shares that."""
        if number in self._waiting or len(self._waiting) < MOST:
            self._waiting[number] = _Waiting(self._clock.monotonic(), change)
            self._woken.set()

    def moved(self) -> None:
        """Let all be judged again, soon."""
        self._all = True
        self._survey_at = min(self._survey_at, max(self._clock.monotonic(), self._surveyed_at + LEAST_PAUSE))
        self._woken.set()

    async def go(self) -> None:
        """Judge what waits, and look for more now and then."""
        while True:
            self._woken.clear()
            now = self._clock.monotonic()
            due = [number for number, each in self._waiting.items() if each.due <= now]
            if due:
                await self._kept_up(self._one(due[0], self._waiting.pop(due[0])))
            elif self._survey_at <= now:
                await self._kept_up(self._survey())
            else:
                await self._pause(min([self._survey_at, *(each.due for each in self._waiting.values())]) - now)

    async def _pause(self, seconds: float) -> None:
        woken = asyncio.ensure_future(self._woken.wait())
        slept = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({woken, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()

    async def _kept_up(self, work: Awaitable[None]) -> None:
        """A bug in one review must not stop the others, nor the syncs."""
        try:
            await work
            self._trouble = ""
        except GitsyncError as error:
            said = SECRETS.clean(str(error))
            tell = log.debug if said == self._trouble else log.warning  # told once, not every minute
            tell("%s", said, action="review", sync=self._desk.sync, outcome="failed")
            self._trouble = said
        except Exception:
            log.exception("this is a bug", action="review", sync=self._desk.sync, outcome="failed")

    # -- all open requests

    async def _survey(self) -> None:
        """Find the requests that were not judged as they are now, and those that are closed."""
        desk, now = self._desk, self._clock.monotonic()
        every, self._all = self._all, False
        self._surveyed_at, self._survey_at = now, now + desk.every
        known = {record.number: record for record in await desk.records.open(desk.sync)}
        if desk.lists:
            left = dict(known)
            base = ""
            async for change in desk.host.list_open_changes(desk.base):
                base = base or (await desk.repository.base()).sha
                record = left.pop(change.number, None)
                if record is None or every or self._old(record, base, change):
                    self._found(change.number, change)
            for number in left:
                self._found(number)
        elif known:
            base = (await desk.repository.base()).sha
            for number, record in known.items():
                if every or self._old(record, base):
                    self._found(number)

    def _old(self, record: ReviewRecord, base: str, change: ChangeRequest | None = None) -> bool:
        """Whether what was said does not stand any more, or may not."""
        if record.base != base or (change and not record.head.startswith(change.head_sha)):
            return True
        earliest = self._clock.now() - timedelta(seconds=REFRESH_SECONDS)
        return record.updated < earliest.isoformat(timespec="seconds").replace("+00:00", "Z")

    def _found(self, number: int, change: ChangeRequest | None = None) -> None:
        if number not in self._waiting and len(self._waiting) < MOST:
            self._waiting[number] = _Waiting(self._clock.monotonic(), change, fresh=change is not None)

    # -- one request

    async def _one(self, number: int, waiting: _Waiting) -> None:
        try:
            change = await self._asked(number, waiting)
            record = await self._recorded(number)
            if change is None or change.state != "open" or change.base_ref != self._desk.base:
                await self._forget(number, record)
            elif change.is_fork and not self._desk.forks:
                await self._say(change, CommitState.FAILURE, FORKS_OFF)
            else:
                await self._judged(change, record, waiting)
        except GitsyncError as error:
            self._later(number, waiting, FAILED)
            log.info("not judged: %s", SECRETS.clean(str(error)), action="review", sync=self._desk.sync, change=number)

    async def _asked(self, number: int, waiting: _Waiting) -> ChangeRequest | None:
        """The request as it is now; as somebody told of it only where the host cannot say."""
        if waiting.fresh and not waiting.tries:
            return waiting.change
        try:
            return await self._desk.host.get_change(number)
        except GitsyncError:
            if waiting.change is None:
                raise
            return waiting.change

    async def _recorded(self, number: int) -> ReviewRecord | None:
        """What was said last. Without the history a request is judged as if nothing had been."""
        try:
            return await self._desk.records.get(self._desk.sync, number)
        except GitsyncError:
            return None

    async def _forget(self, number: int, record: ReviewRecord | None) -> None:
        """It is closed, or goes elsewhere now."""
        if record is not None and not record.closed:
            await self._desk.records.close(self._desk.sync, number, self._clock.stamp())
            await self._desk.repository.drop(number)
            log.info("forgotten", action="review", sync=self._desk.sync, change=number)

    async def _judged(self, change: ChangeRequest, record: ReviewRecord | None, waiting: _Waiting) -> None:
        desk, number = self._desk, change.number
        fetched = await desk.repository.fetch(number, change.head_sha, desk.host.change_refs(change))
        if isinstance(fetched, NotThere):
            if not self._later(number, replace(waiting, change=change), NOT_THERE):
                log.info("%s: given up", fetched.why, action="review", sync=desk.sync, change=number)
            return
        change = replace(change, head_sha=fetched.sha, head_sha_is_short=False)
        first = record is None or record.head != fetched.sha
        if first:
            await self._say(change, CommitState.PENDING, "being planned", delay=PENDING_SECONDS)
        try:
            review = await desk.judge(Request(change, fetched, await desk.repository.base()))
        except Exception as error:
            if first:  # what was said before is better than that
                why = str(error) if isinstance(error, GitsyncError) else f"this is a bug: {type(error).__name__}"
                await self._say(change, CommitState.ERROR, f"no plan could be made: {why}")
            raise
        landed = _has_landed(review, record)
        if landed and self._later(number, replace(waiting, change=change), NOT_THERE):
            return  # the base moves before the host says that the request is merged: what was said is the last word then
        await self._tell(review, record, landed=landed)
        log.info(
            str(review.verdict), action="review", sync=desk.sync, change=number, revision=review.head, outcome="judged"
        )

    def _later(self, number: int, waiting: _Waiting, pauses: Sequence[float]) -> bool:
        """Try again after a while, unless somebody waits already; False: it was tried often enough."""
        if waiting.tries >= len(pauses):
            return False
        due = self._clock.monotonic() + pauses[waiting.tries]
        self._waiting.setdefault(number, replace(waiting, due=due, tries=waiting.tries + 1))
        return True

    # -- what is said

    async def _tell(self, review: Review, record: ReviewRecord | None, *, landed: bool = False) -> None:
        desk, change = self._desk, review.change
        review = replace(review, message=SECRETS.clean(review.message))  # before anything of it is written another way
        await self._say(change, STATES[review.verdict], review_words(review, desk.redact))
        commented = bool(record and record.plan.get("commented"))
        if desk.limit and (commented or review.verdict not in (ReviewVerdict.UNAFFECTED, ReviewVerdict.VALID)):
            commented = True
            text = review_as_markdown(
                review, marker=desk.marker, redact=desk.redact, limit=desk.limit, link=desk.link(change.number)
            )
            await desk.want_comment(change.number, desk.marker, SECRETS.clean(text))
        kept = ReviewRecord(
            sync=desk.sync,
            number=change.number,
            head=review.head,
            base=review.base.sha,
            tree=record.tree if landed and record else review.tree,
            verdict=str(review.verdict),
            digests=record.digests if landed and record else review.digests if review.plan else None,
            plan={**review_as_json(review, redact=desk.redact), "commented": commented},
            updated=self._clock.stamp(),
        )
        try:
            await desk.records.save(kept)
        except GitsyncError as error:
            log.warning("not kept: %s", error, action="review", sync=desk.sync, change=change.number)

    async def _say(self, change: ChangeRequest, state: CommitState, words: str, *, delay: float = 0.0) -> None:
        desk = self._desk
        said = neutral(SECRETS.clean(words), DESCRIPTION)
        status = Status(change.head_sha, desk.context, state, said, desk.link(change.number), change.head_ref, change)
        await desk.want_status(status, delay=delay)


def _has_landed(review: Review, record: ReviewRecord | None) -> bool:
    """Whether the base has all of a head that was promised to do something: what was promised is what its run is held to."""
    unaffected = review.verdict is ReviewVerdict.UNAFFECTED
    return bool(unaffected and record and record.head == review.head and record.digests)
