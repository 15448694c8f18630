"""How long a client waits: timeouts have two places, the route of the caller and the resolver, which the gateway obeys.

    timeouts.connect   resolver ConnectTimeout
    timeouts.request   resolver RequestTimeout (both hops, unless the caller has a route) and RequestTimeout on every route
    timeouts.idle      IdleTimeout on every route

The gateway ends every request after 15 s unless the resolver has a RequestTimeout, so the resolver gets the longest of the
routes' as well. A service-defaults has no timeouts that reach an external service. Source: consul-facts.md section 13.
"""

from __future__ import annotations

from gitsync.core.codes import note
from gitsync.core.entries.entry import Fields, filled
from gitsync.model.connect import RouteDestination
from gitsync.model.context import RenderContext
from gitsync.model.duration import UNITS, Duration
from gitsync.model.features import Feature
from gitsync.model.finding import Finding
from gitsync.model.grammar import HTTP_LIKE
from gitsync.model.spec import ServiceSpec

GATEWAY_LIMIT = Duration(15 * UNITS["s"])
"""How long a gateway waits for an answer where nothing says otherwise: Envoy's default."""

TIMEOUTS = "connect.mesh_policy.timeouts"


def resolver_waits(spec: ServiceSpec, context: RenderContext) -> Fields:
    """The timeouts of the resolver."""
    timeouts = spec.connect.mesh_policy.timeouts
    fields = filled(ConnectTimeout=str(timeouts.connect) if timeouts.connect else None)
    if spec.connect.mesh_policy.protocol not in HTTP_LIKE:
        return fields, _on_tcp(spec)
    findings: list[Finding] = []
    longest = longest_wait(spec)
    if context.features.has(Feature.RESOLVER_REQUEST_TIMEOUT):
        fields |= filled(RequestTimeout=str(longest) if longest else None)
    elif timeouts.request and spec.connect.router is None:
        findings.append(_without_place(timeouts.request, context))
    elif longest and longest > GATEWAY_LIMIT and context.features.has(Feature.GATEWAY_HTTP):
        findings.append(_capped(longest, context))
    if timeouts.idle and spec.connect.router is None:
        findings.append(
            note(
                "idle-without-router",
                f"A stream on which nothing happens is kept for Envoy's 5 minutes instead of {timeouts.idle}, because without a "
                "router there is no place for the idle timeout.",
                hint="Write connect.router: {prefix: /}.",
                spec_path=f"{TIMEOUTS}.idle",
            )
        )
    return fields, findings


def longest_wait(spec: ServiceSpec) -> Duration | None:
    """How long the gateway has to wait, so that no route of the service is cut short; None where its own 15 s are enough."""
    waits = [spec.connect.mesh_policy.timeouts.request]
    waits += [
        route.destination.request_timeout
        for route in (spec.connect.router.routes if spec.connect.router else ())
        if route.destination and (route.destination.service or spec.name).lower() == spec.name
    ]
    longest = max((wait for wait in waits if wait), default=None)
    if waits[0] is None and longest and longest <= GATEWAY_LIMIT:
        return None  # the routes that say nothing have Envoy's 15 s, and the gateway must not be quicker
    return longest


def route_waits(spec: ServiceSpec, wanted: RouteDestination | None, context: RenderContext) -> dict[str, str]:
    """The timeouts of one route: its own, else those of the whole service."""
    timeouts = spec.connect.mesh_policy.timeouts
    request = (wanted.request_timeout if wanted else None) or timeouts.request
    idle = (wanted.idle_timeout if wanted else None) or timeouts.idle
    fields = filled(RequestTimeout=str(request) if request else None)
    if idle and context.features.has(Feature.ROUTER_IDLE_TIMEOUT):
        fields["IdleTimeout"] = str(idle)
    return fields


def idle_findings(spec: ServiceSpec, context: RenderContext) -> list[Finding]:
    """What there is to say about the idle timeouts of the routes."""
    router = spec.connect.router
    if router is None or context.features.has(Feature.ROUTER_IDLE_TIMEOUT):
        return []
    paths = [f"{TIMEOUTS}.idle"] if spec.connect.mesh_policy.timeouts.idle else []
    paths += [
        f"connect.router.routes[{at}].destination.idle_timeout"
        for at, route in enumerate(router.routes)
        if route.destination and route.destination.idle_timeout
    ]
    if not paths:
        return []
    return [
        note(
            "idle-timeout-unsupported",
            "A stream on which nothing happens is kept for Envoy's 5 minutes, because the routes of Consul "
            f"{context.features.version_text} have no idle timeout ({', '.join(paths)}).",
            hint=f"Remove it, or update Consul to {Feature.ROUTER_IDLE_TIMEOUT.since}.",
            spec_path=paths[0],
        )
    ]


def _on_tcp(spec: ServiceSpec) -> list[Finding]:
    timeouts = spec.connect.mesh_policy.timeouts
    named = [name for name in ("request", "idle") if getattr(timeouts, name)]
    if not named:
        return []
    return [
        note(
            "timeout-on-tcp",
            f"Connections live for as long as both sides keep them, because timeouts.{' and '.join(named)} have no place on tcp.",
            hint=f"Remove {' and '.join(named)}, or write connect.mesh_policy.protocol: http if the server speaks HTTP.",
            spec_path=f"{TIMEOUTS}.{named[0]}",
        )
    ]


def _without_place(request: Duration, context: RenderContext) -> Finding:
    return note(
        "request-timeout-unsupported",
        f"Requests end after Envoy's 15 s instead of {request}, because a resolver of Consul {context.features.version_text} has "
        "no request timeout.",
        hint="Write connect.router: {prefix: /}, whose routes have one (up to 15 s), or update Consul to "
        f"{Feature.RESOLVER_REQUEST_TIMEOUT.since}.",
        spec_path=f"{TIMEOUTS}.request",
    )


def _capped(longest: Duration, context: RenderContext) -> Finding:
    return note(
        "request-timeout-capped",
        f"Clients get 504 after 15 s instead of {longest}, because the gateway of Consul {context.features.version_text} ends "
        "requests then, whatever the route says.",
        hint=f"Write at most 15s, or update Consul to {Feature.RESOLVER_REQUEST_TIMEOUT.since}.",
        spec_path=f"{TIMEOUTS}.request",
    )
