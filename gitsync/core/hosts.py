"""Hosts change hands: two Destinations with one host and port would break both, so one goes before the other comes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from gitsync.core.codes import note
from gitsync.core.diff import field_diffs
from gitsync.core.outlook import Outlook
from gitsync.model.component import Body
from gitsync.model.finding import Finding
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Action, Change, Phase, Verdict

Host = tuple[str, int]


def hosts_of(body: Body | None) -> frozenset[Host]:
    """The (lower-cased host, port) pairs of a service-defaults' Destination."""
    destination = (body or {}).get("Destination") or {}
    return frozenset((str(address).lower(), int(destination.get("Port") or 0)) for address in destination.get("Addresses") or ())


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
    now: dict[Host, set[str]] = defaultdict(set)
    then: dict[Host, set[str]] = defaultdict(set)
    names = {name for kind, name in {*outlook.sight.found.entries, *outlook.changes} if kind is Kind.DEFAULTS}
    for name in names:
        entry = outlook.sight.entry(Kind.DEFAULTS, name)
        for host in hosts_of(entry.body if entry else None):
            now[host].add(name)
        for host in hosts_of(outlook.body(Kind.DEFAULTS, name)):
            then[host].add(name)
    for host, claimants in sorted(then.items()):
        newcomers = {name for name in claimants - now[host] if (Kind.DEFAULTS, name) in outlook.changes}
        if len(claimants) > 1:
            for name in newcomers:
                result.refusals[_key(outlook, name)] = _taken(outlook, name, host, sorted(claimants - {name}))
    before = {
        name: frozenset().union(*(now[host] - {name} for host, claimants in then.items() if name in claimants and name not in now[host]))
        for name in {name for claimants in then.values() for name in claimants}
    }
    _order(outlook, {name: givers for name, givers in before.items() if givers}, result)
    return result


def _order(outlook: Outlook, waits_for: Mapping[str, frozenset[str]], result: Handover) -> None:
    """Rank the takers after the givers; a circle, and a giver that is deleted, drops its Destination first."""
    bridged: set[str] = set()
    for taker, givers in sorted(waits_for.items()):
        for giver in givers:
            plan = outlook.plans.get(ServiceKey(giver))
            if plan and plan.verdict is Verdict.DELETE:
                bridged.add(giver)
                result.findings[ServiceKey(taker)].append(
                    note(
                        "host-gap",
                        f"{taker} takes its host over from {giver}, which is deleted: for a moment neither answers there.",
                        service=ServiceKey(taker),
                    )
                )
    ranks: dict[str, int] = {}

    def rank(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            bridged.add(min(path[path.index(name) :]))
            return 0
        if name not in ranks:
            givers = [giver for giver in sorted(waits_for.get(name, ())) if giver not in bridged]
            ranks[name] = max((rank(giver, (*path, name)) + 1 for giver in givers), default=0)
        return ranks[name]

    while True:
        known = len(bridged)
        ranks.clear()
        for name in sorted(waits_for):
            rank(name, ())
        if len(bridged) == known:
            break
    for name, number in ranks.items():
        result.ranks[_key(outlook, name)] = number
    for name in bridged:
        entry = outlook.sight.entry(Kind.DEFAULTS, name)
        change = outlook.changes.get((Kind.DEFAULTS, name))
        if entry is None or change is None:
            continue
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
            interrupts=True,
        )


def _key(outlook: Outlook, name: str) -> ServiceKey:
    change = outlook.changes.get((Kind.DEFAULTS, name))
    return change.key.service if change else ServiceKey(name)


def _taken(outlook: Outlook, name: str, host: Host, others: list[str]) -> Finding:
    key = _key(outlook, name)
    waiting = [other for other in others if (plan := outlook.plans.get(ServiceKey(other))) and plan.verdict is Verdict.HELD]
    where = f"{host[0]}:{host[1]}"
    if waiting:
        return note(
            "destination-taken",
            f"{key} wants {where}, which {', '.join(waiting)} keeps until its delete is approved; two Destinations with one host break both.",
            hint="Approve the delete, and this service follows by itself.",
            service=key,
            spec_path="routing.host",
        )
    return note(
        "destination-taken",
        f"{key} wants {where}, which {', '.join(others)} also has: with two Destinations for one host and port clients get 404 or no "
        "listener at all for both, so it is not written.",
        hint="Give one of them another host or port, or set `exposure.mode: catalog_external` on one.",
        service=key,
        spec_path="routing.host",
    )



