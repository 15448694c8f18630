"""Poster: tells what is due, by what became of it the last time, and never faster than the other side likes.

| verdict     | what happens next                                                                                    |
|-------------|------------------------------------------------------------------------------------------------------|
| done        | the same is never told again                                                                         |
| auth        | new credentials and once more; then nothing is told there until they change (looked at every minute) |
| forbidden   | dropped; one warning until something is taken there again                                            |
| unknown_sha | two more tries within a minute, then dropped                                                         |
| limit       | nobody of that host is told anything for as long as it says                                          |
| conflict    | four more tries, a second and more apart, each with its own chance                                   |
| full        | dropped, and nothing more under that context on that commit                                          |
| invalid     | dropped, and counted: it is a bug                                                                    |
| transient   | again after 5 s, doubling up to 5 min, for an hour, or, where nothing was told yet, until something  |
|             | newer on that ref was told                                                                           |

One write at a time goes to a host, at most 60 a minute, and 10 s lie between two edits of one comment.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from gitsync.core.shown import safe
from gitsync.daemon.alarms import Alarms
from gitsync.daemon.deliveries import Deliveries
from gitsync.daemon.pace import FIRST_BACKOFF, GIVE_UP_SECONDS, LEAST_TRIES, LONGEST_BACKOFF, Gate, pause_after
from gitsync.daemon.recipient import Recipient
from gitsync.engine.ports import Clock
from gitsync.engine.retry import to_its_end
from gitsync.log import SECRETS
from gitsync.model.delivery import Delivery, DeliveryKind
from gitsync.model.errors import GitsyncError, Unavailable
from gitsync.model.host import PostResult, Verdict

ALARM = "deliver what is due"
"""No name of a sync: those have no blanks."""

POLL_SECONDS = 30.0
"""How long nobody looks into the table although nothing was wanted here: another process may have written there."""

CALL_SECONDS = 20.0
COMMENT_SECONDS = 10.0
LIMIT_SECONDS, LONGEST_LIMIT = 60.0, 3_600.0
LOCKED_SECONDS = 60.0
RECORD_SECONDS = 3.0
"""How long what became of a call may take to be written down. A daemon that is told to stop waits for that."""

DETAIL, LONGEST_ID = 1_000, 255
"""How much is kept of what the other side answers. No database takes every character that an answer may have."""

Key = tuple[str, str]
"""("sync", name) for its Git host, ("context", name) for whoever is notified."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Lock:
    """A recipient whose credentials were refused. until: when to look whether they are other ones."""

    credentials: str
    until: float


class Poster:
    """`run` lives as long as the daemon. Cancelled, it ends at once; what was on its way then is told once more by the next one.

    hosts: by sync. subscribers: by the context of their notifications. first: what is written down before each look into the table;
    it may raise Unavailable. call_seconds: how long one call may take.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        hosts: Mapping[str, Recipient],
        subscribers: Mapping[str, Recipient],
        *,
        clock: Clock,
        alarms: Alarms,
        first: Callable[[], Awaitable[None]] | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._deliveries, self._clock, self._alarms = deliveries, clock, alarms
        self._recipients: dict[Key, Recipient] = {
            **{("sync", name): each for name, each in hosts.items()},
            **{("context", name): each for name, each in subscribers.items()},
        }
        self._first, self._call_seconds = first, call_seconds
        self._gates: dict[str, Gate] = {each.name: Gate() for each in self._recipients.values()}
        self._locks: dict[Key, _Lock] = {}
        self._unrecorded: dict[int, Callable[[], Awaitable[None]]] = {}
        self._warned: set[tuple[Key, DeliveryKind]] = set()
        self._woken = asyncio.Event()
        self._away, self._pause = "", FIRST_BACKOFF
        self.verdicts: Counter[tuple[str, str]] = Counter()
        """How often a call of a kind ended with a verdict, for the metrics."""

    def wake(self) -> None:
        """There is something to tell."""
        self._woken.set()

    def add_first(self, first: Callable[[], Awaitable[None]]) -> None:
        """What is written down before each look, where that is only known after the poster."""
        self._first = first

    def locked(self) -> tuple[str, ...]:
        """Whose credentials are refused: names of syncs and of notifications."""
        return tuple(sorted(name for _, name in self._locks))

    async def run(self) -> None:
        """Tell what is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._woken.clear()
                self._alarms.set(ALARM, await self._round(group), self._woken.set)
                try:
                    await self._woken.wait()
                finally:
                    self._alarms.cancel(ALARM)

    async def _round(self, group: asyncio.TaskGroup) -> float:
        """Begin what may begin now; how many seconds nothing else can."""
        try:
            pause = await self._begin(group)
        except GitsyncError as error:
            if str(error) != self._away:
                log.warning("deliveries wait: %s", error, action="deliver")
            self._away = str(error)
        except Exception:  # a bug here must not stop the syncs
            log.exception("this is a bug", action="deliver", outcome="failed")
        else:
            self._away, self._pause = "", FIRST_BACKOFF
            return pause
        self._pause = min(self._pause * 2, LONGEST_BACKOFF)
        return self._pause / 2

    async def _begin(self, group: asyncio.TaskGroup) -> float:
        if self._first:
            await self._first()
        for number, record in list(self._unrecorded.items()):
            await record()
            self._unrecorded.pop(number, None)
        free, pause = self._free()
        if not free:
            return pause
        syncs = [name for kind, name in free if kind == "sync"]
        contexts = [name for kind, name in free if kind == "context"]
        started: set[Key] = set()
        for delivery in await self._deliveries.due(self._clock.now(), syncs=syncs, contexts=contexts):
            key = _key(delivery)
            gate = self._gates[self._recipients[key].name]
            if not gate.busy:
                gate.busy = True
                group.create_task(self._deliver(delivery, key, gate), name=f"tell {self._recipients[key].name}")
                started |= {other for other in free if self._recipients[other].name == self._recipients[key].name}
        left = [key for key in free if key not in started]
        if left:
            syncs = [name for kind, name in left if kind == "sync"]
            contexts = [name for kind, name in left if kind == "context"]
            if soonest := await self._deliveries.soonest(syncs=syncs, contexts=contexts):
                pause = min(pause, max(self._until(soonest), 0.05))
        return pause

    def _free(self) -> tuple[list[Key], float]:
        """Who can be told something now, and in how many seconds somebody else can."""
        now = self._clock.monotonic()
        free, pause = [], POLL_SECONDS
        for key, recipient in self._recipients.items():
            gate = self._gates[recipient.name]
            opens = max(gate.opens(now), self._locks[key].until if key in self._locks else 0.0)
            if gate.busy:
                continue  # its end wakes us
            if opens > now:
                pause = min(pause, opens - now)
            else:
                free.append(key)
        return free, pause

    def _until(self, stamp: str) -> float:
        return (datetime.fromisoformat(stamp) - self._clock.now().astimezone(UTC)).total_seconds()

    # -- one delivery

    async def _deliver(self, delivery: Delivery, key: Key, gate: Gate) -> None:
        try:
            recipient = self._recipients[key]
            if await self._still_locked(key, recipient):
                return
            result = await self._told(delivery, recipient, gate)
            if result.verdict is Verdict.AUTH:
                result = await self._once_more(delivery, key, recipient, gate)
            await to_its_end(self._settle(delivery, key, gate, result))
        except GitsyncError as error:
            log.warning("deliveries wait: %s", error, action="deliver", sync=delivery.sync)
            if not isinstance(error, Unavailable):
                gate.until = self._clock.monotonic() + LOCKED_SECONDS
        except Exception:  # a bug here must not stop the syncs
            log.exception("this is a bug", action="deliver", outcome="failed", sync=delivery.sync)
            gate.until = self._clock.monotonic() + LOCKED_SECONDS
        finally:
            gate.busy = False
            self._woken.set()

    async def _told(self, delivery: Delivery, recipient: Recipient, gate: Gate) -> PostResult:
        gate.sent.append(self._clock.monotonic())
        try:
            async with asyncio.timeout(self._call_seconds):
                result = await recipient.tell(delivery)
        except TimeoutError:
            result = PostResult(Verdict.TRANSIENT, detail=f"no answer within {self._call_seconds:g} s")
        except Unavailable as error:
            result = PostResult(Verdict.TRANSIENT, detail=str(error))
        except GitsyncError as error:  # of credentials that cannot be had
            result = PostResult(Verdict.AUTH, detail=str(error))
        except Exception as error:  # what the other side answers must not end the loop
            log.exception("this is a bug", action="deliver", outcome="failed")
            result = PostResult(Verdict.INVALID, detail=f"this is a bug: {type(error).__name__}: {error}")
        self.verdicts[str(delivery.kind), str(result.verdict)] += 1
        named = result.id or ""
        known = named if named.isascii() and named.isprintable() and len(named) <= LONGEST_ID else ""
        return replace(result, detail=safe(SECRETS.clean(result.detail), DETAIL), id=known or None)

    async def _once_more(self, delivery: Delivery, key: Key, recipient: Recipient, gate: Gate) -> PostResult:
        """The credentials were refused: try new ones, and where they are refused too, wait for others."""
        try:
            async with asyncio.timeout(self._call_seconds):
                await recipient.renew()
        except (GitsyncError, TimeoutError) as error:
            log.debug("no new credentials: %s", error, action="deliver", sync=delivery.sync)
        result = await self._told(delivery, recipient, gate)
        if result.verdict is Verdict.AUTH:
            credentials = await self._credentials(recipient)
            self._locks[key] = _Lock(credentials, self._clock.monotonic() + LOCKED_SECONDS)
            log.warning(
                "the credentials for %s are refused: %s. Nothing is told there until they change.",
                recipient.name,
                result.detail or "no reason given",
                action="deliver",
                outcome="auth",
                sync=delivery.sync,
            )
        return result

    async def _still_locked(self, key: Key, recipient: Recipient) -> bool:
        lock = self._locks.get(key)
        if lock is None:
            return False
        if await self._credentials(recipient) == lock.credentials:
            lock.until = self._clock.monotonic() + LOCKED_SECONDS
            return True
        del self._locks[key]
        return False

    async def _credentials(self, recipient: Recipient) -> str:
        """What tells credentials apart; "" while there are none to be had."""
        try:
            async with asyncio.timeout(self._call_seconds):
                return await recipient.credentials()
        except (GitsyncError, TimeoutError):
            return ""

    # -- what becomes of it

    async def _settle(self, delivery: Delivery, key: Key, gate: Gate, result: PostResult) -> None:
        """Record what became of *delivery*; where the database is away, as soon as it is back, and before it is told again."""
        record = await self._judged(delivery, key, gate, result)
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                await record()
        except TimeoutError:
            self._unrecorded[delivery.id] = record
            raise Unavailable(f"the table did not take it within {RECORD_SECONDS:g} s") from None
        except Unavailable:
            self._unrecorded[delivery.id] = record
            raise

    async def _judged(
        self, delivery: Delivery, key: Key, gate: Gate, result: PostResult
    ) -> Callable[[], Awaitable[None]]:
        if result.verdict is Verdict.DONE:
            self._warned.discard((key, delivery.kind))
            self._say(delivery, result, "told")
            rest = COMMENT_SECONDS if delivery.kind is DeliveryKind.COMMENT else 0.0
            at = self._clock.now()
            return lambda: self._deliveries.done(delivery, now=at, rest=rest, reference=result.id or "")
        if result.verdict is Verdict.LIMIT:
            asked = LIMIT_SECONDS if result.retry_after is None else result.retry_after
            wait = min(max(asked, 1.0), LONGEST_LIMIT) if math.isfinite(asked) else LONGEST_LIMIT
            gate.until, gate.limited = self._clock.monotonic() + wait, True
            self._say(delivery, result, f"waits {wait:.0f} s, as the host asks")
            return self._failed(delivery, result, wait, counts=False)
        if result.verdict is Verdict.AUTH:
            return self._failed(delivery, result, LOCKED_SECONDS, counts=False)
        pause = await self._pause_after(delivery, result.verdict)
        if pause is None:
            self._dropped(delivery, key, result)
            return self._failed(delivery, result, None, closed=result.verdict is Verdict.FULL)
        if result.retry_after is not None and math.isfinite(result.retry_after):
            pause = max(pause, min(result.retry_after, LONGEST_LIMIT))
        self._say(delivery, result, f"tried again in {pause:.0f} s")
        return self._failed(delivery, result, pause)

    def _failed(
        self, delivery: Delivery, result: PostResult, again: float | None, *, counts: bool = True, closed: bool = False
    ) -> Callable[[], Awaitable[None]]:
        error = f"{result.verdict}: {result.detail}" if result.detail else str(result.verdict)
        at = self._clock.now()
        return lambda: self._deliveries.failed(delivery, error, now=at, again=again, counts=counts, closed=closed)

    async def _pause_after(self, delivery: Delivery, verdict: Verdict) -> float | None:
        """Seconds until the next try; None for none."""
        if verdict is Verdict.TRANSIENT and await self._hopeless(delivery):
            return None
        return pause_after(verdict, delivery.attempts, self._clock.jitter())

    async def _hopeless(self, delivery: Delivery) -> bool:
        since = -self._until(delivery.failing) if delivery.failing else 0.0
        if since >= GIVE_UP_SECONDS and delivery.attempts + 1 >= LEAST_TRIES:
            return True
        if delivery.kind is not DeliveryKind.STATUS or delivery.posted is not None:
            return False  # what stands there, pending say, would stand there for ever
        try:
            return await self._deliveries.overtaken(delivery)
        except GitsyncError:
            return False

    def _dropped(self, delivery: Delivery, key: Key, result: PostResult) -> None:
        """One line: an error where it is our mistake, a warning, and for what is forbidden only the first."""
        known = (key, delivery.kind) in self._warned
        if result.verdict is Verdict.FORBIDDEN:
            self._warned.add((key, delivery.kind))
        level = "error" if result.verdict is Verdict.INVALID else "warning"
        self._say(
            delivery, result, "given up", level="debug" if known and result.verdict is Verdict.FORBIDDEN else level
        )

    def _say(self, delivery: Delivery, result: PostResult, what: str, *, level: str = "") -> None:
        level = level or ("info" if result.verdict is Verdict.DONE or not delivery.attempts else "debug")
        why = (
            ""
            if result.verdict is Verdict.DONE
            else f": {result.verdict}" + (f", {result.detail}" if result.detail else "")
        )
        getattr(log, level)(
            f"{delivery.kind} of {delivery.subject[:12]} {what}{why}",
            action="deliver",
            outcome=str(result.verdict),
            sync=delivery.sync,
            context=delivery.context,
            run=delivery.run,
        )


def _key(delivery: Delivery) -> Key:
    return ("context", delivery.context) if delivery.kind is DeliveryKind.NOTIFICATION else ("sync", delivery.sync)
