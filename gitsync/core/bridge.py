"""Bridges: where no plain order is accepted by Consul, expand first, switch, contract then. Pure.

Two rules of Consul's make them necessary: every service of one discovery chain has one protocol, and a subset that a router,
splitter or resolver names may not go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from gitsync.core.codes import note
from gitsync.core.diff import field_diffs
from gitsync.core.outlook import EntryKey, Outlook
from gitsync.core.sight import protocol, references, subsets_named
from gitsync.model.component import Body, Entry
from gitsync.model.finding import Finding
from gitsync.model.key import ComponentKey, Kind, ServiceKey
from gitsync.model.plan import Action, Change, Phase

HTTP_LIKE = frozenset({"http", "http2", "grpc"})
ROUTES = frozenset({Kind.ROUTER, Kind.SPLITTER})
WRITES = {Kind.ROUTER: Phase.ROUTERS, Kind.SPLITTER: Phase.SPLITTERS, Kind.RESOLVER: Phase.RESOLVERS}


@dataclass(slots=True)
class Bridges:
    """refusals: services that no order can write. steps: the changes of an entry, in place of the one the plan has."""

    refusals: dict[ServiceKey, Finding] = field(default_factory=dict)
    steps: dict[ComponentKey, tuple[Change, ...]] = field(default_factory=dict)


def bridges(outlook: Outlook) -> Bridges:
    """The steps between that the changes of *outlook* need, and the services for which there are none."""
    result = Bridges()
    for (kind, name), change in sorted(outlook.changes.items()):
        if kind is Kind.DEFAULTS and change.before is not None and change.after is not None:
            if protocol(change.before) != protocol(change.after):
                _protocol(outlook, name, change.key.service, result)
        elif kind is Kind.RESOLVER and change.before is not None and change.after is not None:
            _subsets(outlook, name, change, result)
    return result


def _protocol(outlook: Outlook, name: str, service: ServiceKey, result: Bridges) -> None:
    """What must be out of the way before the protocol of *name* changes."""
    for (kind, owner), body in outlook.chain_entries(name):
        chain = {owner, *references(kind, body)}
        alone = len(chain) == 1
        if kind is Kind.RESOLVER and alone:
            continue
        if kind in ROUTES and alone and outlook.protocol(name) in HTTP_LIKE:
            continue
        final = outlook.body(kind, owner)
        if final is not None and not _consistent(outlook, kind, owner, final):
            result.refusals[service] = _blocked(service, outlook.protocol(name), kind, owner)
            return
        entry = outlook.sight.entry(kind, owner)
        if not outlook.writable(owner) or entry is None:
            result.refusals[service] = _blocked(service, outlook.protocol(name), kind, owner)
            return
        _take_away(outlook, (kind, owner), entry, final, result)


def _consistent(outlook: Outlook, kind: Kind, owner: str, body: Body) -> bool:
    protocols = {outlook.protocol(each) for each in {owner, *references(kind, body)}}
    return len(protocols) == 1 and (kind not in ROUTES or protocols <= HTTP_LIKE)


def _take_away(outlook: Outlook, key: EntryKey, entry: Entry, final: Body | None, result: Bridges) -> None:
    """Replace the entry's change by: out of the way first, then what is wanted."""
    kind, owner = key
    planned = outlook.changes.get(key)
    component = planned.key if planned else ComponentKey(ServiceKey(owner), kind)
    reason = "first out of the way, because a protocol in its chain changes"
    if kind in ROUTES:
        away = _change(component, Action.DELETE, entry, None, reason, interrupts=final is not None)
    else:
        plain = {name: value for name, value in entry.body.items() if name not in ("Redirect", "Failover")}
        away = _change(component, Action.UPDATE, entry, plain, reason, interrupts=True)
    if final is None:
        result.steps[component] = (replace(away, bridge=False),)
        return
    back = planned or Change(
        component, Action.UPDATE, WRITES[kind], entry.body, final, entry.modify_index, (), "back again after the protocol changed"
    )
    if kind in ROUTES:
        back = replace(back, action=Action.CREATE)
    result.steps[component] = (away, back)


def _change(key: ComponentKey, action: Action, entry: Entry, after: Body | None, reason: str, *, interrupts: bool) -> Change:
    diff = field_diffs(key.kind, entry.body, after)
    return Change(
        key, action, Phase.TAKE_ROUTES, entry.body, after, entry.modify_index, diff, reason, bridge=True, interrupts=interrupts
    )


def _subsets(outlook: Outlook, name: str, change: Change, result: Bridges) -> None:
    """Keep subsets that go for as long as something found still names them."""
    before: dict[str, Any] = dict((change.before or {}).get("Subsets") or {})
    after: dict[str, Any] = dict((change.after or {}).get("Subsets") or {})
    named: set[str] = set()
    for (kind, owner), body in outlook.chain_entries(name):
        if (kind, owner) == (Kind.RESOLVER, name):
            continue
        used = {subset for service, subset in subsets_named(kind, body) if service == name} & (before.keys() - after.keys())
        if not used:
            continue
        final = outlook.body(kind, owner)
        still = {subset for service, subset in subsets_named(kind, final or {}) if service == name} & used
        if still:
            result.refusals[change.key.service] = note(
                "subset-still-used",
                f"{change.key.service} drops the subset {_words(still)}, which {kind}/{owner} still sends traffic to: Consul would refuse it.",
                hint=f"First commit: let {kind}/{owner} use another subset. Second commit: drop this one.",
                service=change.key.service,
                spec_path="connect.resolver.subsets",
            )
            return
        named |= used
    if not named:
        return
    planned = result.steps.get(change.key, (change,))[-1]
    wide = {**(change.after or {}), "Subsets": {**after, **{subset: before[subset] for subset in sorted(named)}}}
    expand = replace(
        planned,
        after=wide,
        diff=field_diffs(Kind.RESOLVER, change.before, wide),
        reason=f"first with both, because routes still name the subset {_words(named)}",
        bridge=True,
    )
    contract = replace(planned, phase=Phase.CONTRACT)
    result.steps[change.key] = (*result.steps.get(change.key, (change,))[:-1], expand, contract)


def _blocked(service: ServiceKey, after: str, kind: Kind, owner: str) -> Finding:
    return note(
        "protocol-blocked",
        f"{service} changes its protocol to {after}, but {kind}/{owner} joins it with services of another protocol: Consul would refuse it.",
        hint=f"First commit: take {service} out of {kind}/{owner}. Second commit: change the protocol of every service in it together.",
        service=service,
        spec_path="connect.mesh_policy.protocol",
    )


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
