"""service-router: routes by path, method, header and query, each with its timeouts and retries."""

from __future__ import annotations

from typing import Any

from gitsync.core.codes import note
from gitsync.core.entries.entry import Fields, Made, entry, filled
from gitsync.core.entries.patterns import pattern_fault
from gitsync.core.entries.requests import http_match, patterns
from gitsync.core.entries.retries import retry_fields
from gitsync.core.entries.waits import idle_findings, route_waits
from gitsync.model.connect import Match, Retries, Route, RouteDestination
from gitsync.model.context import RenderContext
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import Kind
from gitsync.model.spec import ServiceSpec

EVERYTHING = {"HTTP": {"PathPrefix": "/"}}
"""The Match of a route that takes every request, as does a route without one."""


def router(spec: ServiceSpec, context: RenderContext) -> Made:
    """The service-router, none where the spec has none.

    Where the service has timeouts and no route takes what is left, a last route without a match carries them: the one that
    Consul adds by itself has Envoy's 15 s.
    """
    wanted = spec.connect.router
    if wanted is None:
        return None, []
    routes: list[dict[str, Any]] = []
    findings: list[Finding] = idle_findings(spec, context)
    made = (
        [_prefix(spec, wanted.prefix, wanted.retries, context)]
        if wanted.prefix is not None
        else [_route(spec, route, context, f"connect.router.routes[{at}]") for at, route in enumerate(wanted.routes)]
    )
    for fields, said in made:
        routes.append(fields)
        findings += said
    rest = route_waits(spec, None, context)
    if rest and not any(fields.get("Match") in (None, EVERYTHING) for fields in routes):
        routes.append({"Destination": rest})
    return entry(Kind.ROUTER, spec, context, {"Routes": routes}), findings


def _prefix(spec: ServiceSpec, prefix: str, wanted: Retries | None, context: RenderContext) -> Fields:
    """The one route that `prefix` is short for."""
    retries, findings = retry_fields(wanted, context.features, "connect.router.retries")
    destination = route_waits(spec, None, context) | retries
    return {"Match": {"HTTP": {"PathPrefix": prefix}}, **filled(Destination=destination)}, findings


def _route(spec: ServiceSpec, route: Route, context: RenderContext, path: str) -> Fields:
    wanted = route.destination
    retries, findings = retry_fields(
        wanted.retries if wanted else None, context.features, f"{path}.destination.retries"
    )
    destination: dict[str, Any] = {}
    if wanted:
        destination = filled(Service=wanted.service, ServiceSubset=wanted.subset, PrefixRewrite=wanted.prefix_rewrite)
    destination |= route_waits(spec, wanted, context) | retries
    if route.match:
        findings += [*_patterns(route.match, f"{path}.match"), *_rewrite(route.match, wanted, path)]
    http = http_match(route.match) if route.match else {}
    return filled(Match={"HTTP": http} if http else None, Destination=destination), findings


def _patterns(match: Match, path: str) -> list[Finding]:
    return [
        note(
            "regex-unsafe",
            f"Clients get 404 or 503 on this service, if Envoy cannot load the expression: {fault}.",
            hint="Write a shorter one, or path_prefix, prefix or exact, which need no expression.",
            spec_path=f"{path}.{at}",
            severity=Severity.WARNING,
        )
        for at, pattern in patterns(match)
        if (fault := pattern_fault(pattern))
    ]


def _rewrite(match: Match, wanted: RouteDestination | None, path: str) -> list[Finding]:
    """A prefix is replaced as text, so the slash between it and the rest has to be on one side."""
    prefix, rewrite = match.path_prefix, wanted.prefix_rewrite if wanted else None
    if not prefix or not rewrite or prefix.endswith("/") == rewrite.endswith("/"):
        return []
    example = f"{prefix}orders" if prefix.endswith("/") else f"{prefix}/orders"
    result = rewrite + example.removeprefix(prefix)
    mended = rewrite + "/" if prefix.endswith("/") else rewrite.rstrip("/")
    hint = f"Write prefix_rewrite: {mended}" if mended else f"Write match.path_prefix: {prefix}/"
    return [
        note(
            "rewrite-double-slash" if "//" in result else "rewrite-without-slash",
            f"The server is asked for {result} when a client asks for {example}, because the prefix is replaced as text.",
            hint=f"{hint}.",
            spec_path=f"{path}.destination.prefix_rewrite",
        )
    ]
