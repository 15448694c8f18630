"""Locks: one session a run, one key a service, taken together with the ledger's word of what is about to happen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gitsync.engine.ports import Clock, Consul, Lease, Op
from gitsync.engine.process import is_dead
from gitsync.engine.retry import retried
from gitsync.model import kv
from gitsync.model.errors import Fenced, Forbidden, Rejected, StaleIndex, Unavailable
from gitsync.model.key import Owner, ServiceKey


@dataclass(frozen=True, slots=True)
class Claim:
    """A service to lock. ops: what is written in the same transaction as the lock, the ledger's compare-and-set among it."""

    key: ServiceKey
    ops: tuple[Op, ...]


@dataclass(slots=True)
class Locked:
    """taken: locked, ledger written. held: the session that has the lock. stale: the ledger moved since it was read."""

    taken: set[ServiceKey] = field(default_factory=set)
    held: dict[ServiceKey, str] = field(default_factory=dict)
    stale: dict[ServiceKey, str] = field(default_factory=dict)
    refused: dict[ServiceKey, Exception] = field(default_factory=dict)


async def lock(
    consul: Consul,
    lease: Lease,
    claims: Sequence[Claim],
    *,
    hostname: str,
    clock: Clock,
    into: Locked | None = None,
) -> Locked:
    """Lock every claim that can be had, and say so in *into*. One that fails leaves its transaction; the rest is sent again."""
    result = Locked() if into is None else into
    pending = list(claims)
    while pending:
        groups = [
            [Op("lock", kv.lock(claim.key), hostname.encode(), session=lease.id), *claim.ops] for claim in pending
        ]
        batches = consul.batches(groups)
        flat = iter(pending)
        portions = [[next(flat) for _ in batch] for batch in batches]
        left = await asyncio.gather(
            *(
                _batch(consul, lease, batch, portion, result, clock)
                for batch, portion in zip(batches, portions, strict=True)
            )
        )
        pending = [claim for portion in left for claim in portion]
    return result


async def _batch(
    consul: Consul, lease: Lease, groups: Sequence[Sequence[Op]], claims: Sequence[Claim], result: Locked, clock: Clock
) -> list[Claim]:
    """Send one transaction; the claims that have to be sent again."""
    ops = [op for group in groups for op in group]
    owner_of = [claim for claim, group in zip(claims, groups, strict=True) for _ in group]
    lease.check()
    try:
        failures = await retried(lambda: consul.transact(ops), clock, before=lease.check)
    except Rejected as refusal:
        if len(claims) == 1:  # too large, say: its own trouble and nobody else's
            result.refused[claims[0].key] = refusal
            return []
        parts = [
            await _batch(consul, lease, [group], [claim], result, clock)
            for group, claim in zip(groups, claims, strict=True)
        ]
        return [claim for part in parts for claim in part]
    if not failures:
        result.taken.update(claim.key for claim in claims)
        return []
    out: set[ServiceKey] = set()
    for failure in failures:
        key, op = owner_of[failure.op_index].key, ops[failure.op_index]
        if key in out:
            continue
        out.add(key)
        if "ermission denied" in failure.what:
            result.refused[key] = Forbidden(f"the token may not write {op.key}: {failure.what}")
        elif "invalid session" in failure.what:
            raise Fenced(f"the session {lease.id} is gone: {failure.what}")
        elif op.verb == "lock":
            pair = await retried(partial(consul.read_key, op.key), clock)
            result.held[key] = pair.session if pair else ""
        else:
            # Our own transaction may have been applied although its answer was lost: then the ledger already says what we want.
            pair = await retried(partial(consul.read_key, op.key), clock)
            held = await retried(partial(consul.read_key, kv.lock(key)), clock)
            if pair and pair.value == op.value and held and held.session == lease.id:
                result.taken.add(key)
            else:
                result.stale[key] = str(StaleIndex(op.key, op.index))
    return [claim for claim in claims if claim.key not in out]


@dataclass(frozen=True, slots=True)
class Predecessor:
    """Who holds a lock that we want. record: the holder record of an earlier run of our own sync, None if it is not ours."""

    session: str
    record: Mapping[str, Any] | None

    def __str__(self) -> str:
        if self.record is None:
            return f"session {self.session or 'unknown'}"
        return f"run {self.record.get('run')} on {self.record.get('host')} (pid {self.record.get('pid')})"


async def make_way(
    consul: Consul,
    owner: Owner,
    sessions: set[str],
    *,
    ttl_seconds: float,
    clock: Clock,
    say: Callable[[str], None],
) -> dict[str, Predecessor]:
    """Get an earlier run of the same sync out of the way; the holders that remain.

    A dead process of this host is taken over at once by destroying its session. A live or distant one of our sync is waited
    for, up to twice the TTL, which is when the server really lets a session go. Anybody else's lock is left alone.
    """
    remaining: dict[str, Predecessor] = {}
    for session in sorted(sessions - {""}):
        pair = await retried(partial(consul.read_key, kv.holder(owner, session)), clock)
        record = _record(pair.value) if pair else None
        holder = Predecessor(session, record)
        if record is None:
            remaining[session] = holder
            continue
        if is_dead(record):
            say(f"{holder} is dead: taking over its locks")
            try:
                await retried(partial(consul.destroy_session, session), clock)
            except Rejected as refused:
                say(f"its session {session} ends by itself: {refused}")
                remaining[session] = holder
                continue
        elif not await _waited(consul, holder, ttl_seconds, clock, say):
            remaining[session] = holder
            continue
        await retried(partial(consul.transact, [Op("delete", kv.holder(owner, session))]), clock)
    return remaining


async def _waited(
    consul: Consul, holder: Predecessor, ttl_seconds: float, clock: Clock, say: Callable[[str], None]
) -> bool:
    """True as soon as the holder's session is gone."""
    deadline = clock.monotonic() + 2 * ttl_seconds + 1
    say(f"waiting for {holder} to end, at most {2 * ttl_seconds:.0f} s")
    while clock.monotonic() < deadline:
        try:
            if not await consul.session_exists(holder.session):
                return True
        except (Unavailable, Rejected):  # not known, so it is waited for
            pass
        await clock.sleep(0.5)
    return False


def _record(value: bytes) -> Mapping[str, Any] | None:
    try:
        record = json.loads(value)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
