"""Notify: tells others of runs, by signed POSTs after Standard Webhooks (standardwebhooks.com, version 1).

    POST <url>                              Content-Type: application/json
    webhook-id: msg_<…>                     the same when it is sent again: who has it already answers 2xx and does nothing
    webhook-timestamp: 1767268800           seconds; of this attempt
    webhook-signature: v1,<base64>          HMAC-SHA256 of `<id>.<timestamp>.<body>` by the key in `secret_file`

    {"type": "run.failed", "timestamp": "2026-01-01T12:00:00Z", "data": {"instance": "prod-eu", "sync": "payments", …}}

| type           | when                                       | data, besides instance, sync, summary and link                        |
|----------------|--------------------------------------------|-----------------------------------------------------------------------|
| `run.finished` | a run that is recorded has ended           | run, revision, applied_revision, trigger, outcome, counts, services,  |
|                |                                            | error, started, finished                                              |
| `run.failed`   | it ended failed or partial, or there could | the same; of what there was no run of: error alone. Told once until   |
|                | be none                                    | it changes                                                            |
| `sync.held`    | deletes wait for an approval that did not  | holds: [{digest, services, reason, command}]                          |
|                | before                                     |                                                                       |
| `sync.drift`   | something was changed outside gitsync, and | revision, services: [{service, components, outcome}]. Told once until |
|                | was put back or, by `drift: detect`, shown | it changes, at most once a day                                        |

services: [{service, outcome, step, message}] of those that were applied or stopped, at most 100; counts has them all. No values of
specs are in it. A receiver answers 2xx within 20 s; 429 and 503 with Retry-After are waited for, 410 ends this message, anything else
is tried again for an hour. Redirects are not followed. `whsec_…` in the secret file is a key in base64; anything else is the key itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from gitsync.core.lines import approve_command, report_counts, summary
from gitsync.daemon.deliveries import Wants
from gitsync.engine.ports import Clock
from gitsync.log import SECRETS, hide
from gitsync.model.delivery import Delivery, DeliveryKind, Wanted
from gitsync.model.errors import Invalid, Unavailable
from gitsync.model.host import PostResult, Verdict
from gitsync.model.plan import Hold
from gitsync.model.plan import Verdict as PlanVerdict
from gitsync.model.run import Outcome, RunOutcome, RunReport, ServiceOutcome

FINISHED, FAILED, HELD, DRIFT = "finished", "failed", "held", "drift"
TYPES = {FINISHED: "run.finished", FAILED: "run.failed", HELD: "sync.held", DRIFT: "sync.drift"}
"""What somebody can be told of, as the setting `notify` names it, and as it is sent."""

MOST_SERVICES = 100
PREFIX = "whsec_"


def signature(key: bytes, identity: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. Source: standardwebhooks.com, version 1."""
    message = b".".join((identity.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def signing_key(secret: str) -> bytes:
    """The key in a secret file's text. Raises Invalid for none, and for `whsec_` before what is no base64."""
    text = secret.strip()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else text.encode()
    except ValueError:
        raise Invalid("the secret of a notification begins with whsec_ and is no base64 after it") from None
    if not key:
        raise Invalid("the secret of a notification is empty")
    return key


@dataclass(frozen=True, slots=True)
class Subscription:
    """Whom to tell of what. on: words of `TYPES`. secret_file: None for messages without a signature."""

    url: str
    on: frozenset[str]
    secret_file: Path | None = None

    def __post_init__(self) -> None:
        """Raises Invalid for an address in plain text to elsewhere."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise Invalid(f"notify: {_shown(self.url)} is neither https nor on this machine: messages go nowhere else.")

    @property
    def context(self) -> str:
        """Its name in the table of deliveries; the address may hold what nobody should see."""
        return f"notify/{hashlib.sha256(self.url.encode()).hexdigest()[:16]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


class Subscriber:
    """A Recipient: one address. client: one that follows no redirects, takes no proxy from anywhere and has its own timeouts."""

    def __init__(self, subscription: Subscription, client: httpx.AsyncClient, now: Callable[[], datetime]) -> None:
        self._to, self._client, self._now = subscription, client, now

    @property
    def name(self) -> str:
        return _shown(self._to.url)

    async def tell(self, delivery: Delivery) -> PostResult:
        identity = f"msg_{hashlib.sha256(f'{delivery.sync} {delivery.subject}'.encode()).hexdigest()[:32]}"
        body = json.dumps(delivery.desired, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
        timestamp = int(self._now().timestamp())
        headers = {
            "content-type": "application/json",
            "webhook-id": identity,
            "webhook-timestamp": str(timestamp),
        }
        if self._to.secret_file is not None:
            headers["webhook-signature"] = signature(await self._key(self._to.secret_file), identity, timestamp, body)
        try:
            async with self._client.stream(
                "POST", self._to.url, content=body, headers=headers, follow_redirects=False
            ) as answer:
                return _judged(answer)  # its body is nothing that we read
        except httpx.HTTPError as error:
            return PostResult(Verdict.TRANSIENT, detail=f"{type(error).__name__}: {_shown(self._to.url)}")

    async def renew(self) -> None:
        """The secret is read for each message anyway."""

    async def credentials(self) -> str:
        return ""

    async def _key(self, file: Path) -> bytes:
        """The key as it is now. Raises Unavailable: a file that is missing for a moment must not cost the message."""
        try:
            secret = await asyncio.to_thread(file.read_text, encoding="utf-8")
            hide(secret.strip())
            return signing_key(secret)
        except (OSError, UnicodeDecodeError, Invalid) as error:
            raise Unavailable(f"{file} has no key to sign with: {error}") from error


def _judged(answer: httpx.Response) -> PostResult:
    if answer.is_success:
        return PostResult(Verdict.DONE)
    detail = f"HTTP {answer.status_code}"
    after = answer.headers.get("retry-after", "")
    if answer.status_code == 429 or (answer.status_code == 503 and after):
        return PostResult(Verdict.LIMIT, float(after) if after.isascii() and after.isdigit() else None, detail)
    return PostResult(Verdict.INVALID if answer.status_code == 410 else Verdict.TRANSIENT, detail=detail)


class Notices:
    """An Ear: turns what happens into messages for whoever wants them. link: of a run, "" where runs have no page."""

    def __init__(
        self,
        wants: Wants,
        subscriptions: Collection[Subscription],
        *,
        instance: str,
        link: Callable[[str, str], str],
        clock: Clock,
    ) -> None:
        self._wants, self._subscriptions = wants, tuple(subscriptions)
        self._instance, self._link, self._clock = instance, link, clock
        self._failed: dict[str, str] = {}
        self._drift: dict[str, str] = {}

    async def begun(self, run: str, sync: str, revision: str) -> None: ...

    async def finished(self, report: RunReport) -> None:
        data = _run(report)
        await self._tell(FINISHED, report.sync, f"finished-{report.id}", report.id, data)
        await self._failure(report.sync, report, data)

    async def held(self, sync: str, holds: Sequence[Hold]) -> None:
        """A hold is named by its digest, so one that is open still is not told again."""
        for hold in holds:
            number = len(hold.services)
            data = {
                "summary": f"{number} {'delete waits' if number == 1 else 'deletes wait'} for an approval: {hold.reason}",
                "holds": [
                    {
                        "digest": hold.digest,
                        "services": [str(key) for key, _ in hold.services],
                        "reason": hold.reason,
                        "command": approve_command(hold),
                    }
                ],
            }
            await self._tell(HELD, sync, f"held-{hold.digest}", "", data)

    async def looked(self, report: RunReport) -> None:
        await self._drifted(report)
        if not report.id or not report.revision:
            await self._failure(report.sync, report, _run(report))

    async def troubled(self, sync: str, error: str) -> None:
        said = SECRETS.clean(error)
        await self._fail(sync, said, "", {"summary": said, "error": said})

    async def _failure(self, sync: str, report: RunReport, data: Mapping[str, Any]) -> None:
        if report.outcome not in (RunOutcome.FAILED, RunOutcome.PARTIAL) and not report.error:
            self._failed.pop(sync, None)
            return
        stopped = [each for each in data["services"] if each["outcome"] != str(Outcome.APPLIED)]
        what = json.dumps([report.revision, data["error"], stopped], sort_keys=True)
        await self._fail(sync, what, report.id, data)

    async def _fail(self, sync: str, what: str, run: str, data: Mapping[str, Any]) -> None:
        """Told once until it changes; a process that starts anew does not tell it again on the same day."""
        digest = _digest(what)
        if self._failed.get(sync) != digest:
            self._failed[sync] = digest
            await self._tell(FAILED, sync, f"failed-{digest}-{self._day()}", run, data)

    async def _drifted(self, report: RunReport) -> None:
        drift = [
            {
                "service": str(each.key),
                "components": [diff.component for diff in each.diffs],
                "outcome": str(each.outcome),
            }
            for each in report.services
            if each.verdict is PlanVerdict.DRIFT or each.drift
        ]
        digest = _digest(json.dumps([report.revision, drift])) if drift else ""
        if report.error and not drift:
            return
        if digest and self._drift.get(report.sync) != digest:
            what = "1 service was" if len(drift) == 1 else f"{len(drift)} services were"
            data = {
                "summary": f"{what} changed outside gitsync",
                "revision": report.revision,
                "services": drift[:MOST_SERVICES],
            }
            await self._tell(DRIFT, report.sync, f"drift-{digest}-{self._day()}", report.id, data)
        self._drift[report.sync] = digest

    async def _tell(self, event: str, sync: str, identity: str, run: str, data: Mapping[str, Any]) -> None:
        told = [each for each in self._subscriptions if event in each.on]
        if not told:
            return
        body = {
            "type": TYPES[event],
            "timestamp": self._clock.stamp(),
            "data": {"instance": self._instance, "sync": sync, "link": self._link(sync, run), **data},
        }
        for each in told:
            wanted = Wanted(sync, DeliveryKind.NOTIFICATION, identity, each.context, body, run)
            await self._wants.want(wanted, replaces=_never)

    def _day(self) -> str:
        return self._clock.now().date().isoformat()


def _never(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:  # noqa: ARG001
    """What happened once is told once."""
    return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _run(report: RunReport) -> dict[str, Any]:
    return {
        "summary": SECRETS.clean(summary(report)),
        "run": report.id,
        "revision": report.revision,
        "applied_revision": report.applied_revision,
        "trigger": report.trigger,
        "outcome": str(report.outcome),
        "counts": report_counts(report),
        "services": list(_services(report.services))[:MOST_SERVICES],
        "error": SECRETS.clean(report.error) if report.error else None,
        "started": report.started,
        "finished": report.finished,
    }


def _services(services: Iterable[ServiceOutcome]) -> Iterable[dict[str, Any]]:
    """Those that stopped first, and without their diffs: labels that are hidden elsewhere may be in them."""
    told = [each for each in services if each.outcome is not Outcome.UNCHANGED]
    for each in sorted(told, key=lambda each: each.outcome is Outcome.APPLIED):
        yield {
            "service": str(each.key),
            "outcome": str(each.outcome),
            "step": each.step,
            "message": SECRETS.clean(each.message),
        }
