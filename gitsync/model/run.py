"""What a run did: its outcome per service and as a whole, its steps and their times, and the exit code that says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gitsync.model.finding import Finding, Severity
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, FieldDiff, Hold, Verdict


class Outcome(StrEnum):
    """What became of one service."""

    UNCHANGED = "unchanged"
    APPLIED = "applied"
    REFUSED = "refused"
    CONFLICT = "conflict"
    BUSY = "busy"
    HELD = "held"
    FAILED = "failed"


class RunOutcome(StrEnum):
    """What became of a run."""

    UNCHANGED = "unchanged"
    APPLIED = "applied"
    HELD = "held"
    PARTIAL = "partial"
    FAILED = "failed"


STOPPED = frozenset({Outcome.REFUSED, Outcome.CONFLICT, Outcome.BUSY, Outcome.FAILED})
"""What did not become as it was wanted, and not because it waits for an approval."""


@dataclass(frozen=True, slots=True)
class StepTiming:
    """How long one step of a run took."""

    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ComponentDiff:
    """What changed in one component, named as `str(ComponentKey)`."""

    component: str
    action: Action
    fields: tuple[FieldDiff, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceOutcome:
    """One service in a run.

    verdict, action: what the plan said, and what was done or tried as a whole (None: nothing). step: where it failed (None: it
    did not). message: why, in a sentence. retryable: it failed for want of an answer, not because it was refused. drift: somebody
    had changed it outside gitsync.
    """

    key: ServiceKey
    outcome: Outcome
    verdict: Verdict
    action: Action | None = None
    step: str | None = None
    message: str = ""
    findings: tuple[Finding, ...] = ()
    diffs: tuple[ComponentDiff, ...] = ()
    retryable: bool = False
    drift: bool = False


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run, as it is shown, stored and reported.

    id: a ULID. revision: the one that was attempted; applied_revision: the one that holds now ("" before the first).
    started, finished: ISO 8601, UTC. services: those that changed, failed or have findings; counts: all of them.
    error: why the run as a whole ended (None: it did not end early); error_exit: the exit code of that (0: none).
    """

    id: str
    sync: str
    revision: str
    applied_revision: str
    trigger: str
    started: str
    finished: str
    outcome: RunOutcome
    plan_digest: str = ""
    services: tuple[ServiceOutcome, ...] = ()
    counts: Mapping[Outcome, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    holds: tuple[Hold, ...] = ()
    steps: tuple[StepTiming, ...] = ()
    error: str | None = None
    error_exit: int = 0


def run_outcome(outcomes: Iterable[Outcome], *, unread: bool = False) -> RunOutcome:
    """What a run with services of these *outcomes* is as a whole. *unread*: a part of the revision could not be read.

    `partial` as soon as one service (or file) stopped while others are fine, `failed` if none is fine.
    """
    seen = set(outcomes)
    if unread or seen & STOPPED:
        return RunOutcome.PARTIAL if seen - STOPPED else RunOutcome.FAILED
    if Outcome.HELD in seen:
        return RunOutcome.HELD
    return RunOutcome.APPLIED if Outcome.APPLIED in seen else RunOutcome.UNCHANGED


def exit_code(report: RunReport) -> int:
    """The exit code of `gitsync sync` for this run (design.md section 8).

    0 fine, 3 refused or invalid, 4 conflict, busy or held, 5 Consul refuses, 6 unavailable: the largest that applies. 1 is a
    bug: a failure that says nothing about itself. (2, a plan with changes, is never that of a run.)
    """
    codes = {report.error_exit} if report.error_exit > 1 else set()
    counts = report.counts
    failures = [service for service in report.services if service.outcome is Outcome.FAILED]
    if counts.get(Outcome.REFUSED) or any(finding.severity is Severity.ERROR for finding in report.findings):
        codes.add(3)
    if report.holds or any(counts.get(outcome) for outcome in (Outcome.CONFLICT, Outcome.BUSY, Outcome.HELD)):
        codes.add(4)
    codes.update(6 if failure.retryable else 5 for failure in failures)
    if counts.get(Outcome.FAILED) and not failures:
        codes.add(5)
    if codes:
        return max(codes)
    return 1 if report.error or report.error_exit or report.outcome is RunOutcome.FAILED else 0
