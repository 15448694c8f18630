"""The ledger's words: what stands in KV before the first write of a service, and after its read-back."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gitsync.core.compare import expected
from gitsync.core.normalize import content_hash
from gitsync.engine.ports import Op
from gitsync.model import kv
from gitsync.model.component import Component, Ledger, LedgerComponent, Observed, Origin
from gitsync.model.desired import Wanted
from gitsync.model.finding import Finding
from gitsync.model.key import ENTRY_KINDS, RECORD_NAMES, ComponentKey, ServiceKey
from gitsync.model.plan import ServicePlan


def applying(
    key: ServiceKey,
    ledger: Ledger | None,
    wanted: Wanted,
    components: Iterable[Component],
    *,
    had: Container[ComponentKey],
    owner: str,
    new_id: str,
) -> Ledger:
    """What the ledger says before the first write: the union of what was and what will be.

    had: the components that are ours by the plan already (`standing`).
    """
    own = ledger if ledger and ledger.state != "deleting" else None
    version = own.version + (own.spec_hash != wanted.hash) if own else (ledger.version + 1 if ledger else 1)
    return Ledger(
        key=key,
        owner=owner,
        state="applying",
        spec=wanted.spec.to_json(),
        spec_hash=wanted.hash,
        version=version,
        accessor_id=ledger.accessor_id if ledger else new_id,
        origin=wanted.origin,
        components=_union(ledger.components if ledger else (), components, had),
    )


def standing(plan: ServicePlan) -> frozenset[ComponentKey]:
    """The components that stand in Consul and that *plan* changes: ours, or taken over by it."""
    first = {change.key: change for change in reversed(plan.changes)}
    return frozenset(key for key, change in first.items() if change.before is not None)


def _union(
    old: Iterable[LedgerComponent], new: Iterable[Component], had: Container[ComponentKey]
) -> tuple[LedgerComponent, ...]:
    """Old components stay `written` (they are ours whatever they hold now), new ones are `intended`.

    What stands there as ours is `written` too, although a run that was killed left it `intended`: with the new hash alone its
    old content would look like somebody else's. The Meta keys are those of old and new together: either may be what stands in
    Consul after a crash.
    """
    result = {
        component.key: replace(component, state="written") if component.key in had else component for component in old
    }
    for component in expected(new):
        before = result.get(component.key)
        if before is None:
            result[component.key] = component if component.key in had else replace(component, state="intended")
        else:
            meta_keys = tuple(sorted({*before.meta_keys, *component.meta_keys}))
            result[component.key] = LedgerComponent(component.key, before.state, component.hash, meta_keys)
    return tuple(result[key] for key in sorted(result))


def deleting(key: ServiceKey, ledger: Ledger | None, seen: Iterable[Observed], *, owner: str, new_id: str) -> Ledger:
    """What the ledger says before the first delete. With the ledger lost, it is made anew from what carries our mark."""
    if ledger is not None:
        return replace(ledger, state="deleting")
    components = tuple(
        LedgerComponent(
            each.key, "written", content_hash(each.key.kind, each.body), tuple(sorted(each.body.get("Meta") or ()))
        )
        for each in sorted(seen, key=lambda each: each.key)
    )
    return Ledger(key, owner, "deleting", {}, "", 1, new_id, Origin(""), components)


def applied(record: Ledger, components: Iterable[Component], lingering: Iterable[ComponentKey]) -> Ledger:
    """What the ledger says after the read-back. *lingering*: former components whose absence could not be read by name."""
    kept = [component for component in record.components if component.key in set(lingering)]
    return replace(
        record, state="applied", components=tuple(sorted([*expected(components), *kept], key=lambda each: each.key))
    )


def record_ops(
    record: Ledger,
    components: Mapping[ComponentKey, Component],
    observed: Mapping[ComponentKey, Observed],
    findings: Iterable[Finding],
    *,
    leaving: Iterable[ComponentKey],
    session: str,
    run: str,
    at: str,
) -> list[Op]:
    """One service's records after its read-back, under its lock: the rendered objects, what was observed, and the ledger."""
    key = record.key
    folder = kv.desired(key)
    ops = [Op("check-session", kv.lock(key), session=session)]
    resources: dict[str, Any] = {}
    names = set()
    for each in sorted(components):
        resource = _resource(each, components[each], observed.get(each))
        name = _record_name(each, components)
        names.add(name)
        resources[name] = {"verdict": "ok", **resource}
        ops.append(Op("set", f"{folder}/{name}.json", kv.dump({"object": components[each].body, "resource": resource})))
    gone = {RECORD_NAMES[each.kind] for each in leaving} - names
    ops += [Op("delete", f"{folder}/{name}.json") for name in sorted(gone)]
    summary = {
        "status": "applied",
        "components": resources,
        "findings": [
            {
                "code": finding.code,
                "severity": str(finding.severity),
                "message": finding.message,
                "spec_path": finding.spec_path,
            }
            for finding in findings
        ],
        "revision": record.origin.commit,
        "run": run,
        "at": at,
    }
    ops.append(Op("set", kv.observed(key), kv.dump(summary)))
    ops.append(Op("set", kv.ledger(key), kv.ledger_json(record)))
    return ops


def submission_ops(record: Ledger) -> list[Op]:
    """The spec as submitted, for people and other tools; nothing of ours reads it back."""
    base = {
        "spec": record.spec,
        "accessor_id": record.accessor_id,
        "version": record.version,
        "origin": record.origin.path,
    }
    return [
        Op("set", kv.desired(record.key), kv.dump(record.spec)),
        Op("set", f"{kv.desired(record.key)}/base.json", kv.dump(base)),
    ]


def removal_ops(key: ServiceKey, *, session: str) -> list[Op]:
    """The end of a service's records, once its absence was read by name."""
    return [
        Op("check-session", kv.lock(key), session=session),
        Op("delete", kv.ledger(key)),
        Op("delete", kv.desired(key)),
        Op("delete-tree", kv.desired(key) + "/"),
        Op("delete-tree", kv.observed(key).removesuffix("observed.json")),
        Op("delete", kv.adopted(key)),
    ]


def restore_ops(key: ServiceKey, ledger: Ledger | None, *, session: str) -> list[Op]:
    """The ledger as it was before the lock, for a service of which nothing was written after all."""
    back = Op("set", kv.ledger(key), kv.ledger_json(ledger)) if ledger else Op("delete", kv.ledger(key))
    return [Op("check-session", kv.lock(key), session=session), back]


def adoption_op(plan: ServicePlan, *, at: str) -> list[Op]:
    """What was there before an adoption, kept for a later delete to show."""
    taken = [change for change in plan.changes if change.take]
    if not taken:
        return []
    former = plan.ledger.owner if plan.ledger else ""
    originals = [{"component": str(change.key), "body": change.before} for change in taken]
    return [Op("set", kv.adopted(plan.key), kv.dump({"from": former, "at": at, "originals": originals}))]


def _record_name(key: ComponentKey, components: Mapping[ComponentKey, Component]) -> str:
    """`catalog`, and where a service has several nodes `catalog-<node>`."""
    name = RECORD_NAMES[key.kind]
    alike = [each for each in components if each.kind is key.kind]
    return name if len(alike) == 1 or key == min(alike) else f"{name}-{key.at.replace('/', '-')}"


def _resource(key: ComponentKey, component: Component, seen: Observed | None) -> dict[str, Any]:
    name = key.at if key.kind not in ENTRY_KINDS else key.service.name
    return {
        "id": f"{key.kind}/{key.service.partition}/{key.service.namespace}/{name}",
        "create_index": seen.create_index if seen else 0,
        "modify_index": seen.modify_index if seen else 0,
        "hash": component.hash,
    }
