"""References that block a delete: what still names a service after the plan. Pure."""

from __future__ import annotations

from gitsync.core.codes import note
from gitsync.core.outlook import Outlook
from gitsync.core.sight import permissions
from gitsync.model.finding import Finding
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.plan import Verdict


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
