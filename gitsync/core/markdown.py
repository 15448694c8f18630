"""A plan as Markdown for a pull request, taken at its letters: whatever a spec says, it cannot speak in gitsync's name. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, pairwise

from gitsync.core.lines import LineKind, approve_command, change_lines, plan_summary, worth_showing
from gitsync.core.shown import safe
from gitsync.model.finding import Finding, Severity
from gitsync.model.plan import Hold, Plan, ServicePlan

SECTION = 6000
"""The characters of one service's changes; what is longer is cut, so that one service never hides the others."""

_SPECIAL = re.compile(r"[^\w .,;?'\u0080-\U0010ffff]")
_SIGIL = re.compile(r"([@#!~%$&/:]|\bGH-|\bwww\.)(?=\w)")
_NO_WIDTH = "\u200b"
_DIFF = {LineKind.CREATE: "+", LineKind.DELETE: "-", LineKind.UPDATE: "!"}


def plan_as_markdown(plan: Plan, redact: frozenset[str], limit: int) -> str:
    """A summary, what waits for an approval, the findings, and the changes folded away; at most *limit* characters.

    What does not fit is left out from the end, as a whole, and the last line says how much that is.
    """
    digest = f" {code(plan.digest[:12])}" if plan.digests else ""
    at = f" at {code(plan.revision[:12])}" if plan.revision else ""
    blocks = [f"### gitsync plan{digest}\n\n{code(plan.owner)}{at}: **{plan_summary(plan)}**"]
    blocks += [hold_block(hold) for hold in plan.holds]
    blocks += _findings(plan)
    blocks += [service_block(service, redact) for service in worth_showing(plan) if service.changes]
    return fitted(
        blocks, limit, lambda left: f"{left} parts of this plan do not fit here: `gitsync plan` shows all of it."
    )


def code(text: str) -> str:
    """*text* as a code span, whatever it holds: no mention, link, entity or tag works in one."""
    shown = safe(text, 300)
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip(" ") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def inert(text: str) -> str:
    """*text* as plain prose: no Markdown, no HTML, and neither @names nor #numbers reach anybody."""
    quiet = _SIGIL.sub(lambda found: found[0] + _NO_WIDTH, safe(text))
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};" if ord(found[0]) < 128 else found[0], quiet).replace(
        "_", "&#95;"
    )


def fenced(lines: Iterable[str], language: str) -> str:
    """A code block whose fence is longer than any in it."""
    body = "\n".join(lines)
    fence = "`" * max(3, _longest_run(body) + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def hold_block(hold: Hold) -> str:
    """What waits for an approval, and how to give it."""
    names = ", ".join(code(str(key)) for key, _ in hold.services[:20])
    more = f" and {len(hold.services) - 20} more" if len(hold.services) > 20 else ""
    return (
        f"**‖ {len(hold.services)} deletes wait for an approval**: {inert(hold.reason)}.\n"
        f"{names}{more}\n\nApprove with {code(approve_command(hold))}."
    )


def _findings(plan: Plan) -> list[str]:
    """Errors, then warnings, in the open; notes folded away."""
    every = [*plan.findings, *(finding for service in worth_showing(plan) for finding in service.findings)]
    loud = [finding for finding in every if finding.severity is not Severity.NOTE]
    loud.sort(key=lambda finding: -finding.severity.rank)
    notes = [finding_line(finding) for finding in every if finding.severity is Severity.NOTE]
    blocks = [finding_line(finding) for finding in loud]
    blocks += [folded(f"{len(notes)} notes", "\n".join(notes))] if notes else []
    return blocks


def finding_line(finding: Finding) -> str:
    """A finding as an item of a list."""
    where = " ".join(code(str(part)) for part in (finding.place, finding.service, finding.spec_path) if part)
    hint = f" → {inert(finding.hint)}" if finding.hint else ""
    return f"- **{finding.severity}** {code(finding.code)} {where}: {inert(finding.message)}{hint}"


def service_block(service: ServicePlan, redact: frozenset[str]) -> str:
    """A service's changes, folded away."""
    title = f"{service.verdict}: <code>{inert(str(service.key))}</code>"
    return folded(title, fenced(_cut(_changes(service, redact)), "diff"))


def _changes(service: ServicePlan, redact: frozenset[str]) -> Iterator[str]:
    """In the marks that a diff is coloured by."""
    for change in service.changes:
        for line in change_lines(change, redact):
            yield f"{_DIFF[line.kind]} {'  ' * (line.indent - 1)}{line.text}"


def _cut(lines: Iterable[str]) -> Iterator[str]:
    left = SECTION
    every = list(lines)
    for at, line in enumerate(every):
        left -= len(line) + 1
        if left < 0:
            yield f"  … and {len(every) - at} lines more"
            return
        yield line


def folded(title: str, body: str) -> str:
    """A part that is opened by a click. The blank lines are what makes the body Markdown again."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def fitted(blocks: list[str], limit: int, tail_of: Callable[[int], str]) -> str:
    """As many blocks as fit, from the first, and a last line if some are left out: *tail_of* says it of that many."""
    gaps = ["", *("\n" if a.startswith("- ") and b.startswith("- ") else "\n\n" for a, b in pairwise(blocks))]
    ends = list(accumulate(len(gap) + len(block) for gap, block in zip(gaps, blocks, strict=True)))
    kept = len(blocks)
    tail = ""
    while kept and ends[kept - 1] + len(tail) + 1 > limit:
        kept -= 1
        tail = f"\n\n{tail_of(len(blocks) - kept)}"
    if not kept:
        return blocks[0][:limit]
    return "".join(gap + block for gap, block in zip(gaps[:kept], blocks[:kept], strict=True)) + tail + "\n"
