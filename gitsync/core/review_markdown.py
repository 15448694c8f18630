"""A review for the people on the pull request: as a comment, as the words on a commit, and as JSON for the page. Pure.

All of it is hostile text: nothing that a request says can speak in gitsync's name, reach anybody, or pass for another comment.
Labels that are redacted are shown nowhere, and of a fork no value at all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from gitsync.core.codes import CODES
from gitsync.core.describe import plan_as_json
from gitsync.core.lines import PLANNED, worth_showing
from gitsync.core.markdown import code, finding_line, fitted, folded, hold_block, inert, service_block
from gitsync.core.shown import LABELS, counted, finding_json
from gitsync.core.status_words import neutral
from gitsync.model.component import Body
from gitsync.model.finding import Finding, Severity
from gitsync.model.host import DESCRIPTION
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Hold, Plan, ServicePlan, Verdict
from gitsync.model.review import Link, Review, ReviewVerdict

OPEN_LINKS, MOST_LINKS = 8, 60
"""How many lines about others are shown in the open, and at all."""

MOST_NAMES = 30
LEAST_HIDDEN = 3
"""The characters of a redacted value from which on a sentence that has it is not repeated."""

_SCHEMA = 1


# -- the comment ----------------------------------------------------------------------------------------------------------


def review_as_markdown(review: Review, *, marker: str, redact: frozenset[str], limit: int, link: str = "") -> str:
    """The comment, at most *limit* characters. marker: its first line. link: where the whole plan is, "" for nowhere."""
    review = discreet(review, redact)
    blocks = [_no_marker(block) for block in (_head(review, link), *_body(review, redact))]
    where = f"[the whole plan](<{link}>)" if link else "`gitsync plan`"
    room = limit - len(marker) - 1
    text = fitted(blocks, room, lambda left: f"{left} parts of this plan do not fit here: see {where}.")
    return f"{marker}\n{text[:room]}"


def _no_marker(text: str) -> str:
    """No text of a request makes this comment be taken for that of another sync."""
    return text.replace("gitsync:", "gitsync\u200b:")


def _head(review: Review, link: str) -> str:
    change = review.change
    into = f"{code(change.head_sha[:12])} into {code(change.base_ref)}"
    into += f" at {code(review.base.sha[:12])}" if review.base.sha else ""
    said = _sentence(review)
    more = f"\n\n[The whole plan](<{link}>)" if link and review.plan else ""
    return f"### gitsync plan for {code(review.sync)}\n\n**{inert(said)}** by merging {into}.{more}"


def _sentence(review: Review) -> str:
    match review.verdict:
        case ReviewVerdict.UNAFFECTED:
            return "No service is affected"
        case ReviewVerdict.VALID:
            return f"{_number(review.specs, 'spec')} changed, nothing is wrong with the files"
        case ReviewVerdict.CONFLICTED:
            return "Nothing can be planned"
        case ReviewVerdict.FAILED:
            return "No plan could be made"
        case _ if review.plan is None:
            return "Something in it would be refused"
        case _:
            return _summary(review) or "Nothing is to be written"


def _body(review: Review, redact: frozenset[str]) -> Iterator[str]:
    if review.message:
        yield inert(review.message)
    if review.conflicts:
        yield "\n".join(f"- {code(path)}" for path in review.conflicts)
    yield from (hold_block(hold) for hold in _holds(review))
    yield from _findings(review)
    if review.links:
        yield _links(review.links)
    for service in _services(review):
        if service.changes:
            yield service_block(service, redact)
    if names := _anyway(review):
        title = f"{_number(len(names), 'service')} would change with the next run anyway"
        shown = ", ".join(code(str(key)) for key in names[:MOST_NAMES])
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        yield folded(title, f"Whatever becomes of this request: {shown}{more}")


def _findings(review: Review) -> Iterator[str]:
    """Errors, then warnings, in the open; notes folded away."""
    line = _line_without_values if review.unsaid else finding_line
    every = [*review.findings, *(finding for service in _services(review) for finding in service.findings)]
    loud = sorted((each for each in every if each.severity is not Severity.NOTE), key=lambda each: -each.severity.rank)
    yield from map(line, loud)
    if notes := [line(each) for each in every if each.severity is Severity.NOTE]:
        yield folded(_number(len(notes), "note"), "\n".join(notes))


def _line_without_values(finding: Finding) -> str:
    where = " ".join(code(str(part)) for part in (finding.place, finding.spec_path) if part)
    return f"- **{finding.severity}** {code(finding.code)} {where}: {inert(_title(finding))}"


def _links(links: Collection[Link]) -> str:
    """The blast radius."""
    by_service: dict[ServiceKey, list[Link]] = defaultdict(list)
    for each in links:
        by_service[each.service].append(each)
    lines = []
    for service, every in sorted(by_service.items()):
        named = ", ".join(_link(each) for each in every[:MOST_LINKS])
        more = f" and {len(every) - MOST_LINKS} more" if len(every) > MOST_LINKS else ""
        lines.append(f"- {code(str(service))}: {named}{more}")
    left = len(lines) - MOST_LINKS
    shown = "\n".join(lines[:MOST_LINKS]) + (f"\n- and {left} services more" if left > 0 else "")
    title = f"Who else leads to {'it' if len(by_service) == 1 else 'them'} in live Consul ({len(links)})"
    return folded(title, shown) if len(links) > OPEN_LINKS else f"**{title}**\n\n{shown}"


def _link(link: Link) -> str:
    whose = f", of {code(link.owner)}" if link.owner else ""
    return f"{code(f'{link.kind}/{link.name}')} {inert(link.how)}{whose}"


# -- the words on a commit ------------------------------------------------------------------------------------------------


def review_words(review: Review, redact: frozenset[str] = frozenset()) -> str:
    """What the commit is told, at most 140 characters."""
    review = discreet(review, redact)
    match review.verdict:
        case ReviewVerdict.UNAFFECTED:
            text = "no service affected"
        case ReviewVerdict.VALID:
            text = f"{_number(review.specs, 'spec')} changed, all of them valid"
        case ReviewVerdict.CONFLICTED | ReviewVerdict.FAILED:
            text = review.message or "no plan could be made"
        case ReviewVerdict.REFUSED if review.unsaid or review.plan is None or review.message:
            errors = sum(each.severity is Severity.ERROR for each in review.findings)
            text = review.message or (f"{_number(errors, 'error')} in the files" if errors else "it would be refused")
        case ReviewVerdict.REFUSED:
            text = _refused(review)
        case _:
            text = _planned(review)
    return neutral(text, DESCRIPTION)


def _refused(review: Review) -> str:
    stopped = [each for each in _services(review) if each.verdict in (Verdict.REFUSED, Verdict.CONFLICT)]
    errors = [each for each in review.findings if each.severity is Severity.ERROR]
    if not stopped:
        return f"{errors[0].place.path if errors and errors[0].place else 'a file'} would be refused: " + (
            errors[0].message if errors else ""
        )
    more = f" and {len(stopped) - 1} more" if len(stopped) > 1 else ""
    verb = "in conflict" if stopped[0].verdict is Verdict.CONFLICT else "refused"
    why = next((each.message for each in stopped[0].findings if each.severity is Severity.ERROR), "")
    return f"{stopped[0].key}{more} would be {verb}: {why}"


def _planned(review: Review) -> str:
    every = [*review.findings, *(finding for service in _services(review) for finding in service.findings)]
    warnings = sum(each.severity is Severity.WARNING for each in every)
    parts = [_summary(review) or "nothing to write"]
    parts += [_number(warnings, "warning")] if warnings else []
    parts += [f"{_number(len(review.links), 'link')} of others lead to them"] if review.links else []
    return " · ".join(parts)


# -- for the page ---------------------------------------------------------------------------------------------------------


def review_as_json(review: Review, *, redact: frozenset[str]) -> dict[str, Any]:
    """The whole review, for whoever shows it; nothing that is redacted is in it.

    {schema, sync, owner, number, head, base, base_ref, tree, verdict, words, message, fork, conflicts: [path],
     plan: {as `plan_as_json`, of the services affected} or null, findings: [finding], anyway: [service path],
     links: [{service, kind, name, how, owner}]}
    """
    review = discreet(review, redact)
    plan = review.plan
    return {
        "schema": _SCHEMA,
        "sync": review.sync,
        "owner": review.owner,
        "number": review.change.number,
        "head": review.head,
        "base": review.base.sha,
        "base_ref": review.change.base_ref,
        "tree": review.tree,
        "verdict": str(review.verdict),
        "words": review_words(review),
        "message": review.message,
        "fork": review.unsaid,
        "conflicts": list(review.conflicts),
        "plan": plan_as_json(_narrowed(review, plan), redact=redact) if plan else None,
        "findings": [finding_json(each) for each in review.findings],
        "anyway": [key.path for key in _anyway(review)],
        "links": [
            {
                "service": each.service.path,
                "kind": str(each.kind),
                "name": each.name,
                "how": each.how,
                "owner": each.owner,
            }
            for each in review.links
        ],
    }


def _narrowed(review: Review, plan: Plan) -> Plan:
    services = {key: service for key, service in plan.services.items() if key in review.affected}
    return replace(plan, services=services, findings=review.findings, holds=tuple(_holds(review)))


# -- what may be said -----------------------------------------------------------------------------------------------------


def discreet(review: Review, redact: frozenset[str]) -> Review:
    """*review* with sentences that say no redacted value, and of a fork none at all."""
    if review.unsaid:
        findings = tuple(replace(each, message=_title(each), hint="") for each in review.findings)
        return replace(review, findings=findings)
    plan = review.plan
    if not redact or plan is None:
        return review
    labels = frozenset(name.lower() for name in redact)
    hidden = frozenset(_hidden(plan, labels))
    services = {
        key: replace(service, findings=tuple(_discreet(each, labels, hidden) for each in service.findings))
        if service.findings
        else service
        for key, service in plan.services.items()
    }
    findings = tuple(_discreet(each, labels, hidden) for each in review.findings)
    general = tuple(_discreet(each, labels, hidden) for each in plan.findings)
    return replace(review, plan=replace(plan, services=services, findings=general), findings=findings)


def _hidden(plan: Plan, labels: frozenset[str]) -> Iterator[str]:
    """The values that labels of these names have, before or after."""
    for service in plan.services.values():
        spec = service.ledger.spec.get("metadata") if service.ledger and service.ledger.spec else None
        yield from _values(spec, labels)
        for change in service.changes:
            for body in (change.before, change.after):
                yield from _values((body or {}).get(LABELS), labels)


def _values(meta: Body | None, labels: frozenset[str]) -> Iterator[str]:
    for name, value in (meta or {}).items():
        if str(name).lower() in labels and len(str(value)) >= LEAST_HIDDEN:
            yield str(value)


def _discreet(finding: Finding, labels: frozenset[str], hidden: Collection[str]) -> Finding:
    text = f"{finding.message} {finding.hint}"
    about = finding.spec_path.lower().startswith(tuple(f"metadata.{name}" for name in labels))
    if about or any(value in text for value in hidden):
        return replace(finding, message=_title(finding), hint="")
    return finding


def _title(finding: Finding) -> str:
    known = CODES.get(finding.code)
    return known.title if known else finding.code


# -- parts ----------------------------------------------------------------------------------------------------------------


def _services(review: Review) -> list[ServicePlan]:
    """The services affected, those that are stopped first."""
    if review.plan is None:
        return []
    return [service for service in worth_showing(review.plan) if service.key in review.affected]


def _summary(review: Review) -> str:
    counts = Counter(str(service.verdict) for service in _services(review))
    counts.pop(str(Verdict.UNCHANGED), None)
    return counted(counts, PLANNED)


def _holds(review: Review) -> list[Hold]:
    """The holds in which a service is that the request brings."""
    holds: Iterable[Hold] = review.plan.holds if review.plan else ()
    return [hold for hold in holds if any(key in review.affected for key, _ in hold.services)]


def _anyway(review: Review) -> list[ServiceKey]:
    """What the next run would do without the request, too."""
    if review.plan is None:
        return []
    return sorted(
        key for key in review.plan.pending if key not in review.affected and review.plan.services[key].changes
    )


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
