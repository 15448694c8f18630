"""Plans and reports on the screen."""

from __future__ import annotations

from collections.abc import Iterable

from gitsync.cli.call import CHANGES, CONFLICT, REFUSED, together
from gitsync.cli.screen import Screen, short
from gitsync.core.describe import Line, plan_lines, report_lines, summary
from gitsync.engine.look import Look
from gitsync.model.finding import Severity
from gitsync.model.plan import Verdict
from gitsync.model.run import RunReport
from gitsync.model.sync import Sync


def tell(screen: Screen, lines: Iterable[Line]) -> None:
    """Described lines, in their colours."""
    for line in lines:
        screen.line((line.text, line.tone))


def tell_plan(screen: Screen, sync: Sync, seen: Look) -> None:
    """A plan: of what, what would change, and what waits."""
    revision = seen.revision
    where = f"{short(revision.sha)} {revision.subject}".strip() if revision.sha else "the given folder"
    screen.line((f"{sync.name}", "head"), f"  {where}")
    if seen.trouble:
        screen.line(("the newest commit cannot be read, this is the last applied one: ", "wait"), str(seen.trouble))
    tell(screen, plan_lines(seen.plan, redact=sync.redact))


def plan_code(seen: Look) -> int:
    """The exit code of `gitsync plan`: 2 for changes, unless something is refused, in conflict, held or unread."""
    verdicts = {service.verdict for service in seen.plan.services.values()}
    findings = [*seen.plan.findings, *(each for service in seen.plan.services.values() for each in service.findings)]
    codes = [seen.trouble.exit_code] if seen.trouble else []
    if Verdict.REFUSED in verdicts or any(each.severity is Severity.ERROR for each in findings):
        codes.append(REFUSED)
    if verdicts & {Verdict.CONFLICT, Verdict.HELD} or seen.plan.holds:
        codes.append(CONFLICT)
    if not seen.plan.empty or Verdict.DRIFT in verdicts:
        codes.append(CHANGES)
    return together(codes)


def tell_report(screen: Screen, report: RunReport) -> None:
    """What a run did."""
    tell(screen, report_lines(report))
    screen.line(summary(report))
