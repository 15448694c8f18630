"""Statuses: what is said of each commit that was a head of a sync's ref, from the runs of it.

    webhook: A is the head ──► A pending                        B's run begins ──► B running
    B's run ends ──► B success ──► A, which B contains: success, "applied with B"

A body says more than the host is told: `open` while it is not the last word, `with` the commit whose words these are.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from gitsync.core.status_words import Words, abandoned, overtaken, queued, replaces, running, trouble, words
from gitsync.daemon.deliveries import Deliveries, Wants
from gitsync.engine.ports import Clock
from gitsync.log import SECRETS
from gitsync.model.delivery import Delivery, Wanted, wanted_status
from gitsync.model.errors import GitsyncError
from gitsync.model.host import TARGET_URL, CommitState, Status
from gitsync.model.revision import History
from gitsync.model.run import RunReport

PENDING_SECONDS = 1.0
"""How long a run may go on before its commit is told so: most have ended by then, and one word is enough."""

TROUBLE_SECONDS = 10.0
"""How long Consul or Git may be away before a commit is told so."""

MOST_HEADS = 20
"""How many heads of one sync are told of before their turn. A storm of pushes must not become one of statuses."""

MOST_LATE = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Spoken:
    """How one sync speaks to its host. context: of its statuses. ref: the short name of its branch, None where it follows none.

    pages: the address below which runs are shown, "" for none; web_url: the repository's own page, what is linked to then.
    """

    context: str
    web_url: str
    ref: str | None = None
    pages: str = ""

    def link(self, run: str) -> str:
        page = f"{self.pages}/runs/{run}"
        return page if self.pages and run and len(page) <= TARGET_URL else self.web_url


AskHistory = Callable[[str, str, str], Awaitable[History]]
"""(sync, older, newer) -> how the newer commit stands to the older one."""


class Statuses:
    """An Ear. syncs: those that have a host."""

    def __init__(
        self,
        wants: Wants,
        deliveries: Deliveries,
        syncs: Mapping[str, Spoken],
        history: AskHistory,
        clock: Clock,
        woken: Callable[[], None],
    ) -> None:
        self._wants, self._deliveries, self._syncs = wants, deliveries, syncs
        self._history, self._clock, self._woken = history, clock, woken
        self._heads: dict[str, dict[str, None]] = {}
        self._late: dict[tuple[str, str], RunReport] = {}
        self._concluding: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._open: dict[str, set[str]] = {}

    # -- what it hears

    def seen(self, sync: str, sha: str) -> None:
        """The host says that *sha* is the head of the sync's ref now. Returns at once."""
        heads = self._heads.setdefault(sync, {})
        if sync in self._syncs and sha not in heads and len(heads) < MOST_HEADS:
            heads[sha] = None
            self._woken()

    async def begun(self, run: str, sync: str, revision: str) -> None:
        await self._heard(sync)
        if revision:
            await self._say(sync, revision, running(), run, delay=PENDING_SECONDS, last=False)

    async def finished(self, report: RunReport) -> None:
        if report.sync in self._syncs and report.revision:
            await self._heard(report.sync)
            await self._conclude_or_later(report)

    async def held(self, sync: str, holds: object) -> None: ...

    async def looked(self, report: RunReport) -> None:
        """A pass that is not recorded ends what a process that was killed, or a webhook, left open."""
        if report.sync not in self._syncs or (report.id and report.revision):
            return  # `finished` has heard of it
        if report.error:
            await self.troubled(report.sync, report.error)
        elif report.revision and await self._anything_open(report.sync):
            await self._conclude_or_later(report)

    async def troubled(self, sync: str, error: str) -> None:
        """Every commit that waits is told why."""
        if sync in self._syncs and await self._anything_open(sync):
            said = trouble(SECRETS.clean(error))
            for sha in sorted(self._open.get(sync, ())):
                await self._say(sync, sha, said, "", delay=TROUBLE_SECONDS, last=False)

    async def flush(self) -> None:
        """Write down what the database did not take before. Raises Unavailable if it still does not."""
        for sync in list(self._heads):
            await self._heard(sync)
        await self._wants.flush()
        for sync in dict.fromkeys(sync for sync, _ in self._late):
            await self._conclude_late(sync)

    # -- what it says

    async def _heard(self, sync: str) -> None:
        """The heads that webhooks told of. While the table cannot be read they wait."""
        if not self._heads.get(sync) or not await self._known(sync):
            return
        for sha in self._heads.pop(sync, {}):
            if len(self._open.get(sync, ())) < MOST_HEADS:
                await self._say(sync, sha, queued(), "", delay=PENDING_SECONDS, last=False)

    async def _say(
        self, sync: str, sha: str, said: Words, run: str, *, delay: float = 0.0, last: bool = True, by: str = ""
    ) -> None:
        if sync not in self._syncs:
            return
        news = await self._wants.want(
            self._wanted(sync, sha, said, run, last=last, by=by), delay=delay, replaces=replaces
        )
        if last:
            self._open.get(sync, set()).discard(sha)
        elif news and sync in self._open:
            self._open[sync].add(sha)

    def _wanted(self, sync: str, sha: str, said: Words, run: str, *, last: bool, by: str) -> Wanted:
        spoken = self._syncs[sync]
        status = Status(sha, spoken.context, said.state, said.description, spoken.link(run), spoken.ref)
        wanted = wanted_status(sync, status, run)
        extra = {**({} if last else {"open": True}), **({"with": by} if by else {})}
        return replace(wanted, body={**wanted.body, **extra})

    async def _conclude_or_later(self, report: RunReport) -> None:
        """What could not be written down before comes first: an older word must not stand in for a newer one."""
        place = report.sync, report.revision
        self._late.pop(place, None)
        self._late[place] = report
        while len(self._late) > MOST_LATE:
            self._late.pop(next(iter(self._late)))
        try:
            await self._conclude_late(report.sync)
        except GitsyncError as error:
            log.debug("kept for later: %s", error, action="deliver", sync=report.sync)

    async def _conclude_late(self, sync: str) -> None:
        """The last words of what ended, in that order. Whoever comes second waits. Raises Unavailable while there is no table."""
        async with self._concluding[sync]:
            for place, report in list(self._late.items()):
                if place[0] != sync or self._late.get(place) is not report:
                    continue
                try:
                    await self._conclude(report)
                except GitsyncError:
                    raise
                except Exception:  # a bug here must not keep everything else from being told
                    log.exception("this is a bug", action="deliver", outcome="failed", sync=sync)
                if self._late.get(place) is report:
                    del self._late[place]

    async def _conclude(self, report: RunReport) -> None:
        """The last word on the commit of *report*, and on those that it overtook."""
        sync, sha = report.sync, report.revision
        before = set(self._open.get(sync, ()))
        rows = await self._deliveries.statuses(sync, self._syncs[sync].context)
        mine = next((row for row in rows if row.subject == sha), None)
        said = words(_cleaned(report))
        again = said.state is CommitState.ERROR  # then another run comes
        await self._say(
            sync, sha, said, report.id, delay=TROUBLE_SECONDS if again and not report.id else 0.0, last=not again
        )
        standing = said
        if mine and not _opened(mine) and not replaces(_body(said), mine.desired):
            standing = Words(CommitState(mine.desired["state"]), mine.desired["description"])
        still = {sha} if again and standing is said else set()
        for row in rows:
            if row.subject == sha or not (_opened(row) or row.desired.get("with") == sha):
                continue
            if (theirs := await self._overtaken(row, mine, sha, standing)) is None:
                still.add(row.subject)
            else:
                await self._say(sync, row.subject, theirs, report.id or row.run, last=not again, by=sha)
                still |= {row.subject} if again else set()
        self._open[sync] = still | (self._open.get(sync, set()) - before)  # heads were told of meanwhile

    async def _overtaken(self, row: Delivery, mine: Delivery | None, sha: str, standing: Words) -> Words | None:
        """What is said of *row* now that *sha* has ended as *standing*; None where its own turn is still to come."""
        if row.desired.get("with") == sha:
            return overtaken(standing, sha)
        try:
            how = await self._history(row.sync, row.subject, sha)
        except GitsyncError as error:  # the next look asks again, and nobody else waits for that
            log.debug("%s waits: %s", row.subject[:12], error, action="deliver", sync=row.sync)
            return None
        if how in (History.SAME, History.FORWARD):
            return overtaken(standing, sha)
        older = mine is not None and row.id < mine.id
        return abandoned(sha) if older and how is not History.BEHIND else None

    async def _anything_open(self, sync: str) -> bool:
        await self._heard(sync)
        return await self._known(sync) and bool(self._open[sync])

    async def _known(self, sync: str) -> bool:
        """Whether it is known what is open: an earlier process may have left something."""
        if sync not in self._open:
            try:
                rows = await self._deliveries.statuses(sync, self._syncs[sync].context)
            except GitsyncError:
                return False
            self._open.setdefault(sync, {row.subject for row in rows if _opened(row)})
        return True


def _opened(row: Delivery) -> bool:
    return bool(row.desired.get("open"))


def _body(said: Words) -> dict[str, str]:
    return {"state": str(said.state), "description": said.description}


def _cleaned(report: RunReport) -> RunReport:
    """*report* without secrets, before anything of it is cut."""
    services = tuple(replace(each, message=SECRETS.clean(each.message)) for each in report.services)
    return replace(report, error=SECRETS.clean(report.error) if report.error else None, services=services)
