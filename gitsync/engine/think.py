"""Think: from files and what was found to a plan. No I/O; the memory only saves work that would give the same result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gitsync.core.accept import accept
from gitsync.core.codes import note
from gitsync.core.guard import PruneLimits
from gitsync.core.neighbours import judge
from gitsync.core.ownership import Adoption
from gitsync.core.plan import Policy, make_plan
from gitsync.core.render import render
from gitsync.core.sight import Sight
from gitsync.model.component import Component, Found, Ledger
from gitsync.model.context import RenderContext, Rendered
from gitsync.model.desired import Desired, ParsedFile
from gitsync.model.features import Features
from gitsync.model.finding import Finding, Place
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.kv import Approval
from gitsync.model.plan import Plan
from gitsync.model.sync import Options, Sync


@dataclass(slots=True)
class Memory:
    """What one sync remembers between runs: renderings by (spec hash, place, context)."""

    rendered: dict[tuple[str, Place], Rendered] = field(default_factory=dict)
    context: RenderContext | None = None

    def forget(self, keep: set[tuple[str, Place]]) -> None:
        """Drop every rendering that the last revision did not use."""
        if len(self.rendered) > len(keep):
            self.rendered = {key: value for key, value in self.rendered.items() if key in keep}


@dataclass(frozen=True, slots=True)
class Desires:
    """What one revision wants, rendered for one Consul."""

    desired: Desired
    rendered: Mapping[ServiceKey, Rendered]
    context: RenderContext

    def components(self, key: ServiceKey) -> tuple[Component, ...]:
        rendered = self.rendered.get(key)
        return rendered.components if rendered else ()


def context_of(sync: Sync, features: Features) -> RenderContext:
    return RenderContext(str(sync.owner), features, sync.gateways, features.datacenter)


def desire(
    files: tuple[ParsedFile, ...],
    ledgers: Mapping[ServiceKey, Ledger],
    sync: Sync,
    features: Features,
    revision: str,
    memory: Memory,
) -> Desires:
    """Accept the files of *revision* and render what they want."""
    context = context_of(sync, features)
    if memory.context != context:
        memory.rendered.clear()
        memory.context = context
    desired = accept(files, ledgers, owner=str(sync.owner), revision=revision, enterprise=features.enterprise)
    rendered: dict[ServiceKey, Rendered] = {}
    used: set[tuple[str, Place]] = set()
    for key, wanted in desired.services.items():
        name = (wanted.hash, wanted.place)
        used.add(name)
        known = memory.rendered.get(name)
        if known is None:
            known = memory.rendered[name] = render(wanted.spec, wanted.place, context)
        rendered[key] = known
    memory.forget(used)
    return Desires(desired, rendered, context)


def policy_of(sync: Sync, options: Options, approvals: tuple[Approval, ...]) -> Policy:
    named = bool(options.adopt) or options.adopt_all
    return Policy(
        limits=PruneLimits(sync.max_count, sync.max_fraction),
        adoption=Adoption(
            everything=options.adopt_all or (sync.adopt and not named),
            names=options.adopt,
            take_from=options.adopt_from,
        ),
        approvals=approvals,
        drift=sync.drift,
    )


def decide(
    desires: Desires, found: Found, sync: Sync, policy: Policy, *, only: frozenset[ServiceKey] | None = None
) -> Plan:
    """The plan for *desires* against *found*. Of what cannot be read nothing is planned."""
    desired = desires.desired
    unread = _unread(desires, found, str(sync.owner))
    if unread:
        if not (desired.services or desired.refused or desired.unreadable):
            # What is refused must not make an emptied commit look like any other: its deletes wait all the same.
            policy = replace(policy, limits=PruneLimits(0, 0.0))
        desired = replace(
            desired,
            services={key: wanted for key, wanted in desired.services.items() if key not in unread},
            refused={**desired.refused, **unread},
        )
    wanted = {
        key: (desired.services[key], rendered)
        for key, rendered in desires.rendered.items()
        if key in desired.services and (only is None or key in only)
    }
    judged = judge(wanted, found, desires.context)
    return make_plan(desired, desires.rendered, judged, found, owner=str(sync.owner), policy=policy, only=only)


def _unread(desires: Desires, found: Found, owner: str) -> dict[ServiceKey, tuple[Finding, ...]]:
    """The services of ours of which something cannot be read, which is never taken for absent, and why."""
    unread: dict[ServiceKey, tuple[Finding, ...]] = {}
    if found.unread:
        ours = {*desires.desired.services, *Sight(found).marked(owner)}
        for key in ours & found.unread.keys():
            finding = note(
                "ledger-unreadable",
                f"{key} keeps what it has, because its record cannot be read: {found.unread[key]}",
                hint="Look at the record. Once its key is deleted, the next sync makes it anew from Git and the owner marks.",
                service=key,
            )
            unread[key] = (finding,)
    for key, rendered in desires.rendered.items() if found.silent else ():
        for component in rendered.components:
            if component.key.kind is Kind.CATALOG and (why := found.silent.get(component.key.datacenter)):
                finding = note(
                    "datacenter-silent",
                    f"{key} keeps what it has, because the datacenter {component.key.datacenter} does not answer: {why}",
                    hint="It goes on by itself when the datacenter is back.",
                    service=key,
                )
                unread[key] = (finding,)
    return unread
