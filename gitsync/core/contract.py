"""A plan as a contract: what was reviewed on a pull request against what a run is about to do. Pure.

Only what a commit brings is compared. What puts back what somebody changed outside (drift), what another configuration asks for,
and what goes on with something that was begun, was never a matter of a review.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from gitsync.core.codes import note
from gitsync.core.shown import safe
from gitsync.model.desired import Wanted
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Plan, ServicePlan, Verdict
from gitsync.model.review import Deviation, Promised, Reviewed

CODE = "plan-deviates"


def reviewed_of(plan: Plan, brought: Collection[ServiceKey]) -> dict[ServiceKey, Reviewed]:
    """What a reviewer of *plan* has seen of every service that has changes in it. brought: those that the request is about."""
    return {
        key: Reviewed(digest, str(plan.services[key].verdict), steps_of(plan.services[key]), key in brought)
        for key, digest in plan.digests.items()
    }


def steps_of(service: ServicePlan) -> tuple[str, ...]:
    """The changes of a service in their order: `update service-router/pay`."""
    return tuple(f"{change.action} {change.key}" for change in service.changes)


def deviations(
    plan: Plan,
    wanted: Mapping[ServiceKey, Wanted],
    promised: Mapping[ServiceKey, Sequence[Reviewed]],
    *,
    strictly: bool = False,
) -> tuple[Deviation, ...]:
    """The services for which *plan* does something else than was reviewed, sorted. wanted: what the revision wants.

    strictly: what was to come anyway was only named on the request, and counts for nothing.
    """
    found = []
    for key, service in plan.services.items():
        if not _brought(service, wanted.get(key)):
            continue
        seen = [each for each in promised.get(key, ()) if each.brought or not strictly]
        digest = plan.digests.get(key, "")
        if digest and not seen:
            found.append(Deviation(key, "it was not in the reviewed plan"))
        elif seen and not any(digest == each.digest for each in seen):
            last = next((each for each in seen if each.brought), None)
            if digest or last:
                found.append(Deviation(key, _how(last or seen[0], service)))
    return tuple(sorted(found, key=lambda each: each.service))


def withheld(plan: Plan, wanted: Mapping[ServiceKey, Wanted], promised: Promised) -> dict[ServiceKey, Finding]:
    """The services of *plan* of which nothing may be written where a review is required, and why."""
    return {
        each.service: _finding(each, promised.named, held=True)
        for each in deviations(plan, wanted, promised.services, strictly=True)
        if plan.services[each.service].written
    }


def told(plan: Plan, wanted: Mapping[ServiceKey, Wanted], promised: Promised) -> Plan:
    """*plan* with a finding on every service that deviates and has none that says so."""
    services = dict(plan.services)
    for each in deviations(plan, wanted, promised.services):
        service = services[each.service]
        if not any(finding.code == CODE for finding in service.findings):
            findings = (*service.findings, _finding(each, promised.named, held=False))
            services[each.service] = replace(service, findings=findings)
    return replace(plan, services=services)


def retold(plan: Plan, services: Mapping[ServiceKey, ServicePlan]) -> dict[ServiceKey, ServicePlan]:
    """*services*, which were planned again since, with what *plan* says of their deviations."""
    result = dict(services)
    for key in plan.unsettled & services.keys():
        lost = tuple(each for each in plan.services[key].findings if each.code == CODE)
        if lost and not any(each.code == CODE for each in services[key].findings):
            result[key] = replace(services[key], findings=(*services[key].findings, *lost))
    return result


def deviating(findings: Iterable[Finding]) -> list[ServiceKey]:
    """The services of which *findings* say that they deviate."""
    return sorted({finding.service for finding in findings if finding.code == CODE and finding.service})


def deviation_words(findings: Iterable[Finding]) -> str:
    """`2 differ from the reviewed plan: books, pay` for a commit status; "" where none does."""
    names = [str(key) for key in deviating(findings)]
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    verb = "differs" if len(names) == 1 else "differ"
    return safe(f"{len(names)} {verb} from the reviewed plan: {', '.join(names[:3])}{more}", 200)


def _brought(service: ServicePlan, wanted: Wanted | None) -> bool:
    """Whether a commit brings these changes: Git wants something else than gitsync's record says, and nothing was begun."""
    ledger = service.ledger
    if wanted is None:
        return service.verdict in (Verdict.DELETE, Verdict.HELD) and not (ledger and ledger.state == "deleting")
    return ledger is None or ledger.spec_hash != wanted.hash


def _how(seen: Reviewed, service: ServicePlan) -> str:
    steps = steps_of(service)
    if service.verdict in (Verdict.REFUSED, Verdict.CONFLICT):
        return f"to {seen.verdict} it was reviewed, and now it cannot be: {service.verdict}"
    if not steps:
        return f"there is nothing to {seen.verdict} any more: somebody did it meanwhile"
    if steps == seen.steps:
        return "the same steps were reviewed with another content: Consul or another merge changed it meanwhile"
    new = [step for step in steps if step not in seen.steps]
    gone = [step for step in seen.steps if step not in steps]
    parts = [f"also {_some(new)}"] if new else []
    parts += [f"no longer {_some(gone)}"] if gone else []
    return f"other steps than were reviewed: {', '.join(parts) or 'in another order'}"


def _some(steps: Sequence[str]) -> str:
    more = f" and {len(steps) - 3} more" if len(steps) > 3 else ""
    return ", ".join(safe(step, 100) for step in steps[:3]) + more


def _finding(deviation: Deviation, named: str, *, held: bool) -> Finding:
    whose = f"reviewed in {named}" if named else "reviewed in any merged request"
    if held:
        hint = (
            "Look at `gitsync plan` and let it go with `gitsync sync --expect` and its digest, or bring it in by a request whose plan is "
            "up to date."
        )
        message = f"Nothing of {deviation.service} is written, because it is not as {whose}: {deviation.how}."
    else:
        hint = "Look at what was applied: it is what Git wants, and not what was looked at before the merge."
        message = f"{deviation.service} is not as {whose}: {deviation.how}."
    return note(CODE, message, hint=hint, service=deviation.service, severity=Severity.WARNING)
