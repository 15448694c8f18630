"""Review: what merging a request would do, from its commits and live Consul. Nothing is written, here or there.

base ─┐
      ├─ merge ─► specs ─► plan ─┐
head ─┘                          ├─ what differs is what the request brings
base ────────────► specs ─► plan ┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gitsync.core.accept import accept
from gitsync.core.blast import links_to
from gitsync.core.contract import reviewed_of
from gitsync.core.render import render
from gitsync.core.sight import Sight
from gitsync.engine.look import Commit, check_lineage, judged
from gitsync.engine.memory import Desires, Memory
from gitsync.engine.observe import observe_entries, read_ledgers, read_owner
from gitsync.engine.ports import World
from gitsync.engine.think import context_of, policy_of
from gitsync.model.component import Found
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Forbidden, Invalid, Rejected
from gitsync.model.features import Feature
from gitsync.model.finding import Finding, Severity
from gitsync.model.host import ChangeRequest
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Plan, ServicePlan, Verdict
from gitsync.model.review import Merged, Review, ReviewVerdict, Unmergeable
from gitsync.model.revision import Revision
from gitsync.model.sync import Options, Sync


class Proposals(Protocol):
    """The repository, as requests are judged in it. Their commits are there already."""

    async def merge(self, number: int, base: str, head: str) -> Merged | Unmergeable: ...
    async def load_tree(self, revision: Revision, treeish: str) -> tuple[ParsedFile, ...]: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose head was fetched. change: its head_sha is the whole name of *head*. base: what its base names now."""

    change: ChangeRequest
    head: Revision
    base: Revision


async def review(
    world: World, sync: Sync, proposals: Proposals, request: Request, memory: Memory, *, forks_apart: bool = True
) -> Review:
    """What a run at the merge of *request* would do. memory: of the sync's runs; it is left as it is.

    forks_apart: of a fork only the files are judged, without a look at Consul. Raises what reading Git or Consul raises.
    """
    nothing = Review(sync.name, str(sync.owner), request.change, ReviewVerdict.FAILED, request.base)
    merged = await proposals.merge(request.change.number, request.base.sha, request.head.sha)
    if isinstance(merged, Unmergeable):
        return replace(nothing, verdict=ReviewVerdict.CONFLICTED, message=merged.why, conflicts=merged.paths)
    begun = replace(nothing, tree=merged.tree, unsaid=request.change.is_fork and forks_apart)
    before = await _before(proposals, request.base)
    try:
        files = await proposals.load_tree(request.head, merged.tree)
    except Forbidden:
        raise
    except (Invalid, Rejected) as wrong:  # the base could be read, so the request is what cannot be
        return replace(begun, verdict=ReviewVerdict.REFUSED, message="" if begun.unsaid else str(wrong))
    if _same(files, before):
        return replace(begun, verdict=ReviewVerdict.UNAFFECTED)
    if begun.unsaid:
        return _validated(begun, world, sync, files, before)
    return await _planned(begun, world, sync, (files, before), memory.copied())


async def _before(proposals: Proposals, base: Revision) -> tuple[ParsedFile, ...]:
    """The files of the base; none where it cannot be read, which may be what the request mends."""
    try:
        return await proposals.load_tree(base, base.sha)
    except Forbidden:  # of the host; nothing is known then
        raise
    except (Invalid, Rejected):
        return ()


def _same(files: Sequence[ParsedFile], others: Sequence[ParsedFile]) -> bool:
    return len(files) == len(others) and all(one is two or one == two for one, two in zip(files, others, strict=True))


# -- of a fork: is it valid? ----------------------------------------------------------------------------------------------


def _validated(
    begun: Review, world: World, sync: Sync, files: tuple[ParsedFile, ...], before: tuple[ParsedFile, ...]
) -> Review:
    known = {id(file) for file in before}
    changed = [file for file in files if id(file) not in known and file not in before]
    said = _said_of_files(world, sync, before)
    findings = [each for each in _said_of_files(world, sync, files) if _essence(each) not in set(map(_essence, said))]
    wrong = any(each.severity is Severity.ERROR for each in findings)
    return replace(
        begun,
        verdict=ReviewVerdict.REFUSED if wrong else ReviewVerdict.VALID,
        findings=tuple(findings),
        specs=sum(len(file.specs) for file in changed),
    )


def _said_of_files(world: World, sync: Sync, files: tuple[ParsedFile, ...]) -> list[Finding]:
    """What the files, and what they become in this version of Consul, give rise to."""
    enterprise = world.features.enterprise
    desired = accept(files, {}, owner=str(sync.owner), revision="", enterprise=enterprise)
    context = context_of(sync, world.features)
    findings = list(desired.findings)
    findings += [each for refusals in desired.refused.values() for each in refusals]
    for key, wanted in desired.services.items():
        rendered = render(wanted.spec, wanted.place, context)
        findings += [
            each if each.place and each.service else replace(each, place=wanted.place.at(each.spec_path), service=key)
            for each in rendered.findings
        ]
    return list(dict.fromkeys(findings))


# -- of our own: what would it do? ----------------------------------------------------------------------------------------


async def _planned(
    begun: Review,
    world: World,
    sync: Sync,
    files: tuple[tuple[ParsedFile, ...], tuple[ParsedFile, ...]],
    memory: Memory,
) -> Review:
    records, found, ledgers = await asyncio.gather(
        read_owner(world.consul, world.clock, sync.owner),
        observe_entries(
            world.consul, world.clock, intentions=world.features.has(Feature.INTENTIONS_ENTRY), memory=memory
        ),
        read_ledgers(world.consul, world.clock, memory),
    )
    check_lineage(records, sync, Options())
    found = replace(found, ledgers=ledgers.read, unread=ledgers.unread)
    policy = policy_of(sync, Options(), records.approvals)
    merged, before = files

    async def plan_of(specs: tuple[ParsedFile, ...], revision: str) -> tuple[Desires, Found, Plan]:
        return await judged(world, sync, policy, Commit(revision, specs), found, memory, strictly=False)

    _, _, anyway = await plan_of(before, begun.base.sha)
    desires, seen, plan = await plan_of(merged, begun.head)
    affected = _affected(plan, anyway)
    known = set(map(_essence, anyway.findings))
    findings = tuple(each for each in plan.findings if _essence(each) not in known)
    verdict, message = _verdict(sync, desires, plan, affected, findings)
    return replace(
        begun,
        verdict=verdict,
        plan=plan,
        affected=affected,
        findings=findings,
        links=links_to(Sight(seen, memory.sight), affected),
        message=message,
        specs=len(desires.desired.services),
        digests=reviewed_of(plan, affected),
    )


def _affected(plan: Plan, anyway: Plan) -> frozenset[ServiceKey]:
    """The services for which the two plans do, or say, not the same."""
    keys = {
        key
        for key, service in plan.services.items()
        if (other := anyway.services.get(key)) is not service
        and (_gist(service) != _gist(other) or plan.digests.get(key) != anyway.digests.get(key))
    }
    keys |= {key for key, service in anyway.services.items() if key not in plan.services and _gist(service)}
    return frozenset(keys)


def _gist(service: ServicePlan | None) -> object:
    """What a plan does with a service and says of it; nothing, of one that stays as it is."""
    if service is None:
        return None
    said = frozenset(map(_essence, service.findings))
    quiet = service.verdict is Verdict.UNCHANGED and not said and not service.records
    return None if quiet else (service.verdict, service.records, said)


def _essence(finding: Finding) -> tuple[object, ...]:
    """A finding without the line at which it stands: a line more above it makes no other of it."""
    path = finding.place.path if finding.place else ""
    return finding.code, finding.severity, finding.message, finding.service, path, finding.spec_path


def _verdict(
    sync: Sync, desires: Desires, plan: Plan, affected: Iterable[ServiceKey], findings: Iterable[Finding]
) -> tuple[ReviewVerdict, str]:
    wrong = [each for each in desires.desired.findings if each.severity is Severity.ERROR]
    if sync.strict and wrong:
        return ReviewVerdict.REFUSED, f"strict: the commit would be refused as a whole because of {len(wrong)} errors."
    services = [plan.services[key] for key in affected if key in plan.services]
    stopped = any(service.verdict in (Verdict.REFUSED, Verdict.CONFLICT) for service in services)
    if stopped or any(each.severity is Severity.ERROR for each in findings):
        return ReviewVerdict.REFUSED, ""
    if any(service.verdict is Verdict.HELD for service in services):
        return ReviewVerdict.HELD, ""
    return (ReviewVerdict.PLANNED if services or findings else ReviewVerdict.UNAFFECTED), ""
