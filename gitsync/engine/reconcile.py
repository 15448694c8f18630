"""Reconcile: one run of one sync, from the commit to the verified state. The straight line, read top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from gitsync.core.contract import retold
from gitsync.engine.converge import PORTION, converge
from gitsync.engine.ledger import adoption_op, applying, deleting, standing, submission_ops
from gitsync.engine.lock import Claim, Locked, lock, make_way
from gitsync.engine.look import Look, look
from gitsync.engine.memory import Memory
from gitsync.engine.observe import read_ledgers
from gitsync.engine.own import advance, clean_up, own_records
from gitsync.engine.patience import Patience
from gitsync.engine.ports import Lease, Op, Progress, World
from gitsync.engine.process import RUNNING, identity
from gitsync.engine.report import Head, Steps, Told, early_end, report
from gitsync.engine.retry import retried, to_its_end
from gitsync.engine.think import policy_of
from gitsync.engine.together import in_portions, portions
from gitsync.engine.work import Done, Work, fingerprint
from gitsync.model import kv
from gitsync.model.component import Observed
from gitsync.model.errors import Conflict, GitsyncError, Rejected, Unavailable
from gitsync.model.key import ServiceKey
from gitsync.model.plan import Hold, ServicePlan, Verdict
from gitsync.model.run import Outcome, RunReport
from gitsync.model.sync import Options, Sync

CLOSING_SECONDS = 5.0
"""How long the end of a run may wait for Consul. What stays behind then ends with its session."""


@dataclass(slots=True)
class Mind:
    """What one sync remembers from run to run. It saves work and noise; a new process starts without it."""

    memory: Memory = field(default_factory=Memory)
    patience: Patience = field(default_factory=Patience)
    attempted: str = ""
    trouble: str = ""
    troubled: str = ""
    untaken: str = ""
    holds: tuple[Hold, ...] | None = None
    told: Told = field(default_factory=dict)


async def reconcile(world: World, sync: Sync, options: Options, mind: Mind, progress: Progress) -> RunReport:
    """Make Consul what the revision wants, as far as that may be done; the report says what became of each service.

    Raises nothing that gitsync knows: what ended the run early is in the report.
    """
    steps = Steps(world.clock, progress)
    head = Head(world.clock.new_id(), sync.name, options.trigger, world.clock.stamp())
    try:
        seen = await look(world, sync, options, mind.memory, steps, to_write=True)
    except GitsyncError as error:
        return await _ended_early(world, head, steps, error, mind)
    try:
        if options.expect and not seen.plan.digest.startswith(options.expect):
            raise Conflict(
                f"the plan is {seen.plan.digest[:12]} now, not {options.expect}. Look at `gitsync plan {sync.name}` again."
            )
        await own_records(world, sync, options, seen)
        await clean_up(world, sync, seen, steps)
    except GitsyncError as error:
        error.revision = error.revision or seen.attempted
        return await _ended_early(world, head, steps, error, mind)
    mind.trouble = ""

    done = _waiting(world, seen, mind)
    pending = seen.plan.pending - done.keys()
    sha = seen.attempted
    untaken = str(seen.trouble) if seen.trouble and seen.trouble.revision else ""  # told once, and that it is over, too
    new = sha not in (seen.applied, mind.attempted) or untaken != mind.untaken
    mind.attempted, mind.untaken = sha, untaken
    if not pending and not new:
        head = replace(head, run="")  # nothing to tell but that all was looked at
        await world.archive.touch(sync.name, revision=sha, checked=world.clock.stamp())
        return await _apply(world, sync, options, mind, Run(head, seen, steps, done, pending))
    # Consul does not wait for the history: losing it loses nothing else.
    begun = asyncio.ensure_future(
        world.archive.begin_run(run=head.run, sync=sync.name, revision=sha, trigger=head.trigger, started=head.started)
    )
    try:
        ended = await _apply(world, sync, options, mind, Run(head, seen, steps, done, pending))
    except BaseException as stopped:
        reason = Conflict(f"stopped in the middle ({type(stopped).__name__}). The next run goes on from here.")
        ended = early_end(head, steps, reason, finished=world.clock.stamp(), revision=sha)
        await to_its_end(_end(world, begun, ended))
        raise
    await to_its_end(_end(world, begun, ended))
    return ended


async def _end(world: World, begun: asyncio.Future[None], ended: RunReport) -> None:
    await begun
    await world.archive.finish_run(ended)


@dataclass(frozen=True, slots=True)
class Run:
    """A run after it has looked. done: what is already known of services; pending: those that are to be written."""

    head: Head
    seen: Look
    steps: Steps
    done: dict[ServiceKey, Done]
    pending: frozenset[ServiceKey]


async def _apply(world: World, sync: Sync, options: Options, mind: Mind, run: Run) -> RunReport:
    """Write what is pending, and the applied revision."""
    seen, done = run.seen, run.done
    plans = dict(seen.plan.services)
    applied = seen.applied
    trouble: GitsyncError | None = None
    try:
        if run.pending:
            policy = policy_of(sync, options, seen.records.approvals)
            async with _lease(world, sync, run.head.run, run.steps) as lease:
                work = Work(
                    world,
                    sync,
                    policy,
                    seen.desires,
                    seen.found,
                    lease,
                    run.head.run,
                    run.steps,
                    mind.memory,
                    plans=plans,
                    done=done,
                    reviewed=seen.plan.digests if options.expect or sync.require_reviewed else None,
                )
                await _write_all(work, run.pending)
            _learn(world, seen, done, mind)
        applied = await advance(world, sync, seen, done, run.head.run)
        if seen.plan.holds != mind.holds and not seen.trouble:
            await world.archive.record_holds(sync.name, seen.plan.holds)
            mind.holds = seen.plan.holds
    except GitsyncError as stopped:
        trouble = stopped
        step = run.steps.current
        outcome = Outcome.CONFLICT if isinstance(stopped, Conflict) else Outcome.FAILED
        done.update({key: Done(outcome, step, str(stopped), stopped) for key in run.pending - done.keys()})
    ended = frozenset(done)
    after = retold(seen.plan, {key: plans[key] for key in ended & plans.keys()})
    seen = replace(seen, plan=seen.plan.renewed(ended, replace(seen.plan, services=after)))
    return report(
        run.head,
        seen,
        done,
        run.steps,
        finished=world.clock.stamp(),
        applied=applied,
        told=mind.told,
        error=trouble,
    )


async def _ended_early(world: World, head: Head, steps: Steps, error: GitsyncError, mind: Mind) -> RunReport:
    """A run that could not look. It is told once of each commit, not every minute."""
    again = str(error) == mind.trouble and error.revision in ("", mind.troubled)
    ended = early_end(replace(head, run="") if again else head, steps, error, finished=world.clock.stamp())
    if not again:
        await to_its_end(_told(world, head, ended))
    mind.trouble, mind.troubled = str(error), error.revision or mind.troubled
    return ended


async def _told(world: World, head: Head, ended: RunReport) -> None:
    await world.archive.begin_run(
        run=head.run, sync=head.sync, revision=ended.revision, trigger=head.trigger, started=head.started
    )
    await world.archive.finish_run(ended)


def _waiting(world: World, seen: Look, mind: Mind) -> dict[ServiceKey, Done]:
    """The services that Consul refused a moment ago and of which nothing changed since, and those whose datacenter is silent."""
    waiting = {}
    now = world.clock.monotonic()
    mind.patience.keep(seen.plan.pending)
    refused = mind.patience.refusals
    for key in seen.plan.unsettled:
        plan = seen.plan.services[key]
        if plan.verdict is Verdict.REFUSED and (why := _silent(plan)):
            waiting[key] = Done(Outcome.FAILED, "observe", why, Unavailable(why))
        if key in refused and plan.pending and (why := mind.patience.waits(key, fingerprint(seen.desires, key), now)):
            waiting[key] = Done(Outcome.FAILED, "waiting", why, Rejected(why))
    return waiting


def _silent(plan: ServicePlan) -> str:
    """Why a service cannot go on before its datacenter answers again; "" where that is not what it waits for."""
    return next((str(finding) for finding in plan.findings if finding.code == "datacenter-silent"), "")


def _learn(world: World, seen: Look, done: dict[ServiceKey, Done], mind: Mind) -> None:
    for key, end in done.items():
        if end.step in ("waiting", "observe"):
            continue
        if isinstance(end.error, Rejected):
            mind.patience.refused(key, fingerprint(seen.desires, key), world.clock.monotonic(), end.message)
        else:
            mind.patience.fine(key)


@asynccontextmanager
async def _lease(world: World, sync: Sync, run: str, progress: Progress) -> AsyncIterator[Lease]:
    """A session with its holder record. However the run ends, both go, unless Consul does not answer any more."""
    progress.step("lock")
    lease = await _opened(world, sync)
    holder = kv.holder(sync.owner, lease.id)
    RUNNING.add(run)
    try:
        record = {"run": run, "at": world.clock.stamp(), **identity()}
        await retried(lambda: world.consul.transact([Op("set", holder, kv.dump(record))]), world.clock)
        yield lease
    finally:
        RUNNING.discard(run)
        await to_its_end(_close(world, lease, holder, progress))


async def _opened(world: World, sync: Sync) -> Lease:
    """A session. A run that is cancelled meanwhile waits for the answer, and ends the session that Consul may have made."""
    opening = asyncio.ensure_future(retried(lambda: world.consul.open_lease(f"svc-handler:{sync.name}"), world.clock))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await to_its_end(_unopened(opening))
        raise


async def _unopened(opening: asyncio.Future[Lease]) -> None:
    with suppress(GitsyncError, TimeoutError):  # then it ends by itself
        async with asyncio.timeout(CLOSING_SECONDS):
            await (await opening).destroy()


async def _close(world: World, lease: Lease, holder: str, progress: Progress) -> None:
    try:
        async with asyncio.timeout(CLOSING_SECONDS):
            await lease.destroy()
            await world.consul.transact([Op("delete", holder)])
    except (GitsyncError, TimeoutError) as error:
        progress.say(f"the session {lease.id} stays behind and ends by itself: {str(error) or 'no answer'}")


async def _write_all(work: Work, pending: frozenset[ServiceKey]) -> None:
    """Lock and converge; what was busy, or had moved, is tried once more at the end."""
    locked = await _locked(work, pending)
    again = await _make_way(work, locked)
    if again:
        second = await _locked(work, again)
        locked.taken |= second.taken
        locked.held = {key: session for key, session in locked.held.items() if key not in second.taken}
    await converge(work, frozenset(locked.taken))

    late = frozenset(locked.held.keys() | locked.stale.keys())
    if late:
        ledgers = await read_ledgers(work.world.consul, work.world.clock, work.memory)
        work.found = replace(work.found, ledgers=ledgers.read, unread=ledgers.unread)
        last = await _locked(work, late)
        await converge(work, frozenset(last.taken))
        for key, session in last.held.items():
            work.done[key] = Done(
                Outcome.BUSY,
                "lock",
                f"{key} is locked by the session {session or 'of somebody else'}; tried again.",
                None,
            )
        for key, why in last.stale.items():
            work.done[key] = Done(
                Outcome.BUSY, "lock", f"{why}: somebody else of the same owner is at work; tried again.", None
            )
        locked.refused |= last.refused
    for key, refusal in locked.refused.items():
        reason = refusal if isinstance(refusal, GitsyncError) else Rejected(str(refusal))
        work.done[key] = Done(Outcome.FAILED, "lock", str(refusal), reason)


async def _locked(work: Work, keys: frozenset[ServiceKey]) -> Locked:
    """Take the locks, and write with each what is about to happen: the ledger first, before the first write of a service."""
    work.progress.step("lock", len(keys))
    result = Locked()
    take = partial(
        lock, work.world.consul, work.lease, hostname=work.world.hostname, clock=work.world.clock, into=result
    )
    async with in_portions() as begin:
        for portion in portions(sorted(keys), PORTION):
            await begin(partial(take, [_claim(work, key) for key in portion]))
    work.progress.advance(len(result.taken))
    return result


def _claim(work: Work, key: ServiceKey) -> Claim:
    plan, before = work.plans[key], work.found.ledgers.get(key)
    new_id = f"svc_{work.world.clock.new_id()}"
    if plan.verdict is Verdict.DELETE:
        intent = deleting(key, before, _seen(plan), owner=work.owner, new_id=new_id)
        ops = []
    else:
        wanted = work.desires.desired.services[key]
        components = work.desires.components(key)
        intent = applying(key, before, wanted, components, had=standing(plan), owner=work.owner, new_id=new_id)
        ops = [*submission_ops(intent), *adoption_op(plan, at=work.now)]
    work.intents[key] = intent
    ledger = Op("cas", kv.ledger(key), kv.ledger_json(intent), index=before.index if before else 0)
    return Claim(key, (ledger, *ops))


def _seen(plan: ServicePlan) -> list[Observed]:
    return [Observed(change.key, change.before or {}, 0, change.index) for change in plan.changes]


async def _make_way(work: Work, locked: Locked) -> frozenset[ServiceKey]:
    """The held services whose holder is out of the way now."""
    if not locked.held:
        return frozenset()
    remaining = await make_way(
        work.world.consul,
        work.sync.owner,
        set(locked.held.values()),
        ttl_seconds=work.sync.lock_ttl,
        clock=work.world.clock,
        say=work.progress.say,
    )
    return frozenset(key for key, session in locked.held.items() if session not in remaining)
