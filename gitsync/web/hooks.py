"""POST /hooks/{sync}: a Git host says that something moved. It is a reason to look, once it is sure who says so.

length, content type ──► body, capped while it comes ──► a harmless ping? ──► signature over the raw bytes
    ──► understood ──► seen before? ──► accepted: 202
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gitsync.hosts.provider import Webhooks
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.host import SignatureError, WebhookEvent
from gitsync.web.bounds import Failures, Purse, Seen
from gitsync.web.metrics import Metrics

BODY_BYTES = 5 * 1024 * 1024
"""The longest delivery that is taken, unless the configuration says otherwise. GitHub sends up to 25 MiB."""

SMALL_BYTES = 128 * 1024
"""What nearly every delivery has room in. Bodies up to here share one purse of memory, the rest of longer ones another."""

PURSE_BYTES = 64 * 1024 * 1024
LONGEST_ID = 200

log = structlog.get_logger()


class Hook(Protocol):
    """What is known of the deliveries for one sync. body_bytes: the longest that is taken.

    secrets: the current and the previous one, read anew when they changed; none: there is no endpoint. May raise GitsyncError.
    """

    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def body_bytes(self) -> int: ...
    def secrets(self) -> Sequence[str]: ...


class Inbox(Protocol):
    """Who looks at what a delivery is about, later. Returns at once, in a word what it did; if it raises, the host is to send again."""

    def accept(self, sync: str, event: WebhookEvent) -> str: ...


class Verdict:
    """What becomes of a delivery, as /metrics counts it, unless the inbox says it in a word of its own."""

    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    PING = "ping"
    UNAUTHENTICATED = "unauthenticated"
    LIMITED = "limited"
    NOT_JSON = "not-json"
    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    BROKEN_OFF = "broken-off"
    NO_ENDPOINT = "no-endpoint"
    FAILED = "failed"


class Receiver:
    """The endpoint of every sync that has one, with what it remembers. One for all listeners of a process.

    purse_bytes: what bodies may take of the memory, for the first 128 KiB of each and for what is longer, one purse each.
    """

    def __init__(
        self,
        hooks: Mapping[str, Hook],
        inbox: Inbox,
        metrics: Metrics,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        purse_bytes: int = PURSE_BYTES,
    ) -> None:
        self._hooks, self._inbox, self._metrics = dict(hooks), inbox, metrics
        self._now, self._monotonic = now, monotonic
        self._seen: Seen[tuple[str, str]] = Seen(monotonic)
        self._failures: Failures[tuple[str, str]] = Failures(monotonic)
        self._small, self._large = Purse(purse_bytes), Purse(purse_bytes)

    @property
    def body_bytes(self) -> int:
        """The longest body that any of the endpoints takes."""
        return max((hook.body_bytes for hook in self._hooks.values()), default=0)

    def route(self) -> Route:
        return Route("/hooks/{sync}", self._answer, methods=["POST"])

    async def _answer(self, request: Request) -> Response:
        began = self._monotonic()
        sync = request.path_params["sync"]
        try:
            verdict, answer = await self._judged(request, sync)
        except _Turned as turned:
            verdict, answer = turned.verdict, turned.answer
            if verdict == Verdict.TOO_LARGE:  # whatever is in it
                self._failures.add(self._who(request))
        except ClientDisconnect:
            verdict, answer = Verdict.BROKEN_OFF, Response(status_code=400)
        except Exception:
            self._count(sync, Verdict.FAILED, began)
            raise
        self._count(sync, verdict, began)
        return answer

    def _who(self, request: Request) -> tuple[str, str]:
        """The sync, and the address. Behind a proxy all have the proxy's."""
        return request.path_params["sync"], request.client.host if request.client else ""

    def _count(self, sync: str, verdict: str, began: float) -> None:
        """A stranger must not make series: what is asked for and not there has no name."""
        self._metrics.webhook(sync if sync in self._hooks else "", verdict, self._monotonic() - began)

    async def _judged(self, request: Request, sync: str) -> tuple[str, Response]:
        hook, secrets = self._endpoint(sync)
        headers = dict(request.headers)
        who = self._who(request)
        _needs_json(headers)
        wait = self._failures.wait(who)
        with self._body(request, hook, wait) as read:
            raw = await read()
            if hook.webhooks.harmless(headers, raw):
                return Verdict.PING, _said(200, "pong")
            try:
                hook.webhooks.verify(headers, raw, secrets, self._now())
            except SignatureError:
                if wait:
                    raise _limited(wait) from None
                self._failed(*who)
                raise _Turned(Verdict.UNAUTHENTICATED, 401, "no valid signature") from None
            try:
                event = hook.webhooks.parse(headers, raw)
            except Invalid:
                raise _Turned(Verdict.MALFORMED, 400, "the body is no JSON object") from None
        return self._taken(sync, event)

    def _endpoint(self, sync: str) -> tuple[Hook, Sequence[str]]:
        hook = self._hooks.get(sync)
        try:
            secrets = hook.secrets() if hook else ()
        except GitsyncError as error:
            log.warning("the webhook's secret cannot be read: %s", error, action="hook", sync=sync)
            raise _Turned(Verdict.FAILED, 503, "gitsync cannot read the secret of this endpoint") from error
        if hook is None or not secrets:
            raise _Turned(Verdict.NO_ENDPOINT, 404, "there is no endpoint of this name")
        return hook, secrets

    def _failed(self, sync: str, client: str) -> None:
        """Somebody did not prove who he is. It is told now and then, from however many addresses it comes."""
        self._failures.add((sync, client))
        anybody = (sync, "")
        if not self._failures.wait(anybody):
            self._failures.add(anybody)
            log.warning("a delivery without a valid signature is refused", action="hook", sync=sync, client=client)

    def _taken(self, sync: str, event: WebhookEvent) -> tuple[str, Response]:
        """Hand over what is to be looked at. There is no waiting in here, so two of one id cannot pass each other."""
        if event.kind == "ping":
            return Verdict.PING, _said(200, "pong")
        if event.kind == "ignored":
            return Verdict.IGNORED, _said(202, "not of interest")
        delivery = (sync, (event.delivery_id or "")[:LONGEST_ID])
        if event.delivery_id and delivery in self._seen:
            return Verdict.DUPLICATE, _said(202, "seen before")
        try:
            what = self._inbox.accept(sync, event)
        except GitsyncError as error:
            log.warning("a delivery is not accepted: %s", error, action="hook", sync=sync)
            raise _Turned(Verdict.FAILED, 503, "not accepted now; send it again") from error
        if event.delivery_id:  # only now: what was not accepted may come again
            self._seen.add(delivery)
        return what, _said(202, what)

    @contextmanager
    def _body(self, request: Request, hook: Hook, wait: float) -> Iterator[Callable[[], Awaitable[bytes]]]:
        """A way to read the body. What it takes of the memory is given back at the end.

        wait: of who has failed too often. A short body of his is read all the same, because to look at it costs next to nothing:
        whoever floods us from behind the same proxy must not keep the real deliveries out.
        """
        small = large = 0
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > hook.body_bytes:
            raise _too_large(hook)
        if wait and declared.isdecimal() and int(declared) > SMALL_BYTES:
            raise _limited(wait)

        async def read() -> bytes:
            nonlocal small, large
            body = bytearray()
            async for part in request.stream():
                if len(body) + len(part) > hook.body_bytes:
                    raise _too_large(hook)
                if wait and len(body) + len(part) > SMALL_BYTES:
                    raise _limited(wait)
                into_small = max(0, min(len(part), SMALL_BYTES - len(body)))
                if not self._small.take(into_small):
                    raise _limited(1)
                small += into_small
                if not self._large.take(len(part) - into_small):
                    raise _limited(1)
                large += len(part) - into_small
                body += part
            return bytes(body)

        try:
            yield read
        finally:
            self._small.give(small)
            self._large.give(large)


class _Turned(Exception):
    """A delivery is turned away. No word of it helps who guesses."""

    def __init__(self, verdict: str, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.verdict, self.answer = verdict, _said(status, why, headers)


def _said(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    key = "error" if status >= 400 else "status"
    return JSONResponse({key: text}, status, headers=dict(headers or {}))


def _limited(wait: float) -> _Turned:
    return _Turned(Verdict.LIMITED, 429, "too many for now", {"retry-after": str(max(1, round(wait)))})


def _too_large(hook: Hook) -> _Turned:
    return _Turned(Verdict.TOO_LARGE, 413, f"more than {hook.body_bytes} bytes")


def _needs_json(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _Turned(Verdict.NOT_JSON, 415, "only application/json is taken: choose it in the webhook's settings")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _Turned(Verdict.NOT_JSON, 415, "only a body without a content encoding is taken")
