"""References between services: what still names one that is to go, and what names one that is not there. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gitsync.core.codes import note
from gitsync.core.outlook import Outlook
from gitsync.core.sight import permissions
from gitsync.model.desired import Desired
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Verdict
from gitsync.model.spec import ServiceSpec


def still_referenced(outlook: Outlook) -> dict[ServiceKey, Finding]:
    """The services whose delete must wait, because a router, splitter, resolver or failover still names them.

    Consul would take the row and the resolver first and only then refuse the service-defaults, so not even a row of them goes.
    """
    refusals = {}
    for key, plan in outlook.plans.items():
        if plan.verdict is not Verdict.DELETE:
            continue
        name = key.name.lower()
        blockers = {each for each in outlook.referrers(name) if each[1] != name}
        for kind in (Kind.ROUTER, Kind.SPLITTER, Kind.RESOLVER):
            if (kind, name) not in outlook.changes and outlook.sight.entry(kind, name):
                blockers.add((kind, name))  # a foreign one of the same name needs our service-defaults
        intentions = outlook.body(Kind.INTENTIONS, name)
        if intentions and permissions(intentions):
            blockers.add((Kind.INTENTIONS, name))  # and so do permissions by request
        if blockers:
            names = ", ".join(f"{kind}/{blocker}" for kind, blocker in sorted(blockers))
            refusals[key] = note(
                "still-referenced",
                f"{key} left Git but is not deleted, because {names} still points at it: deleting it would break their traffic.",
                hint="Remove the reference first (the same commit will do where it is in Git), then it goes by itself.",
                service=key,
            )
    return refusals


def missing_references(outlook: Outlook, desired: Desired) -> dict[ServiceKey, tuple[Finding, ...]]:
    """What services lead to and nobody has, though Consul takes it, or took it once. What it would refuse is an error before."""
    result = {}
    for key, plan in outlook.plans.items():
        wanted = desired.services.get(key)
        if wanted is None or plan.verdict in (Verdict.REFUSED, Verdict.CONFLICT):
            continue
        found = tuple(
            note(
                "reference-missing",
                f"Clients that are sent to {name} get 503, because no service of that name is registered, described or in Git.",
                hint=f"Add a spec for {name}, or take it out.",
                service=key,
                spec_path=path,
                severity=Severity.WARNING,
            )
            for path, name in led_to(wanted.spec)
            if name.lower() != key.name and outlook.unheard_of(name)
        )
        if found:
            result[key] = found
    return result


def led_to(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    """Every service of the own datacenter to which *spec* sends requests, with the path at which it says so."""
    connect = spec.connect
    for at, route in enumerate(connect.router.routes if connect.router else ()):
        if route.destination and route.destination.service:
            yield f"connect.router.routes[{at}].destination.service", route.destination.service
    for at, split in enumerate(connect.splitter):
        if split.service:
            yield f"connect.splitter[{at}].service", split.service
    if connect.resolver is None:
        return
    redirect = connect.resolver.redirect
    if redirect and redirect.service and not redirect.datacenter:
        yield "connect.resolver.redirect.service", redirect.service
    for subset, failover in connect.resolver.failover.items():
        path = f"connect.resolver.failover.{subset}"
        if failover.service and not failover.datacenters:
            yield f"{path}.service", failover.service
        for at, target in enumerate(failover.targets):
            if target.service and not target.datacenter:
                yield f"{path}.targets[{at}].service", target.service
