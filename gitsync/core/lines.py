"""A plan and a run as lines for a terminal: what a line is about, how deep it stands, and a text that is safe to print. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gitsync.core.shown import counted, redacted, safe, shown_value
from gitsync.model.finding import Finding
from gitsync.model.plan import Action, Change, FieldDiff, Hold, Plan, ServicePlan, Verdict
from gitsync.model.run import Outcome, RunReport, ServiceOutcome

NOTHING: frozenset[str] = frozenset()


class LineKind(StrEnum):
    """What a line is about; a terminal colours by it. The marker says the same without colour."""

    HEAD = "head"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REFUSED = "refused"
    CONFLICT = "conflict"
    FAILED = "failed"
    BUSY = "busy"
    HELD = "held"
    DRIFT = "drift"
    UNCHANGED = "unchanged"
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    HINT = "hint"


MARKERS: Mapping[LineKind, str] = {
    LineKind.HEAD: "",
    LineKind.CREATE: "+",
    LineKind.UPDATE: "~",
    LineKind.DELETE: "-",
    LineKind.REFUSED: "!",
    LineKind.CONFLICT: "!",
    LineKind.FAILED: "!",
    LineKind.BUSY: "!",
    LineKind.HELD: "‖",
    LineKind.DRIFT: "≠",
    LineKind.UNCHANGED: "=",
    LineKind.ERROR: "error",
    LineKind.WARNING: "warning",
    LineKind.NOTE: "note",
    LineKind.HINT: "→",
}
COLORS: Mapping[LineKind, str] = {
    LineKind.HEAD: "1",
    LineKind.CREATE: "32",
    LineKind.UPDATE: "33",
    LineKind.DELETE: "31",
    LineKind.REFUSED: "1;31",
    LineKind.CONFLICT: "1;31",
    LineKind.FAILED: "1;31",
    LineKind.BUSY: "35",
    LineKind.HELD: "35",
    LineKind.DRIFT: "36",
    LineKind.ERROR: "31",
    LineKind.WARNING: "33",
    LineKind.HINT: "2",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it is about, how deep it stands, and its text, which is safe to print as it is."""

    kind: LineKind
    indent: int
    text: str

    @property
    def marked(self) -> str:
        marker = MARKERS[self.kind]
        return "  " * self.indent + (f"{marker} {self.text}" if marker else self.text)


PLANNED = (
    ("create", "to create"),
    ("update", "to update"),
    ("delete", "to delete"),
    ("held", "held"),
    ("refused", "refused"),
    ("conflict", "in conflict"),
    ("drift", "changed outside gitsync"),
    ("unchanged", "unchanged"),
)
DONE = (
    ("applied", "applied"),
    ("pruned", "pruned"),
    ("held", "held"),
    ("refused", "refused"),
    ("conflict", "in conflict"),
    ("busy", "busy"),
    ("failed", "failed"),
)

# -- a plan -----------------------------------------------------------------------------------------------------------


def plan_counts(plan: Plan) -> dict[str, int]:
    """Services by verdict, the ones that do not occur left out."""
    return dict(Counter(str(service.verdict) for service in plan.services.values()))


def plan_summary(plan: Plan) -> str:
    """`1 to create, 2 to update, 40 unchanged`."""
    return counted(plan_counts(plan), PLANNED) or "no services"


def approve_command(hold: Hold) -> str:
    return f"gitsync approve {hold.digest}" + (" --empty" if hold.empty else "")


def worth_showing(plan: Plan) -> list[ServicePlan]:
    """The services of which there is something to say, sorted: stopped ones first, then deletes, then the others."""
    order = (Verdict.REFUSED, Verdict.CONFLICT, Verdict.HELD, Verdict.DELETE, Verdict.DRIFT)
    rank = {verdict: at for at, verdict in enumerate(order)}
    shown = [each for each in plan.services.values() if each.verdict is not Verdict.UNCHANGED or each.findings]
    return sorted(shown, key=lambda each: (rank.get(each.verdict, len(order)), each.verdict == "unchanged", each.key))


def plan_lines(plan: Plan, redact: frozenset[str], *, full: bool = False) -> list[Line]:
    """The plan for a terminal: a head, what concerns everything, the services, what waits for an approval.

    Of a service that does not change, what there is to know is named by its codes only, unless *full*.
    """
    digest = f" {plan.digest[:12]}" if plan.digests else ""
    at = f" at {safe(plan.revision[:12])}" if plan.revision else ""
    lines = [Line(LineKind.HEAD, 0, f"Plan{digest} for {safe(plan.owner)}{at}: {plan_summary(plan)}")]
    lines += _finding_lines(plan.findings, 0)
    for service in worth_showing(plan):
        if service.verdict is Verdict.UNCHANGED and not full:
            lines.append(_known(str(service.key), service.findings))
            continue
        lines.append(Line(LineKind(service.verdict), 0, safe(str(service.key)) + _state(service.verdict)))
        for change in service.changes:
            lines += change_lines(change, redact)
        lines += _finding_lines(service.findings, 1)
    return [*lines, *_hold_lines(plan.holds)]


def _known(name: str, findings: Iterable[Finding]) -> Line:
    """A service that stays as it is, and the codes of what there is to know about it."""
    codes = list(dict.fromkeys(finding.code for finding in findings))
    return Line(LineKind.UNCHANGED, 0, f"{safe(name)}: {', '.join(codes)}")


def _state(verdict: Verdict) -> str:
    """The verdict in words where the marker does not say it all."""
    return "" if verdict in (Verdict.CREATE, Verdict.UPDATE, Verdict.DELETE, Verdict.UNCHANGED) else f" ({verdict})"


def change_lines(change: Change, redact: frozenset[str]) -> Iterator[Line]:
    """A component and its fields. Of one that is deleted only the name: all of it goes."""
    notes = [change.reason] if change.reason else []
    notes += ["a step between"] if change.bridge else []
    notes += ["interrupts traffic"] if change.interrupts else []
    text = safe(str(change.key)) + (f" ({safe('; '.join(notes))})" if notes else "")
    yield Line(LineKind(change.action), 1, text)
    if change.action is not Action.DELETE:
        yield from _diff_lines(change.diff, redact)


def _diff_lines(diffs: Iterable[FieldDiff], redact: frozenset[str]) -> Iterator[Line]:
    for diff in redacted(diffs, redact):
        path = safe(diff.path)
        if diff.before is None:
            yield Line(LineKind.CREATE, 2, f"{path}: {shown_value(diff.after)}")
        elif diff.after is None:
            yield Line(LineKind.DELETE, 2, f"{path}: {shown_value(diff.before)}")
        else:
            yield Line(LineKind.UPDATE, 2, f"{path}: {shown_value(diff.before)} → {shown_value(diff.after)}")


def _finding_lines(findings: Iterable[Finding], indent: int) -> Iterator[Line]:
    for finding in sorted(findings, key=lambda finding: -finding.severity.rank):
        where = " ".join(str(part) for part in (finding.place, finding.spec_path) if part)
        text = f"{finding.code}" + (f" [{where}]" if where else "") + f": {finding.message}"
        yield Line(LineKind(finding.severity), indent, safe(text))
        if finding.hint:
            yield Line(LineKind.HINT, indent + 1, safe(finding.hint))


def _hold_lines(holds: Iterable[Hold]) -> Iterator[Line]:
    for hold in holds:
        names = ", ".join(str(key) for key, _ in hold.services)
        yield Line(LineKind.HELD, 0, f"hold {safe(hold.digest)}: {safe(hold.reason)}")
        yield Line(LineKind.HELD, 1, f"waiting: {safe(names)}")
        yield Line(LineKind.HINT, 1, f"let them go with `{safe(approve_command(hold))}`")


def plan_as_text(plan: Plan, *, redact: frozenset[str], color: bool = False, width: int = 0) -> str:
    """`plan_lines` joined. color: ANSI colours, which add nothing to what the markers say. width: 0 does not wrap."""
    return lines_as_text(plan_lines(plan, redact), color=color, width=width)


def lines_as_text(lines: Iterable[Line], *, color: bool = False, width: int = 0) -> str:
    """Lines as one text that ends in a newline ("" for none)."""
    return "".join(f"{_dressed(line, color=color, width=width)}\n" for line in lines)


def _dressed(line: Line, *, color: bool, width: int) -> str:
    text = line.marked
    hanging = " " * (len(text) - len(line.text))
    if width and len(text) > width > len(hanging) + 20:
        wrapped = textwrap.wrap(line.text, width - len(hanging), break_on_hyphens=False)
        text = text[: len(hanging)] + f"\n{hanging}".join(wrapped)
    code = COLORS.get(line.kind) if color else None
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


# -- a run ------------------------------------------------------------------------------------------------------------


def report_counts(report: RunReport) -> dict[str, int]:
    """Services by outcome; those that were applied by deleting them are `pruned`."""
    counts = {str(outcome): number for outcome, number in report.counts.items() if number}
    gone = (each for each in report.services if each.outcome is Outcome.APPLIED and each.action is Action.DELETE)
    if pruned := sum(1 for _ in gone):
        counts |= {"pruned": pruned, "applied": max(0, counts.get("applied", 0) - pruned)}
    return counts


def summary(report: RunReport) -> str:
    """One line, such as `12 applied, 1 pruned, 2 refused`."""
    done = _done(report)
    if report.error and report.outcome == "failed" and not report.counts:
        return f"failed: {safe(report.error, 200)}"
    return f"{done}; {safe(report.error, 200)}" if report.error else done


def _done(report: RunReport) -> str:
    counts = report_counts(report)
    unchanged = f"{counts['unchanged']} unchanged" if counts.get("unchanged") else "nothing to do"
    return counted(counts, DONE) or ("nothing was done" if report.error and not report.counts else unchanged)


def report_lines(report: RunReport, *, redact: frozenset[str] = NOTHING, full: bool = False) -> list[Line]:
    """The run for a terminal: a head, what concerns everything, what became of the services, what waits.

    Of a service that did not change, what there is to know is named by its codes only, unless *full*.
    """
    at = f" at {safe(report.revision[:12])}" if report.revision else ""
    run = f"Run {safe(report.id)} of" if report.id else "A look at"
    head = f"{run} {safe(report.sync)}{at}: {report.outcome}, {_done(report)}"
    lines = [Line(LineKind.HEAD, 0, head), *_finding_lines(report.findings, 0)]
    for service in report.services:
        if service.outcome is Outcome.UNCHANGED and not service.diffs and not full:
            lines.append(_known(str(service.key), service.findings))
            continue
        lines.append(Line(_kind(service), 0, _outcome_text(service)))
        if service.message:
            lines.append(Line(LineKind.ERROR, 1, safe(service.message)))
        for diff in service.diffs:
            lines.append(Line(LineKind(diff.action), 1, safe(diff.component)))
            lines += () if diff.action is Action.DELETE else _diff_lines(diff.fields, redact)
        lines += _finding_lines(service.findings, 1)
    lines += _hold_lines(report.holds)
    if report.error:
        lines.append(Line(LineKind.ERROR, 0, safe(report.error)))
    return lines


def _kind(service: ServiceOutcome) -> LineKind:
    if service.outcome is Outcome.APPLIED:
        return LineKind(service.action) if service.action else LineKind.UNCHANGED
    return LineKind(service.outcome)


def _outcome_text(service: ServiceOutcome) -> str:
    step = f" at {service.step}" if service.step else ""
    return f"{safe(str(service.key))} ({service.outcome}{step})"
