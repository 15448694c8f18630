"""Decide what to write, from what is wanted and what is there. Pure: no settings, no clock, no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gitsync.core.bridge import bridges
from gitsync.core.codes import note
from gitsync.core.compare import WRITE_PHASE, plan_removal, plan_service
from gitsync.core.digest import plan_digest, service_digest
from gitsync.core.guard import PruneLimits, guard
from gitsync.core.hosts import hand_over
from gitsync.core.outlook import Outlook
from gitsync.core.ownership import Adoption
from gitsync.core.references import missing_references, still_referenced
from gitsync.core.sight import Sight
from gitsync.model.component import Found, Ledger
from gitsync.model.context import Rendered
from gitsync.model.desired import Desired, Wanted
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import ComponentKey, Kind, ServiceKey
from gitsync.model.kv import Approval
from gitsync.model.plan import Action, Change, Phase, Plan, ServicePlan, Verdict


@dataclass(frozen=True, slots=True)
class Policy:
    """What one sync may do. drift: enforce, detect or off. withheld: services of which nothing is written, and why."""

    limits: PruneLimits = field(default_factory=PruneLimits)
    adoption: Adoption = field(default_factory=Adoption)
    approvals: tuple[Approval, ...] = ()
    drift: str = "enforce"
    withheld: Mapping[ServiceKey, Finding] = field(default_factory=dict)


def make_plan(
    desired: Desired,
    rendered: Mapping[ServiceKey, Rendered],
    judged: Mapping[ServiceKey | None, tuple[Finding, ...]],
    found: Found,
    *,
    owner: str,
    policy: Policy,
    only: frozenset[ServiceKey] | None = None,
    sight: Sight | None = None,
) -> Plan:
    """The plan of one owner. *rendered* has an entry for every wanted service; *judged* is what `neighbours.judge` found.

    An error finding on a service means that nothing of it is written or deleted; all the others go on. *only*: the services
    to look at, as after they were locked; all the others are taken to stay as they were found. *sight*: of *found*, where there
    is one already.
    """
    sight = sight or Sight(found)
    marks = sight.marked(owner) if only is None else sight.marked_among(owner, only)
    keys = only if only is not None else {*desired.services, *desired.refused, *found.ledgers, *marks}
    mine = {key for key in keys if (ledger := found.ledgers.get(key)) and _has(ledger, owner)}
    # Where a ledger says released, or another owner, what still carries our mark is not ours any more.
    marked = {key: marks[key] for key in keys if key in marks and (key in mine or key not in found.ledgers)}
    said: dict[ServiceKey | None, list[Finding]] = defaultdict(list)
    for finding in desired.findings:
        said[finding.service].append(finding)
    compared = {
        key: _compare(
            _Case(key, rendered.get(key), (*judged.get(key, ()), *said[key]), marked.get(key, frozenset())),
            desired,
            sight,
            owner=owner,
            policy=policy,
        )
        for key in sorted(keys)
        if key in desired.services or key in desired.refused or key in mine or key in marked
    }
    refused: dict[ServiceKey, Finding] = {}
    while True:  # a refusal keeps its entries in place, which may block others: until nothing more is blocked
        plans = {key: _refuse(plan, refused[key]) if key in refused else plan for key, plan in compared.items()}
        plans, holds = guard(
            plans,
            sight,
            desired,
            owned=lambda: _owned(found, sight.marked(owner), owner),
            ledgers_missing=lambda: bool(sight.marked(owner).keys() - found.ledgers.keys()),
            approvals=policy.approvals,
            limits=policy.limits,
        )
        plans.update((key, _withheld(plans[key], why)) for key, why in policy.withheld.items() if key in plans)
        outlook = Outlook(sight, plans, desired.services.keys())
        handover, bridging = hand_over(outlook), bridges(outlook)
        blocked = {**still_referenced(outlook), **handover.refusals, **bridging.refusals}
        if not blocked.keys() - refused.keys():
            break
        refused = {**blocked, **refused}

    for key, rank in handover.ranks.items():
        plans[key] = _ranked(plans[key], ComponentKey(key, Kind.DEFAULTS), rank)
    for key, change in handover.bridges.items():
        plans[key] = replace(plans[key], changes=(change, *plans[key].changes))
    for component, steps in bridging.steps.items():
        plans[component.service] = _with_steps(plans[component.service], component, steps)
    for component, rank in bridging.ranks.items():
        plans[component.service] = _ranked(plans[component.service], component, rank)
    for said_too in (handover.findings, missing_references(outlook, desired)):
        for key, findings in said_too.items():
            plans[key] = replace(plans[key], findings=(*plans[key].findings, *findings))
    plans = {
        key: _located(_finish(plan, moving=_moving(plan)), desired.services.get(key)) for key, plan in plans.items()
    }

    digests = {key: service_digest(plan) for key, plan in plans.items() if plan.changes}
    general = tuple(finding for finding in desired.findings if finding.service not in plans)
    return Plan(
        owner=owner,
        revision=desired.revision,
        services=plans,
        findings=(*general, *judged.get(None, ())),
        holds=holds,
        digest=plan_digest(digests),
        digests=digests,
    )


def _has(ledger: Ledger, owner: str) -> bool:
    return ledger.owner == owner and ledger.state != "released"


def _owned(found: Found, marks: Iterable[ServiceKey], owner: str) -> int:
    """How many services *owner* has, by its ledgers, and by its marks where there is no ledger."""
    recorded = sum(_has(ledger, owner) for ledger in found.ledgers.values())
    return recorded + sum(key not in found.ledgers for key in marks)


@dataclass(frozen=True, slots=True)
class _Case:
    """One service before its plan. said: what was found about it besides its rendering. marked: what carries our mark."""

    key: ServiceKey
    rendered: Rendered | None
    said: tuple[Finding, ...]
    marked: frozenset[ComponentKey]


def _compare(case: _Case, desired: Desired, sight: Sight, *, owner: str, policy: Policy) -> ServicePlan:
    """One service, before its neighbours have a say."""
    key, rendered, said = case.key, case.rendered, case.said
    ledger = sight.found.ledgers.get(key)
    if key in desired.refused:
        return ServicePlan(key, Verdict.REFUSED, findings=desired.refused[key], ledger=ledger)
    wanted = desired.services.get(key)
    if wanted is None:
        return _unwanted(key, desired, sight, owner=owner, marked=case.marked)
    if rendered is None:  # what is wanted and was not rendered is a mistake of the caller, and no reason to delete it
        raise KeyError(f"{key} is wanted and was not rendered")
    findings = (*rendered.findings, *said)
    if rendered.refused or any(_stops(finding) for finding in said):
        return ServicePlan(key, Verdict.REFUSED, findings=findings, ledger=ledger)
    plan = plan_service(
        key,
        wanted,
        rendered.components,
        sight,
        owner=owner,
        ledger=ledger,
        marked=case.marked,
        adoption=policy.adoption,
    )
    plan = replace(plan, findings=(*findings, *plan.findings))
    if not plan.drift or policy.drift == "enforce":
        return plan
    if policy.drift == "off":
        return replace(plan, verdict=Verdict.UNCHANGED, changes=(), drift=False)
    return replace(plan, verdict=Verdict.DRIFT, findings=(*plan.findings, _drift(key, plan.changes)))


def _stops(finding: Finding) -> bool:
    """An error, unless it is about another document of the same name: that one is refused, this one goes on."""
    return finding.severity is Severity.ERROR and finding.code != "duplicate-service"


def _unwanted(
    key: ServiceKey, desired: Desired, sight: Sight, *, owner: str, marked: frozenset[ComponentKey]
) -> ServicePlan:
    """A service of ours that no document names any more."""
    ledger = sight.found.ledgers.get(key)
    own = ledger if ledger and ledger.owner == owner else None
    if own and (hidden := desired.hidden_by(own.origin.path)):
        return ServicePlan(key, Verdict.REFUSED, findings=(_unreadable(key, hidden),), ledger=ledger)
    anchor = sight.entry(Kind.DEFAULTS, key.name)
    labels = own.spec.get("metadata") if own and own.spec else anchor.meta if anchor else None
    if (labels or {}).get("prune") == "never":
        return ServicePlan(key, Verdict.UNCHANGED, findings=(_never(key),), ledger=ledger)
    reason = f"{own.origin.path} no longer has it" if own else "carries our owner mark, and Git does not want it"
    return plan_removal(key, sight, owner=owner, ledger=ledger, marked=marked, reason=reason)


def _refuse(plan: ServicePlan, finding: Finding) -> ServicePlan:
    return replace(plan, verdict=Verdict.REFUSED, changes=(), records=False, findings=(*plan.findings, finding))


def _withheld(plan: ServicePlan, finding: Finding) -> ServicePlan:
    if not plan.pending:  # of one that is unchanged so far, steps between others may still be written
        return plan
    return replace(plan, verdict=Verdict.HELD, records=False, findings=(*plan.findings, finding))


def _ranked(plan: ServicePlan, component: ComponentKey, rank: int) -> ServicePlan:
    """With the place that the write of *component* has inside its phase; the steps around it keep theirs."""
    phase = WRITE_PHASE[component.kind]
    changes = tuple(
        replace(change, rank=rank) if change.key == component and change.phase is phase and not change.rank else change
        for change in plan.changes
    )
    return replace(plan, changes=changes)


def _with_steps(plan: ServicePlan, component: ComponentKey, steps: tuple[Change, ...]) -> ServicePlan:
    others = tuple(change for change in plan.changes if change.key != component or change.phase is Phase.MAKE_ROOM)
    verdict = Verdict.UPDATE if plan.verdict is Verdict.UNCHANGED else plan.verdict
    return replace(plan, verdict=verdict, changes=(*others, *steps))


def _moving(plan: ServicePlan) -> bool:
    """The service leaves one gateway for another: its new row comes before its old one goes."""
    rows = [change for change in plan.changes if change.key.kind is Kind.GATEWAY_ROW]
    return {Action.CREATE, Action.DELETE} <= {change.action for change in rows}


def _finish(plan: ServicePlan, *, moving: bool) -> ServicePlan:
    """Changes in the order in which they are written, with a finding for those that interrupt traffic."""
    changes = tuple(
        replace(change, phase=Phase.ROWS_GONE)
        if moving and change.key.kind is Kind.GATEWAY_ROW and change.action is Action.DELETE
        else change
        for change in plan.changes
    )
    changes = tuple(sorted(changes, key=lambda change: (change.phase, change.rank, change.key)))
    interrupting = [change for change in changes if change.interrupts]
    if not plan.written or not interrupting:
        return replace(plan, changes=changes)
    what = ", ".join(sorted({str(change.key) for change in interrupting}))
    finding = note(
        "interrupts-traffic",
        f"{what} is taken away and put back in this run: clients see errors or the plain service for a moment.",
        hint="Split the change into two commits to avoid it.",
        service=plan.key,
    )
    return replace(plan, changes=changes, findings=(*plan.findings, finding))


def _located(plan: ServicePlan, wanted: Wanted | None) -> ServicePlan:
    """With the place of the spec at every finding that has none, as exact as its path inside the spec is."""
    if wanted is None or all(finding.place for finding in plan.findings):
        return plan
    findings = (
        finding if finding.place else replace(finding, place=wanted.place.at(finding.spec_path))
        for finding in plan.findings
    )
    return replace(plan, findings=tuple(findings))


def _unreadable(key: ServiceKey, path: str) -> Finding:
    return note(
        "file-unreadable",
        f"{key} keeps what it has, because {path} cannot be read.",
        hint="Mend the file.",
        service=key,
    )


def _never(key: ServiceKey) -> Finding:
    return note(
        "prune-never",
        f"{key} left Git and stays in Consul, because its metadata says `prune: never`.",
        hint="To delete it, bring the spec back without that label and remove it in a second commit.",
        service=key,
    )


def _drift(key: ServiceKey, changes: Iterable[Change]) -> Finding:
    names = ", ".join(str(change.key) for change in changes)
    return note(
        "drift-detected",
        f"{key} was changed outside gitsync ({names}) and is left as it is, because the sync has `drift: detect`.",
        hint="Set `drift: enforce` to have it put back, or bring the spec in line.",
        service=key,
    )
