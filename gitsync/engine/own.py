"""Own: a sync's own records: whose repository it is, where it is held, who was at work, and the applied revision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

from gitsync.engine.look import Look
from gitsync.engine.ports import Op, Progress, World
from gitsync.engine.process import is_dead
from gitsync.engine.report import exceptions_of
from gitsync.engine.retry import retried
from gitsync.engine.work import Done
from gitsync.model import kv
from gitsync.model.errors import Conflict, Fenced, Forbidden, Rejected
from gitsync.model.key import ServiceKey
from gitsync.model.run import Outcome
from gitsync.model.sync import Options, Sync


async def own_records(world: World, sync: Sync, options: Options, seen: Look) -> None:
    """Whose repository this is, and where the sync is held: written before anything that depends on it."""
    ops = []
    if seen.records.lineage != sync.lineage:
        ops.append(
            Op("cas", f"{kv.owner(sync.owner)}lineage", kv.lineage_json(sync.lineage), index=seen.records.lineage_index)
        )
    if options.rev:
        pin = kv.Suspension(f"held at {seen.revision.sha[:12]} by sync --rev", pinned=seen.revision.sha)
        ops.append(
            Op("cas", f"{kv.owner(sync.owner)}suspended", kv.suspension_json(pin), index=seen.records.suspension_index)
        )
    if ops:
        failures = await retried(lambda: world.consul.transact(ops), world.clock)
        if failures and not await _stand(world, ops):
            what = ops[failures[0].op_index].key
            if "ermission denied" in failures[0].what:
                raise Forbidden(f"the token may not write {what}: {failures[0].what}. It needs write on `{kv.ROOT}`.")
            raise Conflict(f"{what} was changed by somebody else meanwhile: {failures[0].what}. Try again.")


async def _stand(world: World, ops: Sequence[Op]) -> bool:
    """Whether all of *ops* was written: our own transaction may have been applied although its answer was lost."""
    pairs = [await retried(partial(world.consul.read_key, op.key), world.clock) for op in ops]
    return all(pair is not None and pair.value == op.value for pair, op in zip(pairs, ops, strict=True))


async def clean_up(world: World, sync: Sync, seen: Look, progress: Progress) -> None:
    """Remove what runs left behind that were killed: the session of a process that is dead, and records without a session."""
    for session, record in sorted((seen.records.holders or {}).items()):
        try:
            await _tidied(world, sync, session, record, progress)
        except Rejected as refused:  # it is only tidiness: what is locked there is another question
            progress.say(f"the record of the session {session} stays: {refused}")


async def _tidied(world: World, sync: Sync, session: str, record: object, progress: Progress) -> None:
    dead = isinstance(record, dict) and is_dead(record)
    if dead and isinstance(record, dict):
        progress.say(
            f"the run {record.get('run')} of process {record.get('pid')} is over and left its session: ending it"
        )
        await retried(partial(world.consul.destroy_session, session), world.clock)
    if dead or not await retried(partial(world.consul.session_exists, session), world.clock):
        await retried(partial(world.consul.transact, [Op("delete", kv.holder(sync.owner, session))]), world.clock)


def _says(value: bytes, record: kv.Applied) -> bool:
    """Whether another process of ours recorded the same."""
    try:
        said = json.loads(value)
    except ValueError:
        return False
    wanted = json.loads(kv.applied_json(record))
    return isinstance(said, dict) and all(said.get(name) == wanted[name] for name in ("revision", "exceptions"))


async def advance(world: World, sync: Sync, seen: Look, done: Mapping[ServiceKey, Done], run: str) -> str:
    """Write the applied revision once every service that could be is verified; the revision that holds now."""
    if seen.trouble or any(
        end.retryable or end.outcome is Outcome.BUSY or isinstance(end.error, Fenced) for end in done.values()
    ):
        return seen.applied
    exceptions = exceptions_of(seen.plan, done, seen.desires.desired)
    before = seen.records.applied
    sha = seen.revision.sha
    if before and before.revision == sha and dict(before.exceptions) == exceptions:
        return sha
    record = kv.Applied(sha, exceptions, run, world.clock.stamp())
    op = Op("cas", f"{kv.owner(sync.owner)}revision", kv.applied_json(record), index=seen.records.applied_index)
    failures = await retried(lambda: world.consul.transact([op]), world.clock)
    if failures:
        pair = await retried(lambda: world.consul.read_key(op.key), world.clock)
        if pair is None or not _says(pair.value, record):
            raise Conflict(
                f"{op.key} was changed by another process of {sync.owner} meanwhile. Run only one, or let this one try again."
            )
    await world.specs.keep(sha)
    return sha
