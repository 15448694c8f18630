"""gitsync with one of its safeguards taken out, so that it shows whether the campaigns notice. Only the victims of a campaign are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gitsync.consul import entries
from gitsync.core import plan as planning
from gitsync.engine import converge, observe, reconcile
from gitsync.engine.lock import Claim
from gitsync.engine.write import Writer, Written
from gitsync.model import kv
from gitsync.model.component import Found
from gitsync.model.key import ComponentKey, ServiceKey
from gitsync.model.plan import Change, Phase, Plan


def _ledger_first() -> None:
    """The lock is taken, and the ledger does not say what is about to happen."""
    lock = reconcile.lock

    async def bare(consul: Any, lease: Any, claims: Sequence[Claim], **rest: Any) -> Any:
        told = [Claim(claim.key, tuple(op for op in claim.ops if op.key != kv.ledger(claim.key))) for claim in claims]
        return await lock(consul, lease, told, **rest)

    reconcile.lock = bare  # type: ignore[assignment]


def _cas() -> None:
    """Every write of an entry overwrites what is there, whatever was read: `?cas` without an index is no condition."""
    done = entries.was_done

    def was_done(answer: Any, what: str) -> bool:
        return answer.body.strip() == b"{}" or done(answer, what)  # what a DELETE without a condition answers

    entries._cas = lambda index: ""  # noqa: ARG005
    entries.was_done = was_done


def _names() -> None:
    """What a list does not show is not there."""
    again = converge.observe_again
    last: dict[str, Any] = {}
    observe.FEW = -1

    async def noted(*given: Any, **rest: Any) -> Any:
        last.update(rest)
        return await again(*given, **rest)

    async def listed(
        consul: Any, clock: Any, keys: Iterable[ComponentKey], found: Found, **_: Any
    ) -> set[ComponentKey]:
        keys = set(keys)
        fresh, _blocked = await again(consul, clock, found, {key.service for key in keys}, keys, **last)
        sight = converge.Sight(fresh)
        return {key for key in keys if sight.observed(key) is not None}

    converge.observe_again = noted
    converge.still_there = listed  # type: ignore[assignment]


def _order() -> None:
    """All changes at once, as they come."""
    write = Writer.write

    async def anyhow(self: Writer, changes: Iterable[Change]) -> Written:
        rows = {Phase.ROWS, Phase.ROWS_GONE}
        ordered = [replace(change, rank=0) for change in changes]
        first = [replace(change, phase=Phase.MAKE_ROOM) for change in ordered if change.phase in rows]
        await write(self, [replace(change, phase=Phase.ROWS) for change in first])
        return await write(
            self, [replace(change, phase=Phase.DEFAULTS) for change in ordered if change.phase not in rows]
        )

    Writer.write = anyhow  # type: ignore[method-assign]


def _prune_guard() -> None:
    """Every delete goes ahead, however many there are."""

    def free(plans: Mapping[ServiceKey, Any], *_: Any, **__: Any) -> tuple[dict[ServiceKey, Any], tuple[()]]:
        return dict(plans), ()

    planning.guard = free  # type: ignore[assignment]


def _verify() -> None:
    """What was written is believed to be there."""
    write, decide = Writer.write, converge.decide
    believed: set[ServiceKey] = set()

    async def noted(self: Writer, changes: Iterable[Change]) -> Written:
        changes = list(changes)
        written = await write(self, changes)
        believed.update(change.key.service for change in changes if not written.out(change.key.service))
        return written

    def trusting(*given: Any, **options: Any) -> Plan:
        plan = decide(*given, **options)
        services = {
            key: replace(service, changes=()) if key in believed else service for key, service in plan.services.items()
        }
        return replace(plan, services=services)

    Writer.write = noted  # type: ignore[method-assign]
    converge.decide = trusting


SAFEGUARDS: dict[str, Callable[[], None]] = {
    "ledger first": _ledger_first,
    "CAS": _cas,
    "reads by name": _names,
    "order": _order,
    "prune guard": _prune_guard,
    "verify": _verify,
}


def take_out(name: str) -> None:
    """Take the safeguard *name* out of this process."""
    SAFEGUARDS[name]()
