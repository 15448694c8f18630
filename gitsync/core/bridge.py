"""Bridges: where no plain order is accepted by Consul, expand first, switch, contract then. Pure.

Four rules of Consul's make them necessary. Every service of one discovery chain has one protocol; permissions by request need
an http-like one; a subset that a router, splitter or resolver names has to exist; redirects, and splits, never form a circle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from gitsync.core.codes import note
from gitsync.core.diff import field_diffs
from gitsync.core.outlook import Outlook
from gitsync.core.sequence import order_resolvers, order_splitters
from gitsync.core.sight import EntryKey, permissions, protocol, references, references_here, subsets_named
from gitsync.core.steps import Bridges, plain, step
from gitsync.model.component import Body, Entry
from gitsync.model.finding import Finding
from gitsync.model.key import ComponentKey, Kind, ServiceKey
from gitsync.model.plan import Action, Change, Phase

HTTP_LIKE = frozenset({"http", "http2", "grpc"})
ROUTES = frozenset({Kind.ROUTER, Kind.SPLITTER})
PATHS = {Kind.ROUTER: "connect.router", Kind.SPLITTER: "connect.splitter", Kind.RESOLVER: "connect.resolver"}
WRITES = {Kind.ROUTER: Phase.ROUTERS, Kind.SPLITTER: Phase.SPLITTERS, Kind.RESOLVER: Phase.RESOLVERS}


def bridges(outlook: Outlook) -> Bridges:
    """The steps between that the changes of *outlook* need, and the services for which there are none."""
    result = Bridges()
    changes = sorted(outlook.changes.items())
    for (kind, name), change in changes:
        if kind is Kind.DEFAULTS and change.before is not None and change.after is not None:
            if protocol(change.before) != protocol(change.after):
                _permissions(outlook, name, change.key.service, result)
                _protocol(outlook, name, change.key.service, result)
        elif kind in WRITES and change.after is not None:
            _leads(outlook, kind, name, change, result)
    for (kind, name), change in changes:
        if kind is Kind.RESOLVER and change.before is not None and change.after is not None:
            _subsets(outlook, name, change, result)
        elif kind is Kind.RESOLVER and change.after is None:
            _let_go(outlook, name, change, result)
    order_resolvers(outlook, result)
    order_splitters(outlook, result)
    return result


# -- protocols --------------------------------------------------------------------------------------------------------


def _permissions(outlook: Outlook, name: str, service: ServiceKey, result: Bridges) -> None:
    """Intentions with permissions by request change before the protocol does, where the new one has no requests."""
    entry = outlook.sight.entry(Kind.INTENTIONS, name)
    if entry is None or not permissions(entry.body) or outlook.protocol(name) in HTTP_LIKE:
        return
    planned = outlook.changes.get((Kind.INTENTIONS, name))
    if planned is None or permissions(planned.after or {}):
        result.refusals[service] = note(
            "protocol-blocked",
            f"{service} changes its protocol to {outlook.protocol(name)}, but {Kind.INTENTIONS}/{name} has permissions by "
            "request, which need an http-like one: Consul would refuse it.",
            hint=f"Take the permissions out of {Kind.INTENTIONS}/{name} first, or keep the protocol.",
            service=service,
            spec_path="connect.mesh_policy.protocol",
        )
    else:
        result.steps[planned.key] = (replace(planned, phase=Phase.TAKE_ROUTES),)


def _protocol(outlook: Outlook, name: str, service: ServiceKey, result: Bridges) -> None:
    """What must be out of the way before the protocol of *name* changes."""
    for (kind, owner), body in outlook.chain_entries(name):
        alone = not references(kind, body) - {owner}
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
    """Whether Consul would take *body*, as far as is known: a service without a protocol has that of the proxy-defaults."""
    known = {each: outlook.known_protocol(each) for each in {owner, *references(kind, body)}}
    protocols = {each for each in known.values() if each}
    return len(protocols) <= 1 and (kind not in ROUTES or protocols <= HTTP_LIKE)


def _leads(outlook: Outlook, kind: Kind, name: str, change: Change, result: Bridges) -> None:
    """What is wanted and no order gives: better said here than by Consul, after half of the service was written."""
    body, service = change.after or {}, change.key.service
    others = references(kind, body)
    absent = [each for each in sorted(others) if _not_written(outlook, each)]
    missing = sorted(_missing(outlook, kind, name, body)) if others else []
    lacking = [
        f"{each}:{subset}" for each, subset in sorted(subsets_named(kind, body)) if not _has(outlook, each, subset)
    ]
    if absent:
        code, path = "reference-missing", PATHS[kind]
        message = (
            f"Nothing is written, because {kind}/{name} leads to {_words(absent)}, of which nothing is written now: Consul would "
            "refuse it."
        )
        hint = f"Mend {_words(absent)}, and this service follows by itself."
    elif missing:
        code, path = "reference-missing", PATHS[kind]
        message = (
            f"Nothing is written, because {kind}/{name} leads to {_words(missing)}, which is neither in Git nor in Consul: "
            "clients that are sent there would get 503."
        )
        hint = f"Add a spec for {_words(missing)}, in this commit or a later one, and this service follows by itself."
    elif lacking:
        code, path = "reference-missing", PATHS[kind]
        message = (
            f"Nothing is written, because {kind}/{name} sends traffic to {_words(lacking)}, a subset that is not there: Consul "
            "would refuse it."
        )
        hint = "Name a subset that the other service has, or give it this one, and this service follows by itself."
    elif others and not _consistent(outlook, kind, name, body):
        code, path = "protocol-blocked", "connect.mesh_policy.protocol"
        protocols = ", ".join(
            f"{each} has {outlook.known_protocol(each) or 'none'}" for each in sorted({name, *others})
        )
        message = f"{kind}/{name} joins services of different protocols ({protocols}): Consul would refuse it."
        hint = "Give all of them one protocol, or take the others out."
    else:
        return
    result.refusals.setdefault(service, note(code, message, hint=hint, service=service, spec_path=path))


def _missing(outlook: Outlook, kind: Kind, name: str, body: Body) -> set[str]:
    """What *body* newly leads to and nobody has. What Consul took once stays, and is only said (`missing_references`).

    Consul refuses it, because a service that nobody describes speaks tcp, unless the proxy-defaults say otherwise; where the
    service itself speaks tcp, Consul takes it.
    """
    if outlook.known_protocol(name) not in HTTP_LIKE:
        return set()
    entry = outlook.sight.entry(kind, name)
    before = references(kind, entry.body) if entry else frozenset()
    return {each for each in references_here(kind, body) - before if outlook.unheard_of(each)}


def _not_written(outlook: Outlook, name: str) -> bool:
    """A service that is wanted or was, and will not be there. One that nobody planned may have the proxy-defaults' protocol."""
    return ServiceKey(name) in outlook.plans and outlook.body(Kind.DEFAULTS, name) is None


def _has(outlook: Outlook, service: str, subset: str) -> bool:
    if ServiceKey(service) in outlook.wanted and ServiceKey(service) not in outlook.plans:
        return (
            True  # this plan does not look at it, so that what was found of it may be older than what was written since
        )
    resolver = outlook.body(Kind.RESOLVER, service) or {}
    return subset in (resolver.get("Subsets") or {}) or bool(resolver.get("Redirect"))


def _take_away(outlook: Outlook, key: EntryKey, entry: Entry, final: Body | None, result: Bridges) -> None:
    """Replace the entry's change by: out of the way first, then what is wanted."""
    kind, owner = key
    planned = outlook.changes.get(key)
    component = planned.key if planned else ComponentKey(ServiceKey(owner), kind)
    reason = "first out of the way, because a protocol in its chain changes"
    if kind in ROUTES:
        away = step(component, Action.DELETE, entry, None, Phase.TAKE_ROUTES, reason, interrupts=final is not None)
    else:
        away = step(component, Action.UPDATE, entry, plain(entry.body), Phase.TAKE_ROUTES, reason, interrupts=True)
    if final is None:
        if kind in ROUTES:
            result.steps[component] = (replace(away, bridge=False),)
        elif planned:
            result.steps[component] = (replace(away, interrupts=False), planned)
        return
    back = planned or Change(
        component,
        Action.UPDATE,
        WRITES[kind],
        entry.body,
        final,
        entry.modify_index,
        reason="back again after the protocol changed",
    )
    if kind in ROUTES:
        back = replace(back, action=Action.CREATE)
    back = replace(back, before=away.after, diff=field_diffs(kind, away.after, final), take=False)
    result.steps[component] = (replace(away, take=planned is not None and planned.take), back)


def _blocked(service: ServiceKey, after: str, kind: Kind, owner: str) -> Finding:
    return note(
        "protocol-blocked",
        f"{service} changes its protocol to {after}, but {kind}/{owner} joins it with services of another protocol: Consul "
        "would refuse it.",
        hint=f"First commit: take {service} out of {kind}/{owner}. Second commit: change the protocol of every service in it "
        "together.",
        service=service,
        spec_path="connect.mesh_policy.protocol",
    )


# -- subsets ----------------------------------------------------------------------------------------------------------


def _subsets(outlook: Outlook, name: str, change: Change, result: Bridges) -> None:
    """Keep subsets that go for as long as something found still names them."""
    before: dict[str, Any] = dict((change.before or {}).get("Subsets") or {})
    after: dict[str, Any] = dict((change.after or {}).get("Subsets") or {})
    named: set[str] = set()
    for (kind, owner), body in outlook.chain_entries(name):
        if (kind, owner) == (Kind.RESOLVER, name):
            continue
        used = _of(name, kind, body) & (before.keys() - after.keys())
        still = _of(name, kind, outlook.body(kind, owner) or {}) & used
        if still:
            result.refusals[change.key.service] = note(
                "subset-still-used",
                f"{change.key.service} drops the subset {_words(still)}, which {kind}/{owner} still sends traffic to: Consul "
                "would refuse it.",
                hint=f"First commit: let {kind}/{owner} use another subset. Second commit: drop this one.",
                service=change.key.service,
                spec_path="connect.resolver.subsets",
            )
            return
        named |= used
    if not named:
        return
    steps = result.current(change)
    subsets = {**after, **{subset: before[subset] for subset in sorted(named)}}
    # A redirect stands alone in a resolver, so it comes when the subsets are gone; what else leads away comes as it is wanted.
    wide = {key: value for key, value in (change.after or {}).items() if key != "Redirect"} | {"Subsets": subsets}
    expand = replace(
        steps[-1],
        after=wide,
        after_hash="",
        diff=field_diffs(Kind.RESOLVER, steps[-1].before, wide),
        reason=f"first with both, because routes still name the subset {_words(named)}",
        bridge=True,
    )
    contract = replace(
        steps[-1],
        phase=Phase.CONTRACT,
        before=wide,
        diff=field_diffs(Kind.RESOLVER, wide, change.after),
        rank=1,
        take=False,
        reason=f"now without the subset {_words(named)}",
    )
    result.steps[change.key] = (*steps[:-1], expand, contract)


def _of(name: str, kind: Kind, body: Body) -> set[str]:
    return {subset for service, subset in subsets_named(kind, body) if service == name}


def _let_go(outlook: Outlook, name: str, change: Change, result: Bridges) -> None:
    """A resolver that goes lets go of others' subsets before those go; all resolvers of one phase go together."""
    entry = outlook.sight.entry(Kind.RESOLVER, name)
    named = subsets_named(Kind.RESOLVER, change.before or {})
    if entry is None or all(
        service == name or subset in ((outlook.body(Kind.RESOLVER, service) or {}).get("Subsets") or {})
        for service, subset in named
    ):
        return
    reason = "first without what it names, because that goes too"
    bare = step(change.key, Action.UPDATE, entry, plain(entry.body), Phase.CONTRACT, reason, interrupts=False)
    steps = result.current(change)
    result.steps[change.key] = steps if len(steps) > 1 else (bare, *steps)


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
