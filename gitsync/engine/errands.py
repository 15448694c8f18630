"""Errands: what a person asks of a sync besides a run: approve, suspend, resume, release, and a look at what is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gitsync.core.sight import node_body, owns
from gitsync.engine.lock import Claim, lock
from gitsync.engine.observe import observe_entries, read_ledgers, read_owner
from gitsync.engine.ports import Consul, Lease, Op, World
from gitsync.engine.retry import retried, to_its_end
from gitsync.model import kv
from gitsync.model.component import Body, Ledger
from gitsync.model.errors import Busy, Conflict, GitsyncError, Invalid, Rejected, StaleIndex
from gitsync.model.features import Feature
from gitsync.model.key import ENTRY_KINDS, OWNER_MARK, RELEASED_PREFIX, ComponentKey, Kind, Owner, ServiceKey
from gitsync.model.kv import Approval, OwnerRecords, Suspension
from gitsync.model.plan import Hold

LEAST_DIGITS = 6
"""So many digits of a hold's digest name it."""


async def approve(world: World, owner: Owner, holds: tuple[Hold, ...], digest: str, *, empty: bool, by: str) -> Hold:
    """Let the deletes of the hold that *digest* names go. The next run carries them out; later commits do not void it.

    Raises Invalid if no open hold has that digest, or if it leaves nothing at all and *empty* does not say so.
    """
    named = [hold for hold in holds if len(digest) >= LEAST_DIGITS and hold.digest.startswith(digest)]
    if not named:
        known = ", ".join(hold.digest for hold in holds) or "there is none"
        raise Invalid(
            f"no hold of {owner} has the digest {digest!r}. Open: {known}. `gitsync plan {owner.sync}` shows what is held."
        )
    hold = named[0]
    if hold.empty and not empty:
        raise Invalid(
            f"the commit wants no service at all, so approving it deletes all {len(hold.services)} of them. "
            f"If that is meant: `gitsync approve {hold.digest} --empty`."
        )
    records, ledgers = await asyncio.gather(
        read_owner(world.consul, world.clock, owner), read_ledgers(world.consul, world.clock)
    )
    recorded = {key.path for key in (*ledgers.read, *ledgers.unread)}
    approval = Approval(
        hold.digest, frozenset((key.path, index) for key, index in hold.services), hold.empty, by, world.clock.stamp()
    )
    # What was approved and has no record any more is gone: kept for ever, approvals would outgrow the key that they stand in.
    others = [
        each
        for each in records.approvals
        if each.digest != hold.digest and any(path in recorded for path, _ in each.services)
    ]
    await _swap(world, f"{kv.owner(owner)}approvals", kv.approvals_json([*others, approval]), records.approvals_index)
    return hold


async def suspend(world: World, owner: Owner, suspension: Suspension) -> None:
    """Stop the sync until *suspension* is over or somebody resumes it, on every machine that runs it."""
    records = await read_owner(world.consul, world.clock, owner)
    await _swap(world, f"{kv.owner(owner)}suspended", kv.suspension_json(suspension), records.suspension_index)


async def resume(world: World, owner: Owner) -> Suspension | None:
    """Let the sync go on, at the newest commit of its ref; what it was suspended for, None if it was not."""
    records = await read_owner(world.consul, world.clock, owner)
    if records.suspension is None:
        return None
    op = Op("delete-cas", f"{kv.owner(owner)}suspended", index=records.suspension_index)
    if failures := await retried(partial(world.consul.transact, [op]), world.clock):
        raise Conflict(f"{op.key} was changed by somebody else meanwhile: {failures[0].what}. Try again.")
    return records.suspension


async def _swap(world: World, key: str, value: bytes, index: int) -> None:
    failures = await retried(partial(world.consul.transact, [Op("cas", key, value, index=index)]), world.clock)
    if failures:
        pair = await retried(partial(world.consul.read_key, key), world.clock)
        if pair is None or pair.value != value:
            raise Conflict(f"{key} was changed by somebody else meanwhile: {failures[0].what}. Try again.")


# -- release --------------------------------------------------------------------------------------------------------------


async def release(world: World, owner: Owner, key: ServiceKey) -> tuple[ComponentKey, ...]:
    """Give a service up without changing what it does: anybody's gitsync may take it, this owner's never by itself.

    What was marked otherwise: the components. Raises Invalid if the service is not this owner's, Busy if a run has its lock.
    """
    ledgers = await read_ledgers(world.consul, world.clock)
    if key in ledgers.unread:
        raise Rejected(ledgers.unread[key])
    ledger = ledgers.read.get(key)
    if ledger is None or ledger.owner != str(owner) or ledger.state == "released":
        whose = f"it belongs to {ledger.owner} ({ledger.state})" if ledger else "gitsync has no record of it"
        raise Invalid(f"{key} is not a service of {owner}: {whose}. `gitsync show {key}` says more.")
    lease = await retried(partial(world.consul.open_lease, f"svc-handler:{key.name}"), world.clock)
    try:
        freed = replace(ledger, state="released")
        claim = Claim(key, (Op("cas", kv.ledger(key), kv.ledger_json(freed), index=ledger.index),))
        locked = await lock(world.consul, lease, [claim], hostname=world.hostname, clock=world.clock)
        if key in locked.held:
            raise Busy(kv.lock(key), f"session {locked.held[key]}")
        if key in locked.stale:
            raise Conflict(f"{key} was changed by a run just now. Try again.")
        for refused in locked.refused.values():
            raise refused
        return await _unmark(world, owner, ledger, lease)
    finally:
        with suppress(GitsyncError):  # then it ends by itself
            await to_its_end(lease.destroy())


async def _unmark(world: World, owner: Owner, ledger: Ledger, lease: Lease) -> tuple[ComponentKey, ...]:
    """Rewrite the owner marks. Rows have none: for them the ledger speaks."""
    released = []
    for component in ledger.components:
        key = component.key
        if key.kind in ENTRY_KINDS and await retried(
            partial(_unmark_entry, world.consul, owner, key), world.clock, before=lease.check
        ):
            released.append(key)
        if key.kind is Kind.CATALOG and await retried(
            partial(_unmark_node, world, owner, key, lease), world.clock, before=lease.check
        ):
            released.append(key)
    return tuple(released)


async def _unmark_entry(consul: Consul, owner: Owner, key: ComponentKey) -> bool:
    for _ in range(5):
        entry = await consul.read_entry(key.kind, key.service.name)
        if entry is None or not owns(entry.meta, str(owner)):
            return False
        body = {**entry.body, "Meta": {**entry.meta, OWNER_MARK: f"{RELEASED_PREFIX}{owner}"}}
        try:
            await consul.put_entry(body, index=entry.modify_index)
        except StaleIndex:
            continue
        return True
    raise Conflict(f"{key} is written by somebody else all the time. Try again.")


async def _unmark_node(world: World, owner: Owner, key: ComponentKey, lease: Lease) -> bool:
    node = await world.consul.read_node(key.datacenter, key.node)
    if node is None or not owns(node.meta, str(owner)):
        return False
    mark = {OWNER_MARK: f"{RELEASED_PREFIX}{owner}"}
    body = node_body(node, key.service.name) | {"NodeMeta": {**node.meta, **mark}}
    if service := body.get("Service"):
        body["Service"] = {**service, "Meta": {**(service.get("Meta") or {}), **mark}}
    fence = (kv.lock(key.service), lease.id) if key.datacenter == world.features.datacenter else None
    await world.consul.register(body, node, fence=fence)
    return True


# -- what is recorded -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """A sync as Consul's records have it: its own, and the states of its services."""

    records: OwnerRecords
    ledgers: Mapping[ServiceKey, Ledger]


async def status(world: World, owner: Owner) -> Status:
    records, ledgers = await asyncio.gather(
        read_owner(world.consul, world.clock, owner), read_ledgers(world.consul, world.clock)
    )
    return Status(records, {key: ledger for key, ledger in sorted(ledgers.read.items()) if ledger.owner == str(owner)})


@dataclass(frozen=True, slots=True)
class Shown:
    """One service: its ledger, what gitsync last observed, what stands in Consul now, and what was there before an adoption."""

    ledger: Ledger | None
    observed: bytes
    adopted: bytes
    standing: Mapping[str, Any]


async def show(world: World, key: ServiceKey) -> Shown:
    """Everything that Consul and gitsync's records say of a service."""
    ledgers, found, observed, adopted = await asyncio.gather(
        read_ledgers(world.consul, world.clock),
        observe_entries(world.consul, world.clock, intentions=world.features.has(Feature.INTENTIONS_ENTRY)),
        retried(partial(world.consul.read_key, kv.observed(key)), world.clock),
        retried(partial(world.consul.read_key, kv.adopted(key)), world.clock),
    )
    standing: dict[str, Body] = {}
    for kind in ENTRY_KINDS:
        if entry := found.entries.get((kind, key.name)):
            standing[f"{kind}/{key}"] = entry.body
    for name, gateway in sorted(found.gateways.items()):
        for row in gateway.body.get("Services") or ():
            if row["Name"] == key.name:
                standing[f"{Kind.GATEWAY_ROW}/{name} row {key}"] = row
    ledger = ledgers.read.get(key)
    for component in ledger.components if ledger else ():
        if component.key.kind is Kind.CATALOG and component.key.datacenter in found.datacenters:
            node = await retried(
                partial(world.consul.read_node, component.key.datacenter, component.key.node), world.clock
            )
            if node:
                standing[str(component.key)] = {
                    "Node": node.node,
                    "Address": node.address,
                    "Meta": dict(node.meta),
                    "Services": [service.body for service in node.services],
                    "Checks": [check.body for check in node.checks],
                }
    return Shown(ledger, observed.value if observed else b"", adopted.value if adopted else b"", standing)
