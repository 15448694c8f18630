"""Plans and reports on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from gitsync.cli.call import CHANGES, CONFLICT, REFUSED, together
from gitsync.cli.screen import Screen, number, short
from gitsync.core.describe import Line, LineKind, plan_lines, report_lines
from gitsync.engine.look import Look
from gitsync.model.finding import Severity
from gitsync.model.plan import Plan, Verdict
from gitsync.model.run import RunReport
from gitsync.model.sync import Sync

SHOWN = 50
"""How many services a plan shows without --full. Nobody reads a thousand of them on a screen."""


WHOLE = (LineKind.HEAD, LineKind.ERROR, LineKind.WARNING, LineKind.NOTE, LineKind.HINT)
CHANGED = (LineKind.CREATE, LineKind.UPDATE, LineKind.DELETE)
FIELDS = 2
"""How deep the fields of a component stand. A plan shows them; after a run, what became of the services is enough."""


def shortened(lines: Sequence[Line], rest: str) -> list[Line]:
    """*lines* without the services after the first ones; *rest* says where those are.

    What concerns all of it, and holds, always stay.
    """
    kept: list[Line] = []
    services, showing = 0, True
    for line in lines:
        if line.indent == 0:
            of_all = line.kind in WHOLE or line.text.startswith("hold ")
            services += not of_all
            showing = of_all or services <= SHOWN
        if showing:
            kept.append(line)
    if services > SHOWN:
        kept.append(Line(LineKind.NOTE, 0, f"{number(services - SHOWN, 'more service')} not listed; {rest}"))
    return kept


def tell_plan(screen: Screen, sync: Sync, seen: Look, *, full: bool = False) -> None:
    """A plan: of what, what would change, and what waits."""
    if seen.trouble:
        screen.warn(f"the newest commit cannot be read, this is the plan of the last applied one: {seen.trouble}")
    lines = plan_lines(seen.plan, sync.redact, full=full)
    screen.described(lines if full else shortened(lines, "--full lists them all."))
    if seen.revision.subject:
        screen.line((f"{short(seen.revision.sha)} {seen.revision.subject} ({seen.revision.author})", "quiet"))


def plan_code(seen: Look) -> int:
    """The exit code of `gitsync plan`: 2 for changes, unless something is refused, in conflict, held or unread."""
    return together([code_of(seen.plan), *([seen.trouble.exit_code] if seen.trouble else [])])


def code_of(plan: Plan) -> int:
    """The exit code that a plan stands for."""
    verdicts = {service.verdict for service in plan.services.values()}
    findings = [*plan.findings, *(each for service in plan.services.values() for each in service.findings)]
    codes = []
    if Verdict.REFUSED in verdicts or any(each.severity is Severity.ERROR for each in findings):
        codes.append(REFUSED)
    if verdicts & {Verdict.CONFLICT, Verdict.HELD} or plan.holds:
        codes.append(CONFLICT)
    if not plan.empty or Verdict.DRIFT in verdicts:
        codes.append(CHANGES)
    return together(codes)


def tell_report(screen: Screen, sync: Sync, report: RunReport) -> None:
    """What a run did."""
    lines = report_lines(report, redact=sync.redact)
    brief = [line for line in lines if line.indent < FIELDS or line.kind not in CHANGED]
    screen.described(shortened(brief, f"`gitsync runs --id {report.id}` lists them all."))
