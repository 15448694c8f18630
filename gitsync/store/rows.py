"""What a report looks like as rows, and a row as what it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gitsync.model.finding import Finding
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Hold
from gitsync.model.run import RunReport, ServiceOutcome


def run_row(report: RunReport) -> dict[str, Any]:
    """The columns of `runs` that a run's end fills in."""
    return {
        "revision": report.revision,
        "applied_revision": report.applied_revision,
        "finished": report.finished,
        "outcome": str(report.outcome),
        "plan_digest": report.plan_digest,
        "error": report.error,
        "error_exit": report.error_exit,
        "counts": {str(outcome): count for outcome, count in report.counts.items()},
        "findings": [finding_json(finding) for finding in report.findings],
        "holds": [
            {"digest": hold.digest, "services": hold_services(hold), "reason": hold.reason, "empty": hold.empty}
            for hold in report.holds
        ],
        "steps": [{"step": step.step, "seconds": step.seconds} for step in report.steps],
    }


def service_rows(run: str, services: Iterable[ServiceOutcome]) -> list[dict[str, Any]]:
    """The rows of `run_services`."""
    return [
        {
            "run": run,
            "service": service.key.path,
            "outcome": str(service.outcome),
            "verdict": str(service.verdict),
            "action": str(service.action) if service.action else None,
            "step": service.step,
            "message": service.message,
            "retryable": service.retryable,
            "findings": [finding_json(finding) for finding in service.findings],
            "diffs": service.diffs,  # {component, action, fields: [{path, before, after}]} each, as the words of the model are
        }
        for service in services
    ]


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as it is kept."""
    return {
        "code": finding.code,
        "severity": str(finding.severity),
        "message": finding.message,
        "hint": finding.hint,
        "service": str(finding.service) if finding.service else None,
        "place": str(finding.place) if finding.place else None,
        "spec_path": finding.spec_path,
    }


def hold_services(hold: Hold) -> list[list[Any]]:
    """The (service path, CreateIndex) pairs of a hold."""
    return [[key.path, index] for key, index in hold.services]


def hold_of(row: Mapping[str, Any]) -> Hold:
    """A hold from its row."""
    services = tuple((ServiceKey.from_path(path), index) for path, index in row["services"])
    return Hold(row["digest"], services, row["reason"], row["empty"])
