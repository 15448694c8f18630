"""Report: what a run says of itself at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gitsync.engine.look import Look
from gitsync.engine.ports import Clock, Progress
from gitsync.engine.work import Done
from gitsync.model.desired import Desired
from gitsync.model.errors import GitsyncError
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Action, Plan, ServicePlan, Verdict
from gitsync.model.run import ComponentDiff, Outcome, RunOutcome, RunReport, ServiceOutcome, StepTiming, run_outcome

UNDONE = {
    Verdict.UNCHANGED: Outcome.UNCHANGED,
    Verdict.DRIFT: Outcome.UNCHANGED,
    Verdict.REFUSED: Outcome.REFUSED,
    Verdict.CONFLICT: Outcome.CONFLICT,
    Verdict.HELD: Outcome.HELD,
}
"""What became of a service of which nothing was to be written."""

ACTIONS = {Verdict.CREATE: Action.CREATE, Verdict.UPDATE: Action.UPDATE, Verdict.DELETE: Action.DELETE}


Told = dict[ServiceKey, tuple[ServicePlan, ServiceOutcome]]
"""What was said of services to which nothing happened, with the plan that it was said of."""


class Steps:
    """Measures the steps of a run and passes them on to whoever watches."""

    def __init__(self, clock: Clock, progress: Progress) -> None:
        self._clock, self._progress = clock, progress
        self._times: dict[str, float] = {}
        self.current, self._since = "", clock.monotonic()

    def step(self, name: str, total: int = 0) -> None:
        self._stop()
        self.current = name
        self._progress.step(name, total)

    def advance(self, count: int = 1) -> None:
        self._progress.advance(count)

    def say(self, message: str) -> None:
        self._progress.say(message)

    def timings(self) -> tuple[StepTiming, ...]:
        self._stop()
        return tuple(StepTiming(name, round(seconds, 4)) for name, seconds in self._times.items())

    def _stop(self) -> None:
        now = self._clock.monotonic()
        if self.current:
            self._times[self.current] = self._times.get(self.current, 0.0) + now - self._since
        self._since = now


def outcome_of(key: ServiceKey, plan: ServicePlan, done: Mapping[ServiceKey, Done]) -> Outcome:
    return done[key].outcome if key in done else UNDONE.get(plan.verdict, Outcome.FAILED)


def exceptions_of(plan: Plan, done: Mapping[ServiceKey, Done], desired: Desired) -> dict[str, str]:
    """What the revision wants and does not have: service path → outcome, and `file:<path>` → unreadable."""
    result = {
        key.path: str(outcome)
        for key in {*done, *plan.unsettled} & plan.services.keys()
        if (outcome := outcome_of(key, plan.services[key], done)) not in (Outcome.UNCHANGED, Outcome.APPLIED)
    }
    result.update({f"file:{path}": "unreadable" for path in desired.unreadable})
    return dict(sorted(result.items()))


@dataclass(frozen=True, slots=True)
class Head:
    """Which run it is. started: ISO 8601, UTC."""

    run: str
    sync: str
    trigger: str
    started: str


def report(
    head: Head,
    seen: Look,
    done: Mapping[ServiceKey, Done],
    steps: Steps,
    *,
    finished: str,
    applied: str,
    told: Told,
    error: GitsyncError | None = None,
) -> RunReport:
    """The report of a run that looked, whatever it wrote. told: what the last one said, of services whose plan is the same."""
    services = []
    said: Told = {}
    plans = seen.plan.services
    worth_telling = {*done, *seen.plan.unsettled, *seen.plan.noted} & plans.keys()
    counts: Counter[Outcome] = Counter()
    if len(worth_telling) < len(plans):
        counts[Outcome.UNCHANGED] = len(plans) - len(worth_telling)
    for key in sorted(worth_telling):
        plan = plans[key]
        before = told.get(key)
        if before and before[0] is plan and key not in done:
            outcome = before[1]
        else:
            outcome = _outcome(key, plan, done.get(key, Done(UNDONE.get(plan.verdict, Outcome.FAILED))))
        counts[outcome.outcome] += 1
        if outcome.outcome is Outcome.UNCHANGED and not plan.findings:
            continue
        services.append(outcome)
        if key not in done:
            said[key] = plan, outcome
    told.clear()
    told.update(said)
    trouble = error or seen.trouble
    unread = bool(seen.desires.desired.unreadable) or trouble is not None
    overall = run_outcome(counts.elements(), unread=unread)
    return RunReport(
        id=head.run,
        sync=head.sync,
        revision=seen.attempted,
        applied_revision=applied,
        trigger=head.trigger,
        started=head.started,
        finished=finished,
        outcome=RunOutcome.FAILED if error else overall,
        plan_digest=seen.plan.digest,
        services=tuple(services),
        counts=dict(counts),
        findings=seen.plan.findings,
        holds=seen.plan.holds,
        steps=steps.timings(),
        error=str(trouble) if trouble else None,
        error_exit=trouble.exit_code if trouble else 0,
    )


def _outcome(key: ServiceKey, plan: ServicePlan, end: Done) -> ServiceOutcome:
    return ServiceOutcome(
        key=key,
        outcome=end.outcome,
        verdict=plan.verdict,
        action=ACTIONS.get(plan.verdict),
        step=end.step or None,
        message=end.message,
        findings=plan.findings,
        diffs=tuple(ComponentDiff(str(change.key), change.action, change.diff) for change in plan.changes),
        retryable=end.retryable,
        drift=plan.drift,
    )


def early_end(head: Head, steps: Steps, error: GitsyncError, *, finished: str, revision: str = "") -> RunReport:
    """The report of a run that ended before it had anything to say of services."""
    return RunReport(
        id=head.run,
        sync=head.sync,
        revision=revision or error.revision,
        applied_revision="",
        trigger=head.trigger,
        started=head.started,
        finished=finished,
        outcome=RunOutcome.FAILED,
        steps=steps.timings(),
        error=f"{steps.current}: {error}" if steps.current else str(error),
        error_exit=error.exit_code,
    )
