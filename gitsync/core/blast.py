"""The blast radius: who else in live Consul leads to a service, and so feels it when that changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gitsync.core.sight import Sight, redirected
from gitsync.model.component import Entry
from gitsync.model.key import MANAGED_BY, OWNER_MARK, Kind, ServiceKey
from gitsync.model.review import Link

HOW = {Kind.ROUTER: "routes to it", Kind.SPLITTER: "splits traffic to it"}
REDIRECTS, FAILS_OVER, CARRIES, CARRIES_ALL = (
    "redirects to it",
    "fails over to it",
    "carries it",
    "carries every service",
)


def links_to(sight: Sight, services: Iterable[ServiceKey]) -> tuple[Link, ...]:
    """Every router, splitter, resolver and gateway that leads to one of *services* from outside of it."""
    return tuple(sorted(link for key in services for link in _links(sight, key)))


def _links(sight: Sight, key: ServiceKey) -> Iterator[Link]:
    for kind, name in sight.referrers(key.name):
        entry = sight.entry(kind, name)
        if entry is None:
            continue
        how = HOW.get(kind) or (REDIRECTS if key.name.lower() in redirected(entry.body) else FAILS_OVER)
        yield Link(key, kind, entry.name, how, _owner(entry))
    for gateway in sight.gateways_with(key.name):
        yield Link(key, Kind.GATEWAY_ROW, gateway, CARRIES)
    for gateway in sight.gateways_with("*"):
        yield Link(key, Kind.GATEWAY_ROW, gateway, CARRIES_ALL)


def _owner(entry: Entry) -> str:
    return entry.meta.get(OWNER_MARK, "") if entry.meta.get(MANAGED_BY) == "gitsync" else ""
