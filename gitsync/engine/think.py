"""Think: from files and what was found to a plan. No I/O; the memory only saves work that would give the same result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gitsync.core.accept import accept
from gitsync.core.accept_again import Accepted, accept_again
from gitsync.core.changed import Changed, moved
from gitsync.core.codes import note
from gitsync.core.guard import PruneLimits
from gitsync.core.neighbours import judge, judge_all, matters_to_all
from gitsync.core.ownership import Adoption
from gitsync.core.plan import Policy, make_plan
from gitsync.core.render import render
from gitsync.core.sight import Sight
from gitsync.engine.memory import Decision, Desires, Memory
from gitsync.engine.stirred import stirred
from gitsync.model.component import Found, Ledger
from gitsync.model.context import RenderContext, Rendered
from gitsync.model.desired import Desired, ParsedFile, Wanted
from gitsync.model.features import Features
from gitsync.model.finding import Finding
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.kv import Approval
from gitsync.model.plan import Plan
from gitsync.model.sync import Options, Sync


def context_of(sync: Sync, features: Features) -> RenderContext:
    return RenderContext(str(sync.owner), features, sync.gateways, features.datacenter)


def desire(
    files: tuple[ParsedFile, ...],
    ledgers: Mapping[ServiceKey, Ledger],
    sync: Sync,
    features: Features,
    revision: str,
    memory: Memory,
) -> Desires:
    """Accept the files of *revision* and render what they want."""
    context = context_of(sync, features)

    def made() -> Desires:
        desired = _accepted(files, ledgers, revision, context, memory)
        return _rendered(desired, memory.desires.last, context)

    return memory.desires.of(made, files, ledgers, revision, context)


def _accepted(
    files: tuple[ParsedFile, ...],
    ledgers: Mapping[ServiceKey, Ledger],
    revision: str,
    context: RenderContext,
    memory: Memory,
) -> Desired:
    """What *revision* wants: from the last one where that will do, else from all files."""
    last, owner, enterprise = memory.accepted, context.owner, context.features.enterprise
    again: Accepted | None = None
    if last:
        again = accept_again(last, files, ledgers, owner=owner, revision=revision, enterprise=enterprise)
    if again is None:
        known = last.desired.services if last else {}
        desired = accept(files, ledgers, owner=owner, revision=revision, enterprise=enterprise, known=known)
        again = Accepted.whole(files, ledgers, desired)
    memory.accepted = again
    return again.desired


def _rendered(desired: Desired, last: Desires | None, context: RenderContext) -> Desires:
    """*desired* with its components; what is wanted as before is not rendered again."""
    last = last if last and last.context == context else None
    known: Mapping[ServiceKey, Wanted] = last.desired.services if last else {}
    standing: Mapping[ServiceKey, Rendered] = last.rendered if last else Changed()
    rendered: dict[ServiceKey, Rendered | None] = {}
    pairs: dict[ServiceKey, tuple[Wanted, Rendered] | None] = {}
    for key in moved(desired.services, known):
        wanted, before = desired.services.get(key), known.get(key)
        if wanted is None:
            rendered[key] = pairs[key] = None
        elif before is None or (before.hash, before.place) != (wanted.hash, wanted.place):
            made = rendered[key] = render(wanted.spec, wanted.place, context)
            pairs[key] = (wanted, made)
        else:
            pairs[key] = (wanted, standing[key])
    return Desires(
        desired, Changed.of(standing, rendered), Changed.of(last.pairs if last else Changed(), pairs), context
    )


def policy_of(sync: Sync, options: Options, approvals: tuple[Approval, ...]) -> Policy:
    named = bool(options.adopt) or options.adopt_all
    return Policy(
        limits=PruneLimits(sync.max_count, sync.max_fraction),
        adoption=Adoption(
            everything=options.adopt_all or (sync.adopt and not named),
            names=options.adopt,
            take_from=options.adopt_from,
        ),
        approvals=approvals,
        drift=sync.drift,
    )


def decide(
    desires: Desires,
    found: Found,
    sync: Sync,
    policy: Policy,
    memory: Memory,
    *,
    only: frozenset[ServiceKey] | None = None,
) -> Plan:
    """The plan for *desires* against *found*. Of what cannot be read nothing is planned.

    Of the whole plan only what may have changed since the last one is made anew (`stirred`).
    """
    sight = memory.seen(found)
    last = memory.decision
    if only is not None:
        if last and _stands(last, desires, found, sync, policy, only):
            return replace(last.plan, services={key: last.plan.services[key] for key in sorted(only)})
        return _decide(desires, sight, sync, policy, only)
    anew = stirred(last, desires, sight, sync, policy) if last else None
    if last is None or anew is None:
        plan = _decide(desires, sight, sync, policy, None)
    elif not anew and found == last.sight.found:
        nothing: Plan = replace(last.plan, revision=desires.desired.revision, services={})
        plan = last.plan.renewed(frozenset(), nothing)
    else:
        part = _decide(desires, sight, sync, policy, anew)
        if found.gateways != last.sight.found.gateways or _matter(desires, anew) != _matter(last.desires, anew):
            part = replace(part, findings=(*part.findings, *judge_all(desires.pairs, found, desires.context)))
        else:
            part = replace(part, findings=last.plan.findings)
        plan = last.plan.renewed(anew, part)
    memory.decision = Decision(desires, sight, sync, policy, plan)
    return plan


def _stands(
    last: Decision, desires: Desires, found: Found, sync: Sync, policy: Policy, only: frozenset[ServiceKey]
) -> bool:
    """Whether nothing moved since the last whole plan, and all that it writes is among *only*."""
    plans = last.plan.services
    return (
        last.desires is desires
        and (last.sync, last.policy) == (sync, policy)
        and last.sight.found == found
        and only <= plans.keys()
        and last.plan.pending <= only
    )


def _matter(desires: Desires, keys: frozenset[ServiceKey]) -> list[tuple[object, ...]]:
    """What the findings about the whole installation depend on, of *keys*."""
    wanted = desires.desired.services
    return [matters_to_all(wanted[key].spec, desires.rendered[key]) for key in sorted(keys) if key in wanted]


def _decide(desires: Desires, sight: Sight, sync: Sync, policy: Policy, only: frozenset[ServiceKey] | None) -> Plan:
    desired, found = desires.desired, sight.found
    unread = _unread(desires, sight, str(sync.owner))
    if unread:
        if not (desired.services or desired.refused or desired.unreadable):
            # What is refused must not make an emptied commit look like any other: its deletes wait all the same.
            policy = replace(policy, limits=PruneLimits(0, 0.0))
        desired = replace(
            desired,
            services={key: wanted for key, wanted in desired.services.items() if key not in unread},
            refused={**desired.refused, **unread},
        )
    wanted = desires.pairs
    if unread:
        wanted = {key: pair for key, pair in wanted.items() if key not in unread}
    judged = judge(wanted, found, desires.context, only=only)
    return make_plan(
        desired, desires.rendered, judged, found, owner=str(sync.owner), policy=policy, only=only, sight=sight
    )


def _unread(desires: Desires, sight: Sight, owner: str) -> dict[ServiceKey, tuple[Finding, ...]]:
    """The services of ours of which something cannot be read, which is never taken for absent, and why."""
    found = sight.found
    unread: dict[ServiceKey, tuple[Finding, ...]] = {}
    if found.unread:
        ours = {*desires.desired.services, *sight.marked(owner)}
        for key in ours & found.unread.keys():
            finding = note(
                "ledger-unreadable",
                f"{key} keeps what it has, because its record cannot be read: {found.unread[key]}",
                hint="Look at the record. Once its key is deleted, the next sync makes it anew from Git and the owner marks.",
                service=key,
            )
            unread[key] = (finding,)
    for key, rendered in desires.rendered.items() if found.silent else ():
        for component in rendered.components:
            if component.key.kind is Kind.CATALOG and (why := found.silent.get(component.key.datacenter)):
                finding = note(
                    "datacenter-silent",
                    f"{key} keeps what it has, because the datacenter {component.key.datacenter} does not answer: {why}",
                    hint="It goes on by itself when the datacenter is back.",
                    service=key,
                )
                unread[key] = (finding,)
    return unread
