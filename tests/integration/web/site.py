"""A web room for the tests: a real server on loopback, a real SQLite store, and syncs, runs and inboxes as a test says."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from gitsync.hosts.generic import GenericWebhooks
from gitsync.hosts.provider import Webhooks
from gitsync.model.errors import GitsyncError, Rejected
from gitsync.model.finding import Finding, Severity
from gitsync.model.host import WebhookEvent
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, FieldDiff, Hold, Verdict
from gitsync.model.revision import Revision
from gitsync.model.run import ComponentDiff, Outcome, RunOutcome, RunReport, ServiceOutcome, StepTiming
from gitsync.model.view import SyncView
from gitsync.store import Store
from gitsync.web import Access, Limits, Metrics, Receiver, Sources, application, limits_of, serve

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
REVISION = "5f3c9a7e1b2d4c6f8091a2b3c4d5e6f708192a3b"
COMMIT = Revision(REVISION, "Ada Byron", "2026-01-01T11:59:40Z", "Give checkout two versions")
SECRET = "a secret that only the host knows"


@dataclass
class View:
    """The syncs that there are."""

    all: dict[str, SyncView]

    def syncs(self) -> Mapping[str, SyncView]:
        return self.all


@dataclass
class Kept:
    """A store as the daemon has it: opened when it is needed, or not to be opened at all."""

    store: Store | GitsyncError
    readers: int = 0
    gate: asyncio.Event | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Store]:
        if isinstance(self.store, GitsyncError):
            raise self.store
        self.readers += 1
        if self.gate:
            await self.gate.wait()
        yield self.store


@dataclass
class Hook:
    """An endpoint with the secrets that a test gives it."""

    known: Sequence[str] = (SECRET,)
    webhooks: Webhooks = field(default_factory=GenericWebhooks)
    body_bytes: int = 100_000
    broken: GitsyncError | None = None

    def secrets(self) -> Sequence[str]:
        if self.broken:
            raise self.broken
        return self.known


@dataclass
class Inbox:
    """What was accepted; *broken* is raised once."""

    taken: list[tuple[str, WebhookEvent]] = field(default_factory=list)
    broken: Exception | None = None

    def accept(self, sync: str, event: WebhookEvent) -> str:
        if self.broken:
            broken, self.broken = self.broken, None
            raise broken
        self.taken.append((sync, event))
        return "woken"


@dataclass
class Site:
    """Everything that a test of the web room turns."""

    store: Store | GitsyncError
    views: dict[str, SyncView] = field(default_factory=lambda: {"payments": GOOD})
    hooks: dict[str, Hook] = field(default_factory=lambda: {"payments": Hook()})
    redact: Mapping[str, frozenset[str]] = field(default_factory=lambda: {"payments": frozenset({"cost_center"})})
    inbox: Inbox = field(default_factory=Inbox)
    metrics: Metrics = field(default_factory=lambda: Metrics("0.0"))
    commits: dict[str, Revision] = field(default_factory=lambda: {REVISION: COMMIT})
    seconds: float = 1000.0
    purse_bytes: int = 1_000_000
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.receiver = Receiver(
            self.hooks,
            self.inbox,
            self.metrics,
            now=lambda: NOW,
            monotonic=lambda: self.seconds,
            purse_bytes=self.purse_bytes,
        )
        self.kept = Kept(self.store)
        self.sources = Sources(View(self.views), self.kept, self.redact, lambda: NOW, self._about)

    async def _about(self, sync: str, sha: str) -> Revision:
        if sha not in self.commits:
            raise Rejected(f"{sha} of {sync} is nowhere to be found")
        return self.commits[sha]

    def app(self, access: Access | None = None) -> FastAPI:
        return application(self.sources, self.metrics, access or Access("127.0.0.1"), self.receiver)

    @asynccontextmanager
    async def served(self, app: FastAPI | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the site, over a real connection."""
        limits = limits_of(self.receiver, self.limits)
        async with (
            serve(app or self.app(), "127.0.0.1", 0, limits=limits) as (host, port),
            httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client,
        ):
            yield client


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """The headers of a delivery that the generic host signs."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "x-signature": f"sha256={digest}"}


def push(**more: Any) -> bytes:
    """The body of a push to main."""
    return json.dumps({"repository": "platform/specs", "ref": "refs/heads/main", "after": REVISION, **more}).encode()


GOOD = SyncView(
    "payments",
    60,
    silent=12,
    last_success="2026-01-01T12:00:18Z",
    applied=REVISION,
    outcome="applied",
    next_run="2026-01-01T12:01:18Z",
)


# -- runs -----------------------------------------------------------------------------------------------------------------

STEPS = (
    StepTiming("fetch", 0.142),
    StepTiming("load", 0.031),
    StepTiming("observe", 0.064),
    StepTiming("plan", 0.012),
    StepTiming("lock", 0.0093),
    StepTiming("defaults", 0.044),
    StepTiming("routers", 0.021),
    StepTiming("rows", 0.0007),
    StepTiming("verify", 0.052),
)


def service(name: str, outcome: Outcome = Outcome.APPLIED, **more: Any) -> ServiceOutcome:
    """A service whose protocol became http, unless the test says otherwise."""
    diff = ComponentDiff(f"service-defaults/{name}", Action.UPDATE, (FieldDiff("Protocol", "tcp", "http"),))
    given = {"verdict": Verdict.UPDATE, "action": Action.UPDATE, "diffs": (diff,), **more}
    return ServiceOutcome(ServiceKey(name), outcome, **given)


def report(run: str, **changes: Any) -> RunReport:
    """A run of payments that applied what it is given."""
    services = changes.pop("services", (service("pay"),))
    counts: dict[Outcome, int] = {}
    for each in services:
        counts[each.outcome] = counts.get(each.outcome, 0) + 1
    given: dict[str, Any] = {
        "sync": "payments",
        "revision": REVISION,
        "applied_revision": REVISION,
        "trigger": "webhook",
        "started": "2026-01-01T12:00:17Z",
        "finished": "2026-01-01T12:00:18Z",
        "outcome": RunOutcome.APPLIED,
        "plan_digest": "3f9a0c1d22e4" + "0" * 52,
        "services": services,
        "counts": counts,
        "steps": STEPS,
        **changes,
    }
    return RunReport(run, **given)


async def recorded(store: Store, ended: RunReport) -> RunReport:
    """The run in the store, with its holds."""
    await store.begin_run(
        run=ended.id, sync=ended.sync, revision=ended.revision, trigger=ended.trigger, started=ended.started
    )
    await store.finish_run(ended)
    await store.record_holds(ended.sync, ended.holds)
    return ended


GOOD_RUN = report(
    "01KDVQXJ2M8Q7R3T5V9W1X3Z5A",
    services=(
        service(
            "checkout",
            diffs=(
                ComponentDiff(
                    "service-defaults/checkout",
                    Action.UPDATE,
                    (
                        FieldDiff("Protocol", "tcp", "http"),
                        FieldDiff("Meta.cost_center", "4711", "4712"),
                        FieldDiff("UpstreamConfig.Defaults.Limits.MaxConnections", None, 512),
                    ),
                ),
                ComponentDiff(
                    "service-router/checkout",
                    Action.CREATE,
                    (FieldDiff("Routes", None, [{"Match": {"HTTP": {"PathPrefix": "/v2"}}, "Destination": {"Service": "checkout-v2"}}]),),
                ),
            ),
            findings=(
                Finding(
                    "per-try-timeout",
                    Severity.WARNING,
                    "No Consul has a timeout for each try, so retries share the timeout of the request.",
                    "Leave connect.router.retries.per_try_timeout out.",
                    ServiceKey("checkout"),
                    spec_path="connect.router.retries.per_try_timeout",
                ),
            ),
        ),
        service("ledger-api"),
        service("old-invoices", verdict=Verdict.DELETE, action=Action.DELETE, diffs=(ComponentDiff("service-defaults/old-invoices", Action.DELETE),)),
    ),
)  # fmt: skip

FAILED_RUN = report(
    "01KDVQXJ2M8Q7R3T5V9W1X3Z5B",
    outcome=RunOutcome.PARTIAL,
    trigger="schedule",
    services=(
        service("ledger-api"),
        service(
            "checkout",
            Outcome.FAILED,
            step="routers",
            retryable=True,
            message="Consul gave no answer to PUT service-router/checkout within 10 s.",
        ),
        service(
            "mailer",
            Outcome.REFUSED,
            verdict=Verdict.REFUSED,
            action=None,
            diffs=(),
            findings=(
                Finding(
                    "protocol-mismatch",
                    Severity.ERROR,
                    "A router needs an http protocol, and mailer has tcp.",
                    "Write connect.protocol: http, or remove connect.router.",
                    ServiceKey("mailer"),
                    spec_path="connect.router",
                ),
            ),
        ),
        service(
            "search",
            Outcome.CONFLICT,
            verdict=Verdict.CONFLICT,
            action=None,
            diffs=(),
            message="service-defaults/search belongs to prod-us/search.",
        ),
    ),
    findings=(Finding("unreadable-file", Severity.ERROR, "services/billing.yaml is no YAML: line 7 has a tab.", "Indent by spaces."),),
)  # fmt: skip

HELD = Hold(
    "9d41f0c2ab7e",
    tuple((ServiceKey(f"legacy-{number:02}"), 100 + number) for number in range(14)),
    "14 of 40 services would be deleted, and prune.max_count is 10",
)
HELD_RUN = report(
    "01KDVQXJ2M8Q7R3T5V9W1X3Z5C",
    outcome=RunOutcome.HELD,
    holds=(HELD,),
    services=(
        service("checkout"),
        *(
            service(key.name, Outcome.HELD, verdict=Verdict.HELD, action=None, diffs=())
            for key, _ in HELD.services
        ),
    ),
)  # fmt: skip


@asynccontextmanager
async def stored(folder: Path, *runs: RunReport) -> AsyncIterator[Store]:
    """A store with these runs."""
    async with Store.open(f"sqlite:///{folder / 'gitsync.db'}") as store:
        for each in runs:
            await recorded(store, each)
        yield store
