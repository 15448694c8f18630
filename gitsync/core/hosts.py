"""Hosts change hands: two Destinations with one host and port would break both, so one goes before the other comes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from gitsync.core.codes import note
from gitsync.core.diff import field_diffs
from gitsync.core.order import levels
from gitsync.core.outlook import Outlook
from gitsync.core.sight import Host, hosts_of
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Action, Change, Phase, Verdict


@dataclass(slots=True)
class Handover:
    """refusals: newcomers that must not be written. bridges: Destinations dropped first. ranks: order of the defaults phase."""

    refusals: dict[ServiceKey, Finding] = field(default_factory=dict)
    bridges: dict[ServiceKey, Change] = field(default_factory=dict)
    ranks: dict[ServiceKey, int] = field(default_factory=dict)
    findings: dict[ServiceKey, list[Finding]] = field(default_factory=lambda: defaultdict(list))


def hand_over(outlook: Outlook) -> Handover:
    """Who gets which host, in which order."""
    result = Handover()
    index = outlook.sight.index
    changed = {name: change for (kind, name), change in outlook.changes.items() if kind is Kind.DEFAULTS}
    now: Mapping[Host, frozenset[str]] = index.hosts
    # Only where something changes, and where two have a host already, is there anything to say.
    then: dict[Host, set[str]] = {host: set(now[host]) for host in index.shared_hosts}
    for name, change in changed.items():
        for host in hosts_of(change.after):
            then.setdefault(host, set(now.get(host, ()))).add(name)
    for host, claimants in then.items():
        claimants -= {name for name in claimants & changed.keys() if host not in hosts_of(changed[name].after)}
    waits: dict[str, set[str]] = defaultdict(set)
    for host, claimants in sorted(then.items()):
        there = now.get(host, frozenset())
        for name in sorted(claimants - there):
            change = changed[name]
            if len(claimants) > 1:
                result.refusals[change.key.service] = _taken(
                    outlook, change.key.service, host, sorted(claimants - {name})
                )
            elif there:
                waits[name] |= there
        for name in claimants & there if len(claimants & there) > 1 else ():
            plan = outlook.plans.get(ServiceKey(name))
            if plan and (plan.written or plan.verdict is Verdict.UNCHANGED):
                result.findings[plan.key].append(_twins(plan.key, host, sorted(claimants - {name})))
    _order(outlook, waits, result)
    return result


def _order(outlook: Outlook, waits: dict[str, set[str]], result: Handover) -> None:
    """Rank the takers after the givers; a circle, and a giver that is deleted, drops its Destination first."""
    going: set[str] = set()
    for taker, givers in sorted(waits.items()):
        key = outlook.changes[(Kind.DEFAULTS, taker)].key.service
        for giver in sorted(givers):
            change = outlook.changes[(Kind.DEFAULTS, giver)]
            if change.action is Action.DELETE:
                going.add(giver)
                result.findings[key].append(
                    note(
                        "host-gap",
                        f"{key} takes its host over from {giver}, which is deleted: for a moment neither answers there.",
                        service=key,
                    )
                )
    ranks, circles = levels({taker: givers - going for taker, givers in waits.items()})
    for taker, rank in ranks.items():
        result.ranks[outlook.changes[(Kind.DEFAULTS, taker)].key.service] = rank
    for giver in sorted({*going, *circles}):
        _drop_first(outlook, giver, result)


def _drop_first(outlook: Outlook, name: str, result: Handover) -> None:
    entry = outlook.sight.entry(Kind.DEFAULTS, name)
    assert entry is not None  # it has the host now
    change = outlook.changes[(Kind.DEFAULTS, name)]
    body = {field: value for field, value in entry.body.items() if field != "Destination"}
    result.bridges[change.key.service] = Change(
        change.key,
        Action.UPDATE,
        Phase.MAKE_ROOM,
        entry.body,
        body,
        entry.modify_index,
        field_diffs(Kind.DEFAULTS, entry.body, body),
        "first drops its Destination, because another service takes the host over",
        bridge=True,
        interrupts=change.action is not Action.DELETE,
    )


def _twins(key: ServiceKey, host: Host, others: list[str]) -> Finding:
    """Both stand already, as where somebody else's came later. Ours is not taken away for it, and not called fine either."""
    return note(
        "destination-taken",
        f"Clients of {key} get 404, or no listener at all, because {', '.join(others)} has {host[0]}:{host[1]} too.",
        hint="Take one of the two Destinations away, or give one of them another host or port.",
        service=key,
        spec_path="routing.host",
        severity=Severity.WARNING,
    )


def _taken(outlook: Outlook, key: ServiceKey, host: Host, others: list[str]) -> Finding:
    waiting = [
        other for other in others if (plan := outlook.plans.get(ServiceKey(other))) and plan.verdict is Verdict.HELD
    ]
    where = f"{host[0]}:{host[1]}"
    if waiting:
        return note(
            "destination-taken",
            f"{key} wants {where}, which {', '.join(waiting)} keeps until its delete is approved: two Destinations with one "
            "host break both, so it is not written yet.",
            hint="Approve the delete, and this service follows by itself.",
            service=key,
            spec_path="routing.host",
        )
    return note(
        "destination-taken",
        f"{key} wants {where}, which {', '.join(others)} also has: with two Destinations for one host and port clients get "
        "404 or no listener at all for both, so it is not written.",
        hint="Give one of them another host or port, or set `exposure.mode: catalog_external` on one.",
        service=key,
        spec_path="routing.host",
    )
