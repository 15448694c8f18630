"""A plan and a run in words: as JSON for programs, as text for people, as Markdown for a pull request. Pure.

Everything that comes from a repository or from Consul is hostile here: labels that the configuration redacts are never
shown, controls and marks that turn text around are written out, and Markdown is taken at its letters.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from gitsync.core.lines import (
    NOTHING,
    Line,
    LineKind,
    approve_command,
    lines_as_text,
    plan_as_text,
    plan_counts,
    plan_lines,
    plan_summary,
    report_counts,
    report_lines,
    summary,
    worth_showing,
)
from gitsync.core.markdown import plan_as_markdown
from gitsync.core.shown import diff_json, finding_json
from gitsync.model.plan import Action, Change, Hold, Plan, Verdict
from gitsync.model.run import RunReport, ServiceOutcome, exit_code

__all__ = [
    "Line", "LineKind", "hold_json", "lines_as_text", "plan_as_json", "plan_as_markdown", "plan_as_text", "plan_lines",
    "plan_summary", "report_as_json", "report_lines", "summary",
]  # fmt: skip

SCHEMA = 1


def plan_as_json(plan: Plan, *, redact: frozenset[str]) -> dict[str, Any]:
    """The plan for programs. Values are as they are, so write it with JSON's own escapes (`ensure_ascii`).

    {schema, owner, revision, digest, empty, summary: {services, <verdict>: n, changes: {create, update, delete}},
     services: [{service, path, verdict, digest, drift, changes: [{component, kind, action, phase, reason, bridge, interrupts,
     take, diff: [{path, before, after}]}], findings: [finding]}], findings: [finding],
     holds: [{digest, reason, empty, services, approve}]}

    finding: {code, severity, message, hint, service, path, line, column, spec_path}. services: those that change, are
    stopped or have findings; `summary` counts all. changes: in the order in which they are written, also those of a held
    service. phase: all services pass one before any enters the next.
    """
    writes = Counter(str(change.action) for change in plan.changes())
    return {
        "schema": SCHEMA,
        "owner": plan.owner,
        "revision": plan.revision,
        "digest": plan.digest,
        "empty": plan.empty,
        "summary": {
            "services": len(plan.services),
            **{str(verdict): plan_counts(plan).get(str(verdict), 0) for verdict in Verdict},
            "changes": {str(action): writes[str(action)] for action in Action},
        },
        "services": [
            {
                "service": str(service.key),
                "path": service.key.path,
                "verdict": str(service.verdict),
                "digest": plan.digests.get(service.key, ""),
                "drift": service.drift,
                "changes": [_change_json(change, redact) for change in service.changes],
                "findings": [finding_json(finding) for finding in service.findings],
            }
            for service in worth_showing(plan)
        ],
        "findings": [finding_json(finding) for finding in plan.findings],
        "holds": [hold_json(hold) for hold in plan.holds],
    }


def _change_json(change: Change, redact: frozenset[str]) -> dict[str, Any]:
    return {
        "component": str(change.key),
        "kind": str(change.key.kind),
        "action": str(change.action),
        "phase": change.phase.name.lower(),
        "reason": change.reason,
        "bridge": change.bridge,
        "interrupts": change.interrupts,
        "take": change.take,
        "diff": diff_json(change.diff, redact),
    }


def hold_json(hold: Hold) -> dict[str, Any]:
    """`{digest, reason, empty, services, approve}`; approve: the command that lets it go."""
    return {
        "digest": hold.digest,
        "reason": hold.reason,
        "empty": hold.empty,
        "services": [str(key) for key, _ in hold.services],
        "approve": approve_command(hold),
    }


def report_as_json(report: RunReport, *, redact: frozenset[str] = NOTHING) -> dict[str, Any]:
    """The run for programs. Values are as they are, so write it with JSON's own escapes (`ensure_ascii`).

    {schema, id, sync, revision, applied_revision, trigger, started, finished, outcome, exit_code, plan_digest, summary,
     counts: {<outcome>: n, pruned}, services: [{service, path, outcome, verdict, action, step, message, retryable,
     findings: [finding], diffs: [{component, action, fields: [{path, before, after}]}]}], findings: [finding],
     holds: [as in a plan], steps: [{step, seconds}], error}
    """
    return {
        "schema": SCHEMA,
        "id": report.id,
        "sync": report.sync,
        "revision": report.revision,
        "applied_revision": report.applied_revision,
        "trigger": report.trigger,
        "started": report.started,
        "finished": report.finished,
        "outcome": str(report.outcome),
        "exit_code": exit_code(report),
        "plan_digest": report.plan_digest,
        "summary": summary(report),
        "counts": report_counts(report),
        "services": [_service_json(service, redact) for service in report.services],
        "findings": [finding_json(finding) for finding in report.findings],
        "holds": [hold_json(hold) for hold in report.holds],
        "steps": [{"step": each.step, "seconds": each.seconds} for each in report.steps],
        "error": report.error,
    }


def _service_json(service: ServiceOutcome, redact: frozenset[str]) -> dict[str, Any]:
    return {
        "service": str(service.key),
        "path": service.key.path,
        "outcome": str(service.outcome),
        "verdict": str(service.verdict),
        "action": str(service.action) if service.action else None,
        "step": service.step,
        "message": service.message,
        "retryable": service.retryable,
        "findings": [finding_json(finding) for finding in service.findings],
        "diffs": [
            {"component": diff.component, "action": str(diff.action), "fields": diff_json(diff.fields, redact)}
            for diff in service.diffs
        ],
    }
