"""Judge: what is wanted against who else is there. Everything that one spec alone cannot tell. Pure.

What concerns one service is said of that service. What concerns a gateway or the whole installation is said once, under the key
None: with 10,000 services behind a gateway that nobody runs, one finding says more than 10,000.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from gitsync.core.codes import note
from gitsync.core.entries.catalog_node import datacenter_of
from gitsync.core.entries.waits import GATEWAY_LIMIT, longest_wait
from gitsync.core.render import too_long
from gitsync.model.component import Body, Found
from gitsync.model.context import RenderContext, Rendered
from gitsync.model.desired import Wanted
from gitsync.model.duration import Duration
from gitsync.model.features import Feature
from gitsync.model.finding import Finding, Severity
from gitsync.model.grammar import HTTP_LIKE
from gitsync.model.key import Kind, ServiceKey
from gitsync.model.spec import SNI_LENGTH, ServiceSpec, sni_length

BODY_LIMIT = 512 * 1024
"""The largest request that Consul 2.1 takes (consul-facts.md section 15)."""

ESM = "consul-esm"
SHOWN = 5

Pairs = Mapping[ServiceKey, tuple[Wanted, Rendered]]


def judge(
    wanted: Pairs, found: Found, context: RenderContext, *, only: Iterable[ServiceKey] | None = None
) -> Mapping[ServiceKey | None, tuple[Finding, ...]]:
    """What there is to say about *wanted*, given what was *found*. An error means that nothing of its service is written.

    Services without a finding are left out. The order of *wanted* does not matter. *only*: the services to look at; nothing is
    said under the key None then.
    """
    judged: dict[ServiceKey | None, tuple[Finding, ...]] = {}
    neighbourhood = _Neighbourhood(wanted, found, context)
    for key in sorted(wanted if only is None else wanted.keys() & set(only)):
        each, rendered = wanted[key]
        said = tuple(
            replace(finding, service=key, place=each.place.at(finding.spec_path))
            for finding in neighbourhood.of(each.spec, rendered)
        )
        if said:
            judged[key] = said
    if only is None and (general := _of_all(neighbourhood)):
        judged[None] = general
    return judged


def judge_all(wanted: Pairs, found: Found, context: RenderContext) -> tuple[Finding, ...]:
    """What `judge` says under the key None: of gateways and of the whole installation."""
    return _of_all(_Neighbourhood(wanted, found, context))


def matters_to_all(spec: ServiceSpec, rendered: Rendered) -> tuple[object, ...]:
    """What `judge_all` looks at in one service."""
    gateway = spec.exposure.terminating_gateway
    row = next((each.body for each in rendered.components if each.key.kind is Kind.GATEWAY_ROW), {})
    return spec.exposure.mode, gateway, spec.exposure.dc, bool(spec.exposure.check), rendered.refused, _row_size(row)


def _of_all(neighbourhood: _Neighbourhood) -> tuple[Finding, ...]:
    wanted, found, context = neighbourhood.wanted, neighbourhood.found, neighbourhood.context
    return (
        *neighbourhood.gateways(),
        *_without_tproxy(wanted, context),
        *_unprobed(wanted, found, context),
    )


class _Neighbourhood:
    """Who else is there, indexed once, so that the judgement of many services stays linear."""

    def __init__(self, wanted: Pairs, found: Found, context: RenderContext) -> None:
        self.wanted, self.found, self.context = wanted, found, context
        self.denies = bool(context.features.default_deny)
        self.longest_datacenter = max((context.datacenter, *found.datacenters), key=len)
        self.gateway_names = {name.lower() for name in found.gateways}

    @functools.cached_property
    def rows(self) -> dict[str, dict[str, Body]]:
        """The rows that each gateway is to have of ours."""
        rows: dict[str, dict[str, Body]] = defaultdict(dict)
        for key, (_, rendered) in self.wanted.items():
            for component in () if rendered.refused else rendered.components:
                if component.key.kind is Kind.GATEWAY_ROW:
                    rows[component.key.at][key.name] = component.body
        return rows

    @functools.cached_property
    def linked(self) -> dict[str, set[str]]:
        """The rows that each gateway has now."""
        return {
            name: {row.get("Name", "") for row in entry.body.get("Services") or ()}
            for name, entry in self.found.gateways.items()
        }

    def of(self, spec: ServiceSpec, rendered: Rendered) -> Iterator[Finding]:
        """What there is to say about one service."""
        yield from self._shadows(spec)
        yield from self._names(spec)
        yield from self._datacenters(spec)
        yield from self._longer_routes(spec)
        if self.denies and not rendered.refused:
            yield from self._permits(spec)

    def _shadows(self, spec: ServiceSpec) -> Iterator[Finding]:
        nodes = self.found.shadows.get(spec.name)
        if not nodes:
            return
        where = _some(nodes)
        if spec.exposure.mode == "tgw_static":
            yield note(
                "catalog-service-shadows",
                f"Nothing is written, because {spec.name} is in the catalog on {where}: clients would get that one and never "
                f"{spec.routing.host}.",
                hint="Deregister it there, give this service another name, or write exposure.mode: catalog_external to stand beside it.",
                spec_path="name",
            )
        else:
            yield note(
                "catalog-service-shadows",
                f"Clients get one of several servers, because {spec.name} is also registered by somebody else, on {where}.",
                hint="Deregister it there, or give this service another name, unless both are meant.",
                spec_path="name",
                severity=Severity.WARNING,
            )

    def _names(self, spec: ServiceSpec) -> Iterator[Finding]:
        gateway = spec.exposure.terminating_gateway
        if spec.name in self.gateway_names and not (gateway and gateway.service.lower() == spec.name):
            yield note(
                "named-like-gateway",
                f"Nothing is written, because a terminating gateway is called {spec.name}: its own instances would answer for the "
                "service.",
                hint="Give the service another name.",
                spec_path="name",
            )
        length = sni_length(spec, len(self.longest_datacenter))
        if length > SNI_LENGTH >= sni_length(spec, len(self.context.datacenter)):
            yield too_long(spec, self.longest_datacenter, length)

    def _datacenters(self, spec: ServiceSpec) -> Iterator[Finding]:
        known = self.found.datacenters
        if not known:
            return  # not read: nothing is known to be absent
        here = datacenter_of(spec, self.context)
        if here not in known and here != self.context.datacenter:
            path = "exposure.dc" if spec.exposure.dc else "exposure.terminating_gateway.dc"
            registered = spec.exposure.mode == "catalog_external"
            yield note(
                "unknown-datacenter",
                f"Nothing is written, because Consul does not know the datacenter {here}, in which the node is to be registered."
                if registered
                else f"Consul does not know the datacenter {here}; it is only recorded, and clients use the gateway where it runs.",
                hint=f"Write one of {', '.join(sorted(known))}, or leave it out.",
                spec_path=path,
                severity=None if registered else Severity.WARNING,
            )
        for path, datacenter in sorted(set(_resolver_datacenters(spec))):
            if datacenter not in known and datacenter != self.context.datacenter:
                yield note(
                    "unknown-datacenter",
                    f"Clients that are sent to the datacenter {datacenter} get 503, and start 15 s later, because Consul does not know it.",
                    hint=f"Write one of {', '.join(sorted(known))}.",
                    spec_path=path,
                    severity=Severity.WARNING,
                )

    def _longer_routes(self, spec: ServiceSpec) -> Iterator[Finding]:
        """Routes to another service of ours that wait longer than that one's gateway does."""
        request = spec.connect.mesh_policy.timeouts.request
        for at, route in enumerate(spec.connect.router.routes if spec.connect.router else ()):
            name = (route.destination.service if route.destination else None) or spec.name
            wait = (route.destination.request_timeout if route.destination else None) or request
            other = self.wanted.get(spec.key._replace(name=name.lower()))
            if wait is None or other is None or name.lower() == spec.name:
                continue
            limit = self._limit(other[0].spec)
            if limit and wait > limit:
                yield note(
                    "route-timeout-capped",
                    f"Clients get 504 after {limit} instead of {wait}, because the gateway of {name} ends requests then.",
                    hint=f"Write connect.mesh_policy.timeouts.request: {wait} in the spec of {name}.",
                    spec_path=f"connect.router.routes[{at}].destination.request_timeout",
                )

    def _limit(self, other: ServiceSpec) -> Duration | None:
        """How long the gateway of *other* waits; None where it does not end requests."""
        features = self.context.features
        if other.connect.mesh_policy.protocol not in HTTP_LIKE or not features.has(Feature.GATEWAY_HTTP):
            return None
        return (longest_wait(other) if features.has(Feature.RESOLVER_REQUEST_TIMEOUT) else None) or GATEWAY_LIMIT

    def _permits(self, spec: ServiceSpec) -> Iterator[Finding]:
        gateway = spec.exposure.terminating_gateway
        if gateway and spec.name not in self.linked.get(gateway.service, ()):
            yield note(
                "gateway-token-rule",
                f"Clients get 503 until the token of the gateway {gateway.service} may write {spec.name}.",
                hint=f'Give it the rule: service "{spec.name}" {{ policy = "write" }}',
                spec_path="exposure.terminating_gateway",
            )
        if not spec.connect.intentions and not any(
            (Kind.INTENTIONS, name) in self.found.entries for name in (spec.name, "*")
        ):
            yield note(
                "intention-needed",
                "Clients get 403, or are reset on tcp, because Consul denies by default and no intention allows anybody to call it.",
                hint="Write connect.intentions: [{source: CALLER, action: allow}]"
                + (", or create the intention elsewhere." if spec.connect.intentions is None else "."),
                spec_path="connect.intentions",
            )

    def gateways(self) -> Iterator[Finding]:
        """What there is to say about the gateways that *wanted* names, once each."""
        named: dict[str, list[ServiceSpec]] = defaultdict(list)
        for each, _ in self.wanted.values():
            gateway = each.spec.exposure.terminating_gateway
            if gateway:
                named[gateway.service].append(each.spec)
        for name, specs in sorted(named.items()):
            yield from self._instances(name, specs)
            yield from self._size(name)
        for linked, names in sorted(self.linked.items()):
            if "*" in names and self.wanted:
                yield note(
                    "foreign-wildcard-row",
                    f"The gateway {linked} has a row * of somebody else, so it goes on serving a service that gitsync deletes or "
                    "moves away, with that row's TLS.",
                    hint="Remove the row * when every service that needs it has a row of its own.",
                )

    def _instances(self, gateway: str, specs: list[ServiceSpec]) -> Iterator[Finding]:
        if gateway in self.found.services:
            return
        here = sorted((spec for spec in specs if self._runs_here(spec)), key=lambda spec: spec.key)
        if not here:
            return
        running = sorted(self.found.gateways.keys() & self.found.services)
        named = (
            f"{len(here)} services name it, the first is {here[0].name}"
            if len(here) > 1
            else f"{here[0].name} names it"
        )
        yield note(
            "gateway-has-no-instance",
            f"Clients get 503, because no instance of the gateway {gateway} is registered in {self.context.datacenter} ({named}).",
            hint="Start the gateway, or name one that runs"
            + (f": {_some(running)}." if running else "; of those that have an entry in Consul none does."),
            spec_path="exposure.terminating_gateway.service",
        )

    def _runs_here(self, spec: ServiceSpec) -> bool:
        """The names in the catalog are those of the agent's own datacenter; of a gateway in another one nothing is known."""
        datacenter = datacenter_of(spec, self.context)
        return datacenter == self.context.datacenter or datacenter not in self.found.datacenters

    def _size(self, gateway: str) -> Iterator[Finding]:
        entry = self.found.gateways.get(gateway)
        ours = self.rows.get(gateway, {})
        theirs = [row for row in (entry.body.get("Services") or () if entry else ()) if row.get("Name") not in ours]
        size = 2 + sum(map(_row_size, theirs)) + sum(map(_row_size, ours.values()))
        if size > BODY_LIMIT:
            yield note(
                "gateway-too-large",
                f"The gateway {gateway} would have {len(theirs) + len(ours)} rows in {size // 1024} KiB, and Consul 2.1 refuses an "
                f"entry above {BODY_LIMIT // 1024} KiB: after that update no row could be changed any more.",
                hint="Let some of its services name a second gateway before you update Consul.",
                spec_path="exposure.terminating_gateway.service",
            )


def _row_size(row: Body) -> int:
    """Bytes of a row, with its comma. The rows of one gateway are much alike, and there may be ten thousand of them."""
    if all(isinstance(value, str) and value.isascii() for value in row.values()):
        return 2 + sum(len(name) + len(value) + 6 for name, value in row.items())
    return len(json.dumps(row, separators=(",", ":"))) + 1


def _resolver_datacenters(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    resolver = spec.connect.resolver
    if resolver is None:
        return
    if resolver.redirect and resolver.redirect.datacenter:
        yield "connect.resolver.redirect.datacenter", resolver.redirect.datacenter
    for subset, failover in resolver.failover.items():
        for datacenter in (*failover.datacenters, *(target.datacenter for target in failover.targets)):
            if datacenter:
                yield f"connect.resolver.failover.{subset}", datacenter


def _without_tproxy(wanted: Pairs, context: RenderContext) -> Iterator[Finding]:
    if not context.features.has(Feature.DESTINATION):
        return
    static = sorted(
        key
        for key, (each, rendered) in wanted.items()
        if each.spec.exposure.mode == "tgw_static" and not rendered.refused
    )
    if static:
        yield note(
            "destination-needs-tproxy",
            f"Clients with an explicit upstream get 503 from {_some(map(str, static))}: tgw_static is reached through transparent "
            "proxies only.",
            hint="Write exposure.mode: catalog_external for services with other clients.",
            spec_path="exposure.mode",
        )


def _unprobed(wanted: Pairs, found: Found, context: RenderContext) -> Iterator[Finding]:
    if ESM in found.services:
        return
    checked = sorted(
        key
        for key, (each, _) in wanted.items()
        if each.spec.exposure.check and datacenter_of(each.spec, context) == context.datacenter
    )
    if checked:
        yield note(
            "check-unprobed",
            f"Clients are sent to a server that is down, because no {ESM} is registered and the checks of {_some(map(str, checked))} "
            "stay passing as they were created.",
            hint=f"Run {ESM} in {context.datacenter}, or remove exposure.check.",
            spec_path="exposure.check",
        )


def _some(names: Iterable[str]) -> str:
    """A few of *names*, and how many more there are."""
    ordered = list(names)
    more = len(ordered) - SHOWN
    return ", ".join(ordered[:SHOWN]) + (f" and {more} more" if more > 0 else "")
