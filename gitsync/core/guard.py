"""The guard: which deletes wait for a person. On the plan, before any delete, counted in services. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from gitsync.core.codes import note
from gitsync.core.sight import Sight
from gitsync.model.desired import Desired
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.kv import Approval
from gitsync.model.plan import Hold, ServicePlan, Verdict


@dataclass(frozen=True, slots=True)
class PruneLimits:
    """Above these, deletes are held: a number of services, and from two up a fraction of what the sync owned."""

    max_count: int = 10
    max_fraction: float = 0.2


def guard(
    plans: Mapping[ServiceKey, ServicePlan],
    sight: Sight,
    desired: Desired,
    *,
    owned: Callable[[], int],
    ledgers_missing: Callable[[], bool],
    approvals: Iterable[Approval],
    limits: PruneLimits,
) -> tuple[dict[ServiceKey, ServicePlan], tuple[Hold, ...]]:
    """The plans with the deletes that must wait marked HELD, and the holds that name them.

    owned: how many services the sync owned before this run. ledgers_missing: something of ours has no ledger, so that origins
    are not known. Both are only asked where something is to be deleted.
    """
    # A delete that had begun was let pass before, and one that finds nothing takes nothing away.
    identities = {
        key: identity(key, sight)
        for key, plan in plans.items()
        if plan.verdict is Verdict.DELETE and plan.changes and not (plan.ledger and plan.ledger.state == "deleting")
    }
    if not identities:
        return dict(plans), ()
    emptied = not (desired.services or desired.refused or desired.unreadable)
    granted = [approval for approval in approvals if approval.empty or not emptied]
    approved = {pair for approval in granted for pair in approval.services}
    waiting = {key: index for key, index in identities.items() if (key.path, index) not in approved}
    if not waiting:
        return dict(plans), ()

    reason = _reason(len(identities), len(waiting), owned(), limits, emptied=emptied)
    held = set(waiting) if reason else set()
    if not reason:
        held, reason = _uncertain(waiting, plans, sight, desired, ledgers_missing=ledgers_missing())
    if not held:
        return dict(plans), ()
    pairs = tuple(sorted((key, waiting[key]) for key in held))
    hold = Hold(set_digest(pairs), pairs, reason, empty=emptied)
    command = f"gitsync approve {hold.digest}" + (" --empty" if emptied else "")
    result = dict(plans)
    for key in held:
        finding = note(
            "delete-held", f"{key} is not deleted yet: {reason}.", hint=f"Approve with `{command}`.", service=key
        )
        result[key] = replace(plans[key], verdict=Verdict.HELD, records=False, findings=(*plans[key].findings, finding))
    return result, (hold,)


def identity(key: ServiceKey, sight: Sight) -> int:
    """The CreateIndex of the service's anchor, so that an approval never covers a later service of the same name."""
    anchor = sight.entry(Kind.DEFAULTS, key.name)
    return anchor.create_index if anchor else 0


def set_digest(pairs: Iterable[tuple[ServiceKey, int]]) -> str:
    """The name of a set of deletes: 12 hex digits."""
    text = "\n".join(f"{key.path} {index}" for key, index in sorted(pairs))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _reason(count: int, waiting: int, owned: int, limits: PruneLimits, *, emptied: bool) -> str:
    """*count*: all deletes of the plan, those too that are approved: an approval makes no room for others beside it."""
    if emptied:
        return f"the commit holds no spec at all, and {waiting} service{'s' if waiting > 1 else ''} would go"
    if count >= owned:
        return "nothing that the sync owned would be left"
    if count > limits.max_count:
        return f"{count} services would go, more than prune.max_count ({limits.max_count})"
    if count >= 2 and count > limits.max_fraction * owned:
        return f"{count} of {owned} services would go, more than prune.max_fraction ({limits.max_fraction:g})"
    return ""


def _uncertain(
    waiting: Mapping[ServiceKey, int],
    plans: Mapping[ServiceKey, ServicePlan],
    sight: Sight,
    desired: Desired,
    *,
    ledgers_missing: bool,
) -> tuple[set[ServiceKey], str]:
    """Deletes that may be a mistake because a file cannot be read: it may be the same service under another path."""
    if not desired.unreadable:
        return set(), ""
    files = ", ".join(sorted(desired.unreadable)[:3])
    if ledgers_missing:
        return set(waiting), f"ledgers are missing while {files} cannot be read, so it may still be wanted there"
    # Of all services, not of the planned ones only: a plan after the locks looks at those that are locked.
    owners = {ledger.owner for key in waiting if (ledger := plans[key].ledger)}
    recorded = {
        each.origin.path for each in sight.found.ledgers.values() if each.owner in owners and each.state != "released"
    }
    files = ", ".join(sorted(desired.unparsed - recorded)[:3])
    if not files:
        return set(), ""
    held = set()
    for key in waiting:
        ledger = plans[key].ledger
        if ledger is None or ledger.origin.path not in desired.paths:
            held.add(key)
    return held, f"its file is gone while {files} cannot be read, which may be the same file under another name"
