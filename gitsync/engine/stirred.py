"""Stirred: which services have to be planned anew, because something that their last plan was made from is not as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gitsync.core.changed import moved
from gitsync.core.neighbours import ESM
from gitsync.core.plan import Policy
from gitsync.core.references import led_to
from gitsync.core.sight import NAMING, Sight, hosts_of, references
from gitsync.engine.memory import Decision, Desires
from gitsync.model.component import CatalogNode, Found
from gitsync.model.desired import Desired
from gitsync.model.key import SERVICE_MARK, Kind, ServiceKey
from gitsync.model.sync import Sync


def stirred(last: Decision, desires: Desires, sight: Sight, sync: Sync, policy: Policy) -> frozenset[ServiceKey] | None:
    """The services to plan anew; all others have the plan they had. None: all of them, because who can say.

    A plan is a function of what the service wants, of what stands in Consul under its name, and of the services that it names,
    that name it, or that have its host. What concerns all, such as the gateways there are, stirs all.
    """
    found, before = sight.found, last.sight.found
    if (last.sync, last.policy, last.desires.context) != (sync, policy, desires.context):
        return None
    if _around(found) != _around(before) or _general(desires) != _general(last.desires):
        return None
    new, old = desires.desired, last.desires.desired
    anew = set(last.plan.unsettled)
    anew.update(moved(new.services, old.services))
    anew.update(moved(found.ledgers, before.ledgers))
    instances = found.services ^ before.services
    if instances & {ESM, *found.gateways}:
        return None
    names = {name for _, name in moved(found.entries, before.entries)}
    names.update(name.lower() for name in (*instances, *moved(found.shadows, before.shadows)))
    for gateway in found.gateways:
        names.update(moved(sight.rows(gateway), last.sight.rows(gateway)))
    names.update(
        name
        for at in moved(found.nodes, before.nodes)
        for node in (found.nodes.get(at), before.nodes.get(at))
        for name in _on(node)
    )
    if "*" in names or desires.context.features.enterprise:
        return None
    planned = last.plan.services
    anew |= _with_neighbours(
        {*names, *(key.name for key in anew)},
        lambda key: key in planned or key in new.services,
        (sight, last.sight),
        (new, old),
    )
    return frozenset(anew) if len(anew) <= len(planned) // 2 else None


def _around(found: Found) -> tuple[object, ...]:
    """What concerns every service."""
    return (
        found.datacenters,
        found.filtered,
        found.silent,
        found.unread,
        found.gateways.keys(),
    )


def _general(desires: Desires) -> tuple[object, ...]:
    desired = desires.desired
    return desired.refused, desired.unreadable, desired.unparsed, desired.findings, bool(desired.services)


def _on(node: CatalogNode | None) -> Iterator[str]:
    """The services whose plan a node may concern."""
    if node is not None:
        yield from (service.name.lower() for service in node.services)
        if mark := node.meta.get(SERVICE_MARK, ""):
            yield mark.rpartition("/")[2].lower()


def _with_neighbours(
    names: Iterable[str],
    ours: Callable[[ServiceKey], bool],
    sights: tuple[Sight, Sight],
    commits: tuple[Desired, Desired],
) -> set[ServiceKey]:
    """The services of ours among *names*, among those that they name or that name them, then or now, and so on."""
    result: set[ServiceKey] = set()
    seen: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        seen.add(name)
        key = ServiceKey(name)
        near: set[str] = set()
        for sight in sights:
            near.update(other for _, other in sight.referrers(name))
            if ours(key):
                result.add(key)
                near |= _named(sight, name)
        for desired in commits:
            if wanted := desired.services.get(key):
                near.update(other.lower() for _, other in led_to(wanted.spec))
        left |= near - seen
    return result


def _named(sight: Sight, name: str) -> set[str]:
    """What the entries of a service name, and who has its hosts."""
    names: set[str] = set()
    for kind in NAMING:
        if entry := sight.entry(kind, name):
            names |= references(kind, entry.body)
    if entry := sight.entry(Kind.DEFAULTS, name):
        for host in hosts_of(entry.body):
            names |= sight.index.hosts.get(host, frozenset())
    return names
