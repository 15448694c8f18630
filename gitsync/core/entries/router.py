"""service-router: routes by path, method, header and query, each with its timeouts and retries."""

from __future__ import annotations

from typing import Any

from gitsync.core.codes import note
from gitsync.core.entries.entry import Fields, Made, entry, filled
from gitsync.core.entries.patterns import pattern_fault
from gitsync.core.entries.requests import http_match, patterns, takes_all
from gitsync.core.entries.retries import retry_fields
from gitsync.core.entries.waits import idle_findings, route_waits
from gitsync.model.connect import Match, Route, RouteDestination
from gitsync.model.context import RenderContext
from gitsync.model.finding import Finding, Severity
from gitsync.model.key import Kind
from gitsync.model.spec import ServiceSpec


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
    for path, route in _routes(spec):
        fields, said = _route(spec, route, context, path)
        routes.append(fields)
        findings += said
    rest = route_waits(spec, None, context)
    if rest and not any(takes_all(route.match) for _, route in _routes(spec)):
        routes.append({"Destination": rest})
    return entry(Kind.ROUTER, spec, context, {"Routes": routes}), findings


def _routes(spec: ServiceSpec) -> list[tuple[str, Route]]:
    """The routes of the spec with their paths in it; `prefix` is short for one."""
    wanted = spec.connect.router
    assert wanted is not None
    if wanted.prefix is None:
        return [(f"connect.router.routes[{at}]", route) for at, route in enumerate(wanted.routes)]
    destination = RouteDestination(retries=wanted.retries) if wanted.retries else None
    return [("connect.router", Route(match=Match(path_prefix=wanted.prefix), destination=destination))]


def _route(spec: ServiceSpec, route: Route, context: RenderContext, path: str) -> Fields:
    wanted = route.destination
    short = path == "connect.router"
    retries, findings = retry_fields(
        wanted.retries if wanted else None,
        context.features,
        f"{path}.retries" if short else f"{path}.destination.retries",
    )
    destination: dict[str, Any] = filled(
        Service=wanted.service if wanted else None,
        ServiceSubset=wanted.subset if wanted else None,
        PrefixRewrite=wanted.prefix_rewrite if wanted else None,
    )
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
