"""Look: from the repository and Consul to a plan, without changing anything. The first half of every run."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import NamedTuple

from gitsync.core.contract import told, withheld
from gitsync.core.plan import Policy
from gitsync.engine.memory import Desires, Memory
from gitsync.engine.observe import Home, observe_catalog, observe_entries, read_ledgers, read_owner
from gitsync.engine.ports import Contract, Progress, World
from gitsync.engine.retry import retried
from gitsync.engine.think import decide, desire, policy_of
from gitsync.engine.together import aside, together
from gitsync.model.component import Found
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Conflict, GitsyncError, Invalid, Rejected, Suspended, Unavailable
from gitsync.model.features import Feature
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import ServiceKey
from gitsync.model.kv import OwnerRecords, Suspension
from gitsync.model.plan import Plan, ServicePlan, Verdict
from gitsync.model.review import Promised
from gitsync.model.revision import History, Revision
from gitsync.model.sync import Options, Sync


@dataclass(frozen=True, slots=True)
class Look:
    """One look at Git and Consul. trouble: why the revision is the last good one and not the newest."""

    revision: Revision
    records: OwnerRecords
    found: Found
    desires: Desires
    plan: Plan
    trouble: GitsyncError | None = None

    @property
    def applied(self) -> str:
        return self.records.applied.revision if self.records.applied else ""

    @property
    def attempted(self) -> str:
        """The commit that the run is about: also one that was not taken."""
        return (self.trouble.revision if self.trouble else "") or self.revision.sha


async def look(
    world: World, sync: Sync, options: Options, memory: Memory, progress: Progress, *, to_write: bool = False
) -> Look:
    """Fetch, load, observe, plan.

    Raises Conflict where the sync has to stop (lineage, history), and Suspended where it is to write and a person stopped it.
    Whatever is raised once the commit is known names it.
    """
    commit: list[str] = []
    try:
        return await _look(world, sync, options, memory, progress, commit, to_write=to_write)
    except GitsyncError as error:
        error.revision = error.revision or "".join(commit)
        raise


async def _look(
    world: World,
    sync: Sync,
    options: Options,
    memory: Memory,
    progress: Progress,
    commit: list[str],
    *,
    to_write: bool,
) -> Look:
    """commit: where the commit that this is about is put, as soon as it is known."""
    progress.step("fetch")
    features = world.features
    async with together() as group:  # Git and Consul do not wait for each other
        # Git takes longest. Where a person stopped the sync the last time, they are asked first whether it goes on.
        fetching = group.create_task(_fetched(world)) if memory.followed and not options.rev else None
        await asyncio.sleep(0)
        records = await read_owner(world.consul, world.clock, sync.owner)
        memory.followed = records.suspension is None
        if to_write and records.suspension and suspended(records.suspension, world.clock.now()):
            raise Suspended(_suspension(sync, records.suspension))
        check_lineage(records, sync, options)
        applied = records.applied.revision if records.applied else ""
        entries = group.create_task(
            observe_entries(world.consul, world.clock, intentions=features.has(Feature.INTENTIONS_ENTRY), memory=memory)
        )
        records_read = group.create_task(read_ledgers(world.consul, world.clock, memory))
        nodes = group.create_task(retried(lambda: world.consul.nodes_index(features.datacenter), world.clock))
        revision, trouble = await _revision(world, sync, options, records, fetching, commit)
        progress.step("observe")
        files = await world.specs.load(revision, applied if records.lineage == sync.lineage else "")
    ledgers = records_read.result()
    found = replace(entries.result(), ledgers=ledgers.read, unread=ledgers.unread)
    progress.step("plan")
    policy = policy_of(sync, options, records.approvals)
    desires, found, plan = await judged(world, sync, policy, Commit(revision.sha, files), found, memory, nodes.result())
    if trouble:
        plan = _only_repairs(plan, desires)
    elif world.contract and not (pinned(records) or options.rev or options.expect):  # there a person has looked
        plan = await held_to_review(world.contract, sync, policy, (desires, found, plan), applied, memory)
    return Look(revision, records, found, desires, plan, trouble)


async def look_ahead(world: World, sync: Sync, memory: Memory) -> None:
    """Read again what the run moved that has just ended, so that the next one need not: somebody may wait for that one.

    What cannot be read now is left to it.
    """
    last = memory.accepted
    if last is None:
        return
    with contextlib.suppress(GitsyncError):
        records, found, ledgers = await asyncio.gather(
            read_owner(world.consul, world.clock, sync.owner),
            observe_entries(
                world.consul,
                world.clock,
                intentions=world.features.has(Feature.INTENTIONS_ENTRY),
                memory=memory,
            ),
            read_ledgers(world.consul, world.clock, memory),
        )
        policy = policy_of(sync, Options(), records.approvals)
        found = replace(found, ledgers=ledgers.read, unread=ledgers.unread)
        await judged(world, sync, policy, Commit(last.desired.revision, last.files), found, memory)


class Commit(NamedTuple):
    """The files of one revision."""

    revision: str
    files: tuple[ParsedFile, ...]


async def judged(
    world: World,
    sync: Sync,
    policy: Policy,
    commit: Commit,
    found: Found,
    memory: Memory,
    nodes_index: int | None = None,
    *,
    strictly: bool = True,
) -> tuple[Desires, Found, Plan]:
    """What *commit* wants, what there is besides the lists, and the plan.

    Raises Invalid where something is wrong with them and the sync is strict, unless the plan is only to be shown.
    """
    features = world.features
    revision, files = commit
    desires = await aside(len(files), lambda: desire(files, found.ledgers, sync, features, revision, memory))
    if (
        strictly
        and sync.strict
        and (wrong := [each for each in desires.desired.findings if each.severity is Severity.ERROR])
    ):
        raise Invalid(
            f"strict: the commit {revision[:12]} is refused as a whole because of {len(wrong)} errors, the first: {wrong[0]}"
        )
    found = await observe_catalog(
        world.consul,
        world.clock,
        found,
        memory.wanted_places.of(desires.rendered),
        owner=str(sync.owner),
        home=Home(features.datacenter, nodes_index),
        shadowable=memory.shadowable.of(desires.rendered, found.ledgers),
        memory=memory,
    )
    plan = await aside(len(files), lambda: decide(desires, found, sync, policy, memory))
    return desires, found, plan


async def held_to_review(
    contract: Contract, sync: Sync, policy: Policy, seen: tuple[Desires, Found, Plan], applied: str, memory: Memory
) -> Plan:
    """The plan, with a finding on each service for which it is not what was reviewed; held, where the sync requires that.

    Where it cannot be known what was reviewed, nothing was.
    """
    desires, found, plan = seen
    wanted, revision = desires.desired.services, desires.desired.revision
    if revision == applied and not (sync.require_reviewed and plan.pending):
        return plan
    promised = Promised()
    with contextlib.suppress(GitsyncError):
        promised = await contract.promised(sync.name, applied, revision)
    held: dict[ServiceKey, Finding] = {}
    while sync.require_reviewed and (more := withheld(plan, wanted, promised)).keys() - held.keys():
        # What is held stays as it is, which may hold others; so it is planned again, beside what the sync remembers.
        held |= more
        stricter = replace(policy, withheld=dict(held))
        beside = memory.copied()
        plan = await aside(len(wanted), partial(decide, desires, found, sync, stricter, beside))
    return told(plan, wanted, promised) if promised.named else plan


def pinned(records: OwnerRecords) -> str:
    """The commit at which a person holds the sync, "" if nobody does."""
    return records.suspension.pinned if records.suspension else ""


async def _fetched(world: World) -> Revision | GitsyncError:
    """The newest revision, or why there is none to be had."""
    try:
        return await world.specs.fetch()
    except (Unavailable, Rejected) as trouble:
        return trouble


async def _revision(
    world: World,
    sync: Sync,
    options: Options,
    records: OwnerRecords,
    fetching: asyncio.Task[Revision | GitsyncError] | None,
    commit: list[str],
) -> tuple[Revision, GitsyncError | None]:
    """The revision to apply: the asked for one, the pinned one, the newest, or while Git cannot be read the last good one."""
    applied = records.applied.revision if records.applied else ""
    asked = options.rev or pinned(records)
    if asked:
        revision = await world.specs.resolve(asked)
        commit.append(revision.sha)
        await world.specs.trusted(revision, applied)
        return revision, None
    newest = await (fetching or _fetched(world))
    try:
        if isinstance(newest, GitsyncError):
            raise newest
        commit.append(newest.sha)
        await world.specs.trusted(newest, applied)
    except (Unavailable, Rejected) as trouble:
        if not applied:
            raise
        try:
            return await world.specs.resolve(applied), trouble
        except GitsyncError:
            raise trouble from None
    if applied and applied != newest.sha:
        _check_history(await world.specs.history(applied, newest.sha), applied, newest.sha, sync, options)
    return newest, None


def _only_repairs(plan: Plan, desires: Desires) -> Plan:
    """*plan* while Git cannot be read: what was applied last is repaired, and nothing is deleted or taken back.

    A newer commit may have been applied in part before; its services are those whose ledger says another spec.
    """
    services = {
        key: service
        if _repairs(service, desires)
        else replace(service, verdict=Verdict.UNCHANGED, changes=(), records=False)
        for key, service in plan.services.items()
    }
    return replace(plan, services=services)


def _repairs(service: ServicePlan, desires: Desires) -> bool:
    wanted, ledger = desires.desired.services.get(service.key), service.ledger
    if not service.pending:
        return True
    return bool(wanted and ledger and ledger.state != "deleting" and ledger.spec_hash == wanted.hash)


def check_lineage(records: OwnerRecords, sync: Sync, options: Options) -> None:
    if records.lineage and records.lineage != sync.lineage and not options.accept_lineage:
        raise Conflict(
            f"{sync.owner} belongs to {records.lineage}, and this configuration says {sync.lineage}: applying it would delete everything "
            f"the other one wants. If the repository moved, run `gitsync sync {sync.name} --accept-lineage`; if this is a second "
            "installation, give it another `instance`."
        )


def _check_history(history: History, applied: str, candidate: str, sync: Sync, options: Options) -> None:
    if history in (History.SAME, History.FORWARD) or sync.pinned_ref:
        return
    if history is History.BEHIND:
        raise Conflict(
            f"{candidate[:12]} is older than the applied revision {applied[:12]}, so it is not applied. If you want to go back, "
            f"run `gitsync sync {sync.name} --rev {candidate}`."
        )
    accepted = bool(options.accept_rewrite) and candidate.startswith(options.accept_rewrite)
    if sync.history != "follow" and not accepted:
        raise Conflict(
            f"the history was rewritten: the applied revision {applied[:12]} is not among the ancestors of {candidate[:12]}. "
            f"Nothing is changed. If that is wanted, run `gitsync sync {sync.name} --accept-rewrite {candidate}`."
        )


def suspended(suspension: Suspension | None, now: datetime) -> bool:
    """Whether the sync must not run now. A sync pinned to a commit runs, at that commit."""
    if suspension is None or suspension.pinned:
        return False
    if not suspension.until:
        return True
    try:
        return datetime.fromisoformat(suspension.until) > now
    except (ValueError, TypeError):  # no time, or one without a zone: somebody wanted it to stop
        return True


def _suspension(sync: Sync, suspension: Suspension) -> str:
    until = f" until {suspension.until}" if suspension.until else ""
    by = f" by {suspension.by}" if suspension.by else ""
    return f"{sync.owner} is suspended{until}{by}: {suspension.reason}. `gitsync resume {sync.name}` lets it go on."
