"""What `gitsync doctor` asks Consul: whether it is there, what it is, and what the token may do. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from gitsync import wire
from gitsync.cli.checks import Check, State, ending, failed
from gitsync.consul.facade import Consul
from gitsync.consul.rights import Right, TokenSeen
from gitsync.engine.observe import read_ledgers, read_owner
from gitsync.model.errors import Forbidden, GitsyncError, Invalid
from gitsync.model.features import Feature, Features
from gitsync.model.key import Owner
from gitsync.settings import Settings

MOST_SERVICES = 200
"""Services for which Consul is asked whether they may be written."""

NAMED = 5


async def examine_consul(settings: Settings, names: Sequence[str], now: datetime) -> AsyncIterator[Check]:
    """Every check of Consul, of all syncs together and of each."""
    where = settings.consul.address
    try:
        async with wire.connected(settings) as (consul, features):
            edition = " Enterprise" if features.enterprise else ""
            about = f"{where}: Consul{edition} {features.version_text}, datacenter {features.datacenter}, the primary"
            yield Check("consul", "", State.OK, about)
            if not features.has(Feature.META):
                message = f"Consul {features.version_text} stores no Meta, so nothing can be marked as gitsync's"
                yield Check("consul", "", State.WRONG, message, "Upgrade Consul.", exit_code=Invalid.exit_code)
            owned: list[str] = []
            for name in names:
                check, services = await _records(consul, Owner(settings.instance, name))
                owned += services
                yield check
            async for check in _token(consul, features, owned, now):
                yield check
    except GitsyncError as error:
        yield failed("consul", "", error)


async def _records(consul: Consul, owner: Owner) -> tuple[Check, list[str]]:
    """Whether a sync's records can be read, and the services that it has."""
    clock = wire.system_clock()
    try:
        records, ledgers = await asyncio.gather(read_owner(consul, clock, owner), read_ledgers(consul, clock))
    except GitsyncError as error:
        return failed("consul", owner.sync, error), []
    ours = [key.name for key, ledger in ledgers.read.items() if ledger.owner == str(owner)]
    applied = f"applied {records.applied.revision[:12]}" if records.applied else "nothing applied yet"
    if records.suspension and not records.suspension.pinned:
        message = f"{applied}, {len(ours)} services; suspended: {records.suspension.reason}"
        return Check("consul", owner.sync, State.WARNING, message, f"gitsync resume {owner.sync}"), ours
    return Check("consul", owner.sync, State.OK, f"{applied}, {len(ours)} services"), ours


async def _token(consul: Consul, features: Features, owned: Sequence[str], now: datetime) -> AsyncIterator[Check]:
    needed = _needed(features)
    services = sorted(set(owned))[:MOST_SERVICES]
    of_services = {
        right: name
        for name in services
        for right in (Right("service", "write", name), Right("intention", "write", name))
    }
    try:
        seen = await consul.look_at_token([*needed, *of_services])
    except GitsyncError as error:
        yield failed("consul", "", error)
        return
    if not seen.acls:
        yield Check("consul", "", State.WARNING, "ACLs are off: whoever reaches Consul may do anything there")
        return
    yield ending(Check("consul", "", State.OK, _named(seen), expires=seen.expires), now)
    if seen.allowed is None:
        message = "Consul does not say what the token may do; the first run will show it"
        yield Check("consul", "", State.WARNING, message)
        return
    lacking = {right: why for right, why in needed.items() if not seen.allowed[right]}
    for right, (rule, why) in lacking.items():
        yield Check("consul", "", State.WRONG, f"the token lacks {right}: {why}", rule, exit_code=Forbidden.exit_code)
    kept = sorted({name for right, name in of_services.items() if not seen.allowed[right]})
    if kept:
        more = f" and {len(kept) - NAMED} more" if len(kept) > NAMED else ""
        message = (
            f"the token may not write services and intentions of {', '.join(kept[:NAMED])}{more}, which gitsync owns"
        )
        rule = f'service "{kept[0]}" {{ policy = "write" intentions = "write" }}'
        yield Check("consul", "", State.WRONG, message, rule, exit_code=Forbidden.exit_code)
    if not lacking and not kept:
        yield Check("consul", "", State.OK, "the token may do what gitsync needs")


def _needed(features: Features) -> dict[Right, tuple[str, str]]:
    """What every sync needs, with the rule that gives it and what it is for (docs/operations.md)."""
    node = features.node or "any"
    rows = "mesh" if features.has(Feature.MESH_RULE) else "operator"
    return {
        Right("key", "write", "svc-handler/records/"): (
            'key_prefix "svc-handler/" { policy = "write" }',
            "gitsync's own records",
        ),
        Right("session", "write", node): ('session_prefix "" { policy = "write" }', "locks"),
        Right("node", "read", node): ('node_prefix "" { policy = "read" }', "the catalog, and the servers' versions"),
        Right("node", "write", "ext-any"): ('node_prefix "ext-" { policy = "write" }', "nodes of catalog_external"),
        Right("service", "read", "any"): ('service_prefix "" { policy = "read" }', "who leads to what"),
        Right(rows, "write"): (f'{rows} = "write"', "rows of terminating gateways"),
    }


def _named(seen: TokenSeen) -> str:
    if not seen.name:
        return "the token is taken"
    return f"token {seen.name}" + (f" ({', '.join(seen.policies)})" if seen.policies else "")
