"""The pages: where each sync stands, its runs, and the plan of a pull request. HTML for people, JSON for who asks; no JavaScript."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import HTTPException
from starlette.responses import Response

from gitsync.log import SECRETS
from gitsync.model.errors import GitsyncError, Unavailable
from gitsync.model.plan import Hold
from gitsync.model.review import ReviewRecord
from gitsync.model.revision import NO_REVISION, Revision
from gitsync.web.access import Access
from gitsync.web.drawn import ICON, STYLE, drawn
from gitsync.web.health import View, sync_json
from gitsync.web.metrics import Waiting
from gitsync.web.reviewed import planned
from gitsync.web.told import Held, Row, hold, told, without_secrets

LAST, LAST_OF_ONE = 10, 100
"""How many runs of each sync `/runs` shows, and of one that is asked for."""

PATIENCE_SECONDS = 5.0
"""How long a page waits for its turn, and then for the history."""

READERS = 4
"""How many pages are made at a time: nobody's reading may take the store, or the threads, from the runs."""

FRESH_SECONDS = 1.0
"""How long /metrics goes by what the store said last."""

COMMITS, COMMIT_SECONDS = 1000, 1.0
"""How many commits are remembered, and how long a page waits for one: that its author is named is worth no more."""


class Deliveries(Protocol):
    """What is still to be told to others. waiting: how much, by sync and kind."""

    async def waiting(self) -> Mapping[tuple[str, str], int]: ...


class Reviews(Protocol):
    """What was said of pull requests."""

    async def get(self, sync: str, number: int) -> ReviewRecord | None: ...


class History(Protocol):
    """What happened. Raises Unavailable."""

    async def runs(self, sync: str | None = None, limit: int = 20) -> list[Row]: ...
    async def run(self, run: str) -> tuple[Row, list[Row]] | None: ...
    async def open_holds(self, sync: str | None = None) -> list[Hold]: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def reviews(self) -> Reviews: ...


class Histories(Protocol):
    """A history that is opened when it is needed. Raises what opening it raises."""

    def held(self) -> AbstractAsyncContextManager[History]: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the pages and /metrics get what they show.

    redact: by sync, the labels whose values are shown nowhere. about: who wrote a commit of a sync, by its SHA; raises GitsyncError.
    """

    view: View
    histories: Histories
    redact: Mapping[str, frozenset[str]]
    now: Callable[[], datetime]
    about: Callable[[str, str], Awaitable[Revision]] | None = None


class Pages:
    """The routes. Every one of them reads only."""

    def __init__(self, sources: Sources, access: Access, *, patience: float = PATIENCE_SECONDS) -> None:
        self._sources, self._access, self._patience = sources, access, patience
        self._places = asyncio.Semaphore(READERS)
        self._asking = asyncio.Lock()
        self._asked: tuple[float, Waiting] | None = None
        self._commits: dict[tuple[str, str], Revision] = {}

    def router(self) -> APIRouter:
        router = APIRouter()
        shown = [Depends(self._permitted)]
        pages: Mapping[str, Callable[..., Awaitable[Response]]] = {
            "/": self._home,
            "/runs": self._runs,
            "/runs/{run}": self._run,
            "/plans/{sync}/{number}": self._plan,
        }
        for path, page in pages.items():
            made = self._in_turn(page)
            router.add_api_route(path, made, methods=["GET", "HEAD"], dependencies=shown, response_model=None)
        router.add_api_route("/style.css", self._style, methods=["GET", "HEAD"], response_model=None)
        router.add_api_route("/icon.svg", self._icon, methods=["GET", "HEAD"], response_model=None)
        return router

    async def _permitted(self, request: Request) -> None:
        if refusal := self._access.refusal(request.headers):
            raise HTTPException(401, refusal, headers={"www-authenticate": 'Bearer realm="gitsync"'})

    def _in_turn(self, page: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        """*page*, which waits while others are made. Raises Unavailable where that takes too long."""

        @functools.wraps(page)
        async def made(*given: Any, **named: Any) -> Response:
            try:
                async with asyncio.timeout(self._patience):
                    await self._places.acquire()
            except TimeoutError as error:
                raise Unavailable("too many pages are asked for at this moment: try again") from error
            try:
                return await page(*given, **named)
            finally:
                self._places.release()

        return made

    # -- the pages

    async def _home(self, request: Request) -> Response:
        views = dict(sorted(self._sources.view.syncs().items()))
        last: dict[str, Row | None] = {}
        holds: dict[str, list[Hold]] = {}
        trouble = ""
        try:
            async with self._history() as history:
                for name in views:
                    found = await history.runs(name, 1)
                    last[name] = found[0] if found else None
                    holds[name] = await history.open_holds(name)
        except GitsyncError as error:
            trouble = str(error)
        status = 503 if trouble else 200
        held = {name: [_held(each) for each in holds.get(name, ())] for name in views}
        if wants_json(request):
            every = {
                name: {
                    **sync_json(view),
                    "last_run": last.get(name),
                    "holds": [_hold_json(each) for each in held[name]],
                }
                for name, view in views.items()
            }
            return as_json({"syncs": every, "error": trouble or None}, status)
        shown = {name: told(run) for name, run in last.items() if run}
        return await self._page(
            "home.html.j2", status, views=views, last=shown, holds=held, trouble=trouble, root="./", title="gitsync"
        )

    async def _runs(self, request: Request, sync: str | None = None) -> Response:
        names = sorted(self._sources.view.syncs())
        if sync is not None and sync not in names:
            raise HTTPException(404, f"There is no sync {sync!r}. There is: {', '.join(names)}.")
        asked, limit = ([sync], LAST_OF_ONE) if sync is not None else (names, LAST)
        async with self._history() as history:
            found = {name: await history.runs(name, limit) for name in asked}
        if wants_json(request):
            every = [row for rows in found.values() for row in rows]
            return as_json({"runs": sorted(every, key=lambda row: (row["started"], row["id"]), reverse=True)})
        shown = {name: [told(row) for row in rows] for name, rows in found.items()}
        return await self._page("runs.html.j2", runs=shown, one=sync, most=limit, root="./", title="Runs")

    async def _run(self, request: Request, run: str) -> Response:
        async with self._history() as history:
            found = await history.run(run)
            if found is None:
                raise HTTPException(
                    404, f"There is no run {run!r} in the history. It may be older than what `retention.runs` keeps."
                )
            row, services = found
            waiting = {each.digest for each in await history.open_holds(row["sync"])} if row["holds"] else set()
        redact = self._sources.redact.get(row["sync"])
        if wants_json(request):
            return await asyncio.to_thread(_run_json, row, services, redact)
        commit = await self._commit(row["sync"], row["revision"])
        shown = await asyncio.to_thread(told, row, services, redact=redact, open_now=frozenset(waiting), commit=commit)
        title = f"{shown.headline}: {row['sync']}"
        return await self._page("run.html.j2", run=shown, unknown=redact is None, root="../", title=title)

    async def _plan(self, request: Request, sync: str, number: int) -> Response:
        async with self._history() as history:
            record = await history.reviews.get(sync, number) if abs(number) < 2**63 else None  # no database takes more
        if record is None or sync not in self._sources.redact:
            raise HTTPException(404, f"There is no plan for a request {number} of the sync {sync!r}.")
        if wants_json(request):
            return as_json({**record.plan, "updated": record.updated, "closed": record.closed or None})
        shown = await asyncio.to_thread(planned, record)
        return await self._page("plan.html.j2", plan=shown, root="../../", title=f"{shown.headline}: {sync} #{number}")

    async def _style(self) -> Response:
        return Response(STYLE, media_type="text/css", headers={"cache-control": "public, max-age=300"})

    async def _icon(self) -> Response:
        return Response(ICON, media_type="image/svg+xml", headers={"cache-control": "public, max-age=86400"})

    # -- what they need

    async def waiting(self) -> Waiting:
        """What the store has open, for /metrics; as it was a moment ago, for whoever asks very often."""
        async with self._asking:
            loop = asyncio.get_running_loop()
            if self._asked is None or loop.time() - self._asked[0] >= FRESH_SECONDS:
                self._asked = loop.time(), await self._asked_now()
            return self._asked[1]

    async def _asked_now(self) -> Waiting:
        try:
            async with self._history() as history:
                holds = {name: len(await history.open_holds(name)) for name in sorted(self._sources.view.syncs())}
                return Waiting(holds=holds, deliveries=await history.deliveries.waiting())
        except GitsyncError:
            return Waiting(known=False)

    async def _commit(self, sync: str, sha: str) -> Revision:
        """What is known of a commit. It is asked for once: one that is gone would be fetched each time."""
        key = (sync, sha)
        if self._sources.about is None or not sha or sync not in self._sources.redact:
            return NO_REVISION
        if key not in self._commits:
            if len(self._commits) >= COMMITS:
                self._commits.clear()
            self._commits[key] = NO_REVISION
            with contextlib.suppress(GitsyncError, TimeoutError):
                async with asyncio.timeout(COMMIT_SECONDS):
                    self._commits[key] = await self._sources.about(sync, sha)
        return self._commits[key]

    @asynccontextmanager
    async def _history(self) -> AsyncIterator[History]:
        """The history, for a moment. Raises Unavailable where that is not enough."""
        try:
            async with asyncio.timeout(self._patience), self._sources.histories.held() as history:
                yield history
        except TimeoutError as error:
            raise Unavailable(f"the store does not answer within {self._patience:g} s") from error

    async def _page(self, template: str, status: int = 200, **facts: Any) -> Response:
        text = await asyncio.to_thread(drawn, template, now=self._sources.now(), **facts)
        return Response(text, status, media_type="text/html", headers={"vary": "accept"})


# -- what is answered -----------------------------------------------------------------------------------------------------


def wants_json(request: Request) -> bool:
    """Whether the request prefers JSON to a page. Who takes anything gets a page."""
    wanted = {"application/json": 0.0, "text/html": 0.0}
    for part in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (each.strip() for each in part.split(";"))
        if kind in wanted:
            weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
            wanted[kind] = float(weight) if weight.isascii() and weight.replace(".", "", 1).isdecimal() else 0.0
    return wanted["application/json"] > wanted["text/html"]


def as_json(document: Any, status: int = 200) -> Response:
    """The document, with JSON's own escapes for everything that is not ASCII, and without the secrets of this process."""
    text = SECRETS.clean(json.dumps(document, indent=2, default=str))
    return Response(text + "\n", status, media_type="application/json", headers={"vary": "accept"})


def _run_json(row: Row, services: Sequence[Row], redact: frozenset[str] | None) -> Response:
    return as_json({"run": dict(row), "services": [without_secrets(each, redact) for each in services]})


def _held(waiting: Hold) -> Held:
    row = {
        "digest": waiting.digest,
        "services": [(key.path, index) for key, index in waiting.services],
        "reason": waiting.reason,
        "empty": waiting.empty,
    }
    return hold(row, frozenset({waiting.digest}))


def _hold_json(held: Held) -> dict[str, Any]:
    return {"digest": held.digest, "reason": held.reason, "services": list(held.services), "approve": held.command}
