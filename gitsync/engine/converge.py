"""Converge: write the difference of the locked services until there is none. An empty plan is the proof."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gitsync.core.sight import Sight
from gitsync.engine.ledger import applied, record_ops, removal_ops, restore_ops
from gitsync.engine.observe import observe_again, still_there
from gitsync.engine.ports import ComponentRow, Op, ServiceVersion
from gitsync.engine.retry import retried
from gitsync.engine.think import decide
from gitsync.engine.together import aside, in_portions, portions
from gitsync.engine.work import Done, Work
from gitsync.engine.write import Failed, Writer
from gitsync.model import kv
from gitsync.model.component import Component, Found, Ledger, Observed
from gitsync.model.errors import Conflict, GitsyncError, Rejected
from gitsync.model.key import OWNER_MARK, ComponentKey, Kind, ServiceKey
from gitsync.model.plan import Plan, Verdict
from gitsync.model.run import Outcome

BATCHES = 24
"""Transactions of records in flight at a time."""

PORTION = 64
"""Services that are locked, or whose records are made, at a time: while they are sent, the next are made."""

CHAPTER = 2048
"""Services whose history is written in one transaction of the store."""

ROUNDS = 5
"""How often a service that somebody else keeps writing is planned anew before it is given up as contested."""


async def converge(work: Work, locked: frozenset[ServiceKey]) -> None:
    """Plan *locked* again now that nobody else of us writes them, write, and read back, until every one has an end.

    The ends are in `work.done`. Raises Fenced when the lease is lost: nothing more may be written then.
    """
    found, blocked = await _observe(work, locked, work.found.ledgers)
    plan = await _decide(work, found, locked - blocked.keys())
    work.plans.update(plan.services)
    # Where the plan has nothing of a service any more, another process of ours deleted it before we had its lock.
    moved = _moved(work, plan)
    idle = {key for key in locked if key not in plan.services or not plan.services[key].pending}
    await _restore(work, frozenset(idle | moved.keys()))
    for key, error in {**blocked, **moved}.items():
        _fail(work, key, Failed("lock", error))
    left = locked - idle - moved.keys()
    refusals: dict[ServiceKey, Failed] = {}
    lost: dict[ServiceKey, str] = {}
    for _ in range(ROUNDS):
        left -= await _finish_verified(work, left, plan, found)
        left -= _stopped(work, left, plan)
        if not left:
            return
        changes = [change for change in plan.changes() if change.key.service in left]
        work.progress.step("write", len(changes))
        writer = Writer(
            work.world.consul,
            work.lease,
            found,
            datacenter=work.world.features.datacenter,
            width=work.sync.width,
            clock=work.world.clock,
            progress=work.progress,
        )
        written = await writer.write(changes)
        work.writes += written.writes
        lost = written.stale
        refusals = {key: failed for key, failed in written.failed.items() if _may_pass(failed)}
        final = {key: failed for key, failed in written.failed.items() if key not in refusals}
        if work.reviewed is not None:
            final |= {key: Failed("write", _changed(key)) for key in lost}
        await _give_up(work, final)
        left -= final.keys()
        if refusals and not lost and refusals.keys() >= {change.key.service for change in changes}:
            break  # nobody got any further, so nothing that stands in the way will go away
        work.progress.step("verify")
        found, blocked = await _observe(work, left, {**work.found.ledgers, **work.intents})
        await _give_up(work, {key: Failed("verify", error) for key, error in blocked.items()})
        left -= blocked.keys()
        plan = await _decide(work, found, left)
    left -= await _finish_verified(work, left, plan, found)
    left -= _stopped(work, left, plan)
    await _give_up(work, {key: refusals[key] for key in left if key in refusals})
    for key in left - refusals.keys():
        work.done[key] = _contested(key, found, plan, lost.get(key, ""))


async def _decide(work: Work, found: Found, keys: frozenset[ServiceKey]) -> Plan:
    return await aside(len(keys), lambda: decide(work.desires, found, work.sync, work.policy, work.memory, only=keys))


def _moved(work: Work, plan: Plan) -> dict[ServiceKey, Conflict]:
    """Where a person reviewed the plan: the services for which it is another one now."""
    if work.reviewed is None:
        return {}
    return {
        key: _changed(key)
        for key, service in plan.services.items()
        if service.pending and plan.digests.get(key) != work.reviewed.get(key)
    }


def _changed(key: ServiceKey) -> Conflict:
    return Conflict(
        f"the plan of {key} changed since it was reviewed: somebody else writes it. Look at the plan again."
    )


def _may_pass(failed: Failed) -> bool:
    """What refused it is another entry, which this run may still change."""
    return isinstance(failed.error, Rejected) and failed.error.dependency


async def _give_up(work: Work, failures: Mapping[ServiceKey, Failed]) -> None:
    """End these services. What Consul refuses for its content is a version of the spec in state `error`."""
    for key, failed in failures.items():
        _fail(work, key, failed)
    refused = [key for key, failed in failures.items() if isinstance(failed.error, Rejected)]
    await work.world.archive.record_services([_version(work.intents[key], "error") for key in sorted(refused)])


def _fail(work: Work, key: ServiceKey, failed: Failed) -> None:
    outcome = Outcome.CONFLICT if isinstance(failed.error, Conflict) else Outcome.FAILED
    work.done[key] = Done(outcome, failed.step, str(failed.error), failed.error)


async def _observe(
    work: Work, keys: frozenset[ServiceKey], ledgers: Mapping[ServiceKey, Ledger]
) -> tuple[Found, dict[ServiceKey, GitsyncError]]:
    """What stands in Consul now, and the services of *keys* that cannot be read, which is never taken for absence."""
    found, blocked = await observe_again(
        work.world.consul,
        work.world.clock,
        work.found,
        keys,
        work.components_of(keys),
        features=work.world.features,
        owner=work.owner,
        memory=work.memory,
    )
    # Later rounds read fewer services: for the others, what this one saw is newer than what stood there before the run.
    work.found = replace(found, ledgers=work.found.ledgers)
    return replace(found, ledgers=ledgers), {key: error for key, error in blocked.items() if key in keys}


def _stopped(work: Work, keys: frozenset[ServiceKey], plan: Plan) -> frozenset[ServiceKey]:
    """Those of which the plan says now that nothing more of them may be written."""
    ends = {Verdict.REFUSED: Outcome.REFUSED, Verdict.CONFLICT: Outcome.CONFLICT, Verdict.HELD: Outcome.HELD}
    stopped = set()
    for key in keys:
        service = plan.services[key]
        if service.verdict in ends:
            stopped.add(key)
            work.plans[key] = replace(work.plans[key], findings=service.findings)
            work.done[key] = Done(ends[service.verdict], "plan", _why(service.findings))
    return frozenset(stopped)


def _why(findings: Iterable[object]) -> str:
    return next((str(finding) for finding in reversed(list(findings))), "")


async def _restore(work: Work, keys: frozenset[ServiceKey]) -> None:
    """Give services of which there was nothing to write after all their ledger back."""
    back = {key: restore_ops(key, work.found.ledgers.get(key), session=work.lease.id) for key in sorted(keys)}
    await send(work, back, {}, asyncio.Semaphore(BATCHES))
    ends = {Verdict.REFUSED: Outcome.REFUSED, Verdict.CONFLICT: Outcome.CONFLICT, Verdict.HELD: Outcome.HELD}
    for key in keys:
        service = work.plans[key]
        outcome = ends.get(service.verdict, Outcome.UNCHANGED)
        work.done[key] = Done(outcome, "" if outcome is Outcome.UNCHANGED else "plan", _why(service.findings))


async def _finish_verified(work: Work, keys: frozenset[ServiceKey], plan: Plan, found: Found) -> frozenset[ServiceKey]:
    """Write the records of the services whose plan is empty now; they are done."""
    empty = sorted(key for key in keys if not plan.services[key].changes and plan.services[key].verdict in _FINE)
    if not empty:
        return frozenset()
    work.progress.step("record", len(empty))
    sight = work.memory.seen(found)
    leaving = {key: _leaving(work, key) for key in empty}
    there = await still_there(
        work.world.consul,
        work.world.clock,
        [each for keys in leaving.values() for each in keys],
        found,
        datacenter=work.world.features.datacenter,
    )
    places = asyncio.Semaphore(BATCHES)
    kept: list[_Closing] = []
    async with in_portions() as begin:

        async def close(part: Mapping[ServiceKey, _Closing]) -> None:
            kept.extend(await _close(work, part, places))
            if len(kept) >= CHAPTER:
                chapter = kept.copy()
                kept.clear()
                await _remember(work, chapter)

        for portion in portions(empty, PORTION):
            part = {}
            for key in portion:
                # What the snapshot also shows was judged by the plan: it is somebody else's by now.
                lingering = [each for each in leaving[key] if each in there and sight.observed(each) is None]
                removed = plan.services[key].verdict is Verdict.DELETE
                if removed and lingering:
                    work.done[key] = _lingers(key, lingering)
                elif removed:
                    part[key] = _Closing(work.intents[key], "deleted", removal_ops(key, session=work.lease.id))
                else:
                    part[key] = _closing(work, key, sight, leaving[key], lingering)
            await begin(partial(close, part))
    await _remember(work, kept)
    return frozenset(empty)


async def _remember(work: Work, kept: Sequence[_Closing]) -> None:
    """Write the history of some services that are done."""
    versions = [_version(each.record, each.state) for each in kept]
    await work.world.archive.record_services(versions, [row for each in kept for row in each.rows])


async def _close(work: Work, closing: Mapping[ServiceKey, _Closing], places: asyncio.Semaphore) -> list[_Closing]:
    """Write the records of some services in Consul: they are done, or what failed is said. Those of which there is a history."""
    failed: dict[ServiceKey, GitsyncError] = {}
    await send(work, {key: each.ops for key, each in closing.items()}, failed, places)
    for key, each in closing.items():
        changed = each.state == "deleted" or bool(work.plans[key].changes)
        work.done[key] = Done(Outcome.APPLIED if changed else Outcome.UNCHANGED)
    for key, error in failed.items():
        _fail(work, key, Failed("record", error))
    work.progress.advance(len(closing))
    return [each for key, each in closing.items() if key not in failed]


@dataclass(frozen=True, slots=True)
class _Closing:
    """The last words on one service: its ledger, its state in the store, its records in KV, and what it has."""

    record: Ledger
    state: str
    ops: Sequence[Op]
    rows: tuple[ComponentRow, ...] = ()


def _closing(
    work: Work, key: ServiceKey, sight: Sight, leaving: Sequence[ComponentKey], lingering: Sequence[ComponentKey]
) -> _Closing:
    rendered = work.desires.components(key)
    components = {component.key: component for component in rendered}
    observed = {each: seen for each in components if (seen := sight.observed(each))}
    record = applied(work.intents[key], rendered, lingering)
    ops = record_ops(
        record,
        components,
        observed,
        work.plans[key].findings,
        leaving=[each for each in leaving if each not in lingering],
        session=work.lease.id,
        run=work.run,
        at=work.now,
    )
    return _Closing(record, "active", ops, tuple(_rows(record, components, observed)))


_FINE = (Verdict.UNCHANGED, Verdict.DELETE, Verdict.UPDATE, Verdict.CREATE)


def _leaving(work: Work, key: ServiceKey) -> list[ComponentKey]:
    wanted = {component.key for component in work.desires.components(key)}
    return [component.key for component in work.intents[key].components if component.key not in wanted]


def _lingers(key: ServiceKey, lingering: list[ComponentKey]) -> Done:
    message = (
        f"{key} is kept in gitsync's records, because {lingering[0]} could not be read as gone: the token may not see it, or its "
        f"datacenter does not answer. If that datacenter is gone for good, delete the key {kv.ledger(key)}."
    )
    return Done(Outcome.FAILED, "verify", message, Rejected(message))


def _contested(key: ServiceKey, found: Found, plan: Plan, lost: str) -> Done:
    """Somebody else writes the same thing again and again; who, where its Meta tells."""
    sight = Sight(found)
    others = set()
    for change in plan.services[key].changes:
        seen = sight.observed(change.key)
        meta = (seen.body.get("Meta") or {}) if seen and change.key.kind is not Kind.GATEWAY_ROW else {}
        others.add(str(meta.get(OWNER_MARK) or meta.get("managed-by") or ""))
    by = ", ".join(sorted(others - {""}))
    what = ", ".join(str(change.key) for change in plan.services[key].changes)
    message = (
        f"contested: {what} was changed again after each of {ROUNDS} writes"
        + (f", last by {by}" if by else "")
        + f". {lost}".rstrip()
    )
    return Done(Outcome.CONFLICT, "verify", message, Conflict(message))


async def send(
    work: Work,
    groups: Mapping[ServiceKey, Sequence[Op]],
    failed: dict[ServiceKey, GitsyncError],
    places: asyncio.Semaphore,
) -> None:
    """Write each service's operations, which belong together; *failed* is what stood in the way of those that were not written.

    Each group begins with `check-session`: nothing is written for a service whose lock is no longer ours.
    """
    pending = list(groups)
    while pending:
        rest = iter(pending)
        batches = work.world.consul.batches([groups[key] for key in pending])
        parts = [[next(rest) for _ in batch] for batch in batches]
        left = await asyncio.gather(*(_transact(work, groups, part, failed, places) for part in parts))
        pending = [key for keys in left for key in keys]


async def _transact(
    work: Work,
    groups: Mapping[ServiceKey, Sequence[Op]],
    keys: Sequence[ServiceKey],
    failed: dict[ServiceKey, GitsyncError],
    places: asyncio.Semaphore,
) -> list[ServiceKey]:
    """Send one transaction; the services that have to be sent again, because another of them spoiled it."""
    ops = [(key, op) for key in keys for op in groups[key]]
    send_them = partial(work.world.consul.transact, [op for _, op in ops])
    try:
        async with places:
            failures = await retried(send_them, work.world.clock, before=work.lease.check)
    except Rejected as refusal:
        if len(keys) == 1:  # too large, say: its own trouble and nobody else's
            failed[keys[0]] = refusal
            return []
        for key in keys:
            await _transact(work, groups, [key], failed, places)
        return []
    for failure in failures:
        key, op = ops[failure.op_index]
        kind = Conflict if "session" in failure.what else Rejected
        failed[key] = kind(f"{op.key} cannot be written: {failure.what}")
    return [key for key in keys if key not in failed] if failures else []


def _version(record: Ledger, state: str) -> ServiceVersion:
    return ServiceVersion(
        record.accessor_id,
        record.key,
        record.version,
        record.spec,
        record.spec_hash,
        state,
        record.origin.path,
        record.origin.commit,
        record.owner,
    )


def _rows(
    record: Ledger, components: Mapping[ComponentKey, Component], observed: Mapping[ComponentKey, Observed]
) -> Iterable[ComponentRow]:
    for ledger in record.components:
        seen = observed.get(ledger.key)
        if ledger.key in components:
            yield ComponentRow(
                record.accessor_id,
                record.key,
                str(ledger.key.kind),
                ledger.key.at,
                ledger.hash,
                seen.create_index if seen else 0,
                seen.modify_index if seen else 0,
            )
